"""Which of the columns that belong to a sequence it numbers, and what is wrong with the others.

A column counts if the sequence makes its numbers as they are: an identity column, one whose
default is exactly ``nextval`` of it, one that owns it and has no default at all (a trigger may
draw). One that owns it and has another default gets numbers of another kind; it is reported and
never a reason to move anything, unless something else draws.
"""

from __future__ import annotations

from collections.abc import Mapping

from .model import Column
from .row import Row

Pairs = list[tuple[Column, Row]]


def counted(pairs: Pairs, expressions: Mapping[int, str]) -> tuple[Column, ...]:
    """Return the columns that count, each with the reason why its rows cannot be read, if any."""
    found = [(column, row) for column, row in pairs if _counts(column, row)]
    # What only owns it is dead where another column draws, unless a trigger fills it. That is not
    # for another role to say, who may draw: clients may do so for the owner.
    if any(column.draws and row.of_sequences_owner for column, row in found):
        found = [(c, r) for c, r in found if c.draws or r.draws_more or r.has_trigger]
    elif not found:
        found = [(column, row) for column, row in pairs if _is_of_another_kind(column, row)]
    return tuple(
        column if why is None else column._replace(unseen=why)
        for column, row in found
        for why in [_why_unseen(column, row, expressions)]
    )


def _counts(column: Column, row: Row) -> bool:
    if row.draws_more:
        return True
    return column.holds_numbers and (column.draws or not row.has_default)


def _is_of_another_kind(column: Column, row: Row) -> bool:
    return column.holds_numbers and row.draws_from is None


def _why_unseen(column: Column, row: Row, expressions: Mapping[int, str]) -> str | None:
    if row.draws_more:
        return f"the default of {column.quoted} is more than nextval"
    if not column.draws and row.has_default:
        expression = expressions.get(row.attrdef or 0, "another one")
        return f"the default of {column.quoted} is {expression}, not nextval"
    if column.rounds:
        return f"{column.quoted} rounds whole numbers"
    if row.is_view:  # what a stranger's view calls would run with the rights of this role
        return f"{column.quoted_table} is a view"
    if row.is_foreign:
        return f"{column.quoted} has rows in a foreign table"
    if not row.may_read_rows:
        return f"no SELECT privilege on {column.quoted}"
    if row.is_filtered:
        return f"row-level security may hide rows of {column.quoted}"
    if row.calls is not None:
        return (
            f"reading {column.quoted_table} could run another role's code, through {row.calls}:"
            " let the table's owner repair it"
        )
    return None


def hint_about(sequence: str, pairs: Pairs, columns: tuple[Column, ...]) -> str | None:
    """Return what is wrong with a column that owns the sequence or draws from it in vain."""
    taken = {column.quoted for column in columns}
    for column, row in pairs:
        if column.quoted in taken or (columns and not row.is_owner):
            continue
        drawn = [each for each in columns if each.draws]
        if len(drawn) == 1:
            return (
                f"{column.quoted}, which owns it, does not draw from it:"
                f" ALTER SEQUENCE {sequence} OWNED BY {drawn[0].quoted}"
            )
        if drawn:
            return f"{column.quoted}, which owns it, does not draw from it"
        drop = f"DROP SEQUENCE {sequence}"
        if row.draws:
            default = f"ALTER TABLE {column.quoted_table} ALTER {column.quoted_name} DROP DEFAULT"
            return (
                f"{column.quoted}, which draws from it, is of type {column.type}, and its rows do"
                f" not count; if none of them needs a number: {default}; {drop}"
            )
        why = f"draws from {row.draws_from}" if row.draws_from else f"is of type {column.type}"
        return f"numbers nothing any more: {column.quoted} {why}; if nothing draws from it: {drop}"
    return None
