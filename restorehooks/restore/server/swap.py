"""The swap: two renames in one transaction, which is all that ever happens to the live database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from restorehooks.restore.errors import TargetError
from restorehooks.wording import first_line

from .address import Connection
from .carried import Setting, carried, settings_of
from .database_property import refusal
from .kept_databases import Kept, kept
from .live import DATABASE, Live
from .lock import RestoreLock, connect_maintenance
from .lost_commit import is_live
from .markers import Marker, mark, server_time
from .sessions import LISTEN, sessions_ended, unendable
from .sides import OID, TAKEN, side_name

SECONDS_TO_SWAP = 30.0
"""How long the sessions in the live database may take to end."""
SECONDS_A_LOOK = 0.2
"""How often it is looked whether sessions that cannot be ended have gone."""


@dataclass(frozen=True)
class Swapped:
    """What a swap did: the name the database that was live has now, and what was lost."""

    previous: str | None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Incoming:
    """The database that is to be live, and the dump that it came from (None if not known)."""

    name: str
    oid: int
    origin: str | None


@dataclass
class Outgoing:
    """The next name of the live database, another one where somebody takes it, and its marker."""

    name: str
    marker: Marker


def swap(
    lock: RestoreLock,
    live: Live,
    side: tuple[str, int],
    *,
    by: str,
    before_hooks: Set[Setting] | None = None,
    accept_lost: bool = False,
    seconds: float = SECONDS_TO_SWAP,
    interrupted: Callable[[], bool] = lambda: False,
) -> Swapped:
    """Put the side database, which was loaded from ``by``, in the live one's place.

    It gets the live one's settings, but for those that hooks or migrations have changed since it
    had those ``before_hooks``. Renames, privileges and settings are one transaction. Raises
    TargetError when it could not be done, and the live database is as it was; OutcomeUnknownError
    when nobody can say.
    """
    lost: list[str] = []
    incoming = Incoming(*side, by)
    outgoing = _outgoing(lock, live, incoming, by)

    def carry(connection: Connection) -> None:
        lost.clear()
        if outgoing is None:
            mark(connection, live.name, None)
            return
        renamed = _renamed(connection, live, outgoing.name)
        now = settings_of(connection, incoming.oid)
        changed = now ^ before_hooks if before_hooks is not None else set()
        for one in carried(connection, renamed, live.name, changed):
            if why := refusal(connection, one.statement):
                if not accept_lost:
                    raise TargetError(f"{one.what} cannot be carried over: {why}")
                lost.append(one.what)
        mark(connection, outgoing.name, outgoing.marker)

    _exchange(lock, live, incoming, outgoing, carry, seconds=seconds, interrupted=interrupted)
    return Swapped(outgoing.name if outgoing else None, tuple(lost))


def swap_back(
    lock: RestoreLock,
    live: Live,
    back: Kept,
    *,
    by: str,
    seconds: float = SECONDS_TO_SWAP,
    interrupted: Callable[[], bool] = lambda: False,
) -> Swapped:
    """Put a previous database back in the live one's place; the live one is kept like it was.

    It comes back with the settings it had: they stayed with it. Raises as ``swap`` does.
    """
    incoming = Incoming(back.name, back.oid, back.marker.origin)
    outgoing = _outgoing(lock, live, incoming, by)

    def finish(connection: Connection) -> None:
        mark(connection, live.name, back.marker.comment)
        if outgoing:
            mark(connection, outgoing.name, outgoing.marker)

    _exchange(lock, live, incoming, outgoing, finish, seconds=seconds, interrupted=interrupted)
    return Swapped(outgoing.name if outgoing else None)


def _renamed(connection: Connection, live: Live, name: str) -> Live:
    """Return the live database as it goes by its new name.

    Raises TargetError where it was given to somebody else meanwhile.
    """
    cursor = connection.cursor(row_factory=dict_row).execute(DATABASE, [name])
    now = (cursor.fetchone() or {}).get("owner")
    if now != live.owner:
        raise TargetError(
            f'The live database belonged to "{live.owner}" when the restore began, and belongs to '
            f'"{now}" now: start again'
        )
    return Live(name, live.oid, live.owner, properties=live.properties)


def _outgoing(lock: RestoreLock, live: Live, incoming: Incoming, by: str) -> Outgoing | None:
    """Return the live database's next name and its marker; None where there is no live one."""
    if live.missing:
        return None
    connection = lock.connection
    earlier = kept(connection, live.name, "previous")
    latest = earlier[0].marker if earlier else None
    marker = Marker(
        "previous",
        live.name,
        server_time(connection).isoformat(),
        by,
        comment=live.properties.get("comment"),
        number=latest.number + 1 if latest else 1,
        # Unless somebody else has put another one in its place since.
        origin=latest.successor_origin if latest and latest.successor == live.oid else None,
        successor=incoming.oid,
        successor_origin=incoming.origin,
    )
    return Outgoing(side_name(connection, live.name, "before"), marker)


