"""One run's turn at a live database: a connection beside it that holds an advisory lock."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

import psycopg

from restorehooks.restore.address import Address

Connection = psycopg.Connection[tuple[Any, ...]]


class TargetError(Exception):
    """Something stands in the way of the target; one sentence, remedy included."""


class BusyError(TargetError):
    """Another restore of the same database is running."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def connect_beside(address: Address, maintenance: str | None = None) -> Connection:
    """Connect to a database that is not the live one, since that one has to be renamed.

    Raises TargetError when none of them can be entered, psycopg.OperationalError when the server
    itself cannot be reached.
    """
    usual = [name for name in ("postgres", "template1") if name != address.name]
    refused: list[str] = []
    for name in [maintenance] if maintenance else usual:
        if connection := _entered(address, name, refused):
            return connection
    raise TargetError(
        f"A second database is needed to work from while {address} is renamed, and none can be "
        f"entered ({'; '.join(refused) or 'it is the live one'}); name one with --maintenance-db, "
        "or restore with --in-place."
    )


def _entered(address: Address, name: str, refused: list[str]) -> Connection | None:
    try:
        return address.connect(name)
    except psycopg.OperationalError as error:
        # No such database, no CONNECT privilege, no line in pg_hba.conf: others may be open.
        # (libpq gives no SQLSTATE for a refused connection.)
        if "FATAL" not in str(error) or "password" in str(error):
            raise
        refused.append(str(error).strip().splitlines()[-1])
        return None


class Turn:
    """One run's turn at a live database: a connection beside it that holds an advisory lock.

    The lock ends with the session, so a killed run loses its turn at once.
    """

    def __init__(self, address: Address, maintenance: str | None = None) -> None:
        self.address = address
        self.maintenance = maintenance
        self._connection = self._taken()

    @property
    def connection(self) -> Connection:
        """The connection; a new one, with the turn taken again, where the old one was lost."""
        if not self._connection.closed:
            with suppress(psycopg.OperationalError):
                self._connection.execute("SELECT")
                return self._connection
        self._connection = self._taken()
        return self._connection

    def close(self) -> None:
        """Give the turn back."""
        self._connection.close()

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _taken(self) -> Connection:
        connection = connect_beside(self.address, self.maintenance)
        try:
            key = lock_key(self.address.name)
            connection.execute("SELECT pg_try_advisory_lock(%s)", [key])
            # Advisory locks are per database, and another run may work from another one.
            holders = connection.execute(HOLDERS, [key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF])
            if others := [str(pid) for (pid, mine) in holders if not mine]:
                raise BusyError(
                    f"Another restore of {self.address} is running (server process "
                    f"{', '.join(others)}); wait for it or end it."
                )
        except BaseException:
            connection.close()
            raise
        return connection


HOLDERS = """
SELECT pid, pid = pg_backend_pid() FROM pg_catalog.pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid = %s AND objid = %s
"""


def lock_key(name: str) -> int:
    """Return the advisory lock of restores of the database of this name."""
    digest = hashlib.sha256(b"restorehooks:restore:" + name.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
