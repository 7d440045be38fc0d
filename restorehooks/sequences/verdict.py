"""What a reading means: a reading in, a verdict out. Pure functions, no database."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from .model import INTEGERS, Reading, Sequence


class Status(str, Enum):
    """What is to be said of a sequence; the values are those of the JSON form."""

    OK = "ok"
    BEHIND = "behind"
    ADVANCED = "advanced"
    REWOUND = "rewound"
    EXHAUSTED = "exhausted"
    UNVERIFIED = "unverified"
    FAILED = "failed"


class Verdict(NamedTuple):
    """How a sequence stands to its rows, and where it should stand.

    ``next`` is what ``nextval`` would hand out, ``extreme`` the farthest number among the rows.
    ``target`` is what ``nextval`` should hand out instead, None where it may stay as it is; it
    lies behind ``next`` only when a rewind was asked for. ``reason`` explains whatever is not
    plainly ok, remedy included. ``is_partial``: the target passes some rows only, and the status
    will be what it is.
    """

    status: Status
    next: int | None = None
    extreme: int | None = None
    target: int | None = None
    reason: str | None = None
    is_partial: bool = False

    @property
    def rewinds(self) -> bool:
        """Whether reaching the target means going back."""
        return self.target is not None and self.status is Status.OK


def verdict_on(
    sequence: Sequence,
    reading: Reading,
    *,
    headroom: int = 0,
    rewind: bool = False,
    follows_lone_rows: bool = True,
) -> Verdict:
    """Return the verdict on a sequence.

    ``headroom`` is the number of increments to stay clear of the rows; ``rewind`` allows a target
    behind the present position, where every row could be seen. Without ``follows_lone_rows`` a
    sequence that a single far row has passed has no target.
    """
    if sequence.ignored is not None or reading.error is not None or reading.last_value is None:
        return _without_position(sequence, reading)
    upcoming = next_value(sequence, reading.last_value, bool(reading.is_called))
    taken = _taken(sequence, reading)
    target = _target(sequence, upcoming, taken, headroom)
    if rewind and target is None and sequence.columns and not reading.unseen:
        target = _rewound(sequence, upcoming, reading.extreme, headroom)
        if target is not None:
            return Verdict(Status.OK, upcoming, reading.extreme, target, "ahead of its rows")
    wanted = upcoming if target is None else target
    fits = _fits(sequence, wanted)
    said = [*_lone_rows(reading), *_at_source(sequence, reading)]
    if not fits and not sequence.cycle:
        return _exhausted(sequence, reading, upcoming, wanted, headroom)
    is_behind = fits and target is not None
    stays = reading.lone is not None and not follows_lone_rows
    if stays or not fits:
        target = _past_the_others(sequence, upcoming, reading)
    unseen = "; ".join([*reading.unseen, *_doubts(sequence, reading, upcoming)])
    if unseen:
        return Verdict(Status.UNVERIFIED, upcoming, reading.extreme, target, unseen, stays)
    if is_behind:
        follow = ["to follow it, run resetsequences"] if stays else []
        why = "; ".join([*said, *follow, *filter(None, [sequence.hint])])
        return Verdict(Status.BEHIND, upcoming, reading.extreme, target, why or None, stays)
    return Verdict(Status.OK, upcoming, reading.extreme, reason=_remark(sequence, fits=fits))


def _exhausted(
    sequence: Sequence, reading: Reading, upcoming: int, wanted: int, headroom: int
) -> Verdict:
    said = [*_lone_rows(reading), *_at_source(sequence, reading), *reading.unseen]
    reason = "; ".join([*said, _remedy(sequence, _taken(sequence, reading), wanted, headroom)])
    target = _past_the_others(sequence, upcoming, reading)
    return Verdict(Status.EXHAUSTED, upcoming, reading.extreme, target, reason, is_partial=True)


def _without_position(sequence: Sequence, reading: Reading) -> Verdict:
    if sequence.ignored is not None:
        return Verdict(Status.OK, reason=f"left alone: {sequence.ignored}")
    if reading.error is not None:
        return Verdict(Status.FAILED, reason=reading.error)
    unseen = "; ".join(reading.unseen)
    return Verdict(Status.UNVERIFIED, extreme=reading.extreme, reason=unseen)


def _remark(sequence: Sequence, *, fits: bool) -> str | None:
    if not fits:
        return "it cycles, and there is no room past its rows"
    return sequence.hint or (None if sequence.columns else UNKNOWN_COLUMN)


def _taken(sequence: Sequence, reading: Reading) -> int | None:
    """Return the farthest number that a row has or that is the source's."""
    both = (reading.extreme, reading.taken_at_source)
    numbers = [number for number in both if number is not None]
    return (max if sequence.counts_up else min)(numbers, default=None)


