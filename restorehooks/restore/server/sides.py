"""The side database of a run: its name, how it is created, and how it is dropped."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from random import SystemRandom

import psycopg
from psycopg import errors, sql

from restorehooks.restore.errors import TargetError
from restorehooks.sequences.scope import NAME_LIMIT
from restorehooks.wording import first_line

from .address import Connection
from .database_privileges import grants
from .database_property import refusal
from .held_up import freed
from .live import Live
from .lock import RestoreLock
from .markers import Marker, mark, server_time

LONGEST_ENDING = 30
"""Bytes of ``_restoring_20260102_030405_999`` and the like."""


NUMBERS = range(1, 1000)
TRIES = 5
TAKEN = (errors.DuplicateDatabase, errors.UniqueViolation)
"""Somebody has made a database of that name meanwhile, or is about to: that one is not seen."""


def side_name(connection: Connection, live: str, word: str, *, anew: bool = False) -> str:
    """Return a free name for a database beside ``live`` that says what it is and when it was made.

    The time is the server's. ``anew``: another one was taken meanwhile. Whoever may create
    databases cannot guess that one.
    """
    moment = server_time(connection).strftime("%Y%m%d_%H%M%S")
    taken = names(connection)
    numbers: Iterable[int] = NUMBERS
    if anew:
        numbers = SystemRandom().sample(NUMBERS[1:], len(NUMBERS) - 1)
    for number in numbers:
        ending = f"_{word}_{moment}" + (f"_{number}" if number > 1 else "")
        stem = live.encode()[: NAME_LIMIT - len(ending)].decode(errors="ignore")
        if stem + ending not in taken:
            return stem + ending
    raise TargetError(f'There are too many databases beside "{live}".')


def create_side(lock: RestoreLock, live: Live, by: str) -> tuple[str, int]:
    """Create the empty database that will become the live one; return its name and oid.

    Until ``open_side`` nobody but its owner and the role that restores may connect to it: whoever
    owns a table there could put a trigger on it before its rows are loaded, and whoever may read
    one could see what a hook is to take out.
    """
    connection = lock.connection
    name = _created(connection, live)
    try:
        freed(lock, f'"{name}"', lambda there: _prepare(there, live, name, by))
    except BaseException:
        with suppress(psycopg.Error, TargetError):
            drop(lock, name)
        raise
    row = connection.execute(OID, [name]).fetchone()
    if row is None:
        raise TargetError(f'The database "{name}" was dropped by somebody else.')
    return name, row[0]


def _created(connection: Connection, live: Live) -> str:
    options = _like(live) if not live.missing else _sensible(connection)
    head = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false ")
    for number in range(TRIES):
        name = side_name(connection, live.name, "restoring", anew=number > 0)
        try:
            connection.execute(head.format(sql.Identifier(name)) + options)
            return name
        except psycopg.Error as error:
            said = f'The database "{name}" cannot be created: {first_line(error)}'
            if not isinstance(error, (*TAKEN, errors.LockNotAvailable)):
                break
    raise TargetError(said)


def _prepare(connection: Connection, live: Live, name: str, by: str) -> None:
    """Give a new side database its marker and privileges, and let sessions in."""
    with connection.transaction():
        moment = server_time(connection).isoformat()
        mark(connection, name, Marker("side", live.name, moment, by))
        for one in grants(connection, live, name, but="CONNECT") if not live.missing else ():
            refusal(connection, one.statement)
        for statement in (NOBODY_ENTERS, WE_ENTER):
            connection.execute(statement.format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name))
        )


def open_side(lock: RestoreLock, live: Live, name: str) -> None:
    """Let those into a side database that is ready who may connect to the live one."""
    freed(lock, f'"{name}"', lambda connection: _open(connection, live, name))


def _open(connection: Connection, live: Live, name: str) -> None:
    with connection.transaction():
        for one in grants(connection, live, name) if not live.missing else ():
            refusal(connection, one.statement)
        if live.missing:
            connection.execute(EVERYBODY_ENTERS.format(sql.Identifier(name)))
            if connection.execute(ANOTHER).fetchone() == (True,):
                connection.execute(WE_LEAVE.format(sql.Identifier(name)))


NOBODY_ENTERS = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC")
WE_ENTER = sql.SQL("GRANT CONNECT ON DATABASE {} TO SESSION_USER")
EVERYBODY_ENTERS = sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC")
WE_LEAVE = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM SESSION_USER")
ANOTHER = "SELECT current_user OPERATOR(pg_catalog.<>) session_user"
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


DROP = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")


def drop(lock: RestoreLock, name: str) -> None:
    """Drop a database that is not live, with whatever sessions it has.

    Raises TargetError where sessions elsewhere hold locks on it and cannot be ended.
    """
    statement = DROP.format(sql.Identifier(name))
    freed(lock, f'"{name}"', lambda connection: connection.execute(statement))


def not_dropped(name: str, error: Exception) -> str:
    """Return what is said of a side database that could not be dropped: on a full disk, say."""
    command = DROP.format(sql.Identifier(name)).as_string()
    return (
        f'"{name}" could not be dropped ({first_line(error)}) and takes room: {command} drops it, '
        "or the next restore, which offers to"
    )


def names(connection: Connection) -> list[str]:
    """Return the names of all databases of the server."""
    return [row[0] for row in connection.execute("SELECT datname FROM pg_catalog.pg_database")]
