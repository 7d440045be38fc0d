"""The databases beside the live one: the side database of a run, and those kept for --undo.

A marker in a database's comment says what it is for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Literal

import psycopg
from psycopg import sql

from restorehooks.restore.errors import TargetError
from restorehooks.sequences.scope import NAME_LIMIT
from restorehooks.wording import first_line

from .address import Connection
from .live import Live
from .lock import RestoreLock

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


def side_name(live: str, word: str, taken: Sequence[str] = ()) -> str:
    """Return a name for a database beside ``live`` that says what it is and when it was made."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%d_%H%M%S")
    for number in range(1, 1000):
        ending = f"_{word}_{moment}" + (f"_{number}" if number > 1 else "")
        stem = live.encode()[: NAME_LIMIT - len(ending)].decode(errors="ignore")
        if stem + ending not in taken:
            return stem + ending
    raise TargetError(f'There are too many databases beside "{live}".')


def create_side(lock: RestoreLock, live: Live, by: str) -> tuple[str, int]:
    """Create the empty database that will become the live one; return its name and oid."""
    connection = lock.connection
    name = side_name(live.name, "restoring", names(connection))
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

    Ask for "side" while holding the lock: then they are leftovers of runs that were killed.
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