def _at_source(sequence: Sequence, reading: Reading) -> list[str]:
    taken = _taken(sequence, reading)
    if taken is None or taken == reading.extreme:
        return []
    first = sequence.minimum if sequence.counts_up else sequence.maximum
    if _is_before(sequence, taken, first):
        return ["nobody has drawn from it at the source yet"]
    return [f"the source has come to {taken}"]


def _lone_rows(reading: Reading) -> list[str]:
    if reading.lone is None:
        return []
    number, first, _, after = reading.lone
    rows, need = f"the row numbered {first} stands", "it may need another number"
    if number > 1:
        rows, need = f"{number} rows from {first} on stand", "they may need other numbers"
    return [f"{rows} alone, nothing else goes past {after}: {need}"]


def _past_the_others(sequence: Sequence, upcoming: int, reading: Reading) -> int | None:
    """Return the target that passes all rows but those that stand alone."""
    if reading.lone is None:
        return None
    others = reading._replace(extreme=reading.lone.others)
    target = _target(sequence, upcoming, _taken(sequence, others), 0)
    is_free = target is not None and _is_before(sequence, target, reading.lone.first)
    return target if is_free else None


def _doubts(sequence: Sequence, reading: Reading, upcoming: int) -> tuple[str, ...]:
    """Return why the sequence may be behind although what was read says otherwise."""
    doubts = reading.doubts if sequence.columns else ()
    sure = upcoming - reading.margin * sequence.increment
    if reading.extreme is None or _is_before(sequence, reading.extreme, sure):
        return doubts
    if _is_before(sequence, upcoming, reading.extreme) or upcoming == reading.extreme:
        return doubts  # behind, wherever it stands
    return (*doubts, "a standby shows a sequence up to 32 numbers ahead of the primary")


UNKNOWN_COLUMN = "numbers no column that the database knows of"


def guess(sequence: Sequence, verdict: Verdict) -> Verdict:
    """Return the verdict on a sequence that only its name leads to a column: nothing is moved."""
    (column, *_) = sequence.columns
    by_name = f"{UNKNOWN_COLUMN}; by its name it numbers {column.quoted}"
    if verdict.status is Status.OK:
        return verdict._replace(reason=by_name)
    said = f"{by_name}, where it is {verdict.status.value}"
    if verdict.target is not None:
        said += f" (its rows end at {verdict.extreme}); if so, repair it with --by-name"
    reason = "; ".join(filter(None, [said, verdict.reason]))
    return verdict._replace(status=Status.UNVERIFIED, target=None, reason=reason)


def next_value(sequence: Sequence, last_value: int, is_called: bool) -> int:
    """Return what ``nextval`` would hand out; past the bounds when it would fail instead."""
    if not is_called:
        return last_value
    upcoming = last_value + sequence.increment
    if sequence.cycle and not sequence.minimum <= upcoming <= sequence.maximum:
        return sequence.minimum if sequence.counts_up else sequence.maximum
    return upcoming


def first_past(upcoming: int, extreme: int, increment: int) -> int:
    """Return the first number past ``extreme``, counting on or back from ``upcoming`` in steps."""
    steps = (extreme - upcoming) // increment + 1
    return upcoming + steps * increment


def used_percent(sequence: Sequence, upcoming: int) -> float:
    """Return the share of the range that is used up, 0 for a new sequence and 100 for a full one.

    The range runs from the start value, or from the bound before it where the sequence stands
    before its start, to the last number that sequence and columns can take.
    """
    sign = 1 if sequence.counts_up else -1
    first = sequence.start
    if (upcoming - first) * sign < 0:
        first = sequence.minimum if sign > 0 else sequence.maximum
    whole = (sequence.limit - first) * sign + 1
    used = (upcoming - first) * sign
    return round(100 * min(max(used / whole, 0), 1), 2) if whole > 0 else 100.0


