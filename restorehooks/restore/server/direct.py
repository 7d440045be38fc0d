"""The server's own address, given beside a pooler's: whether both lead to the same database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from restorehooks.restore.errors import AddressError
from restorehooks.wording import first_line

from .address import Address, Connection
from .pooler import DIRECT_URL, SECONDS_TO_ANSWER, soon

IDENTIFIER = "SELECT system_identifier FROM pg_catalog.pg_control_system()"
"""The cluster's, which its standbys share. Some servers let nobody ask for it."""
STARTED = """
SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN
           extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text END,
       (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=)
            coalesce(%s::pg_catalog.text, pg_catalog.current_database()::pg_catalog.text))
"""
"""When the server was started, to the microsecond, and the database's oid there."""


@dataclass(frozen=True)
class Identity:
    """What two addresses of one database have in common.

    identifier: the cluster's, None where it may not be asked for. started: None on a standby.
    database: its oid, None where there is no such database.
    """

    identifier: int | None
    started: str | None
    database: int | None

    def is_same(self, other: Identity) -> bool | None:
        """Return whether both are one database, None where that cannot be known.

        A copy of the whole server has the same identifier, and was started at another time.
        """
        if self.database != other.database:
            return False
        both = ((self.identifier, other.identifier), (self.started, other.started))
        known = [mine == its for mine, its in both if None not in (mine, its)]
        return all(known) if known else None


def identity(connection: Connection, name: str | None = None) -> Identity:
    """Return that of the database of this name, None for the connection's own."""
    identifier = None
    with suppress(psycopg.Error):
        (identifier,) = connection.execute(IDENTIFIER).fetchone() or (None,)
    started, database = connection.execute(STARTED, [name]).fetchone() or (None, None)
    return Identity(identifier, started, database)


def require_same_database(address: Address, connection: Connection) -> None:
    """Raise AddressError where the server's own address is not that of the alias's database.

    ``connection`` is one to any database at ``address``. An alias where nobody answers, and one
    that nobody gave another address for, are not asked. One that lets nobody in is refused.
    """
    if not os.environ.get(DIRECT_URL):
        return
    alias = Address.of(address.using, direct=False)
    named = identity_at(alias)
    if named and named.is_same(identity(connection, address.name)) is False:
        raise AddressError(
            f"{DIRECT_URL} leads to {address}, and that is not the database that the alias "
            f'"{address.using}" leads to at {alias.host}:{alias.port}: give the address of that '
            "one."
        )


def identity_at(alias: Address) -> Identity | None:
    """Return what an alias leads to, None where nobody answers.

    A database that is missing is asked for from another one. Raises AddressError where somebody
    answers and lets nobody in.
    """
    refused: list[str] = []
    for name in dict.fromkeys((alias.name, "postgres", "template1")):
        # A pooler may give the alias's database another name.
        asked = None if name == alias.name else alias.name
        try:
            with asking(alias, name) as connection:
                return identity(connection, asked)
        except (TimeoutError, psycopg.errors.ConnectionTimeout):
            return None
        except psycopg.Error as error:
            if not alias.answers():
                return None
            refused.append(first_line(error))
    raise AddressError(
        f'The alias "{alias.using}" leads to {alias.host}:{alias.port}, which lets nobody in '
        f"({refused[0]}), so nobody can say whether {DIRECT_URL} leads to the same database: mend "
        "that, or let the alias name the server itself."
    )


@contextmanager
def asking(alias: Address, database: str) -> Iterator[Connection]:
    """Give a connection for short questions. Raises TimeoutError where they are not answered."""
    asked = {**alias.parameters, "dbname": database, "client_encoding": "UTF8"}
    asked |= {"connect_timeout": SECONDS_TO_ANSWER}
    # No variable holds the secrets: reports of errors show variables.
    with (
        psycopg.connect(make_conninfo(**{**asked, **alias.secrets}), autocommit=True) as connection,
        soon(connection),
    ):
        yield connection
