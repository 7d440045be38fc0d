"""What else bears on a reading: the snapshot, the server, and a row that stands alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .catalog import Conditions
from .extremes import farthest
from .message import Failed, LockBudget, in_transaction, send_for_one
from .model import Lone, Reading, Sequence
from .verdict import Status, Verdict, first_past, is_far, next_value

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def under(conditions: Conditions, connection: BaseDatabaseWrapper, reading: Reading) -> Reading:
    """Return a reading with what the server and the transaction leave open about it."""
    doubts: tuple[str, ...] = ()
    if conditions.isolation in OLD_SNAPSHOTS and in_transaction(connection):
        doubts = (f"the snapshot of this {conditions.isolation} transaction may hide newer rows",)
    margin = AHEAD_ON_A_STANDBY if conditions.is_standby else 0
    return reading._replace(doubts=doubts, margin=margin)


def with_lone_rows(
    connection: BaseDatabaseWrapper,
    sequence: Sequence,
    reading: Reading,
    budget: LockBudget,
    *,
    most: int = 1,
) -> Reading:
    """Return the reading with the rows, up to ``most``, that stand alone at the end, if any do.

    One row does where it is far past all else, several where they are all that ends the range.
    """
    if reading.extreme is None or reading.last_value is None:
        return reading
    upcoming = next_value(sequence, reading.last_value, bool(reading.is_called))
    farther = max if sequence.counts_up else min
    first = reading.extreme
    for count in range(1, most + 1):
        others = _number_before(connection, sequence, first, budget)
        if isinstance(others, Failed):
            return reading
        after = reading.last_value if others is None else farther(others, reading.last_value)
        free = upcoming if others is None else first_past(upcoming, others, sequence.increment)
        has_room = (first - farther(free, upcoming)) * sequence.increment > 0
        if is_far(sequence, after, first) if most == 1 else has_room:
            return reading._replace(lone=Lone(count, first, others, after))
        if others is None:
            break
        first = others
    return reading


def _number_before(
    connection: BaseDatabaseWrapper, sequence: Sequence, number: int, budget: LockBudget
) -> int | Failed | None:
    """Return the last number among the rows before another one, None where there is none."""
    up = sequence.counts_up
    found: list[int] = []
    for column in sequence.columns:
        if column.unseen is None:
            before = f"{column.quoted_name} {'<' if up else '>'} {number}"
            result = send_for_one(connection, [farthest(sequence, column, before)], budget)
            if isinstance(result, Failed):
                return result
            value = result[0][0][0] if result[0] else None
            if value is not None:
                found.append(math.floor(value) if up else math.ceil(value))
    return (max if up else min)(found, default=None)


def is_full(sequence: Sequence, verdict: Verdict) -> bool:
    """Whether a row at the end of the range is in the way of a sequence that is behind it."""
    if verdict.status is not Status.EXHAUSTED or verdict.next is None or verdict.extreme is None:
        return False
    low, high = sorted((verdict.next, sequence.limit))
    return low <= verdict.extreme <= high


def jumps_far(sequence: Sequence, verdict: Verdict) -> bool:
    """Whether its rows take a sequence so far that one of them may stand alone."""
    if verdict.next is None or verdict.extreme is None:
        return False
    is_moved = verdict.target is not None and not verdict.rewinds
    return (is_moved or verdict.status is Status.EXHAUSTED) and is_far(
        sequence, verdict.next, verdict.extreme
    )


def readable(
    conditions: Conditions, connection: BaseDatabaseWrapper, sequence: Sequence
) -> Sequence:
    """Return a sequence without the columns that the present transaction should not read.

    What a SERIALIZABLE transaction reads may make it, or another, fail at COMMIT. What it has
    written to is its own concern already.
    """
    if conditions.written is None or not in_transaction(connection):
        return sequence
    why = "not read, since this SERIALIZABLE transaction has not written to it"
    columns = [
        column
        if column.unseen is not None or column.table_oid in conditions.written
        else column._replace(unseen=f"{column.quoted} is {why}")
        for column in sequence.columns
    ]
    return sequence._replace(columns=tuple(columns))


AT_THE_END = 10
"""So many rows are looked at, where the last of them ends the range, for a number before them."""
OLD_SNAPSHOTS = ("repeatable read", "serializable")
AHEAD_ON_A_STANDBY = 33
"""Increments that a standby may show a sequence ahead of the primary: the 32 that nextval logs in
advance (SEQ_LOG_VALS in PostgreSQL's sequence.c), and the one that made it log."""