def widening(sequence: Sequence) -> tuple[str, ...]:
    """Return the ALTER statements that give numbers past the last one, none where none can."""
    up = sequence.counts_up
    number = sequence.limit + (1 if up else -1)
    if not -INTEGERS["bigint"] <= number < INTEGERS["bigint"] or sequence.own_end == number - 1:
        return ()
    changes = [*_widen_columns(sequence, up, number)]
    if _is_before(sequence, sequence.maximum if up else sequence.minimum, number):
        changes += _widen_sequence(sequence, up, number, None)
    return tuple(changes)


def _target(sequence: Sequence, upcoming: int, extreme: int | None, headroom: int) -> int | None:
    if extreme is None:
        return None
    wanted = first_past(upcoming, extreme, sequence.increment) + headroom * sequence.increment
    return wanted if _is_before(sequence, upcoming, wanted) else None


def _rewound(sequence: Sequence, upcoming: int, extreme: int | None, headroom: int) -> int | None:
    wanted = sequence.start
    if extreme is not None:
        past = first_past(upcoming, extreme, sequence.increment) + headroom * sequence.increment
        wanted = past if _is_before(sequence, wanted, past) else wanted
    return wanted if _is_before(sequence, wanted, upcoming) and _fits(sequence, wanted) else None


def _is_before(sequence: Sequence, one: float, other: float) -> bool:
    return one < other if sequence.counts_up else one > other


def _fits(sequence: Sequence, number: int) -> bool:
    return not _is_before(sequence, sequence.limit, number)


def _remedy(sequence: Sequence, extreme: int | None, number: int, headroom: int) -> str:
    """Say what bounds the sequence and all that it takes to give it room again."""
    remedies = [f"ask for less headroom than {headroom}"] if headroom else []
    up = sequence.counts_up
    says = f"the next number would be {number}, past {sequence.limit}"
    if up and sequence.own_end == sequence.limit:
        says += ", the last one of this node's own"
        remedies += [_make_room_in_own_range(sequence, extreme)]
        return f"{says}; remedy: {'; '.join(remedies)}"
    if _is_before(sequence, sequence.maximum if up else sequence.minimum, number):
        remedies += _widen_sequence(sequence, up, number, extreme)
    remedies += _widen_columns(sequence, up, number)
    return f"{says}; remedy: {'; '.join(remedies)}"


def _make_room_in_own_range(sequence: Sequence, extreme: int | None) -> str:
    if extreme is not None and not _fits(sequence, extreme + sequence.increment):
        return f"give the row numbered {extreme} another number, then rewind"
    return "no row of its own is in the way of a rewind (--rewind)"


def _widen_columns(sequence: Sequence, up: bool, number: int) -> Iterator[str]:
    for column in sequence.columns:
        bound = column.largest if up else column.smallest
        if _is_before(sequence, bound, number) and column.type != "bigint":
            type_ = "bigint" if column.type in INTEGERS else "numeric"
            change = f"ALTER COLUMN {column.quoted_name} TYPE {type_}"
            yield f"ALTER TABLE {column.quoted_table} {change}"


def _widen_sequence(sequence: Sequence, up: bool, number: int, extreme: int | None) -> list[str]:
    largest = INTEGERS["bigint"] - 1 if up else -INTEGERS["bigint"]
    if _is_before(sequence, largest, number):
        if extreme is None or not _is_before(sequence, largest, extreme + sequence.increment):
            return ["no type is larger than bigint, but no row is in the way of a rewind"]
        return [
            f"no type is larger than bigint: give the row numbered {extreme} another number, then"
            " rewind"
        ]
    own_bound = INTEGERS[sequence.type] - 1 if up else -INTEGERS[sequence.type]
    changes = [f"ALTER SEQUENCE {sequence.quoted}"]
    if _is_before(sequence, own_bound, number):
        changes.append("AS bigint")
    if (sequence.maximum if up else sequence.minimum) != own_bound:
        changes.append("NO MAXVALUE" if up else "NO MINVALUE")
    return [" ".join(changes)]
