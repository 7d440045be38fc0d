"""Columns that the database does not know a sequence to number: listed by the project, or guessed.

Clients draw numbers themselves (SQLAlchemy's ``Sequence``, Hibernate), and so do triggers. A
project lists such columns in ``LINKS``. Where a sequence numbers nothing and its name is made of a
table's and its key's, the column is a guess: reported, and repaired only where somebody asks.
"""

from __future__ import annotations

from collections import abc
from typing import TYPE_CHECKING, NamedTuple

from django.apps import apps

from restorehooks.driver import sql

from .message import Failed, LockBudget, send_each, send_once
from .strangers import may_draw

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class Listed(NamedTuple):
    """A sequence and a column: oids, and the column's number in its table."""

    sequence: int
    table: int
    column: int


class Found(NamedTuple):
    """What an entry of LINKS names: oids and the column's number, None for what is not there."""

    sequence: int | None = None
    table: int | None = None
    column: int | None = None


def listed(
    connection: BaseDatabaseWrapper, links: abc.Mapping[str, str], budget: LockBudget
) -> list[Listed]:
    """Return the links whose column and sequence exist."""
    return [
        Listed(found.sequence, found.table, found.column)
        for found in looked_up(connection, links, budget).values()
        if found.sequence is not None and found.table is not None and found.column is not None
    ]


def looked_up(
    connection: BaseDatabaseWrapper, links: abc.Mapping[str, str], budget: LockBudget
) -> dict[str, Found]:
    """Return what each link names, by its column; the names are looked up by the server."""
    found = dict.fromkeys(links, Found())
    entries = [_Entry(name, *_table_and_column(connection, name), links[name]) for name in links]
    for asked, result in send_each(connection, entries, _lookups, budget, in_own_path=False):
        if not isinstance(result, Failed):  # a name that is none
            for entry, rows in zip(asked, result, strict=True):
                found[entry.name] = Found._make(rows[0])
    return found


class _Entry(NamedTuple):
    name: str
    table: str
    column: str
    sequence: str


def _table_and_column(connection: BaseDatabaseWrapper, name: str) -> tuple[str, str]:
    table, _, column = name.rpartition(".")
    app_label, _, model_name = table.partition(".")
    if apps.ready and app_label in apps.app_configs and model_name:
        models = {m.__name__.lower(): m for m in apps.get_app_config(app_label).get_models()}
        model = models.get(model_name.lower())
        fields = model._meta.local_fields if model else []
        for field in fields:
            if model is not None and field.name == column and field.column:
                return connection.ops.quote_name(model._meta.db_table), field.column
    return table, column


def _lookups(entries: abc.Sequence[_Entry]) -> list[sql.Composable]:
    return [
        LOOKUP.format(
            sql.Literal(entry.sequence), sql.Literal(entry.table), sql.Literal(entry.column)
        )
        for entry in entries
    ]


LOOKUP = sql.SQL(
    "SELECT (SELECT q.seqrelid FROM pg_catalog.pg_sequence q"
    " WHERE q.seqrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({})::pg_catalog.oid),"
    " a.attrelid, a.attnum::pg_catalog.int4"
    " FROM (SELECT pg_catalog.to_regclass({})::pg_catalog.oid AS oid) AS t"
    " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) t.oid"
    " AND a.attname OPERATOR(pg_catalog.=) {}::pg_catalog.name AND NOT a.attisdropped"
)


def guessed(
    connection: BaseDatabaseWrapper, sequences: abc.Iterable[int], budget: LockBudget
) -> list[Listed]:
    """Return the keys without a default that the names of these sequences lead to."""
    result = send_once(connection, [GUESS.format(sql.Literal(list(sequences)))], budget)
    return [] if isinstance(result, Failed) else [Listed._make(row) for row in result[0]]


GUESS = sql.SQL(f"""
SELECT s.oid, c.oid, a.attnum::int
FROM pg_class s
JOIN pg_class c ON c.relnamespace = s.relnamespace AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
JOIN pg_index x ON x.indrelid = c.oid AND x.indisprimary AND x.indnkeyatts = 1
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]
    AND NOT a.atthasdef AND a.attidentity = ''
    AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
WHERE s.oid = ANY({{}}::oid[])
  AND {may_draw("c.relowner", "s.oid", "s.relowner")}
  AND lower(s.relname) IN (
      lower(c.relname || '_seq'), lower(c.relname || '_' || a.attname || '_seq'))
""")  # noqa: S608 - constants
