"""Finds what a constraint's name, or a message that holds one, means in the live database."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import TYPE_CHECKING, Any

from restorehooks.sequences.scope import installed_models

from .violation import model_constraints, model_of

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model

QUOTES = "\"'`\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e\u2039\u203a\u300c\u300d\u300e\u300f"
"""What the server's languages put around a name."""
SPACES = " \u00a0\u202f"
NOT_THERE = "is declared, and not there"
NOT_UNIQUE = "does not ask for unique rows"
INVALID = "is invalid, since building it failed"


class NotFoundError(Exception):
    """Nothing of what was given is known in the database; one sentence."""


@dataclass(frozen=True)
class Target:
    """A unique index, or one that could not be made; what it is on, as PostgreSQL quotes it.

    ``expressions`` are quoted columns and expressions, ``types`` theirs, and ``columns`` the raw
    names of those that are columns. ``lineage`` are the table, and what it is a partition or child
    of, quoted; ``primary`` the quoted columns of the table's primary key. ``state`` is None for an
    index that keeps its promise, else says what is wrong with it.
    """

    name: str
    schema: str
    table: str
    quoted_table: str
    expressions: tuple[str, ...]
    types: tuple[str, ...] = ()
    columns: tuple[str | None, ...] = ()
    lineage: tuple[tuple[str, str, str], ...] = ()
    primary: tuple[str, ...] = ()
    predicate: str | None = None
    nulls_are_equal: bool = False
    state: str | None = None

    @property
    def on(self) -> str:
        """Its columns and expressions."""
        return ", ".join(self.expressions)

    @property
    def names(self) -> list[str]:
        """The raw names of its columns, and its expressions."""
        pairs = zip(self.columns, self.expressions, strict=True)
        return [expression if column is None else column for column, expression in pairs]

    @property
    def model(self) -> type[Model] | None:
        """The installed model whose rows it is about."""
        tables = [(self.schema, self.table), *((s, t) for s, t, _ in self.lineage)]
        return next(filter(None, (model_of(table, schema) for schema, table in tables)), None)


def find_targets(connection: BaseDatabaseWrapper, text: str) -> list[Target]:
    """Return the indexes that a text names, or else a constraint that only the models know.

    Raises :exc:`NotFoundError`.
    """
    unique, others = _indexes(connection, unique=True), _indexes(connection, unique=False)
    found = named_in(text, unique) or named_in(text, others)
    indexes = others | unique
    if found:
        return [_read(connection, *place) for name in found for place in indexes[name]]
    declared = _declared(connection)
    for name in named_in(text, declared):
        target = _missing(connection, name, *declared[name])
        if target is not None:
            return [target]
    raise NotFoundError(_not_found(connection.alias, text, {*indexes, *declared}))


def named_in(text: str, names: Collection[str]) -> list[str]:
    """Return which of the names stand in a text, in order: those in quotes, or else as words."""
    if text in names:
        return [text]
    places: list[tuple[int, bool, str]] = []
    for name in names:
        if name not in text:
            continue
        for found in re.finditer(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text):
            before = text[: found.start()].rstrip(SPACES)[-1:]
            after = text[found.end() :].lstrip(SPACES)[:1]
            in_quotes = bool(before and after) and before in QUOTES and after in QUOTES
            places.append((found.start(), in_quotes, name))
    quoted = [place for place in places if place[1]]
    return list(dict.fromkeys(name for _, _, name in sorted(quoted or places)))


def _not_found(alias: str, text: str, names: Collection[str]) -> str:
    in_quotes = re.search(rf"[{QUOTES}]\s?([^{QUOTES}]+?)\s?[{QUOTES}]", text)
    wanted = in_quotes[1] if in_quotes else text
    if " " in wanted and not in_quotes:
        return f'No constraint of database "{alias}" is named in that message.'
    alike = sorted(name for name in names if ("." in name) == ("." in wanted))
    near = get_close_matches(wanted, alike, n=3)
    offer = f"; near it are: {', '.join(near)}" if near else ""
    return f'There is no unique constraint "{wanted}" in database "{alias}"{offer}.'


