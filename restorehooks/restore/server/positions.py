"""Moves sequences to where a dump, or what is about to be dropped, has left them, and never back.

For rows that are added to a database, or put in the place of others: its sequences are in use, and
the dump's ``setval`` would set back one that is ahead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from .session_settings import OWN_PATH, no_views, own_names

_SETVAL = re.compile(
    r"SELECT pg_catalog\.setval\('((?:[^']|''){1,1000})', (-?\d+), (true|false)\);?\s*"
)

OWNED = """
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.deptype IN ('a', 'i') AND d.refobjid = ANY(%s::oid[])
"""
# An owner that is given anew changes nothing, and nobody draws until the savepoint is left, which
# frees the lock and leaves what setval has done.
STAND = """
SELECT s.seqincrement, pg_catalog.pg_get_userbyid(c.relowner)::text
FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
WHERE c.oid = pg_catalog.to_regclass(%s)
"""


@dataclass(frozen=True)
class Position:
    """Where a sequence stands; ``sequence`` is its name with its schema as SQL writes it."""

    sequence: str
    last_value: int
    is_called: bool


def positions_in(statements: Iterable[str]) -> list[Position]:
    """Read the ``setval`` of pg_dump's; what is none is passed over."""
    found = (_SETVAL.fullmatch(statement) for statement in statements)
    return [
        Position(one[1].replace("''", "'"), int(one[2]), one[3] == "true") for one in found if one
    ]


def positions_of(connection: psycopg.Connection[Any], tables: Sequence[int]) -> list[Position]:
    """Return where the sequences stand that belong to tables (oids)."""
    with (
        own_names(connection),
        no_views(connection),
        psycopg.Cursor(connection, row_factory=tuple_row) as cursor,
    ):
        names = [name for (name,) in cursor.execute(OWNED, [list(tables)]).fetchall()]
        return [Position(name, *_stands(cursor, name)) for name in names]


def carry_forward(
    connection: psycopg.Connection[Any], positions: Iterable[Position], patience: str = "10s"
) -> list[str]:
    """Move each sequence to its position unless it is there or past it; return why some were not.

    Nobody else draws from it in that moment. ``patience`` is how long to wait for those who have.
    """
    return [why for one in positions if (why := _carry(connection, one, patience))]


def _carry(connection: psycopg.Connection[Any], position: Position, patience: str) -> str | None:
    name = position.sequence
    try:
        # Inside a transaction this is a savepoint.
        with (
            connection.transaction(force_rollback=True),
            psycopg.Cursor(connection, row_factory=tuple_row) as cursor,
        ):
            cursor.execute(f"SET LOCAL search_path = {OWN_PATH}")
            cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", [patience])
            row = cursor.execute(STAND, [name]).fetchone()
            if row is None:
                return f"the position of {name}: there is no such sequence"
            increment, owner = row
            lock = sql.SQL("ALTER SEQUENCE {} OWNER TO {}")
            cursor.execute(lock.format(sql.SQL(name), sql.Identifier(owner)))
            there = _next(*_stands(cursor, name), increment)
            wanted = _next(position.last_value, position.is_called, increment)
            if (wanted > there) if increment > 0 else (wanted < there):
                arguments = [name, position.last_value, position.is_called]
                cursor.execute("SELECT pg_catalog.setval(%s::regclass, %s, %s)", arguments)
    except psycopg.Error as error:
        why = error.diag.message_primary or str(error)
        return f"the position of {name} ({position.last_value}): {why}"
    return None


def _stands(cursor: psycopg.Cursor[tuple[Any, ...]], name: str) -> tuple[int, bool]:
    query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.SQL(name))
    row = cursor.execute(query).fetchone()
    assert row  # noqa: S101 - a sequence has one row
    return int(row[0]), bool(row[1])


def _next(last_value: int, is_called: bool, increment: int) -> int:
    return last_value + increment if is_called else last_value
