"""The rows of a constraint: those with one key, and those that share theirs.

Values are shown by ``format``, which calls a type's own output function: a cast to text may be
another role's function. Without an index that holds them they may be of any length: their
beginning is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import DatabaseError

from restorehooks.driver import sql, text
from restorehooks.wording import LONGEST, printable_sql

from .catalog import ask
from .key import DuplicateKey
from .target import Target

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SHOWN = 10
"""How many duplicated keys, and rows with one key, are shown."""
FORMAT = sql.SQL("pg_catalog.format('%s', {})")


@dataclass(frozen=True)
class Duplicates:
    """Keys that rows share: how many, the rows too many, and the worst with their rows' number."""

    keys: int
    surplus: int
    worst: tuple[tuple[tuple[str | None, ...], int], ...]


def rows_with(
    connection: BaseDatabaseWrapper, target: Target, key: DuplicateKey | None
) -> tuple[str, ...] | None:
    """Return the primary keys of the rows with a key, None where they cannot be asked for."""
    condition = condition_of(target, key)
    if condition is None:
        return None
    columns = target.primary if target.primary != target.expressions else ()
    shown = sql.SQL(", ").join(FORMAT.format(sql.SQL(column)) for column in columns)
    query = sql.SQL("SELECT ARRAY[{}]::pg_catalog.text[] FROM {} WHERE {} LIMIT {}").format(
        shown, sql.SQL(target.quoted_table), condition, sql.Literal(SHOWN)
    )
    try:
        found = ask(connection, query, reading=target.quoted_table, index=target.index)
    except DatabaseError:  # the message is of another database, or the table is not ours
        return None
    names = ", ".join(columns)
    return tuple(f"({names})=({', '.join(row)})" if names else "" for (row,) in found)


def statement_for_rows(target: Target, key: DuplicateKey | None) -> tuple[str, ...]:
    """Return the statement that shows the rows with a key, if there can be one."""
    condition = condition_of(target, key)
    if condition is None:
        return ()
    query = sql.SQL("SELECT * FROM {} WHERE {};").format(sql.SQL(target.quoted_table), condition)
    return (printable_sql(text(query)),)


def duplicates_in(connection: BaseDatabaseWrapper, target: Target) -> Duplicates:
    """Count the keys that rows share; raises ``django.db.Error`` where they cannot be read."""
    shown = [_key_part(expression) for expression in target.expressions]
    query = sql.SQL(
        "SELECT count(*) OVER (), sum(n - 1) OVER (), n, ARRAY("
        "SELECT CASE WHEN length(value) > {0} THEN left(value, {0}) || '...' ELSE value END"
        " FROM unnest(each) WITH ORDINALITY AS part (value, place) ORDER BY place)"
        " FROM ({1}) AS t ORDER BY n DESC, each LIMIT {2}"
    ).format(
        sql.Literal(LONGEST),
        _groups(target, sql.SQL("ARRAY[{}]::text[] AS each").format(sql.SQL(", ").join(shown))),
        sql.Literal(SHOWN),
    )
    found = ask(connection, query, reading=target.quoted_table, index=target.index)
    keys, surplus = (int(found[0][0]), int(found[0][1])) if found else (0, 0)
    return Duplicates(keys, surplus, tuple((tuple(row[3]), int(row[2])) for row in found))


def statement_for_duplicates(target: Target) -> str:
    """Return the statement that lists all keys that rows share."""
    each = sql.SQL(", ").join(map(sql.SQL, target.expressions))
    return f"{printable_sql(text(_groups(target, each)))};"


def condition_of(target: Target, key: DuplicateKey | None) -> sql.Composable | None:
    """Return what is true of the rows with a key, None where that cannot be said."""
    values = key.each_value if key else None
    if values is None or len(values) != len(target.equals) or "" in target.equals:
        return None
    each: list[sql.Composable] = [
        sql.SQL("{} {} {}::{}").format(
            # What anybody's path finds is written as people write it. Elsewhere another role may
            # have an operator for a domain over the type, which would be the better match.
            sql.SQL(expression if equals == BUILT_IN else f"({expression})::{type_}"),
            sql.SQL("=" if equals == BUILT_IN else equals),
            sql.Literal(value),
            sql.SQL(type_),
        )
        for expression, equals, value, type_ in zip(
            target.expressions, target.equals, values, target.types, strict=True
        )
    ]
    if target.predicate:
        each.append(sql.SQL(target.predicate))
    return sql.SQL(" AND ").join(each)


BUILT_IN = "OPERATOR(pg_catalog.=)"


def _key_part(expression: str) -> sql.Composable:
    """Return an expression as text; NULL, which ``format`` would show as nothing, as NULL."""
    text = FORMAT.format(sql.SQL(expression))
    return sql.SQL("CASE WHEN {} IS NOT NULL THEN {} END").format(sql.SQL(expression), text)


def _groups(target: Target, shown: sql.Composable) -> sql.Composable:
    each = [sql.SQL(expression) for expression in target.expressions]
    kept: list[sql.Composable] = []
    if not target.nulls_are_equal:
        kept += [sql.SQL("{} IS NOT NULL").format(expression) for expression in each]
    if target.predicate:
        kept.append(sql.SQL(target.predicate))
    return sql.SQL("SELECT {}, count(*) AS n FROM {}{} GROUP BY {} HAVING count(*) > 1").format(
        shown,
        sql.SQL(target.quoted_table),
        sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(kept)) if kept else sql.SQL(""),
        sql.SQL(", ").join(each),
    )
