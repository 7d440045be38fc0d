"""Where each sequence stands, and how far the rows it numbers have come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from .catalog import FLOATS, Column, Sequence
from .message import Failed, Patience, in_batches, in_transaction, send_each, send_once

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
        sizes: dict[int, int] = {}
        if len(batch) > SMALL or (scan_limit is not None and _scanned(batch)):
            sizes = _ask_sizes(connection, batch, patience)
        drafts = [_Draft(sequence) for sequence in batch]
        # Rows come first: a number drawn and inserted meanwhile is no sequence behind its rows.
        questions = [q for draft in drafts for q in _about_rows(draft, sizes, scan_limit)]
        if len(batch) > SMALL and not in_transaction(connection):
            _answer(connection, questions, patience)
            _take_last_values(connection, drafts, patience)
            questions = []
        questions += [q for draft in drafts for q in _about_position(draft)]
        _answer(connection, questions, patience)
        yield from ((draft.sequence, draft.reading()) for draft in drafts)


def _answer(
    connection: BaseDatabaseWrapper, questions: Many[_Question], patience: Patience
) -> None:
    for part in in_batches(questions):
        for asked, answers in send_each(connection, part, _statements, patience):
            if isinstance(answers, Failed):
                asked[0].draft.error = f"{asked[0].about}: {answers.message}"
                continue
            for question, rows in zip(asked, answers, strict=True):
                question.draft.take(question.column, rows[0])


def _take_last_values(
    connection: BaseDatabaseWrapper, drafts: Many[_Draft], patience: Patience
) -> None:
    """Ask for last values, hundreds at once; those not called are asked one by one later.

    ``pg_sequence_last_value`` keeps a lock on the sequence until the transaction ends, savepoint
    or not, so within the caller's transaction it is not used.
    """
    oids = [draft.sequence.oid for draft in drafts if draft.sequence.may_read]
    last_values = _ask(connection, LAST_VALUES, oids, patience)
    for draft in drafts:
        draft.last_value = last_values.get(draft.sequence.oid)


def _ask_sizes(
    connection: BaseDatabaseWrapper, batch: Many[Sequence], patience: Patience
) -> dict[int, int]:
    """Ask for the sizes of tables, hundreds at once; what fails stays unknown."""
    plain = {c.table_oid for s in batch for c in s.columns if c.plain and c.unseen is None}
    trees = {c.table_oid for c in _scanned(batch)} - plain
    return {
        **_ask(connection, SIZES, sorted(plain), patience),
        **_ask(connection, TREE_SIZES, sorted(trees), patience),
    }


def _ask(
    connection: BaseDatabaseWrapper, statement: sql.SQL, oids: list[int], patience: Patience
) -> dict[int, int]:
    found: dict[int, int] = {}
    for part in in_batches(oids):
        result = send_once(connection, [statement.format(sql.Literal(part))], patience)
        if not isinstance(result, Failed):
            found |= {oid: value for oid, value in result[0] if value is not None}
    return found


def _scanned(sequences: Many[Sequence]) -> list[Column]:
    return [c for s in sequences for c in s.columns if c.unseen is None and not c.indexed]


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

    sequence: Sequence
    last_value: int | None = None
    is_called: bool = True
    extreme: int | None = None
    unseen: tuple[str, ...] = ()
    error: str | None = None

    def take(self, column: Column | None, row: tuple[Any, ...]) -> None:
        """Take in where the sequence stands, or the extreme of one column."""
        if column is None:
            self.last_value, self.is_called = row
        elif row[0] is not None:
            up = self.sequence.increment > 0
            value = math.floor(row[0]) if up else math.ceil(row[0])
            farther: Any = max if up else min
            self.extreme = value if self.extreme is None else farther(self.extreme, value)

    def reading(self) -> Reading:
        is_called = None if self.last_value is None else self.is_called
        return Reading(self.last_value, is_called, self.extreme, self.unseen, self.error)


@dataclass(frozen=True)
class _Question:
    """A statement to be sent, and whose draft takes its answer in; no column: the sequence's."""

    draft: _Draft
    column: Column | None
    statement: sql.Composable

    @property
    def about(self) -> str:
        return self.draft.sequence.quoted if self.column is None else self.column.quoted


def _statements(questions: Many[_Question]) -> list[sql.Composable]:
    return [question.statement for question in questions]


def _about_rows(
    draft: _Draft, sizes: dict[int, int], scan_limit: int | None
) -> Iterator[_Question]:
    """Yield what has to be asked about the rows, and note in the draft what cannot be."""
    for column in draft.sequence.columns:
        reason = _why_unseen(column, sizes, scan_limit)
        if reason is not None:
            draft.unseen += (reason,)
        elif not (column.plain and sizes.get(column.table_oid) == 0):
            yield _Question(draft, column, _extreme(draft.sequence, column))


def _about_position(draft: _Draft) -> Iterator[_Question]:
    """Yield what has to be asked about the sequence, or note in the draft that it cannot be."""
    sequence = draft.sequence
    if not sequence.may_read:
        draft.unseen = (f"no SELECT privilege on sequence {sequence.quoted}", *draft.unseen)
    elif draft.last_value is None:
        yield _Question(draft, None, POSITION.format(sequence.identifier))


POSITION = sql.SQL("SELECT last_value, is_called FROM {}")


def _extreme(sequence: Sequence, column: Column) -> sql.Composable:
    finite = column.type == "numeric" or column.type in FLOATS
    return (EXTREME_FINITE if finite else EXTREME).format(
        sql.SQL("max" if sequence.increment > 0 else "min"),
        sql.Identifier(column.name),
        column.identifier,
    )


# A domain may have a max and operators of its own, which are a stranger's code: hence qualified.
EXTREME = sql.SQL("SELECT pg_catalog.{0}({1}) FROM {2}")
EXTREME_FINITE = sql.SQL(  # NaN sorts above every number
    "SELECT pg_catalog.{0}({1}) FROM {2} WHERE {1} OPERATOR(pg_catalog.>) '-Infinity'"
    " AND {1} OPERATOR(pg_catalog.<) 'Infinity'"
)


def _why_unseen(column: Column, sizes: dict[int, int], scan_limit: int | None) -> str | None:
    if column.unseen is not None or column.indexed or scan_limit is None:
        return column.unseen
    size = sizes.get(column.table_oid)
    if size is not None and size <= scan_limit:
        return None
    shown = "unknown size" if size is None else f"{size >> 20:,} MiB"
    return f"no index leads with {column.quoted}, in a table of {shown}"
