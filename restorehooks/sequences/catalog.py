"""Which sequence numbers which columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from .catalog_sql import ODD_DEFAULTS, SEQUENCES
from .defaults import OddDefault, read_odd_defaults
from .message import LockBudget, send
from .model import Column, Sequence

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def read_catalog(
    connection: BaseDatabaseWrapper,
    budget: LockBudget,
    *,
    tables: Collection[int] | None = None,
    schemas: Collection[str] | None = None,
) -> list[Sequence]:
    """Return the sequences in scope, each with every column that it numbers, in order of name.

    ``tables`` (oids) keeps those that number a column of one of them, ``schemas`` those that stand
    in one of them or number a table that does. Temporary, system and extension-owned sequences
    are never among them, nor are columns of temporary tables.
    """
    rows, odd = send(connection, [_sequences(tables, []), ODD_DEFAULTS], budget.for_one())
    if odd:
        attrdefs = [attrdef for (attrdef,) in odd]
        statement = _sequences(tables, read_odd_defaults(connection, attrdefs, budget))
        (rows,) = send(connection, [statement], budget.for_one())
    named = map(Row._make, rows)
    found = [_sequence(list(group)) for _, group in groupby(named, key=lambda row: row.oid)]
    if schemas is None:
        return found
    return [s for s in found if {s.schema, *(c.schema for c in s.columns)} & set(schemas)]


class Row(NamedTuple):
    """A row of the query: a sequence, and a column that it numbers or None throughout."""

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
    exact: bool
    is_view: bool
    is_foreign: bool
    may_read_rows: bool
    is_filtered: bool


def _sequences(tables: Collection[int] | None, odd: Iterable[OddDefault]) -> sql.Composable:
    by_text = [default for default in odd if default.by_text]
    return SEQUENCES.format(
        columns=sql.SQL(", ").join(map(sql.Identifier, Row._fields)),
        tables=sql.Literal(None if tables is None else list(tables)),
        exact=sql.Literal([d.attrdef for d in odd if d.exact and not d.by_text]),
        by_text=sql.Literal([d.attrdef for d in by_text]),
        by_text_sequences=sql.Literal([d.sequence for d in by_text]),
        by_text_exact=sql.Literal([d.exact for d in by_text]),
    )


def _sequence(rows: list[Row]) -> Sequence:
    row = rows[0]
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
        tuple(_column(row, row.table_oid) for row in rows if row.table_oid is not None),
    )


def _column(row: Row, table_oid: int) -> Column:
    column = Column(
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
    )
    unseen = _why_unseen(column, row)
    return column if unseen is None else column._replace(unseen=unseen)


def _why_unseen(column: Column, row: Row) -> str | None:
    if not column.holds_numbers:
        return f"{column.quoted} is of type {column.type}, not a number"
    if column.rounds:
        return f"{column.quoted} rounds whole numbers"
    if not row.exact:
        return f"the default of {column.quoted} is more than nextval"
    if row.is_view:  # what a stranger's view calls would run with the rights of this role
        return f"{column.quoted_table} is a view"
    if row.is_foreign:
        return f"{column.quoted} has rows in a foreign table"
    if not row.may_read_rows:
        return f"no SELECT privilege on {column.quoted}"
    if row.is_filtered:
        return f"row-level security may hide rows of {column.quoted}"
    return None
