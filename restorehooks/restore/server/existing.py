"""What exists after a load, compared with what the dump names: no message is believed for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from restorehooks.restore.dump.contents import ArchiveEntry
from restorehooks.restore.errors import RestoreError
from restorehooks.restore.script.owners_and_privileges import as_kept
from restorehooks.restore.script.tables import shown

from .session_settings import own_names

RELATIONS = """
SELECT relname::pg_catalog.text, pg_catalog.count(*) FROM pg_catalog.pg_class
WHERE relkind IN ('r', 'p', 'v', 'm') AND oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
GROUP BY relname
"""
"""The tables by name alone. A table that a rule has made a view of counts too: dumps of old
servers make some views like that."""

OBJECTS = """
SELECT 'relation', n.nspname::pg_catalog.text, c.relname::pg_catalog.text, ''
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind <> ALL ('{c,t}')
UNION ALL SELECT 'constraint', n.nspname, k.conname, coalesce(c.relname, t.typname)
FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_namespace AS n ON n.oid = k.connamespace
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
LEFT JOIN pg_catalog.pg_type AS t ON t.oid = k.contypid
UNION ALL SELECT 'trigger', n.nspname, g.tgname, c.relname
FROM pg_catalog.pg_trigger AS g JOIN pg_catalog.pg_class AS c ON c.oid = g.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE NOT g.tgisinternal
UNION ALL SELECT 'rule', n.nspname, r.rulename, c.relname
FROM pg_catalog.pg_rewrite AS r JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
"""
FILLED = """
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
"""
MATERIALIZED_VIEWS = """
SELECT n.nspname::text || '.' || c.relname::text FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated ORDER BY 1
"""
LARGE_OBJECTS = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata"

_KINDS = {
    "TABLE": "relation",
    "INDEX": "relation",
    "SEQUENCE": "relation",
    "VIEW": "relation",
    "MATERIALIZED VIEW": "relation",
    "CONSTRAINT": "constraint",
    "FK CONSTRAINT": "constraint",
    "CHECK CONSTRAINT": "constraint",
    "TRIGGER": "trigger",
    "RULE": "rule",
}
"""The kinds of an archive's entries that are compared, each with its group in OBJECTS."""


def require_tables(connection: psycopg.Connection[Any], names: Sequence[str]) -> None:
    """Raise RestoreError unless tables of these names exist, each as often as it is named."""
    if not names:
        return
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        there: Counter[str] = Counter()
        for name, count in cursor.execute(RELATIONS).fetchall():
            there[as_kept(name)] += count  # longer in UTF-8 than in the server's encoding
    named = Counter(name for name in names if "\ufffd" not in name)
    _require("tables", sum(named.values()), (named - there).elements())


def require_entries(connection: psycopg.Connection[Any], entries: Sequence[ArchiveEntry]) -> None:
    """Raise RestoreError unless all that an archive names is in a database that was empty.

    Those are relations, constraints, triggers, rules, and as many large objects as it has.
    """
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        there = set(_known(cursor.execute(OBJECTS)))
        row = cursor.execute(LARGE_OBJECTS).fetchone()
    compared = [entry for entry in entries if entry.kind in _KINDS]
    gone = [
        f"{entry.kind.lower()} {entry.schema}.{entry.tag}"
        for entry in compared
        if (_KINDS[entry.kind], entry.schema, entry.tag) not in there
    ]
    _require("objects", len(compared), gone)
    named, found = sum(entry.large_objects for entry in entries), row[0] if row else 0
    if found < named:
        raise RestoreError(
            f"The dump names {named} large objects and the restored database has {found}."
        )


def rows_of_no_table(
    connection: psycopg.Connection[Any], entries: Sequence[ArchiveEntry]
) -> list[ArchiveEntry]:
    """Return the entries with rows for tables that neither the archive makes nor are there.

    Those are tables of extensions that were left out.
    """
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        there = set(cursor.execute(FILLED).fetchall())
    there |= {(entry.schema, entry.tag) for entry in entries if entry.kind == "TABLE"}
    rows = (entry for entry in entries if entry.kind == "TABLE DATA")
    return [entry for entry in rows if (entry.schema, entry.tag) not in there]


def filled_materialized_views(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the names of the materialized views that hold rows, with their schemas."""
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        return [name for (name,) in cursor.execute(MATERIALIZED_VIEWS).fetchall()]


def _known(rows: Iterable[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield group, schema and tag; pg_dump before 9.5 writes no table into the tag."""
    for group, schema, name, of in rows:
        yield group, schema, name
        yield group, schema, f"{of} {name}"


def _require(what: str, named: int, gone: Iterable[str]) -> None:
    if missing := list(gone):
        raise RestoreError(
            f"The dump names {named} {what}, and the restored database lacks {len(missing)} of "
            f"them: {shown(missing)}."
        )
