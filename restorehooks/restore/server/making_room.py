"""Makes room for tables of an archive in a database with others, as it was planned.

Every statement is part of the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from restorehooks.restore.dump.contents import ArchiveEntry
from restorehooks.restore.dump.selection import RELATIONS, named
from restorehooks.restore.errors import TargetError
from restorehooks.wording import first_line, quoted

from .replacing import ForeignKey, Replacement, Standing, plan_replacement, require_own_code
from .session_settings import own_names

_KINDS = {
    "r": "TABLE",
    "p": "TABLE",
    "f": "FOREIGN TABLE",
    "v": "VIEW",
    "m": "MATERIALIZED VIEW",
}
_ENABLED = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}

FIRING = """
WITH RECURSIVE filled (oid) AS (
    SELECT pg_catalog.unnest(%s::oid[])
    UNION
    SELECT i.inhrelid FROM filled f
    JOIN pg_catalog.pg_class c ON c.oid = f.oid AND c.relkind = 'p'
    JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid
)
SELECT oid::regclass::text, kind, name::text, enabled::text FROM filled JOIN (
    SELECT tgrelid AS of, 'TRIGGER' AS kind, tgname AS name, tgenabled AS enabled
    FROM pg_catalog.pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT ev_class, 'RULE', rulename, ev_enabled FROM pg_catalog.pg_rewrite
) AS found ON found.of = filled.oid
WHERE enabled <> 'D' ORDER BY oid, kind, name
"""
"""The triggers and rules of tables, and of all that a row which is put into them may go to."""
SET_APART = """
SELECT tgrelid::regclass::text, tgname::text, tgenabled::text, oid::text FROM pg_catalog.pg_trigger
WHERE tgenabled <> 'O'
"""
"""Triggers that ENABLE TRIGGER ALL changes, the server's own among them."""


@contextmanager
def replaced(
    connection: psycopg.Connection[Any], entries: Sequence[ArchiveEntry], planned: Replacement
) -> Iterator[None]:
    """Make room for the entries, let the block load them, and put back what refers to them.

    Raises TargetError where something else stands there than was planned, or where a foreign key
    of another table holds no more.
    """
    standing = [one.written for one in _standing(planned) if one.relkind in "rp"]
    # The tables of the keys, too: while their locks are waited for others may change them.
    for table in dict.fromkeys([*standing, *(key.table for key in planned.foreign_keys)]):
        _run(connection, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    keys = (*planned.foreign_keys, *planned.made_anew)
    for table in sorted({key.to_lock for key in keys if key.to_lock is not None}):
        _run(connection, f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
    if plan_replacement(connection, entries) != planned:
        raise TargetError(
            f"What refers to {quoted(_names(entries))} has changed since it was looked at: "
            "begin again."
        )
    for key in planned.foreign_keys:
        _run(connection, f"ALTER TABLE {key.table} DROP CONSTRAINT {_name(connection, key.name)}")
    for one in planned.dropped:
        # Nothing else depends on it; what does is dropped too, or a part of it.
        _run(connection, f"DROP {_KINDS[one.relkind]} IF EXISTS {one.written} CASCADE")
    switched_off = _empty(connection, [one for one, _ in planned.kept])
    yield
    for table, kind, name, enabled in switched_off:
        how = f"{_ENABLED[enabled]} {kind} {_name(connection, name)}"
        _run(connection, f"ALTER TABLE ONLY {table} {how}")
    require_own_code(connection, planned.foreign_keys)  # a cast can be made at any time
    for key in planned.foreign_keys:
        _put_back(connection, key)


@contextmanager
def triggers_as_they_are(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Let the triggers that are off, or fire in replicas or always, be so after the block.

    Dumps made with --disable-triggers switch all triggers of a table off, and then all on.
    """
    before = _set_apart(connection)
    yield
    for table, name, enabled, _ in before - _set_apart(connection):
        how = f"{_ENABLED[enabled]} TRIGGER {_name(connection, name)}"
        _run(connection, f"ALTER TABLE ONLY {table} {how}")


def _set_apart(connection: psycopg.Connection[Any]) -> set[tuple[str, str, str, str]]:
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        return set(cursor.execute(SET_APART).fetchall())


def _standing(planned: Replacement) -> Iterator[Standing]:
    yield from planned.dropped
    yield from (one for one, _ in planned.kept)


def _empty(
    connection: psycopg.Connection[Any], kept: Sequence[Standing]
) -> list[tuple[str, str, str, str]]:
    """Empty the tables that keep their structure; return what was switched off of them."""
    tables = [one for one in kept if one.relkind == "r"]
    filled = [one.oid for one in kept if one.relkind in "rp"]
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        found = cursor.execute(FIRING, [filled]).fetchall()
    for table, kind, name, _ in found:
        # ONLY: what a partition has of it is in the list, and may be enabled in another way.
        _run(connection, f"ALTER TABLE ONLY {table} DISABLE {kind} {_name(connection, name)}")
    if tables:
        written = ", ".join(one.written for one in tables)
        _run(connection, f"TRUNCATE TABLE ONLY {written}")
    return found


def _put_back(connection: psycopg.Connection[Any], key: ForeignKey) -> None:
    name = _name(connection, key.name)
    try:
        _run(connection, f"ALTER TABLE {key.table} ADD CONSTRAINT {name} {key.definition}")
    except psycopg.Error as error:
        why = error.diag.message_detail or first_line(error)
        raise TargetError(
            f"The foreign key {key.name} of {key.table} would no longer hold: {why}"
        ) from error
    if key.comment is not None:
        comment = sql.Literal(key.comment).as_string(connection)
        _run(connection, f"COMMENT ON CONSTRAINT {name} ON {key.table} IS {comment}")


def _names(entries: Sequence[ArchiveEntry]) -> list[str]:
    return [named(entry) for entry in entries if entry.kind in RELATIONS - {"SEQUENCE"}]


def _name(connection: psycopg.Connection[Any], name: str) -> str:
    return sql.Identifier(name).as_string(connection)


def _run(connection: psycopg.Connection[Any], statement: str) -> None:
    # Every name in it is quoted by the server (regclass, pg_get_constraintdef) or by psycopg.
    connection.execute(statement.encode())