def _exchange(
    lock: RestoreLock,
    live: Live,
    incoming: Incoming,
    outgoing: Outgoing | None,
    finish: Callable[[Connection], None],
    *,
    seconds: float,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Rename the live database and the incoming one, and ``finish``, as one."""
    deadline = time.monotonic() + seconds
    databases = [*([live.name] if outgoing else []), incoming.name]
    # Of the same database, since a NOTIFY is heard in no other.
    with connect_maintenance(lock.address, lock.connection.info.dbname) as terminator:
        lock.require_here(terminator.cursor())  # the address may lead to another server by now
        while True:
            # Nobody is disconnected as long as it would be for nothing.
            why = ", ".join(unendable(terminator, databases))
            if not why:
                renames = [(live.name, outgoing.name, live.oid)] if outgoing else []
                renames.append((incoming.name, live.name, incoming.oid))
                busy, who = _exchanged(lock, terminator, renames, finish)
                if busy is None:
                    return
                why = who or f"{first_line(busy)} {busy.diag.message_detail or ''}".strip()
                if outgoing and not isinstance(busy, errors.ObjectInUse):
                    outgoing.name = side_name(terminator, live.name, "before", anew=True)
            if interrupted():
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise TargetError(
                    f'The sessions in "{live.name}" could not be disconnected in {seconds:.0f} '
                    f"seconds ({why})"
                )
            time.sleep(SECONDS_A_LOOK)


def _exchanged(
    lock: RestoreLock,
    terminator: Connection,
    renames: Sequence[tuple[str, str, int | None]],
    finish: Callable[[Connection], None],
) -> tuple[psycopg.Error | None, str]:
    """Return why it may be tried again, and who was in the way; None where it is done."""
    connection, who = lock.connection, list[str]()
    connection.execute(LISTEN)
    databases, waiting = [old for old, _, _ in renames], connection.info.backend_pid
    try:
        with connection.transaction():
            with sessions_ended(terminator, databases, waiting) as who:
                for old, new, oid in renames:
                    connection.execute(
                        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                            sql.Identifier(old), sql.Identifier(new)
                        )
                    )
                    if connection.execute(OID, [new]).fetchone() != (oid,):
                        raise TargetError(f'"{old}" was replaced by somebody else.')
            # From here on nobody can connect to either until the commit.
            finish(connection)
    except (errors.ObjectInUse, errors.LockNotAvailable) as error:
        return error, ", ".join(who)
    except psycopg.Error as error:
        _, live, oid = renames[-1]
        if isinstance(error, TAKEN) and len(renames) > 1:
            return error, ""
        # A connection lost at COMMIT says nothing of the commit; the server knows.
        if not (connection.closed and oid is not None and is_live(lock, live, oid)):
            raise TargetError(f"The swap failed: {first_line(error)}") from None
    return None, ""
