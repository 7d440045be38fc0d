"""The databases beside the live one that are believed to be its own, and in which order.

They are those kept for ``--undo``, the latest first, and what killed runs have left behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from restorehooks.sequences.scope import NAME_LIMIT

from .address import Connection
from .markers import Marker, Role
from .sides import LONGEST_ENDING, names


@dataclass(frozen=True)
class Kept:
    """A database beside the live one: of a killed run ("side"), or kept for undo ("previous").

    ``size`` is in bytes, None where this role may not ask. ``broken``: a DROP of it was cut off,
    and it can only be dropped. ``closed``: it lets nobody connect.
    """

    name: str
    oid: int
    marker: Marker
    size: int | None
    broken: bool = False
    closed: bool = False


OF_OTHERS = """
SELECT d.datname, pg_catalog.pg_get_userbyid(d.datdba),
       pg_catalog.shobj_description(d.oid, 'pg_database')
FROM pg_catalog.pg_database d WHERE NOT d.datistemplate AND d.datname <> %(live)s
ORDER BY d.datname
"""
BESIDE = """
SELECT d.datname, d.oid, pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
       d.datallowconn, d.datconnlimit = -2
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
WHERE NOT d.datistemplate AND d.datname <> %(live)s
  AND (r.rolsuper OR r.rolname = coalesce(
      (SELECT pg_catalog.pg_get_userbyid(l.datdba) FROM pg_catalog.pg_database l
       WHERE l.datname = %(live)s), current_user))
"""
"""The databases that may be believed: whoever owns one writes its comment, and any role that may
create databases could give one to somebody's --undo. Where there is no live one, only what is the
asking role's own or a superuser's. datconnlimit -2 marks a DROP that was cut off."""
SIZE = """
SELECT pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database
WHERE oid OPERATOR(pg_catalog.=) %s::pg_catalog.oid
  AND pg_catalog.has_database_privilege(oid, 'CONNECT')
"""
TEMPLATE0 = (
    "SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) 'template0'"
)


def kept(connection: Connection, live: str, role: Role) -> list[Kept]:
    """Return the databases beside ``live`` of one kind, the latest first.

    Ask for "side" while holding the lock: then they are leftovers of runs that were killed.
    """
    found = []
    beside = connection.execute(BESIDE, {"live": live}).fetchall()
    for name, oid, comment, enterable, broken in beside:
        marker = Marker.read(comment)
        if comment is None and not enterable and _named(live).fullmatch(name):
            # Killed between CREATE DATABASE and the marker: nobody has ever been in it.
            marker = Marker("side", live, "") if _is_as_made(connection, oid) else None
        if marker and marker.live == live and marker.role == role:
            # Others may be dropped meanwhile, and a size takes time.
            found.append(Kept(name, oid, marker, _size(connection, oid), broken, not enterable))
    return sorted(found, key=lambda one: (one.marker.number, one.marker.at, one.name), reverse=True)


def _size(connection: Connection, oid: int) -> int | None:
    """Return the bytes of a database, None where this role may not ask, or it is gone by now."""
    try:
        row = connection.execute(SIZE, [oid]).fetchone()
    except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidCatalogName):
        return None
    return row[0] if row else None


def _is_as_made(connection: Connection, oid: int) -> bool:
    template = connection.execute(TEMPLATE0).fetchone()
    size, nothing = _size(connection, oid), _size(connection, template[0]) if template else None
    return size is not None and nothing is not None and size <= nothing


def _named(live: str) -> re.Pattern[str]:
    stem, most = live.encode(), NAME_LIMIT - LONGEST_ENDING
    # A longer name was cut, to make room for the ending.
    known = re.escape(stem[:most].decode(errors="ignore")) + (".*" if len(stem) > most else "")
    return re.compile(rf"{known}_restoring_\d{{8}}_\d{{6}}(_\d+)?", re.DOTALL)


def kept_by_others(connection: Connection, live: str) -> list[tuple[str, str]]:
    """Return name and owner of those that say they are previous ones, where none is believed.

    Somebody has forged them, or has owned the live database before.
    """
    return [
        (name, owner)
        for name, owner, comment in connection.execute(OF_OTHERS, {"live": live}).fetchall()
        if (marker := Marker.read(comment))
        if (marker.live, marker.role) == (live, "previous")
    ]


def unbelieved(connection: Connection, live: str, believed: Sequence[Kept]) -> list[str]:
    """Return the names of databases that look like leftovers of ``live`` and are not taken as such.

    They have no marker or are somebody else's.
    """
    known = {one.name for one in believed}
    return [
        name
        for name in names(connection)
        if name not in known and name != live and _named(live).fullmatch(name)
    ]
