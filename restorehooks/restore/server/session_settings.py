"""What a session of a restore sets for itself: its search_path, no time limits, and no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import Buffer, Loader
from psycopg.rows import tuple_row

from restorehooks.sequences.session import NO_VIEWS

UNLIMITED = """
SELECT pg_catalog.set_config(
           name, CASE WHEN vartype OPERATOR(pg_catalog.=) 'bool' THEN 'off' ELSE '0' END, %s)
FROM pg_catalog.pg_settings
WHERE name OPERATOR(pg_catalog.=) ANY (
          '{statement_timeout, lock_timeout, transaction_timeout, idle_session_timeout,
            idle_in_transaction_session_timeout, default_transaction_read_only}')
"""
"""Lifts the limits that a role or database may carry, none of which is meant for a restore."""

_STATUS = pq.TransactionStatus

OWN_PATH = "pg_catalog, pg_temp"
"""The search_path of our own statements: others may create functions and operators elsewhere."""
(VIEWS,) = NO_VIEWS
CURRENT = "SELECT pg_catalog.current_setting(%s, true)"
SET = "SELECT pg_catalog.set_config(%s, %s, false)"
CURRENT_OWN = """
SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('jit')
"""
SET_OWN = """
SELECT pg_catalog.set_config('search_path', %s, false), pg_catalog.set_config('jit', %s, false)
"""
SET_PATH = "SELECT pg_catalog.set_config('search_path', %s, false)"

WATCHED = "client_connection_check_interval=2000"
"""Lets the server notice within seconds that we were killed, and end what it does for us."""
LOCALLY = "synchronous_commit=local"
"""Lets a commit wait for this server's disk and for no synchronous standby, which may be gone."""
PAST_AUTOVACUUM = "deadlock_timeout=10"
"""Milliseconds after which whoever waits for a lock ends the autovacuum that holds it.

Only a superuser may set it. Autovacuum comes soon to a new database, and each table that it works
on would cost a second.
"""


@contextmanager
def no_views(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Read no view and no foreign table while the block runs, where the server can refuse it.

    Whoever owns a relation may put one in its place after the catalogue was read. What is set is as
    it was afterwards; where the block fails inside a transaction, once that is rolled back.
    """
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        before = cursor.execute(CURRENT, [VIEWS]).fetchone()
        if before is None or before[0] is None:
            yield
            return
        cursor.execute(SET, [VIEWS, *NO_VIEWS.values()])
        try:
            yield
        finally:
            if connection.info.transaction_status in (_STATUS.IDLE, _STATUS.INTRANS):
                cursor.execute(SET, [VIEWS, before[0]])


@contextmanager
def own_names(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Resolve names in pg_catalog alone while the block runs, on anybody's connection.

    No query is compiled: for one of the catalogue that takes seconds, with tables locked. All is as
    it was afterwards; where the block fails inside a transaction, once that is
    rolled back.
    """
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        before = cursor.execute(CURRENT_OWN).fetchone()
        cursor.execute(SET_OWN, [OWN_PATH, "off"])
        try:
            yield
        finally:
            if connection.info.transaction_status in (
                _STATUS.IDLE,
                _STATUS.INTRANS,
            ):
                cursor.execute(SET_OWN, before)


@contextmanager
def time_zone_of_the_database(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Work in the time zone that others have here, within the caller's transaction.

    Django sets its own for its connections, and the days of a materialized view depend on it.
    """
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        before = cursor.execute(CURRENT, ["TimeZone"]).fetchone()
        cursor.execute("RESET TimeZone")
        yield
        cursor.execute(SET, ["TimeZone", *(before or ())])


def unlimited(connection: psycopg.Connection[Any], scope: str = "SESSION") -> None:
    """Lift the time limits of a session, or with "LOCAL" those of its transaction.

    What it commits then waits for no synchronous standby.
    """
    # First and by itself: what follows may take longer than a short limit.
    connection.execute(f"SET {scope} statement_timeout TO 0".encode())
    connection.execute(UNLIMITED, [scope == "LOCAL"])
    connection.execute(f"SET {scope} {LOCALLY.replace('=', ' TO ')}".encode())
    # Some systems cannot watch a socket, and refuse it.
    with suppress(psycopg.Error), connection.transaction():
        connection.execute(f"SET {scope} {WATCHED.replace('=', ' TO ')}".encode())


class _AnyText(Loader):
    """Reads a text whatever its encoding is."""

    def load(self, data: Buffer) -> str:
        """Return the text."""
        return bytes(data).decode(errors="replace")


def read_any_text(connection: psycopg.Connection[Any]) -> None:
    """Let a connection read the names of databases and roles, which all databases share.

    Each is in the encoding of the database that it was made from. What is no UTF-8 is replaced, so
    that such a name is nobody else's.
    """
    for kind in ("text", "name"):
        connection.adapters.register_loader(kind, _AnyText)
