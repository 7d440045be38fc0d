"""A single row far past all else: how far a hook may follow it.

A sentinel ("deleted user" is 2147483647), a typing error or a stranger's row would take a sequence
to the end of its range, and nothing brings it back. Such a row is named. A hook does not move the
sequence past it (``conf.limits`` says so by ``follows_lone_rows``); a command does, as asked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .extremes import farthest
from .message import Failed, LockBudget, send_for_one
from .model import Reading, Sequence
from .verdict import Status, Verdict

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SHARE = 0.1
"""The share of what is left of a range above which a jump is a large one."""
NEVER_FAR = 100_000
"""The number of numbers up to which no jump is a large one."""


def jumps_far(sequence: Sequence, verdict: Verdict) -> bool:
    """Return whether its rows take a sequence so far that one of them may stand alone."""
    if verdict.next is None or verdict.extreme is None:
        return False
    ahead = verdict.next - verdict.extreme
    if (ahead > 0) if sequence.counts_up else (ahead < 0):
        return False
    is_moved = verdict.target is not None and not verdict.rewinds
    return (is_moved or verdict.status is Status.EXHAUSTED) and _is_far(
        sequence, verdict.next, verdict.extreme
    )


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
    if not _is_far(sequence, base, reading.extreme):
        return reading
    return reading._replace(lone_after=base)


def _is_far(sequence: Sequence, base: int, number: int) -> bool:
    return abs(number - base) > max(SHARE * abs(sequence.limit - base), NEVER_FAR)
