"""What came of a COMMIT whose connection was lost: the server knows, once it answers again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from restorehooks.restore.errors import OutcomeUnknownError, TargetError

from .address import Connection
from .lock import RestoreLock, connect_maintenance, holders

SECONDS_TO_READ_BACK = 60.0
"""How long a server that was lost at COMMIT may take to answer again."""
SECONDS_A_TRY = 0.5

NUMBER = """
SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text,
       pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
"""
"""The number of a transaction, and the timeline that it counts on."""
STATUS = """
SELECT pg_catalog.pg_xact_status(%s::text::xid8),
       pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
"""
NAME = """
SELECT datname FROM pg_catalog.pg_database
WHERE oid = %s AND NOT pg_catalog.pg_is_in_recovery()
UNION ALL SELECT NULL WHERE NOT pg_catalog.pg_is_in_recovery()
"""


def was_committed(lock: RestoreLock, number: str, timeline: str) -> bool:
    """Tell whether the transaction of this number was committed (its ``NUMBER`` was asked for).

    Its connection is lost. Raises OutcomeUnknownError when the server does not say so in time.
    """

    def ask(connection: Connection) -> bool | None:
        row = connection.execute(STATUS, [number]).fetchone()
        # After a failover the numbers of lost transactions are given out again.
        if row is None or row[1] != timeline or row[0] == "in progress":
            return None
        return bool(row[0] == "committed")

    return _asked(lock, ask, "whether the restored data are in it is not known")


def is_live(lock: RestoreLock, name: str, oid: int) -> bool:
    """Tell whether the database of this oid has this name, after a swap's connection was lost.

    Raises OutcomeUnknownError when the server does not say so in time.
    """

    def ask(connection: Connection) -> bool | None:
        _wait_for_the_lost_session(connection, lock)
        row = connection.execute(NAME, [oid]).fetchone()
        return None if row is None else bool(row[0] == name)

    return _asked(lock, ask, "whether the swap took place is not known")


def _asked(lock: RestoreLock, ask: Callable[[Connection], bool | None], otherwise: str) -> bool:
    """Ask again, each time over a new connection, until there is an answer."""
    deadline = time.monotonic() + SECONDS_TO_READ_BACK
    while True:
        with (
            suppress(psycopg.Error, TargetError),
            connect_maintenance(lock.address, lock.maintenance) as connection,
        ):
            answer = ask(connection)
            if answer is not None:
                return answer
        if time.monotonic() > deadline:
            raise OutcomeUnknownError(
                f"The connection to {lock.address} was lost at COMMIT and the server does not say "
                f"what came of it, so {otherwise}."
            )
        time.sleep(SECONDS_A_TRY)


def _wait_for_the_lost_session(connection: Connection, lock: RestoreLock) -> None:
    # Its backend may still be committing: it holds the lock until it has ended.
    deadline = time.monotonic() + SECONDS_TO_READ_BACK / 2
    while time.monotonic() < deadline:
        if not holders(connection, lock.address.name):
            return
        time.sleep(0.1)
