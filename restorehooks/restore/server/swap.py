"""The swap: two renames in one transaction, which is all that ever happens to the live database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from restorehooks.restore.errors import OutcomeUnknownError, TargetError
from restorehooks.wording import first_line

from .address import Connection
from .carried import carried, refusal
from .live import Live
from .lock import HOLDERS, RestoreLock, connect_maintenance, lock_key
from .sessions import LISTEN, sessions_ended
from .sides import OID, Kept, Marker, mark, names, now, side_name

SECONDS_TO_SWAP = 30.0
"""How long the sessions in the live database may take to end."""
SECONDS_TO_READ_BACK = 60.0
"""How long a server that was lost at COMMIT may take to answer again."""


@dataclass(frozen=True)
class Swapped:
    """What a swap did: the name the database that was live has now, and what was lost."""

    previous: str | None
    lost: tuple[str, ...] = ()


def swap(
    lock: RestoreLock,
    live: Live,
    side: tuple[str, int],
    *,
    by: str,
    accept_lost: bool = False,
    seconds: float = SECONDS_TO_SWAP,
    interrupted: Callable[[], bool] = lambda: False,
) -> Swapped:
    """Put the side database in the live one's place, in one transaction.

    Raises TargetError when it could not be done, and the live database is as it was;
    OutcomeUnknownError when the server is gone and nobody can say.
    """
    comment = live.properties.get("comment")
    previous = None if live.missing else side_name(live.name, "before", names(lock.connection))
    lost: list[str] = []

    def carry(connection: Connection) -> None:
        lost.clear()
        found = connection.execute(OID, [previous]).fetchone()
        if previous and found != (live.oid,):
            raise TargetError(f'"{live.name}" was replaced by somebody else meanwhile.')
        # The renames are done: the live database goes by its new name here.
        renamed = Live(previous or "", live.oid, live.owner, properties=live.properties)
        for one in carried(connection, renamed) if previous else ():
            if why := refusal(connection, one.to(live.name)):
                if not accept_lost:
                    raise TargetError(f"{one.what} cannot be carried over: {why}")
                lost.append(one.what)
        if previous:
            mark(connection, previous, Marker("previous", live.name, now(), by, comment))
        else:
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS NULL").format(sql.Identifier(live.name))
            )

    exchange(lock, live.name, side, previous, carry, seconds=seconds, interrupted=interrupted)
    return Swapped(previous, tuple(lost))


def swap_back(
    lock: RestoreLock, live: Live, back: Kept, *, by: str, seconds: float = SECONDS_TO_SWAP
) -> Swapped:
    """Put a previous database back in the live one's place; the live one is kept like it was.

    It comes back with the settings it had: they stayed with it.
    """
    previous = None if live.missing else side_name(live.name, "before", names(lock.connection))
    comment = live.properties.get("comment")

    def finish(connection: Connection) -> None:
        before = back.marker.comment
        value = sql.Literal(before) if before is not None else sql.SQL("NULL")
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(live.name), value)
        )
        if previous:
            mark(connection, previous, Marker("previous", live.name, now(), by, comment))

    exchange(lock, live.name, (back.name, back.oid), previous, finish, seconds=seconds)
    return Swapped(previous)


def exchange(
    lock: RestoreLock,
    live: str,
    incoming: tuple[str, int],
    outgoing: str | None,
    finish: Callable[[Connection], None],
    *,
    seconds: float = SECONDS_TO_SWAP,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Rename ``live`` to ``outgoing`` and ``incoming`` to ``live``, and ``finish``, as one."""
    deadline = time.monotonic() + seconds
    renames = [(live, outgoing)] if outgoing else []
    renames.append((incoming[0], live))
    # Of the same database, since a NOTIFY is heard in no other.
    with connect_maintenance(lock.address, lock.connection.info.dbname) as terminator:
        while (busy := _exchanged(lock, terminator, renames, incoming[1], finish)) is not None:
            if interrupted():
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise TargetError(
                    f'The sessions in "{live}" could not be disconnected in {seconds:.0f} seconds '
                    f"({first_line(busy)} {busy.diag.message_detail or ''})"
                )


def _exchanged(
    lock: RestoreLock,
    terminator: Connection,
    renames: Sequence[tuple[str, str]],
    oid: int,
    finish: Callable[[Connection], None],
) -> psycopg.Error | None:
    connection = lock.connection
    connection.execute(LISTEN)
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            # What was loaded with synchronous_commit off is on disk once this commit is.
            connection.execute("SET LOCAL synchronous_commit = on")
            with sessions_ended(terminator, [old for old, _ in renames]):
                for names in renames:
                    connection.execute(
                        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                            *(sql.Identifier(name) for name in names)
                        )
                    )
            # From here on nobody can connect to either until the commit.
            finish(connection)
    except (errors.ObjectInUse, errors.LockNotAvailable) as error:
        return error
    except psycopg.Error as error:
        # A connection lost at COMMIT says nothing of the commit; the server knows.
        if not (connection.closed and _read_back(lock, renames[-1][1], oid)):
            raise TargetError(f"The swap failed: {first_line(error)}") from None
    return None


def _read_back(lock: RestoreLock, live: str, oid: int) -> bool:
    """Tell whether the database with this oid is the live one, once the server answers again."""
    deadline = time.monotonic() + SECONDS_TO_READ_BACK
    while (found := _name_of(lock, oid)) == UNKNOWN:
        if time.monotonic() > deadline:
            raise OutcomeUnknownError(
                "The server does not answer, so whether the swap took place is not known."
            )
        time.sleep(0.5)
    return found == live


UNKNOWN = object()


def _name_of(lock: RestoreLock, oid: int) -> object:
    try:
        with connect_maintenance(lock.address, lock.maintenance) as connection:
            _wait_for_the_lost_session(connection, lock)
            query = "SELECT datname FROM pg_catalog.pg_database WHERE oid = %s"
            row = connection.execute(query, [oid]).fetchone()
            return row[0] if row else None
    except (psycopg.OperationalError, TargetError):
        return UNKNOWN


def _wait_for_the_lost_session(connection: Connection, lock: RestoreLock) -> None:
    # Its backend may still be committing: it holds the lock until it has ended.
    key = lock_key(lock.address.name)
    deadline = time.monotonic() + SECONDS_TO_SWAP
    while time.monotonic() < deadline:
        holders = connection.execute(HOLDERS, [key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF])
        if not holders.fetchall():
            return
        time.sleep(0.1)
