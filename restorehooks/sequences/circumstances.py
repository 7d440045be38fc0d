"""What else bears on a reading: the snapshot, the server, and a row that stands alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .catalog import Conditions
from .extremes import farthest
from .message import Failed, LockBudget, in_transaction, send_for_one
from .model import Reading, Sequence
from .verdict import Status, Verdict, is_far

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def under(conditions: Conditions, connection: BaseDatabaseWrapper, reading: Reading) -> Reading:
    """Return a reading with what the server and the transaction leave open about it."""
    doubts: tuple[str, ...] = ()
    if conditions.isolation in OLD_SNAPSHOTS and in_transaction(connection):
        doubts = (f"the snapshot of this {conditions.isolation} transaction may hide newer rows",)
    margin = AHEAD_ON_A_STANDBY if conditions.is_standby else 0
    return reading._replace(doubts=doubts, margin=margin)


def with_lone_row(
    connection: BaseDatabaseWrapper, sequence: Sequence, reading: Reading, budget: LockBudget
) -> Reading:
    """Return the reading with whether the row at its extreme stands alone far past all else."""
    if reading.extreme is None or reading.last_value is None:
        return reading
    up = sequence.counts_up
    base = reading.last_value
    for column in sequence.columns:
        if column.unseen is None:
            before = f"{column.quoted_name} {'<' if up else '>'} {reading.extreme}"
            result = send_for_one(connection, [farthest(sequence, column, before)], budget)
            if isinstance(result, Failed):
                return reading
            number = result[0][0][0] if result[0] else None
            if number is not None:
                base = max(base, math.floor(number)) if up else min(base, math.ceil(number))
    if not is_far(sequence, base, reading.extreme):
        return reading
    return reading._replace(lone_after=base)


def jumps_far(sequence: Sequence, verdict: Verdict) -> bool:
    """Whether its rows take a sequence so far that one of them may stand alone."""
    if verdict.next is None or verdict.extreme is None:
        return False
    ahead = verdict.next - verdict.extreme
    if (ahead > 0) if sequence.counts_up else (ahead < 0):
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


OLD_SNAPSHOTS = ("repeatable read", "serializable")
AHEAD_ON_A_STANDBY = 33
"""Increments that a standby may show a sequence ahead of the primary: the 32 that nextval logs in
advance (SEQ_LOG_VALS in PostgreSQL's sequence.c), and the one that made it log."""
