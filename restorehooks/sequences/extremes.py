"""The queries for the largest, or smallest, number of a column."""

from __future__ import annotations

from .message import lookup
from .model import FLOATS, INTEGERS, Column, Sequence


def can_be_looked_up(column: Column) -> bool:
    """Whether an index leads straight to the column's extreme."""
    return column.plain and column.indexed and not column.nullable and column.type in INTEGERS


def extreme(sequence: Sequence, column: Column) -> str:
    """Return the query for a column's extreme within the sequence's reach.

    Rows beyond its last number were numbered by somebody else: another node, an import. Only where
    the range ends with the sequence's own small type, and no row is within it, is it asked for all.
    """
    up = sequence.counts_up
    reach = _reach(column, sequence.limit, up)
    within = farthest(sequence, column, reach)
    if reach is None or not sequence.is_short:
        return within
    # No sequence goes further, and a number may have thousands of digits.
    of_any = _reach(column, INTEGERS["bigint"] - 1 if up else -INTEGERS["bigint"], up)
    return f"SELECT coalesce(({within}), ({farthest(sequence, column, of_any)}))"


def _reach(column: Column, limit: int, up: bool) -> str | None:
    """Return the condition that keeps rows before a limit, None where the type does that."""
    if (column.largest <= limit) if up else (column.smallest >= limit):
        return None
    # A number with decimals is within reach if the whole number before it is.
    bound = f"< {limit + 1}" if up else f"> {limit - 1}"
    return f"{column.quoted_name} {bound}"


def farthest(sequence: Sequence, column: Column, reach: str | None) -> str:
    """Return the query for the extreme of the rows in reach, the one that is planned fastest."""
    up = sequence.counts_up
    name, table = column.quoted_name, column.quoted_table
    if can_be_looked_up(column):
        return lookup(table, name, up=up, reach=reach)
    conditions = [] if reach is None else [reach]
    if column.type == "numeric" or column.type in FLOATS:  # NaN sorts above every number
        conditions += [f"{name} > '-Infinity'", f"{name} < 'Infinity'"]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT pg_catalog.{'max' if up else 'min'}({name}) FROM {table}{where}"  # noqa: S608