def _indexes(connection: BaseDatabaseWrapper, *, unique: bool) -> dict[str, list[tuple[str, str]]]:
    """Return the indexes, by their names with and without schema: where each one stands."""
    found: dict[str, list[tuple[str, str]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(INDEXES, [unique])
        for schema, name in cursor.fetchall():
            found.setdefault(name, []).append((schema, name))
            found[f"{schema}.{name}"] = [(schema, name)]
    return found


INDEXES = """
SELECT n.nspname, c.relname
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE x.indisunique = %s AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""


def _read(connection: BaseDatabaseWrapper, schema: str, name: str) -> Target:
    with connection.cursor() as cursor:
        cursor.execute(INDEX, [schema, name])
        row = cursor.fetchone()
        cursor.execute(LINEAGE, [row[0]])
        lineage = tuple(cursor.fetchall())
    _, table_schema, table, quoted, is_unique, is_valid, nulls, predicate, *lists = row
    expressions, columns, types, primary = map(tuple, lists)
    state = None if is_valid else INVALID
    if not is_unique:
        state = NOT_UNIQUE
    return Target(
        name, table_schema, table, quoted, expressions, types, columns, lineage, primary,
        predicate, nulls, state,
    )  # fmt: skip


# nullsnotdistinct is there since PostgreSQL 15.
INDEX = """
SELECT t.oid, n.nspname, t.relname, pg_catalog.format('%%I.%%I', n.nspname, t.relname),
       x.indisunique, x.indisvalid,
       coalesce((pg_catalog.to_jsonb(x) ->> 'indnullsnotdistinct')::boolean, false),
       pg_catalog.pg_get_expr(x.indpred, x.indrelid),
       ARRAY(SELECT pg_catalog.pg_get_indexdef(x.indexrelid, k, false)
             FROM generate_series(1, x.indnkeyatts::integer) k ORDER BY k),
       ARRAY(SELECT a.attname::text FROM generate_series(1, x.indnkeyatts::integer) k
             LEFT JOIN pg_catalog.pg_attribute a
                 ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k - 1] AND a.attnum > 0
             ORDER BY k),
       ARRAY(SELECT pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = x.indexrelid AND a.attnum <= x.indnkeyatts ORDER BY a.attnum),
       ARRAY(SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_index p
             JOIN pg_catalog.pg_attribute a
                 ON a.attrelid = p.indrelid AND a.attnum = ANY(p.indkey::smallint[])
             WHERE p.indrelid = x.indrelid AND p.indisprimary ORDER BY a.attnum)
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE cn.nspname = %s AND c.relname = %s
"""
LINEAGE = """
WITH RECURSIVE kin (oid) AS (
    SELECT %s::oid
    UNION SELECT i.inhparent FROM kin JOIN pg_catalog.pg_inherits i ON i.inhrelid = kin.oid
)
SELECT n.nspname, c.relname, pg_catalog.format('%%I.%%I', n.nspname, c.relname)
FROM kin JOIN pg_catalog.pg_class c ON c.oid = kin.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""


def _declared(
    connection: BaseDatabaseWrapper,
) -> Mapping[str, tuple[type[Model], tuple[str, ...]]]:
    """Return the unique constraints that the models declare, by the names that Django gives."""
    found = {}
    editor: Any = connection.schema_editor(collect_sql=True)
    for model in installed_models(connection.alias):
        meta = model._meta
        together = [
            tuple(str(meta.get_field(name).column) for name in names)  # type: ignore[union-attr]
            for names in meta.unique_together
        ]
        fields = [f for f in meta.local_fields if f.unique and not f.primary_key]
        alone = [(str(field.column),) for field in fields]
        for columns in chain(together, alone):
            # What ALTER TABLE is given; the constraint may be wanted, and its rows forbid it.
            name = str(editor._create_index_name(meta.db_table, columns, suffix="_uniq"))
            found[name] = (model, columns)
        for name, columns in model_constraints(model).items():
            found[name] = (model, columns)
    return found


def _missing(
    connection: BaseDatabaseWrapper, name: str, model: type[Model], columns: tuple[str, ...]
) -> Target | None:
    with connection.cursor() as cursor:
        cursor.execute(TABLE, [connection.ops.quote_name(model._meta.db_table)])
        row = cursor.fetchone()
    if row is None:
        return None
    quoted = tuple(connection.ops.quote_name(column) for column in columns)
    schema, table, quoted_table = row
    return Target(name, schema, table, quoted_table, quoted, columns=columns, state=NOT_THERE)


TABLE = """
SELECT n.nspname, c.relname, pg_catalog.format('%%I.%%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass(%s)
"""
