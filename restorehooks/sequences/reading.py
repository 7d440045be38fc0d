"""Where each sequence stands, and how far the rows it numbers have come."""

from __future__ import annotations

import math
from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .extremes import can_be_looked_up, extreme
from .guard import Numbers, Question, combined, named
from .message import (
    LAST_VALUES,
    PLAN_LOOKUPS,
    POSITIONS,
    Failed,
    LockBudget,
    array,
    by_locks,
    in_batches,
    in_transaction,
    send_for_one,
    send_once,
)
from .model import Column, Reading, Sequence
from .other_connections import OtherConnections
from .sending import Statement

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


SMALL = 20
"""Up to this many sequences are read outright; asking for sizes first would cost more."""
SIZES_AT_ONCE = 2_000
"""Tables to a message that asks for sizes; where one is locked, fewer are asked for again."""


def read(
    connection: BaseDatabaseWrapper,
    sequences: abc.Sequence[Sequence],
    budget: LockBudget,
    *,
    scan_limit: int | None = None,
    others: OtherConnections | None = None,
) -> Iterator[tuple[Sequence, Reading]]:
    """Yield each sequence with its reading, as many to the message as the lock table bears.

    ``scan_limit``: bytes of a table beyond which a column that no index leads is left unread;
    None reads every column whatever it takes. ``others`` take part in it.
    """
    others = others or OtherConnections(connection)

    def locks(sequence: Sequence) -> int:
        return 1 + sum(column.locks for column in sequence.columns)

    at_most = others.locks_to_a_load(sum(map(locks, sequences)))  # they connect in the meantime
    sizes: dict[int, int] = {}
    if len(sequences) > SMALL or (scan_limit is not None and _scanned(sequences)):
        sizes = _ask_sizes(connection, sequences, budget, scan_limit)

    def work(
        connection: BaseDatabaseWrapper, load: list[Sequence]
    ) -> list[tuple[Sequence, Reading]]:
        drafts = [_Draft(s, unseen=_barred(s)) for s in load]
        about_rows = [(draft, [*_about_rows(draft, sizes, scan_limit)]) for draft in drafts]
        _read_load(connection, about_rows, budget)
        return [(draft.sequence, draft.reading()) for draft in drafts]

    for readings in others.map(work, [*by_locks(sequences, locks, at_most)]):
        yield from readings


def _read_load(
    connection: BaseDatabaseWrapper,
    load: abc.Sequence[tuple[_Draft, list[_Question]]],
    budget: LockBudget,
) -> None:
    # Rows come first: a number drawn and inserted in between is no sequence behind its rows.
    questions: list[_Question] = []
    left: list[_Draft] = []
    for draft, asked in load:
        # One that numbers no rows was hardly ever called: asked by itself it is asked once.
        questions += asked or _about_position(draft)
        left += [draft] if asked else []
    if len(load) > SMALL and not in_transaction(connection):
        _answer(connection, questions, budget, left)
        questions = []
    questions += [q for draft in left for q in _about_position(draft)]
    _answer(connection, questions, budget)


def _answer(
    connection: BaseDatabaseWrapper,
    questions: abc.Sequence[_Question],
    budget: LockBudget,
    drafts: abc.Sequence[_Draft] = (),
) -> None:
    """Ask, and then ask where the sequences of the drafts stand, if any, in the same message.

    ``pg_sequence_last_value`` keeps a lock on the sequence until the transaction ends, savepoint
    or not, so within the caller's transaction there must be no drafts. Those it tells nothing of,
    never having been called, are left to be asked one by one; from PostgreSQL 18 on there are none.
    """
    parts = list(by_locks(questions, lambda question: question.locks)) or [[]]
    readable = {draft.sequence.oid: draft for draft in drafts if draft.sequence.may_read}
    for part in parts:
        first: list[Statement] = [PLAN_LOOKUPS] if all(q.is_lookup for q in part) else []
        asked = combined([question.asked for question in part])
        statements = [*first, *asked.statements]
        with_positions = bool(readable) and part is parts[-1]
        if with_positions:
            statements.append(_positions(connection, readable))
        if not part and not with_positions:
            return
        results = send_once(connection, statements, budget)
        if isinstance(results, Failed):
            for question in part:
                question.ask_alone(connection, budget)
            continue
        if with_positions:
            for oid, last_value, *is_called in results.pop():
                readable[oid].last_value = last_value
                readable[oid].is_called = all(is_called)
        for question, value in zip(part, asked.answers(results[len(first) :]), strict=True):
            question.take(value)


def numbers_of(column: Column) -> Numbers | None:
    """Return what is to be looked at before a column is read, where another role may change it."""
    if not column.of_stranger:
        return None
    return Numbers(column.table_oid, column.quoted_table, column.quoted_name, column.type)


def _positions(connection: BaseDatabaseWrapper, oids: abc.Iterable[int]) -> str:
    version = connection.pg_version  # type: ignore[attr-defined]
    return (POSITIONS if version >= 180000 else LAST_VALUES) % array(oids)


