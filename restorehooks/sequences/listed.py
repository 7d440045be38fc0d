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

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class Listed(NamedTuple):
    """A sequence and a column: oids, and the column's number in its table."""

    sequence: int
    table: int
    column: int


def listed(
    connection: BaseDatabaseWrapper, links: abc.Mapping[str, str], budget: LockBudget
) -> list[Listed]:
    """Return the links whose column and sequence exist; the names are looked up by the server."""
    found: list[Listed] = []
    pairs = [(*_table_and_column(connection, name), links[name]) for name in links]
    for _, result in send_each(connection, pairs, _lookups, budget, in_own_path=False):
        if not isinstance(result, Failed):  # a name that is none
            found += [Listed._make(row) for rows in result for row in rows]
    return found


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


def _lookups(pairs: abc.Sequence[tuple[str, str, str]]) -> list[sql.Composable]:
    return [
        LOOKUP.format(sql.Literal(sequence), sql.Literal(table), sql.Literal(column))
        for table, column, sequence in pairs
    ]


LOOKUP = sql.SQL(
    "SELECT q.seqrelid, a.attrelid, a.attnum::pg_catalog.int4"
    " FROM pg_catalog.pg_sequence q CROSS JOIN pg_catalog.pg_attribute a"
    " WHERE q.seqrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({})::pg_catalog.oid"
    " AND a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({})::pg_catalog.oid"
    " AND a.attname OPERATOR(pg_catalog.=) {}::pg_catalog.name AND NOT a.attisdropped"
)


def guessed(
    connection: BaseDatabaseWrapper, sequences: abc.Iterable[int], budget: LockBudget
) -> list[Listed]:
    """Return the keys without a default that the names of these sequences lead to."""
    result = send_once(connection, [GUESS.format(sql.Literal(list(sequences)))], budget)
    return [] if isinstance(result, Failed) else [Listed._make(row) for row in result[0]]


GUESS = sql.SQL("""
SELECT s.oid, c.oid, a.attnum::int
FROM pg_class s
JOIN pg_class c ON c.relnamespace = s.relnamespace AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
JOIN pg_index x ON x.indrelid = c.oid AND x.indisprimary AND x.indnkeyatts = 1
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]
    AND NOT a.atthasdef AND a.attidentity = ''
    AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
WHERE s.oid = ANY({}::oid[])
  AND lower(s.relname) IN (
      lower(c.relname || '_seq'), lower(c.relname || '_' || a.attname || '_seq'))
""")
