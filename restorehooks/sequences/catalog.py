"""Which sequence numbers which columns."""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from restorehooks.driver import sql

from .catalog_sql import CONDITIONS, SEQUENCES
from .citus import read_node
from .counted import counted, hint_about
from .defaults import ODD_DEFAULTS, OddDefault, Stored, read_odd_defaults
from .listed import Listed, guessed, listed
from .message import LockBudget, send
from .model import Column, Sequence
from .notes import read_subscriptions
from .planning import ANY_CODE, NO_CODE, STRANGERS_CODE
from .row import Row
from .scope import Limits
from .session import AS_WRITTEN

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


DEFAULTS = Limits()


class Conditions(NamedTuple):
    """What holds for all that a run reads.

    ``isolation`` is that of the present transaction; ``written`` are the oids of the tables that it
    has written to, None where that does not matter. ``is_node``: of a Citus cluster.
    ``feeds`` are subscriptions that are enabled, each with the oid of a table that it feeds.
    ``made_read_only_by`` is the source of ``default_transaction_read_only`` where that is on, as
    ``pg_settings`` names it. ``replicates`` are extensions whose subscriptions may be read here,
    ``subscriptions`` those that are enabled, with the extension's name.
    """

    is_standby: bool
    is_read_only: bool
    isolation: str
    written: list[int] | None = None
    is_node: bool = False
    feeds: list[tuple[str, int]] | None = None
    made_read_only_by: str | None = None
    replicates: list[str] | None = None
    subscriptions: Collection[tuple[str, str]] = ()

    def why_read_only(self, *, within: bool) -> str | None:
        """Return why nothing can be changed, None where it can.

        ``within`` a transaction of the caller's, that one says it. One of our own writes, unless
        the connection itself, or the server's configuration, asks for none that do.
        """
        if self.is_standby:
            return "the server is a standby and cannot be written to"
        by_default = not within and self.made_read_only_by in SET_FOR_OTHERS
        return "transactions are read-only here" if self.is_read_only and not by_default else None


SET_FOR_OTHERS = ("database", "user", "database user", "global")
"""The sources of what ALTER DATABASE and ALTER ROLE set, which is not asked for by the caller."""


def read_catalog(
    connection: BaseDatabaseWrapper,
    budget: LockBudget,
    limits: Limits = DEFAULTS,
    *,
    tables: Collection[int] | None = None,
    schemas: Collection[str] | None = None,
) -> tuple[list[Sequence], Conditions]:
    """Return the sequences in scope, each with every column that it numbers, in order of name.

    ``tables`` (oids) keeps those that number a column of one of them, ``schemas`` those that stand
    in one of them or number a table that does. Temporary and system sequences are never among
    them, nor those of extensions whose tables are not dumped, nor columns of temporary tables.
    """
    links = listed(connection, limits.links, budget) if limits.links else []
    how: Any = {"remembering": [AS_WRITTEN]}
    first = [ODD_DEFAULTS, CONDITIONS, ANY_CODE]
    odd, (row,), ((may_call,),) = send(connection, first, budget.for_one(), **how)
    defaults = read_odd_defaults(connection, [Stored(*each) for each in odd], budget)
    expressions = {default.stored.oid: default.expression for default in defaults}
    query = partial(_sequences, tables, schemas, STRANGERS_CODE if may_call else NO_CODE, defaults)
    (rows,) = send(connection, [query(links)], budget.for_one(), **how)
    found = _assembled(rows, expressions)
    alone = [s.oid for s in found if not s.columns and s.hint is None]
    if alone and limits.names != "ignored" and tables is None:
        guesses = guessed(connection, alone, budget)
        if guesses:
            again = query([*links, *guesses])
            (rows,) = send(connection, [again], budget.for_one(), **how)
            found = _assembled(rows, expressions, {guess.sequence for guess in guesses})
    if schemas is not None:
        found = [s for s in found if {s.schema, *(c.schema for c in s.columns)} & set(schemas)]
    conditions = _conditions(connection, row, budget)
    if conditions.is_node:
        node = read_node(connection, budget)
        found = [node.own_part(sequence) for sequence in found]
    return [_left_alone(sequence, limits) for sequence in found], conditions


def _conditions(
    connection: BaseDatabaseWrapper, row: tuple[Any, ...], budget: LockBudget
) -> Conditions:
    conditions = Conditions(*row)
    if not conditions.replicates:
        return conditions
    enabled = read_subscriptions(connection, conditions.replicates, budget)
    return conditions._replace(subscriptions=enabled)


def _assembled(
    rows: Iterable[tuple[Any, ...]], expressions: Mapping[int, str], guesses: Collection[int] = ()
) -> list[Sequence]:
    groups = groupby(map(Row._make, rows), key=lambda row: row.oid)
    return [_sequence(list(group), expressions, oid in guesses) for oid, group in groups]


def _left_alone(sequence: Sequence, limits: Limits) -> Sequence:
    """Return the sequence without the columns that are left alone, or marked as such itself."""
    if not limits.ignore:
        return sequence
    columns = sequence.columns or sequence.uncounted
    reasons = {column: limits.reason_to_ignore(column.quoted) for column in columns}
    why = limits.reason_to_ignore(sequence.quoted) or sequence.ignored
    kept = tuple(column for column in sequence.columns if reasons[column] is None)
    if why is None and not kept:
        why = next((reason for reason in reasons.values() if reason is not None), None)
    return sequence._replace(columns=kept if why is None else sequence.columns, ignored=why)


def _sequences(
    tables: Collection[int] | None,
    schemas: Collection[str] | None,
    code: str,
    odd: abc.Sequence[OddDefault],
    links: abc.Sequence[Listed],
) -> sql.Composable:
    by_text = [default for default in odd if default.by_text]
    exact = [default.stored for default in odd if default.exact and not default.by_text]
    return SEQUENCES.format(
        columns=sql.SQL(", ").join(map(sql.Identifier, Row._fields)),
        code=sql.SQL(code),
        tables=sql.Literal(None if tables is None else list(tables)),
        schemas=sql.Literal(None if schemas is None else list(schemas)),
        exact_kinds=sql.Literal([stored.catalogue for stored in exact]),
        exact=sql.Literal([stored.oid for stored in exact]),
        by_text_kinds=sql.Literal([d.stored.catalogue for d in by_text]),
        by_text=sql.Literal([d.stored.oid for d in by_text]),
        by_text_sequences=sql.Literal([d.sequence for d in by_text]),
        by_text_exact=sql.Literal([d.exact for d in by_text]),
        listed_sequences=sql.Literal([link.sequence for link in links]),
        listed_tables=sql.Literal([link.table for link in links]),
        listed_columns=sql.Literal([link.column for link in links]),
    )


def _sequence(rows: list[Row], expressions: Mapping[int, str], is_guessed: bool) -> Sequence:
    row = rows[0]
    pairs = [
        (_column(each, each.table_oid, is_guessed), each)
        for each in rows
        if each.table_oid is not None
    ]
    columns = counted(pairs, expressions)
    counts = {column.quoted for column in columns}
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
        uncounted=tuple(column for column, _ in pairs if column.quoted not in counts),
        of_stranger=row.sequence_of_stranger,
        barred=(row.barred[0], row.barred[1]) if row.barred else None,
    )


def _column(row: Row, table_oid: int, is_guessed: bool) -> Column:
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
        is_guessed,
        sized=row.sized,
        of_stranger=row.of_stranger,
    )
