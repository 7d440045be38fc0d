"""Finds what a constraint's name, or a message that holds one, means in the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from restorehooks.driver import sql
from restorehooks.sequences.scope import tables_named
from restorehooks.wording import first_line

from .catalog import INDEX, INDEXES, TABLE, TABLE_OF, ask, lineages, strangers
from .declared import declared, model_of
from .words import clipped, named_in, not_found, without_shard

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model

NOT_THERE = "is declared, and not there"
NOT_UNIQUE = "does not ask for unique rows"
INVALID = "is invalid, since building it failed"


class NotFoundError(Exception):
    """Nothing of what was given is known in the database; one sentence."""


@dataclass(frozen=True)
class Target:
    """A unique index, or one that could not be made; what it is on, as PostgreSQL quotes it.

    ``expressions`` are quoted columns and expressions, ``types`` theirs under any domain,
    ``equals`` the operators that compare them (empty strings where there is none), and ``columns``
    the raw names of those that are columns. ``lineage`` are the table, and what it is a partition
    or child of; ``primary`` the quoted columns of the table's primary key. ``state`` is None for an
    index that keeps its promise, else says what is wrong with it. ``stranger`` names a function
    of another role that reading the table would call, None where there is none; ``index`` is the
    oid of the index, None for one that is not there; ``unread`` says why nothing is known of it but
    its table.
    """

    name: str
    schema: str
    table: str
    quoted_table: str
    expressions: tuple[str, ...]
    types: tuple[str, ...] = ()
    equals: tuple[str, ...] = ()
    columns: tuple[str | None, ...] = ()
    lineage: tuple[tuple[str, str, str], ...] = ()
    primary: tuple[str, ...] = ()
    predicate: str | None = None
    nulls_are_equal: bool = False
    state: str | None = None
    stranger: str | None = None
    index: int | None = None
    unread: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether its table may be looked at."""
        return self.stranger is None and self.unread is None

    @property
    def on(self) -> str:
        """Its columns and expressions."""
        return ", ".join(self.expressions) or "what could not be read"

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

    The name may be that of a Citus shard's. Raises :exc:`NotFoundError`.
    """
    unique, others = _indexes(connection)
    indexes = others | unique
    for words in dict.fromkeys([text, without_shard(text)]):
        if found := named_in(words, unique) or named_in(words, others):
            return _read(connection, [place for name in found for place in indexes[name]])
    if found := clipped(text, unique):
        return _read(connection, [place for name in found for place in indexes[name]])
    known = declared(connection)
    for name in named_in(text, known):
        target = _missing(connection, name, *known[name])
        if target is not None:
            return [target]
    raise NotFoundError(not_found(connection.alias, text, {*indexes, *known}))


Places = dict[str, list[tuple[str, str]]]


def _indexes(connection: BaseDatabaseWrapper) -> tuple[Places, Places]:
    """Return where indexes stand, by their names with and without schema: unique ones, others."""
    unique: Places = {}
    others: Places = {}
    for schema, name, is_unique in ask(connection, INDEXES):
        found = unique if is_unique else others
        found.setdefault(name, []).append((schema, name))
        found[f"{schema}.{name}"] = [(schema, name)]
    return unique, others


def _read(connection: BaseDatabaseWrapper, found: Iterable[tuple[str, str]]) -> list[Target]:
    places = list(dict.fromkeys(found))
    schemas, names = ([*part] for part in zip(*places, strict=True))
    try:
        found = ask(
            connection, INDEX.format(schemas=sql.Literal(schemas), names=sql.Literal(names))
        )
    except DatabaseError as error:  # one table is locked, say
        if len(places) == 1:
            return [_unread(connection, places[0], first_line(error))]
        return [target for place in places for target in _read(connection, [place])]
    order = {place: number for number, place in enumerate(places)}
    rows = sorted(found, key=lambda row: order[row[2], row[0]])  # an index stands by its table
    tables = {row[1] for row in rows}
    lineage, code = lineages(connection, tables), strangers(connection, tables)
    return [_target(row, lineage[row[1]], code.get(row[1])) for row in rows]


def _target(
    row: tuple[Any, ...], lineage: tuple[tuple[str, str, str], ...], stranger: str | None
) -> Target:
    name, _, schema, table, quoted, is_unique, is_valid, is_odd, nulls, predicate = row[:10]
    expressions, columns, types, equals, primary = map(tuple, row[10:15])
    if is_odd:  # equality is not all that it compares, or is that of a stranger's type
        equals = ()
    state = None if is_valid else INVALID
    if not is_unique:
        state = NOT_UNIQUE
    return Target(
        name, schema, table, quoted, expressions, types, equals, columns, lineage, primary,
        predicate, nulls, state, stranger, row[15],
    )  # fmt: skip


def _unread(connection: BaseDatabaseWrapper, place: tuple[str, str], why: str) -> Target:
    schema, name = place
    query = TABLE_OF.format(schema=sql.Literal(schema), name=sql.Literal(name))
    ((table, quoted),) = ask(connection, query) or [("", name)]
    return Target(name, schema, table, quoted, (), unread=why)


def _missing(
    connection: BaseDatabaseWrapper, name: str, model: type[Model], columns: tuple[str, ...]
) -> Target | None:
    ((schema, table),) = tables_named(connection, [model])
    found = ask(
        connection,
        TABLE.format(schema=sql.Literal(schema), table=sql.Literal(table)),
    )
    if not found:
        return None
    quoted = tuple(connection.ops.quote_name(column) for column in columns)
    oid, table_schema, table, quoted_table = found[0]
    return Target(
        name, table_schema, table, quoted_table, quoted, columns=columns, state=NOT_THERE,
        stranger=strangers(connection, [oid]).get(oid),
    )  # fmt: skip
