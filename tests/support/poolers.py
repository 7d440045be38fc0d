"""A real PgBouncer before the tests' server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from tests.support.databases import Database, pointed
from tests.support.servers import reachable_folder

CONFIGURATION = """
[databases]
* = host={host} port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 50
ignore_startup_parameters = extra_float_digits,options
admin_users = postgres
"""
# PgBouncer gives every client these, whatever the one before has set.
CARRIED = ["application_name", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone",
           "standard_conforming_strings", "extra_float_digits"]  # fmt: skip
LEFT = (
    "SELECT name || ' = ' || setting FROM pg_settings WHERE source = 'session' AND name <> ALL(%s)"
    " AND name !~ '^transaction_(read_only|isolation|deferrable)'"  # begun anew each time
    " UNION ALL SELECT locktype || ' ' || mode FROM pg_locks"
    " WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
)


@dataclass
class PgBouncer:
    """A PgBouncer on localhost, which leads to every database of one server as its superuser."""

    port: int

    def settings(self, database: Database, **overrides: Any) -> dict[str, Any]:
        """Return what stands in Django's DATABASES for the database behind it."""
        place = {"HOST": "127.0.0.1", "PORT": str(self.port)}
        return {**database.settings, **place, **overrides}

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """Return a new autocommitting connection through it."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user="postgres", autocommit=True
        )

    def left_behind(self, *databases: str) -> list[str]:
        """Return the settings and advisory locks that its sessions in these databases keep."""
        connections.close_all()
        found = []
        for name in databases:
            with self.connect(name) as connection:
                found += [text for (text,) in connection.execute(LEFT, [CARRIED])]
        return found


@contextmanager
def pooled(database: Database, mode: str = "transaction", size: int = 1) -> Iterator[PgBouncer]:
    """Let Django's alias ``default`` lead through a PgBouncer while the block runs."""
    with (
        pgbouncer(database, mode, size) as pooler,
        pointed("default", pooler.settings(database)),
    ):
        yield pooler


@contextmanager
def pgbouncer(database: Database, mode: str, size: int) -> Iterator[PgBouncer]:
    """Run one before the database's server while the block runs; skip the test where none is here.

    ``size`` is the number of sessions that it keeps in a database: with 1 every transaction is in
    the same session of the server.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if not (program := shutil.which("pgbouncer", path=path)):
        pytest.skip("no pgbouncer here: apt-get install pgbouncer")
    params = database.server.params
    if not str(params["host"]).startswith("/"):
        pytest.skip("the server under test is not one of ours: PgBouncer would need its password")
    with reachable_folder() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        file = folder / "pgbouncer.ini"
        file.write_text(
            CONFIGURATION.format(
                host=params["host"], server_port=params["port"], user=params["user"],
                port=port, mode=mode, size=size,
            )
        )  # fmt: skip
        free.close()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, file], stdout=log, stderr=log, **_account(Path(params["host"]))
            )
        try:
            _wait(process, port, folder / "log")
            yield PgBouncer(port)
        finally:
            process.kill()
            process.wait()


def _account(sockets: Path) -> dict[str, Any]:
    """Return what runs it as who owns the server's socket: it does not run as root."""
    if os.geteuid() != 0:
        return {}
    owner = sockets.stat()
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"PgBouncer did not start: {log.read_text()}")
