"""Databases of one test's own, and Django's aliases for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg
from django.db import connections
from psycopg import sql

from tests.support.servers import RunningServer, environment, rows

_numbers = count(1)


@dataclass
class Database:
    """A database of one test's own."""

    server: RunningServer
    name: str
    alias: str | None
    roles: list[str]
    _connection: psycopg.Connection[Any] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The superuser's URL."""
        return self.server.url(self.name)

    @property
    def environ(self) -> dict[str, str]:
        """The environment for a process that is to find this database by DATABASE_URL."""
        return environment(self.server, DATABASE_URL=self.url)

    @property
    def settings(self) -> dict[str, Any]:
        """What stands for it in Django's DATABASES."""
        return self.server.settings(self.name)

    def execute(self, query: str | sql.SQL | sql.Composed, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the superuser, outside Django and of its own, and return the rows.

        Without ``values`` it may be several statements, and a % is a %.
        """
        if self._connection is None or self._connection.closed:
            self._connection = self.connect()
        return rows(self._connection, query, values)

    def connect(self, **params: Any) -> psycopg.Connection[Any]:
        """Return a new autocommitting connection; the caller closes it."""
        return self.server.connect(**{"dbname": self.name, **params})

    def role(self, prefix: str, attributes: str = "LOGIN", password: str | None = None) -> str:
        """Create a role that is dropped with the test, and return its name.

        Over the socket of our own server nobody is asked for a password. Elsewhere a role has the
        superuser's unless told, so that ``connect(user=...)`` is enough.
        """
        password = password or self.server.params.get("password")
        name = f"{prefix}_{os.getpid()}_{next(_numbers)}"
        query = sql.SQL("CREATE ROLE {} " + attributes).format(sql.Identifier(name))
        if password is not None:
            query += sql.SQL(" PASSWORD {}").format(sql.Literal(password))
        self.server.execute(query)
        self.roles.append(name)
        return name

    def psql(self, script: str) -> None:
        """Feed a script to psql, as a DBA would; any error fails the test."""
        bindir = self.server.bindir
        program = shutil.which("psql", path=str(bindir) if bindir else None)
        assert program, "psql has to be there to try what a command prints"
        done = subprocess.run(
            [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", self.url],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")

    def disconnect(self) -> None:
        """Close the connection that :meth:`execute` uses, so that the database can be renamed."""
        if self._connection is not None:
            self._connection.close()


MakeDatabase = Callable[..., Database]
"""The fixture ``make_database``."""


@contextmanager
def new_database(
    server: RunningServer, name: str | None, alias: str | None, template: str
) -> Iterator[Database]:
    """Create a database, known to Django as ``alias``, and drop it and its roles afterwards."""
    name = name or f"test_{os.getpid()}_{next(_numbers)}"
    database = Database(server, name, alias, [])
    # Half the time of the log, and the only way before 15.
    how = "" if server.version < 150000 else "STRATEGY file_copy"
    try:
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} " + how).format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        if alias:
            with pointed(alias, database.settings):
                yield database
        else:
            yield database
    finally:
        database.disconnect()
        server.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name))
        )
        for role in reversed(database.roles):
            server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@contextmanager
def pointed(alias: str, settings: dict[str, Any]) -> Iterator[str]:
    """Let Django's ``alias`` have other settings while the block runs, and yield it."""
    before = connections.settings.get(alias)
    _point(alias, settings)
    try:
        yield alias
    finally:
        _point(alias, before)


def _point(alias: str, settings: dict[str, Any] | None) -> None:
    """Let Django's ``alias`` mean something else from now on, or nothing."""
    if alias in connections.settings:
        connection = connections[alias]
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()
        del connections[alias]
        del connections.settings[alias]
    if settings is not None:
        connections.settings[alias] = settings
        connections.configure_settings(connections.settings)