def _ask_sizes(
    connection: BaseDatabaseWrapper,
    sequences: abc.Sequence[Sequence],
    budget: LockBudget,
    scan_limit: int | None,
) -> dict[int, int]:
    """Ask for the sizes of tables, thousands at once; what fails stays unknown.

    ``pg_relation_size`` gives the lock on each table back at once, so the lock table is no limit.
    """
    scanned = [] if scan_limit is None else _scanned(sequences)
    columns = [c for s in sequences for c in s.columns if c.unseen is None and c.may_be_empty]
    columns = [column for column in columns if column.sized]
    plain = {c.table_oid for c in [*columns, *scanned] if c.plain}
    trees = {c.table_oid for c in scanned} - plain
    return {
        **_ask(connection, SIZES, sorted(plain), budget),
        **_ask(connection, TREE_SIZES, sorted(trees), budget),
    }


def _ask(
    connection: BaseDatabaseWrapper, statement: str, oids: list[int], budget: LockBudget
) -> dict[int, int]:
    found: dict[int, int] = {}
    for many in in_batches(oids, SIZES_AT_ONCE):
        for part in (many, *in_batches(many)):
            result = send_once(connection, [statement % array(part)], budget)
            if not isinstance(result, Failed):
                found |= {oid: value for oid, value in result[0] if value is not None}
                if part is many:
                    break
    return found


def _scanned(sequences: abc.Sequence[Sequence]) -> list[Column]:
    columns = [c for s in sequences for c in s.columns if c.unseen is None and not c.indexed]
    return [column for column in columns if column.sized]


SIZES = "SELECT oid, pg_catalog.pg_relation_size(oid) FROM unnest(%s::oid[]) AS t (oid)"
TREE_SIZES = (
    "WITH RECURSIVE kin (root, member) AS ("
    " SELECT oid, oid FROM unnest(%s::oid[]) AS t (oid)"
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
    beyond: int | None = None
    unseen: tuple[str, ...] = ()
    error: str | None = None

    def take_position(self, position: list[int]) -> None:
        """Take in where the sequence stands."""
        self.last_value, self.is_called = position[0], bool(position[1])

    def take_extreme(self, extreme: Any) -> None:
        """Take in the extreme of one column, None where it has no rows."""
        if extreme is None:
            return
        up = self.sequence.counts_up
        value = math.floor(extreme) if up else math.ceil(extreme)
        farther: Any = max if up else min
        if value < self.sequence.minimum if up else value > self.sequence.maximum:
            return  # rows before its range were numbered by somebody else
        if value > self.sequence.limit if up else value < self.sequence.limit:
            self.beyond = value if self.beyond is None else farther(self.beyond, value)
        else:
            self.extreme = value if self.extreme is None else farther(self.extreme, value)

    def reading(self) -> Reading:
        is_called = None if self.last_value is None else self.is_called
        extreme = self.beyond if self.extreme is None else self.extreme
        return Reading(self.last_value, is_called, extreme, self.unseen, self.error)


class _Question(NamedTuple):
    """What is asked, what it is about, and whose draft takes the value in.

    ``is_lookup``: it reads one row, however many there are. ``locks``: how many it takes.
    """

    draft: _Draft
    about: str
    asked: Question
    take: Callable[[Any], None]
    is_lookup: bool
    locks: int

    def ask_alone(self, connection: BaseDatabaseWrapper, budget: LockBudget) -> None:
        """Ask it in a message of its own, and take in what the server says."""
        alone = combined([self.asked])
        result = send_for_one(connection, alone.statements, budget)
        if isinstance(result, Failed):
            self.draft.error = f"{self.about}: {result.message}"
        else:
            self.take(*alone.answers(result))


def _barred(sequence: Sequence) -> tuple[str, ...]:
    if sequence.barred is None:
        return ()
    column, role = sequence.barred
    return (f"{column} draws from it, and its rows do not count, since {role} may not",)


def _about_rows(
    draft: _Draft, sizes: dict[int, int], scan_limit: int | None
) -> Iterator[_Question]:
    """Yield what has to be asked about the rows, and note in the draft what cannot be."""
    for column in draft.sequence.columns:
        reason = _why_unseen(column, sizes, scan_limit)
        if reason is not None:
            draft.unseen += (reason,)
        elif not (column.may_be_empty and column.plain and sizes.get(column.table_oid) == 0):
            asked = Question(extreme(draft.sequence, column), numbers_of(column))
            is_lookup = can_be_looked_up(column)
            yield _Question(
                draft, column.quoted, asked, draft.take_extreme, is_lookup, column.locks
            )


def _about_position(draft: _Draft) -> Iterator[_Question]:
    """Yield what has to be asked about the sequence, or note in the draft that it cannot be."""
    sequence = draft.sequence
    if not sequence.may_read:
        draft.unseen = (f"no SELECT privilege on sequence {sequence.quoted}", *draft.unseen)
    elif draft.last_value is None:
        select = f"SELECT ARRAY[last_value, is_called::integer] FROM {sequence.quoted}"  # noqa: S608
        asked = Question(select, sequence=named(sequence))
        yield _Question(draft, sequence.quoted, asked, draft.take_position, True, 1)


def _why_unseen(column: Column, sizes: dict[int, int], scan_limit: int | None) -> str | None:
    if column.unseen is not None or column.indexed or scan_limit is None:
        return column.unseen
    size = sizes.get(column.table_oid)
    if size is not None and size <= scan_limit:
        return None
    shown = "unknown size" if size is None else f"{size >> 20:,} MiB"
    return f"no index leads with {column.quoted}, in a table of {shown}"
