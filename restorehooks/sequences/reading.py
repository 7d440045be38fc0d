"""Where each sequence stands, and how far the rows it numbers have come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from psycopg import sql

from .catalog import FLOATS, Column, Sequence
from .message import Failed, Patience, Rows, in_batches, in_transaction, send_each

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SMALL = 20
"""Up to so many sequences are read outright; asking for sizes first would cost more."""


@dataclass(frozen=True)
class Reading:
    """What was read of one sequence.

    ``last_value`` and ``is_called`` are the sequence's own; both None when it could not be read.
    ``extreme`` is the largest number among its rows (the smallest when it counts down), None when
    there is none. ``unseen`` says why the sequence or some rows could not be seen; ``error`` is
    the server's message when reading failed.
    """

    last_value: int | None = None
    is_called: bool | None = None
    extreme: int | None = None
    unseen: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class _Known:
    """What one question for many at a time has told, so that it need not be asked one by one."""

    last_values: dict[int, int]
    sizes: dict[int, int]


def read(
    connection: BaseDatabaseWrapper,
    sequences: Many[Sequence],
    patience: Patience,
    *,
    scan_limit: int | None = None,
) -> Iterator[tuple[Sequence, Reading]]:
    """Yield each sequence with its reading, a few hundred to the message.

    ``scan_limit``: bytes of a table beyond which a column that no index leads is left unread;
    None reads every column whatever it takes.
    """
    for batch in in_batches(sequences):
        known = _Known({}, {})
        if len(batch) > SMALL or (scan_limit is not None and _scanned(batch)):
            known = _ask_for_many(connection, batch, patience)
        questions = {s.oid: list(_questions(s, known, scan_limit)) for s in batch}

        def statements(
            items: Many[Sequence], questions: dict[int, list[Question]] = questions
        ) -> list[sql.Composable]:
            return [statement for item in items for statement, _ in questions[item.oid]]

        for items, result in send_each(connection, batch, statements, patience):
            if isinstance(result, Failed):
                yield from ((item, Reading(error=result.message)) for item in items)
                continue
            answers = iter(result)
            for item in items:
                draft = _Draft(known.last_values.get(item.oid))
                for _, take in questions[item.oid]:
                    take(next(answers), draft)
                yield item, draft.reading(item, known, scan_limit)


def _scanned(sequences: Many[Sequence]) -> list[Column]:
    return [c for s in sequences for c in s.columns if c.unseen is None and not c.indexed]


def _ask_for_many(
    connection: BaseDatabaseWrapper, batch: Many[Sequence], patience: Patience
) -> _Known:
    """Ask for all sizes and last values at once.

    ``pg_sequence_last_value`` keeps a lock on the sequence until the transaction ends, savepoint
    or not, so within the caller's transaction it is not used.
    """
    scanned = _scanned(batch)
    tables = {c.table_oid for s in batch for c in s.columns if c.plain and c.unseen is None}
    oids = [] if in_transaction(connection) else [s.oid for s in batch if s.may_read]

    def statements(_: object) -> list[sql.Composable]:
        return [
            LAST_VALUES.format(sql.Literal(oids)),
            SIZES.format(sql.Literal(sorted(tables))),
            TREE_SIZES.format(sql.Literal(sorted({c.table_oid for c in scanned} - tables))),
        ]

    for _, result in send_each(connection, [batch], statements, patience):
        if not isinstance(result, Failed):
            last_values, sizes, tree_sizes = result
            called = {oid: value for oid, value in last_values if value is not None}
            return _Known(called, dict(sizes + tree_sizes))
    return _Known({}, {})


LAST_VALUES = sql.SQL(
    "SELECT oid, pg_catalog.pg_sequence_last_value(oid) FROM unnest({}::oid[]) AS t (oid)"
)
SIZES = sql.SQL("SELECT oid, pg_catalog.pg_relation_size(oid) FROM unnest({}::oid[]) AS t (oid)")
TREE_SIZES = sql.SQL(
    "WITH RECURSIVE kin (root, member) AS ("
    " SELECT oid, oid FROM unnest({}::oid[]) AS t (oid)"
    " UNION SELECT kin.root, i.inhrelid FROM kin"
    " JOIN pg_catalog.pg_inherits i ON i.inhparent = kin.member)"
    " SELECT root, coalesce(sum(pg_catalog.pg_relation_size(member)), 0)::bigint"
    " FROM kin GROUP BY root"
)


@dataclass
class _Draft:
    """A reading while its answers come in."""

    last_value: int | None
    is_called: bool = True
    extremes: tuple[int, ...] = ()

    def reading(self, sequence: Sequence, known: _Known, scan_limit: int | None) -> Reading:
        unseen = [_why_unseen(column, known, scan_limit) for column in sequence.columns]
        if not sequence.may_read:
            unseen.insert(0, f"no SELECT privilege on sequence {sequence.quoted}")
        farthest: Any = max if sequence.increment > 0 else min
        return Reading(
            self.last_value,
            None if self.last_value is None else self.is_called,
            farthest(self.extremes, default=None),
            tuple(reason for reason in unseen if reason is not None),
        )


Question = tuple[sql.Composable, Callable[[Rows, _Draft], None]]


def _questions(sequence: Sequence, known: _Known, scan_limit: int | None) -> Iterator[Question]:
    """Yield each statement that must be sent for a sequence, and what takes its answer in."""
    if sequence.may_read and sequence.oid not in known.last_values:
        yield POSITION.format(sequence.identifier), _take_position
    for column in sequence.columns:
        if _why_unseen(column, known, scan_limit) is None and not _is_empty(column, known):
            yield _extreme(sequence, column), _take_extreme(sequence)


POSITION = sql.SQL("SELECT last_value, is_called FROM {}")


def _extreme(sequence: Sequence, column: Column) -> sql.Composable:
    statement = "SELECT max({0}) FROM {1}" if sequence.increment > 0 else "SELECT min({0}) FROM {1}"
    if column.type == "numeric" or column.type in FLOATS:  # NaN sorts above every number
        statement += " WHERE {0} > '-Infinity' AND {0} < 'Infinity'"
    return sql.SQL(statement).format(sql.Identifier(column.name), column.identifier)


def _take_position(rows: Rows, draft: _Draft) -> None:
    draft.last_value, draft.is_called = rows[0]


def _take_extreme(sequence: Sequence) -> Callable[[Rows, _Draft], None]:
    def take(rows: Rows, draft: _Draft) -> None:
        value: int | float | Decimal | None = rows[0][0]
        if value is not None:
            whole = math.floor(value) if sequence.increment > 0 else math.ceil(value)
            draft.extremes = (*draft.extremes, whole)

    return take


def _is_empty(column: Column, known: _Known) -> bool:
    return column.plain and known.sizes.get(column.table_oid) == 0


def _why_unseen(column: Column, known: _Known, scan_limit: int | None) -> str | None:
    if column.unseen is not None or column.indexed or scan_limit is None:
        return column.unseen
    size = known.sizes.get(column.table_oid)
    if size is not None and size <= scan_limit:
        return None
    shown = "unknown size" if size is None else f"{size >> 20:,} MiB"
    return f"no index leads with {column.quoted}, in a table of {shown}"
