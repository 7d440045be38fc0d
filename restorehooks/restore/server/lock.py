"""One restore of a database at a time: an advisory lock, held from another database."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import psycopg

from restorehooks.restore.errors import BusyError, TargetError

from .address import Address, Connection


def connect_maintenance(address: Address, maintenance: str | None = None) -> Connection:
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


class RestoreLock:
    """The lock of one run on a live database, held by a connection to a maintenance database.

    It ends with the session, so a killed run loses it at once. Raises BusyError where another run
    holds it.
    """

    def __init__(self, address: Address, maintenance: str | None = None) -> None:
        self.address = address
        self.maintenance = maintenance
        self._connection = self._acquired()

    @property
    def connection(self) -> Connection:
        """The connection; a new one, with the lock taken again, where the old one was lost."""
        if not self._connection.closed:
            with suppress(psycopg.OperationalError):
                self._connection.execute("SELECT")
                return self._connection
        self._connection = self._acquired()
        return self._connection

    def close(self) -> None:
        """Release the lock."""
        self._connection.close()

    def __enter__(self) -> RestoreLock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _acquired(self) -> Connection:
        connection = connect_maintenance(self.address, self.maintenance)
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
