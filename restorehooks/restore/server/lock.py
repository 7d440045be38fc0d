"""One restore of a database at a time: an advisory lock, held from another database.

The session that holds it is also the witness of the whole run. A connection that sees it hold the
lock is on the same server, and that server has not restarted since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import psycopg
from psycopg.pq import TransactionStatus

from restorehooks.restore.errors import AddressError, BusyError, LockLostError, TargetError
from restorehooks.wording import quoted

from .address import Address, Connection
from .direct import require_same_database

UNLOCK = "SELECT pg_catalog.pg_advisory_unlock(%s)"
LOCK_TIMEOUT = "SET lock_timeout = '5s'"
"""No statement on a whole database waits for another session for ever: any role may lock one."""
SECONDS_TO_CONNECT = 10
"""How long a second connection may take, beside one that works."""


class Cursor(Protocol):
    """A cursor of psycopg's or of Django's."""

    def execute(self, query: Any, params: Any = None) -> Any:
        """Run a statement."""

    def fetchone(self) -> Any:
        """Return the next row."""


def connect_maintenance(address: Address, maintenance: str | None = None) -> Connection:
    """Connect to a database that is not the live one, since that one has to be renamed.

    Raises TargetError when none of them can be entered, psycopg.OperationalError when the server
    itself cannot be reached.
    """
    usual = [name for name in ("postgres", "template1") if name != address.name]
    refused: list[str] = []
    for name in [maintenance] if maintenance else usual:
        if connection := _entered(address, name, refused):
            connection.execute(LOCK_TIMEOUT)
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
        # (libpq gives no SQLSTATE for a refused connection, and servers speak many languages.)
        if "password" in str(error) or not address.answers():
            raise
        refused.append(str(error).strip().splitlines()[-1])
        return None


class RestoreLock:
    """The lock of one run on a live database, held by one session in a maintenance database.

    It ends with the session, so a killed run loses it at once. Raises BusyError where another run
    holds it, AddressError where the sessions are not the server's own (a pooler's), or where it is
    not the server that the alias leads to.

    ``address`` is the address of the one server that the session is on, of several that the alias
    may name.
    """

    def __init__(self, address: Address, maintenance: str | None = None) -> None:
        self.maintenance = maintenance
        self._connection = connect_maintenance(address, maintenance)
        try:
            self.address = address.pinned(self._connection)
            self._require_sessions()
            require_same_database(address, self._connection)
            self._take()
        except BaseException:
            self._connection.close()
            raise

    @property
    def connection(self) -> Connection:
        """The session that holds the lock.

        Raises LockLostError where it was lost: what it created may be gone with its server, and
        another run may have begun.
        """
        with suppress(psycopg.OperationalError):
            if not self._connection.closed and self._seen_by(self._connection.cursor()):
                return self._connection
        raise LockLostError(
            f"The session that held the lock on {self.address} was lost: the server has restarted "
            "or ended it, so what was loaded is not put in place. Start again."
        )

    def require_here(self, cursor: Cursor) -> None:
        """Raise LockLostError unless this cursor is on the server where the lock is held."""
        if not self._seen_by(cursor):
            raise LockLostError(
                f"The session that holds the lock on {self.address} is not seen from another "
                "connection: the server has restarted, or the address leads to another one now."
            )

    def retaken(self) -> Connection:
        """Return the session, or a new one with the lock, to clean up with after a failure.

        Raises BusyError where another run holds it by now.
        """
        try:
            return self.connection
        except LockLostError:
            self._connection.close()
            self._connection = connect_maintenance(self.address, self.maintenance)
            self._take()
            return self._connection

    def flush(self) -> None:
        """Let the server write all that was done so far to disk, whatever it was committed with."""
        # One log for all databases: a commit that waits for the disk waits for all before it. One
        # that wrote nothing does not wait, so it has to write something.
        self.connection.execute(WRITE_SOMETHING)

    def close(self) -> None:
        """Release the lock."""
        # A session ends some time after its connection is closed, and the next run may come first.
        if self._connection.info.transaction_status == TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                self._connection.execute(UNLOCK, [lock_key(self.address.name)])
        self._connection.close()

    def __enter__(self) -> RestoreLock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _require_sessions(self) -> None:
        """Raise AddressError where several connections are one session, and on a standby."""
        only = (
            f"{self.address} has one session for all connections, and a restore needs several: "
            "restore into a PostgreSQL server."
        )
        name, seconds = self._connection.info.dbname, str(SECONDS_TO_CONNECT)
        try:
            with self.address.connect(name, connect_timeout=seconds) as second:
                if second.info.backend_pid == self._connection.info.backend_pid:
                    raise AddressError(only)
                if second.execute(IS_STANDBY).fetchone() == (True,):
                    raise AddressError(STANDBY.format(self.address))
        except psycopg.errors.ConnectionTimeout:
            raise AddressError(only) from None

    def _take(self) -> None:
        connection = self._connection
        key = lock_key(self.address.name)
        taken = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [key]).fetchone()
        # Advisory locks are per database, and another run may work from another one.
        found = holders(connection, self.address.name)
        if found or taken != (True,):
            raise BusyError(_said_of(self.address, found))
        row = connection.execute(SESSION).fetchone()
        assert row  # noqa: S101 - it has no FROM
        self._session = [*row, *halves(key)]

    def _seen_by(self, cursor: Cursor) -> bool:
        cursor.execute(SEEN, self._session)
        return bool(cursor.fetchone()[0])


def holders(connection: Connection, database: str) -> list[tuple[int, str, bool]]:
    """Return the other sessions that hold a database's lock, see ``HOLDERS``."""
    return connection.execute(HOLDERS, [database, *halves(lock_key(database))]).fetchall()


