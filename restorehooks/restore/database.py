"""The side database: create it, swap it with the live one, undo that, drop what is left.

The live database is touched by one statement pair alone: two renames in one transaction. A marker
in the comment of the other databases says what each is for, and an advisory lock that a killed
run cannot keep says whether that run still lives.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Literal

import psycopg
from psycopg import errors, sql

from restorehooks.restore.carried import ENDABLE, carried, refusal
from restorehooks.restore.live import Live
from restorehooks.restore.turn import (
    HOLDERS,
    Connection,
    TargetError,
    Turn,
    connect_beside,
    first_line,
    lock_key,
)
from restorehooks.sequences.scope import NAME_LIMIT

SECONDS_TO_SWAP = 30.0
SECONDS_TO_READ_BACK = 60.0
SECONDS_A_ROUND = 0.002
LISTEN, NOTIFY = "LISTEN restorehooks_swap", "NOTIFY restorehooks_swap"


class OutcomeUnknownError(TargetError):
    """The connection was lost at COMMIT and the server does not answer any more."""


# --- Markers -----------------------------------------------------------------------------------

_MARK = "restorehooks "


@dataclass(frozen=True)
class Marker:
    """What a database beside the live one is for, kept in its comment.

    ``at`` is UTC in ISO 8601; ``comment`` is what the comment was before.
    """

    role: Literal["side", "previous"]
    live: str
    at: str
    by: str = ""
    comment: str | None = None

    def __str__(self) -> str:
        return _MARK + json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, comment: str | None) -> Marker | None:
        """Return the marker in a database's comment, None where there is none."""
        if comment and comment.startswith(_MARK):
            with suppress(ValueError, TypeError):
                return cls(**json.loads(comment.removeprefix(_MARK)))
        return None


def now() -> str:
    """Return the time as markers have it: UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def beside(live: str, word: str, taken: Sequence[str] = ()) -> str:
    """Return a name for a database beside ``live`` that says what it is and when it was made."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%d_%H%M%S")
    for number in range(1, 1000):
        ending = f"_{word}_{moment}" + (f"_{number}" if number > 1 else "")
        stem = live.encode()[: NAME_LIMIT - len(ending)].decode(errors="ignore")
        if stem + ending not in taken:
            return stem + ending
    raise TargetError(f'There are too many databases beside "{live}".')


# --- Creating and dropping ---------------------------------------------------------------------


def create_side(turn: Turn, live: Live, by: str) -> tuple[str, int]:
    """Create the empty database that will become the live one; return its name and oid."""
    connection = turn.connection
    name = beside(live.name, "restoring", names(connection))
    options = _like(live) if not live.missing else _sensible(connection)
    try:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ").format(sql.Identifier(name)) + options
        )
    except psycopg.Error as error:
        raise TargetError(f'The database "{name}" cannot be created: {first_line(error)}') from None
    mark(connection, name, Marker("side", live.name, now(), by))
    row = connection.execute(OID, [name]).fetchone()
    if row is None:
        raise TargetError(f'The database "{name}" was dropped by somebody else.')
    return name, row[0]


OID = "SELECT oid FROM pg_catalog.pg_database WHERE datname = %s"


_LOCALE_OPTION = {"i": "ICU_LOCALE", "b": "BUILTIN_LOCALE"}
_PROVIDER = {"c": "libc", "i": "icu", "b": "builtin"}


def _like(live: Live) -> sql.Composed:
    found = live.properties
    options = {
        "ENCODING": sql.Literal(found["encoding"]),
        "LC_COLLATE": sql.Literal(found["collate"]),
        "LC_CTYPE": sql.Literal(found["ctype"]),
        "OWNER": sql.Identifier(found["owner"]),
    }
    # Naming even the default tablespace takes a privilege that ordinary roles do not have.
    if found["elsewhere"]:
        options["TABLESPACE"] = sql.Identifier(found["tablespace"])
    if found["provider"]:
        options["LOCALE_PROVIDER"] = sql.SQL(_PROVIDER[found["provider"]])
        if option := _LOCALE_OPTION.get(found["provider"]):
            options[option] = sql.Literal(found["locale"])
        if found["rules"]:
            options["ICU_RULES"] = sql.Literal(found["rules"])
    # The collation version is the system's own: everything in it will have been sorted by that.
    return sql.SQL(" ").join(
        sql.SQL("{} {}").format(sql.SQL(key), value) for key, value in options.items()
    )


def _sensible(connection: Connection) -> sql.Composed:
    # Django speaks UTF-8; a cluster made with the locale C is SQL_ASCII unless told otherwise.
    row = connection.execute(PLAIN_C).fetchone()
    return sql.SQL("{}").format(sql.SQL("ENCODING 'UTF8'" if row and row[0] else ""))


PLAIN_C = """
SELECT datcollate IN ('C', 'POSIX') FROM pg_catalog.pg_database WHERE datname = 'template0'
"""


def mark(connection: Connection, name: str, marker: Marker) -> None:
    """Write into a database's comment what it is for."""
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            sql.Identifier(name), sql.Literal(str(marker))
        )
    )


def drop(connection: Connection, name: str) -> None:
    """Drop a database that is not live, with whatever sessions it has."""
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )


def names(connection: Connection) -> list[str]:
    """Return the names of all databases of the server."""
    return [row[0] for row in connection.execute("SELECT datname FROM pg_catalog.pg_database")]


# --- What earlier runs left --------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A database beside the live one: of a killed run ("side"), or kept for undo ("previous").

    ``size`` is in bytes, None where this role may not ask.
    """

    name: str
    oid: int
    marker: Marker
    size: int | None


MARKED = """
SELECT d.datname, d.oid, pg_catalog.shobj_description(d.oid, 'pg_database'),
       CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
            THEN pg_catalog.pg_database_size(d.oid) END
