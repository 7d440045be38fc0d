"""A single row far past all else, and a few at the end of a range: what is done about the others.

A sentinel ("deleted user" is 2147483647), a typing error or a stranger's row would take a sequence
to the end of its range, and nothing brings it back. Such a row is named. A hook does not move the
sequence past it (``conf.limits`` says so by ``follows_lone_rows``); a command does, as asked. Where
it is not followed, or rows at the very end leave no number past them, the others are passed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .extremes import farthest
from .guard import Question, combined
from .message import Failed, LockBudget, send_for_one
from .model import Lone, Reading, Sequence
from .reading import numbers_of
from .verdict import Status, Verdict, first_past, next_value

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SHARE = 0.1
"""The share of what is left of a range above which a jump is a large one."""
AT_THE_END = 10
"""So many rows are looked at, where the last of them ends the range, for a number before them."""
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
    return (is_moved or verdict.status is Status.EXHAUSTED) and is_far(
        sequence, verdict.next, verdict.extreme
    )


def is_full(sequence: Sequence, verdict: Verdict) -> bool:
    """Return whether a row at the end of the range is in the way of a sequence that is behind."""
    if verdict.status is not Status.EXHAUSTED or verdict.next is None or verdict.extreme is None:
        return False
    low, high = sorted((verdict.next, sequence.limit))
    return low <= verdict.extreme <= high


def with_lone_rows(
    connection: BaseDatabaseWrapper,
    sequence: Sequence,
    reading: Reading,
    budget: LockBudget,
    *,
    most: int = 1,
) -> Reading:
    """Return the reading with the rows, up to ``most``, that stand alone at the end, if any do.

    One row does where it is far past all else, several do where they leave a number before them.
    """
    if reading.extreme is None or reading.last_value is None:
        return reading
    upcoming = next_value(sequence, reading.last_value, bool(reading.is_called))
    farther = max if sequence.counts_up else min
    first = reading.extreme
    for number in range(1, most + 1):
        others = _number_before(connection, sequence, first, budget)
        if isinstance(others, Failed):
            return reading
        after = reading.last_value if others is None else farther(others, reading.last_value)
        free = upcoming if others is None else first_past(upcoming, others, sequence.increment)
        has_room = upcoming < free < first if sequence.counts_up else upcoming > free > first
        if is_far(sequence, after, first) if most == 1 else has_room:
            return reading._replace(lone=Lone(number, first, others, after))
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
            asked = combined([Question(farthest(sequence, column, before), numbers_of(column))])
            result = send_for_one(connection, asked.statements, budget)
            if isinstance(result, Failed):
                return result
            (value,) = asked.answers(result)
            if value is not None:
                found.append(math.floor(value) if up else math.ceil(value))
    return (max if up else min)(found, default=None)


def is_far(sequence: Sequence, base: int, number: int) -> bool:
    """Return whether a jump from one number to another takes a large share of what is left."""
    return abs(number - base) > max(SHARE * abs(sequence.limit - base), NEVER_FAR)
