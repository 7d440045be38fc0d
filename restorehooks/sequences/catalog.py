"""Which sequence numbers which columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from .catalog_sql import CONDITIONS, ODD_DEFAULTS, SEQUENCES
from .defaults import OddDefault, read_odd_defaults
from .links import counted, hint_about
from .message import LockBudget, Statement, send
from .model import Column, Sequence

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class Conditions(NamedTuple):
    """What holds for all that a run reads: ``isolation`` is that of the transaction at hand."""

    is_standby: bool
    is_read_only: bool
    isolation: str

    @property
    def why_read_only(self) -> str | None:
        """Why nothing can be changed, None where it can."""
        if self.is_standby:
            return "the server is a standby and cannot be written to"
        return "transactions are read-only here" if self.is_read_only else None


def read_catalog(
    connection: BaseDatabaseWrapper,
    budget: LockBudget,
    *,
    tables: Collection[int] | None = None,
    schemas: Collection[str] | None = None,
) -> tuple[list[Sequence], Conditions]:
    """Return the sequences in scope, each with every column that it numbers, in order of name.

    ``tables`` (oids) keeps those that number a column of one of them, ``schemas`` those that stand
    in one of them or number a table that does. Temporary and system sequences are never among
    them, nor those of extensions whose tables are not dumped, nor columns of temporary tables.
    """
    statements: list[Statement] = [_sequences(tables, []), ODD_DEFAULTS, CONDITIONS]
    rows, odd, (conditions,) = send(connection, statements, budget.for_one())
    expressions: dict[int, str] = {}
    if odd:
        attrdefs = [attrdef for (attrdef,) in odd]
        defaults = read_odd_defaults(connection, attrdefs, budget)
        expressions = {default.attrdef: default.expression for default in defaults}
        (rows,) = send(connection, [_sequences(tables, defaults)], budget.for_one())
    named = map(Row._make, rows)
    groups = (list(group) for _, group in groupby(named, key=lambda row: row.oid))
    found = [_sequence(group, expressions) for group in groups]
    if schemas is not None:
        found = [s for s in found if {s.schema, *(c.schema for c in s.columns)} & set(schemas)]
    return found, Conditions._make(conditions)


class Row(NamedTuple):
    """A row of the query: a sequence, and a column that it may number or None throughout.

    ``is_owner``: the sequence is owned by the column. ``draws``: its default is exactly ``nextval``
    of the sequence; ``draws_more``: it calls that and does more. ``draws_from`` is another sequence
    that it draws from. ``has_trigger``: one before each row that is inserted. ``calls`` is a
    function of somebody else's that reading the table would call.
    """

    oid: int
    schema: str
    name: str
    quoted: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool
    may_read: bool
    may_draw: bool
    may_set: bool
    may_alter: bool
    owner: str
    is_rewritten: bool
    table_oid: int | None
    table_schema: str
    table_name: str
    column_name: str
    quoted_table: str
    quoted_column: str
    column_type: str
    typmod: int
    indexed: bool
    plain: bool
    nullable: bool
    may_be_empty: bool
    visible: bool
    locks: int
    is_owner: bool
    is_identity: bool
    is_listed: bool
    draws: bool
    draws_more: bool
    draws_from: str | None
    attrdef: int | None
    has_default: bool
    has_trigger: bool
    is_view: bool
    is_foreign: bool
    may_read_rows: bool
    is_filtered: bool
    calls: str | None


def _sequences(tables: Collection[int] | None, odd: Iterable[OddDefault]) -> sql.Composable:
    odd = list(odd)
    by_text = [default for default in odd if default.by_text]
    return SEQUENCES.format(
        columns=sql.SQL(", ").join(map(sql.Identifier, Row._fields)),
        tables=sql.Literal(None if tables is None else list(tables)),
        exact=sql.Literal([d.attrdef for d in odd if d.exact and not d.by_text]),
        by_text=sql.Literal([d.attrdef for d in by_text]),
        by_text_sequences=sql.Literal([d.sequence for d in by_text]),
        by_text_exact=sql.Literal([d.exact for d in by_text]),
        listed_sequences=sql.Literal([]),
        listed_tables=sql.Literal([]),
        listed_columns=sql.Literal([]),
    )


def _sequence(rows: list[Row], expressions: Mapping[int, str]) -> Sequence:
    row = rows[0]
    pairs = [(_column(each, each.table_oid), each) for each in rows if each.table_oid is not None]
    columns = counted(pairs, expressions)
    return Sequence(
        row.oid,
        row.schema,
        row.name,
        row.quoted,
        row.type,
        row.start,
        row.increment,
        row.minimum,
        row.maximum,
        row.cache,
        row.cycle,
        row.may_read,
        row.may_draw,
        row.may_set,
        columns,
        row.may_alter,
        row.owner,
        row.is_rewritten,
        hint_about(row.quoted, pairs, columns),
    )


def _column(row: Row, table_oid: int) -> Column:
    return Column(
        table_oid,
        row.table_schema,
        row.table_name,
        row.column_name,
        row.quoted_table,
        row.quoted_column,
        row.column_type,
        row.typmod,
        None,
        row.indexed,
        row.plain,
        row.nullable,
        row.may_be_empty,
        row.visible,
        row.locks,
        row.is_identity or row.draws or row.is_listed,
    )