FROM pg_catalog.pg_database d WHERE NOT d.datistemplate
"""


def kept(connection: Connection, live: str, role: Literal["side", "previous"]) -> list[Kept]:
    """Return the databases beside ``live`` of one kind, the latest first.

    Ask for "side" while holding the turn: then they are leftovers of runs that were killed.
    """
    stem = re.escape(live.encode()[: NAME_LIMIT - 26].decode(errors="ignore"))
    named = re.compile(rf"{stem}.*_restoring_\d{{8}}_\d{{6}}(_\d+)?", re.DOTALL)
    found = []
    for name, oid, comment, size in connection.execute(MARKED).fetchall():
        marker = Marker.read(comment)
        if marker is None and comment is None and named.fullmatch(name):
            # The run was killed between CREATE DATABASE and the marker.
            marker = Marker("side", live, "")
        if marker and marker.live == live and marker.role == role and name != live:
            found.append(Kept(name, oid, marker, size))
    return sorted(found, key=lambda one: (one.marker.at, one.name), reverse=True)


# --- The swap ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Swapped:
    """What a swap did: the name the database that was live has now, and what was lost."""

    previous: str | None
    lost: tuple[str, ...] = ()


def swap(
    turn: Turn,
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
    previous = None if live.missing else beside(live.name, "before", names(turn.connection))
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

    exchange(turn, live.name, side, previous, carry, seconds=seconds, interrupted=interrupted)
    return Swapped(previous, tuple(lost))


def undo(
    turn: Turn, live: Live, back: Kept, *, by: str, seconds: float = SECONDS_TO_SWAP
) -> Swapped:
    """Put a previous database back in the live one's place; the live one is kept like it was.

    It comes back with the settings it had: they stayed with it.
    """
    previous = None if live.missing else beside(live.name, "before", names(turn.connection))
    comment = live.properties.get("comment")

    def finish(connection: Connection) -> None:
        before = back.marker.comment
        value = sql.Literal(before) if before is not None else sql.SQL("NULL")
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(live.name), value)
        )
        if previous:
            mark(connection, previous, Marker("previous", live.name, now(), by, comment))

    exchange(turn, live.name, (back.name, back.oid), previous, finish, seconds=seconds)
    return Swapped(previous)


def exchange(
    turn: Turn,
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
    with connect_beside(turn.address, turn.connection.info.dbname) as doorkeeper:
        while (busy := _exchanged(turn, doorkeeper, renames, incoming[1], finish)) is not None:
            if interrupted():
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise TargetError(
                    f'The sessions in "{live}" could not be put off in {seconds:.0f} seconds '
                    f"({first_line(busy)} {busy.diag.message_detail or ''})"
                )


def _exchanged(
    turn: Turn,
    doorkeeper: Connection,
    renames: Sequence[tuple[str, str]],
    oid: int,
    finish: Callable[[Connection], None],
) -> psycopg.Error | None:
    connection = turn.connection
    connection.execute(LISTEN)
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            # What was loaded with synchronous_commit off is on disk once this commit is.
            connection.execute("SET LOCAL synchronous_commit = on")
            with _door_kept(doorkeeper, [old for old, _ in renames]):
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
        if not (connection.closed and _read_back(turn, renames[-1][1], oid)):
            raise TargetError(f"The swap failed: {first_line(error)}") from None
    return None


@contextmanager
def _door_kept(doorkeeper: Connection, databases: list[str]) -> Iterator[None]:
    """End the sessions in these databases again and again while the block runs.

    A rename keeps new sessions out from its beginning, and looks for those that are in, but naps
    for a tenth of a second before it looks again (CountOtherDBBackends in procarray.c). Any signal
    wakes it; a NOTIFY that it listens to is one that every role may send.
    """
    over = threading.Event()

    def keep() -> None:
        with suppress(psycopg.Error):
            while not over.wait(SECONDS_A_ROUND):
                found = doorkeeper.execute(ENDABLE, [databases]).fetchall()
                inside = [pid for pid, _, endable in found if endable]
                if inside:
                    doorkeeper.execute("SELECT pg_terminate_backend(p) FROM unnest(%s) p", [inside])
                elif not found:
                    doorkeeper.execute(NOTIFY)

    thread = threading.Thread(target=keep, name="restorehooks-door", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _read_back(turn: Turn, live: str, oid: int) -> bool:
    """Tell whether the database with this oid is the live one, once the server answers again."""
    deadline = time.monotonic() + SECONDS_TO_READ_BACK
    while (found := _name_of(turn, oid)) == UNKNOWN:
        if time.monotonic() > deadline:
            raise OutcomeUnknownError(
                "The server does not answer, so whether the swap took place is not known."
            )
        time.sleep(0.5)
    return found == live


UNKNOWN = object()


def _name_of(turn: Turn, oid: int) -> object:
    try:
        with connect_beside(turn.address, turn.maintenance) as connection:
            _wait_for_the_lost_session(connection, turn)
            query = "SELECT datname FROM pg_catalog.pg_database WHERE oid = %s"
            row = connection.execute(query, [oid]).fetchone()
            return row[0] if row else None
    except (psycopg.OperationalError, TargetError):
        return UNKNOWN


def _wait_for_the_lost_session(connection: Connection, turn: Turn) -> None:
    # Its backend may still be committing: it holds the turn until it has ended.
    key = lock_key(turn.address.name)
    deadline = time.monotonic() + SECONDS_TO_SWAP
    while time.monotonic() < deadline:
        holders = connection.execute(HOLDERS, [key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF])
        if not holders.fetchall():
            return
        time.sleep(0.1)
