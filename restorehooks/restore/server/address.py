"""Where a Django alias points, in libpq's own words.

Settings, service file and environment are resolved once, by libpq itself, and handed on without
them: a service's own ``dbname`` outranks PGDATABASE, which must never lead a hook to production.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from restorehooks.restore.errors import AddressError

Connection = psycopg.Connection[tuple[Any, ...]]

#: Limits a role or database may carry, none of which is meant for a restore.
UNLIMITED = """
SELECT set_config(name, CASE vartype WHEN 'bool' THEN 'off' ELSE '0' END, %s)
FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout',
               'idle_in_transaction_session_timeout', 'default_transaction_read_only')
"""

#: Lets the server notice within seconds that we were killed, and end what it does for us.
WATCHED = "client_connection_check_interval=2000"

#: An autovacuum that holds a lock is sent away by whoever has waited so long; a superuser's alone
#: to set. It comes soon to a new database, and each table that it is at would cost a second.
PAST_AUTOVACUUM = "deadlock_timeout=10"

SECONDS_TO_CONNECT = "15"
"""How long a server may take to accept a connection, where nobody gave a connect_timeout."""
SECONDS_TO_ANSWER = "5"
"""How long a server may take to answer whether it is there."""

_SECRET = {"password", "sslpassword"}
# A service is resolved already; the programs choose their encoding by the dump.
_RESOLVED = {"service", "servicefile", "dbname", "client_encoding", "fallback_application_name"}

# libpq fills in sslcertmode=allow, its default since 16, which programs before 16 do not know.
_SAID_UNASKED = {(b"sslcertmode", b"allow")}


@dataclass(frozen=True)
class Address:
    """One alias of DATABASES, as libpq would understand it.

    ``parameters`` are libpq's keywords without secrets and without the database's name.
    """

    using: str
    name: str
    user: str
    host: str
    port: str
    parameters: Mapping[str, str]
    secrets: Mapping[str, str]
    role: str | None

    @classmethod
    def of(cls, using: str) -> Address:
        """Return where ``using`` points; raises AddressError when that is no PostgreSQL."""
        if using not in connections.settings:
            raise AddressError(f'There is no alias "{using}" in DATABASES.')
        connection: Any = connections[using]
        if connection.vendor != "postgresql":
            raise AddressError(f'The alias "{using}" is no PostgreSQL database.')
        try:
            asked = connection.get_connection_params()
        except ImproperlyConfigured as error:
            raise AddressError(str(error)) from None
        return cls.of_parameters(using, asked, connection.settings_dict["OPTIONS"])

    @classmethod
    def of_parameters(
        cls, using: str, asked: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Address:
        """Return where these parameters of a connection lead; ``options`` are the alias's own."""
        known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
        found = _resolved({key: asked[key] for key in asked if key in known})
        # Without it a server that accepts a connection and says nothing is waited for for ever.
        found.setdefault("connect_timeout", SECONDS_TO_CONNECT)
        return cls(
            using=using,
            name=found.get("dbname") or found["user"],
            user=found["user"],
            host=found.get("host") or found.get("hostaddr") or "localhost",
            port=found.get("port", "5432"),
            parameters={key: found[key] for key in found if key not in _RESOLVED | _SECRET},
            secrets={key: found[key] for key in found if key in _SECRET},
            role=options.get("assume_role"),
        )

    def __str__(self) -> str:
        return f'"{self.name}" on {self.host}:{self.port}'

    def connect(self, database: str, **extra: str) -> Connection:
        """Return a new autocommitting connection with no time limits, as the role to assume.

        Raises psycopg.OperationalError, which names the database and the server.
        """
        parameters = {"application_name": "restorehooks", "keepalives_idle": "60"}
        parameters |= {**self.parameters, **self.secrets, "dbname": database, **extra}
        try:
            connection = psycopg.connect(
                make_conninfo(client_encoding="UTF8", **parameters), autocommit=True
            )
        except psycopg.OperationalError as error:
            said = str(error).removeprefix("connection failed: ")
            where = f'"{database}" on {self.host}:{self.port}'
            raise type(error)(f"connecting to {where}: {said}") from None
        try:
            if self.role:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self.role)))
            unlimited(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def answers(self) -> bool:
        """Return whether the server is there and takes connections, whoever may connect."""
        parameters = {**self.parameters, "connect_timeout": SECONDS_TO_ANSWER}
        conninfo = make_conninfo(**parameters, dbname=self.name)
        return pq.PGconn.ping(conninfo.encode()) == pq.Ping.OK

    def conninfo(self, database: str) -> str:
        """Return what ``pg_restore --dbname`` understands, without a secret in it.

        Raises AddressError for an ``sslpassword``: no environment variable carries one.
        """
        if "sslpassword" in self.secrets:
            raise AddressError(
                f'The alias "{self.using}" sets sslpassword, which could only be passed on where '
                "everybody can read it; use a key without a passphrase, readable by you alone."
            )
        return make_conninfo(**{**self.parameters, "dbname": database})

    def environment(self) -> dict[str, str]:
        """Return the environment variables that pg_restore and pg_dump need beside it."""
        password = self.secrets.get("password")
        return {"PGPASSWORD": password} if password else {}

    def variables(self, database: str) -> dict[str, str]:
        """Return libpq's environment variables (PGHOST, PGDATABASE, ...) for a hook."""
        values = {**self.parameters, **self.secrets, "dbname": database}
        names = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
        return {
            variable.decode(): value
            for key, value in values.items()
            if (variable := names.get(key)) is not None
        }


def unlimited(connection: psycopg.Connection[Any], scope: str = "SESSION") -> None:
    """Lift the time limits of a session, or with "LOCAL" those of its transaction."""
    connection.execute(UNLIMITED, [scope == "LOCAL"])
    # Some systems cannot watch a socket, and refuse it.
    with suppress(psycopg.Error), connection.transaction():
        connection.execute(f"SET {scope} {WATCHED.replace('=', ' TO ')}".encode())


def _resolved(asked: Mapping[str, Any]) -> dict[str, str]:
    # Starting to connect makes libpq look everything up; nothing is sent yet.
    started = pq.PGconn.connect_start(make_conninfo(**asked).encode())
    try:
        # An older program knows fewer keywords: what is at its default is not passed on.
        found = {
            option.keyword.decode(): option.val.decode()
            for option in started.info
            if option.val
            and option.val != option.compiled
            and (option.keyword, option.val) not in _SAID_UNASKED
        }
        if not found.get("user"):
            raise AddressError(started.error_message.decode(errors="replace").strip())
        return found
    finally:
        started.finish()