def halves(key: int) -> list[int]:
    """Return a key as pg_locks shows it: classid and objid."""
    return [key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF]


def _said_of(address: Address, holders: Sequence[tuple[int, str, bool]]) -> str:
    """Return who holds the lock; whoever may connect to the maintenance database could."""
    said = [f'server process {pid} of "{user}"' for pid, user, _ in holders]
    strange = sorted({user for _, user, may_restore in holders if not may_restore})
    ends = " and ".join(f"SELECT pg_catalog.pg_terminate_backend({pid})" for pid, _, _ in holders)
    doubt = ""
    if strange:
        doubt = (
            f" {quoted(strange)} may not replace that database, and may be holding the lock for no "
            "restore."
        )
    return (
        f"Another restore of {address} is running ({', '.join(said) or 'unknown'}).{doubt} Wait for"
        f" it, or end it{f' with {ends}' if ends else ''}."
    )


IS_STANDBY = "SELECT pg_catalog.pg_is_in_recovery()"
STANDBY = (
    "{} is on a standby, where nothing can be restored: name the primary. An address of several "
    "hosts leads to it with target_session_attrs=read-write."
)
WRITE_SOMETHING = "SELECT pg_catalog.pg_logical_emit_message(true, 'restorehooks', '')"
HOLDERS = """
SELECT l.pid, coalesce(a.usename, 'unknown'),
       coalesce(r.rolsuper OR pg_catalog.pg_has_role(r.oid, d.datdba, 'MEMBER'), true)
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
LEFT JOIN pg_catalog.pg_database d ON d.datname = %s
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = %s AND l.objid = %s
  AND l.pid <> pg_catalog.pg_backend_pid()
"""
"""The others that hold the lock: process, user, and whether that may restore the database."""
SESSION = """
SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text,
       pg_catalog.pg_backend_pid()
"""
SEEN = """
SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text
       OPERATOR(pg_catalog.=) %s
   AND EXISTS (SELECT FROM pg_catalog.pg_locks
               WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND granted
                 AND objsubid OPERATOR(pg_catalog.=) 1::smallint
                 AND pid OPERATOR(pg_catalog.=) %s::integer
                 AND classid OPERATOR(pg_catalog.=) %s::pg_catalog.oid
                 AND objid OPERATOR(pg_catalog.=) %s::pg_catalog.oid)
"""
"""Sent on connections of the caller's, too, and so with every name in its schema."""


def lock_key(name: str) -> int:
    """Return the advisory lock of restores of the database of this name."""
    digest = hashlib.sha256(b"restorehooks:restore:" + name.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
