"""What a reading means: properties that hold whatever the numbers are. No database here."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from restorehooks.sequences.model import Column, Reading, Sequence
from restorehooks.sequences.verdict import (
    Status,
    Verdict,
    first_past,
    next_value,
    used_percent,
    verdict_on,
)

WIDTHS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
HUGE = 2**63


def column(type_: str = "bigint", typmod: int = -1) -> Column:
    return Column(
        1, "public", "t", "id", "public.t", "id", type_, typmod, None, indexed=True, plain=True
    )


def sequence(
    increment: int = 1,
    minimum: int = 1,
    maximum: int = HUGE - 1,
    start: int | None = None,
    *,
    type_: str = "bigint",
    cycle: bool = False,
    columns: tuple[Column, ...] | None = None,
) -> Sequence:
    first = minimum if increment > 0 else maximum
    return Sequence(
        oid=2,
        schema="public",
        name="s",
        quoted="public.s",
        type=type_,
        start=first if start is None else start,
        increment=increment,
        minimum=minimum,
        maximum=maximum,
        cache=1,
        cycle=cycle,
        may_read=True,
        may_draw=True,
        may_set=True,
        columns=(column(),) if columns is None else columns,
    )


@st.composite
def sequences(draw: st.DrawFn, cycle: bool | None = False) -> Sequence:
    """Sequences as PostgreSQL would let them be: bounds within the type, start within bounds."""
    type_ = draw(st.sampled_from([*WIDTHS]))
    width = WIDTHS[type_]
    minimum = draw(st.integers(-width, width - 2))
    maximum = draw(st.integers(minimum + 1, width - 1))
    size = draw(st.one_of(st.integers(1, 60), st.integers(1, width - 1)))
    return sequence(
        size * draw(st.sampled_from([1, -1])),
        minimum,
        maximum,
        draw(st.integers(minimum, maximum)),
        type_=type_,
        cycle=draw(st.booleans()) if cycle is None else cycle,
        columns=tuple(
            column(each)
            for each in draw(st.lists(st.sampled_from([*WIDTHS]), min_size=1, max_size=3))
        ),
    )


@st.composite
def situations(draw: st.DrawFn, cycle: bool | None = False) -> tuple[Sequence, Reading]:
    each = draw(sequences(cycle))
    last_value = draw(st.integers(each.minimum, each.maximum))
    near = st.integers(-200, 200).map(lambda offset: last_value + offset)
    extreme = draw(st.one_of(st.none(), near, st.integers(-HUGE, HUGE - 1)))
    return each, Reading(last_value, draw(st.booleans()), extreme)


@st.composite
def behind(draw: st.DrawFn) -> tuple[Sequence, Reading]:
    """Sequences that the rows have overtaken, most of them with room past the rows."""
    each = draw(sequences())
    up = each.increment > 0
    last_value = each.minimum if up else each.maximum
    is_called = draw(st.booleans())
    upcoming = next_value(each, last_value, is_called)
    last = each.limit - each.increment
    assume(last >= upcoming if up else last <= upcoming)
    near = max(upcoming - 300, last) if not up else min(upcoming + 300, last)
    end = draw(st.sampled_from([near, last]))
    extreme = draw(st.integers(min(upcoming, end), max(upcoming, end)))
    return each, Reading(last_value, is_called, extreme)


def standing(of: Sequence, reading: Reading) -> int:
    assert reading.last_value is not None
    return next_value(of, reading.last_value, bool(reading.is_called))


def ahead(of: Sequence, one: int, other: int) -> bool:
    """Whether ``one`` comes after ``other`` as the sequence counts."""
    return one > other if of.increment > 0 else one < other


def moved(reading: Reading, of: Sequence, target: int) -> Reading:
    """Return the reading after the move, as ``setval(target - increment)`` leaves it."""
    return reading._replace(last_value=target - of.increment, is_called=True)


@pytest.mark.parametrize("module", ["model", "verdict"])
def test_it_is_pure_in_fact(module: str) -> None:
    code = (
        f"import sys, restorehooks.sequences.{module};"
        "print([name for name in sys.modules if name.partition('.')[0] in ('django', 'psycopg')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@given(situations())
def test_a_target_is_past_the_rows_and_ahead_of_where_it_stands(
    found: tuple[Sequence, Reading],
) -> None:
    each, reading = found
    verdict = verdict_on(each, reading)
    if verdict.target is None:
        assert verdict.status in (Status.OK, Status.EXHAUSTED)
        return
    assert verdict.status is Status.BEHIND
    assert verdict.extreme is not None
    assert ahead(each, verdict.target, verdict.extreme)
    assert ahead(each, verdict.target, standing(each, reading))


@given(behind())
def test_a_target_keeps_the_phase_and_is_the_first_such(
    found: tuple[Sequence, Reading],
) -> None:
    each, reading = found
    verdict = verdict_on(each, reading)
    assert verdict.target is not None
    assert verdict.extreme is not None
    assert (verdict.target - standing(each, reading)) % each.increment == 0
    assert not ahead(each, verdict.target - each.increment, verdict.extreme)


@given(behind())
def test_a_target_can_be_stored_and_so_can_the_number_before_it(
    found: tuple[Sequence, Reading],
) -> None:
    each, reading = found
    target = verdict_on(each, reading).target
    assert target is not None
    assert each.minimum <= target <= each.maximum
    assert each.minimum <= target - each.increment <= each.maximum
    for one in each.columns:
        assert target <= one.largest if each.increment > 0 else target >= one.smallest


@given(situations())
def test_ok_means_that_the_next_number_is_past_the_rows_and_fits(
    found: tuple[Sequence, Reading],
) -> None:
    each, reading = found
    verdict = verdict_on(each, reading)
    assume(verdict.status is Status.OK)
    assert reading.extreme is None or ahead(each, standing(each, reading), reading.extreme)
    assert not ahead(each, standing(each, reading), each.limit)


@given(situations())
def test_exhausted_means_that_no_number_is_left(found: tuple[Sequence, Reading]) -> None:
    each, reading = found
    verdict = verdict_on(each, reading)
    assume(verdict.status is Status.EXHAUSTED)
    upcoming = standing(each, reading)
    wanted = upcoming
    if reading.extreme is not None and not ahead(each, upcoming, reading.extreme):
        wanted = first_past(upcoming, reading.extreme, each.increment)
    assert ahead(each, wanted, each.limit)
    assert verdict.target is None
    assert verdict.reason is not None
    assert "remedy: " in verdict.reason
    assert not verdict.reason.endswith("remedy: ")


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(st.one_of(situations(cycle=None), behind()), st.integers(0, 10))
def test_a_repaired_sequence_is_fine(found: tuple[Sequence, Reading], headroom: int) -> None:
    each, reading = found
    verdict = verdict_on(each, reading, headroom=headroom)
    assume(verdict.target is not None)
    assert verdict.target is not None
    again = verdict_on(each, moved(reading, each, verdict.target), headroom=headroom)
    assert (again.status, again.target) == (Status.OK, None)
    assert again.next == verdict.target


@given(behind(), st.integers(0, 20))
def test_headroom_is_that_many_increments_more(
    found: tuple[Sequence, Reading], headroom: int
) -> None:
    each, reading = found
    assume(reading.extreme is not None)
    verdict = verdict_on(each, reading, headroom=headroom)
    assume(verdict.target is not None)
    assert verdict.target is not None
    assert verdict.extreme is not None
    clear = (verdict.target - verdict.extreme) * (1 if each.increment > 0 else -1)
    assert headroom * abs(each.increment) < clear <= (headroom + 1) * abs(each.increment)


@given(situations(cycle=None), st.integers(0, 1000))
def test_without_being_asked_it_never_goes_back(
    found: tuple[Sequence, Reading], headroom: int
) -> None:
    each, reading = found
    verdict = verdict_on(each, reading, headroom=headroom)
    assert not verdict.rewinds
    if verdict.target is not None:
        assert ahead(each, verdict.target, standing(each, reading))


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(situations(cycle=None), st.integers(0, 10))
def test_a_rewind_goes_back_but_stays_past_the_rows(
    found: tuple[Sequence, Reading], headroom: int
) -> None:
    each, reading = found
    verdict = verdict_on(each, reading, headroom=headroom, rewind=True)
    assume(verdict.rewinds)
    assert verdict.target is not None
    assert ahead(each, standing(each, reading), verdict.target)
    assert each.minimum <= verdict.target <= each.maximum
    assert not ahead(each, verdict.target, each.limit)
    if reading.extreme is None:
        assert verdict.target == each.start
    else:
        assert ahead(each, verdict.target, reading.extreme)
    again = verdict_on(
        each, Reading(verdict.target, False, reading.extreme), headroom=headroom, rewind=True
    )
    assert (again.status, again.target) == (Status.OK, None)


@given(situations(cycle=True))
def test_a_cycle_is_never_an_error(found: tuple[Sequence, Reading]) -> None:
    assert verdict_on(*found).status in (Status.OK, Status.BEHIND)


@given(situations(cycle=None), st.sampled_from([("a secret",), ("one", "two")]), st.booleans())
def test_what_could_not_be_seen_is_never_called_fine(
    found: tuple[Sequence, Reading], unseen: tuple[str, ...], rewind: bool
) -> None:
    each, reading = found
    verdict = verdict_on(each, reading._replace(unseen=unseen), rewind=rewind)
    assert verdict.status in (Status.UNVERIFIED, Status.EXHAUSTED)
    assert all(reason in str(verdict.reason) for reason in unseen)
    assert not verdict.rewinds


@given(sequences(cycle=None), st.one_of(st.none(), st.integers(-HUGE, HUGE - 1)))
def test_a_sequence_that_cannot_be_read_is_not_moved(each: Sequence, extreme: int | None) -> None:
    verdict = verdict_on(each, Reading(None, None, extreme, ("hidden",)), rewind=True)
    assert verdict == Verdict(Status.UNVERIFIED, extreme=extreme, reason="hidden")


def test_an_error_is_a_failure() -> None:
    verdict = verdict_on(sequence(), Reading(1, True, 5, error="no luck"), rewind=True)
    assert verdict == Verdict(Status.FAILED, reason="no luck")


@given(situations(cycle=None))
def test_the_used_share_is_a_percentage(found: tuple[Sequence, Reading]) -> None:
    each, reading = found
    assert 0 <= used_percent(each, standing(each, reading)) <= 100


@pytest.mark.parametrize(
    ("last_value", "is_called", "percent"), [(1, False, 0), (51, False, 50), (100, True, 100)]
)
def test_a_used_share(last_value: int, is_called: bool, percent: float) -> None:
    each = sequence(maximum=100)
    assert used_percent(each, next_value(each, last_value, is_called)) == percent


@pytest.mark.parametrize(
    ("increment", "last_value", "is_called", "expected"),
    [(1, 1, False, 1), (1, 1, True, 2), (-3, 9, True, 6), (5, 9, True, 1), (-5, 3, True, 10)],
)
def test_the_next_value_of_a_cycle(
    increment: int, last_value: int, is_called: bool, expected: int
) -> None:
    each = sequence(increment, 1, 10, cycle=True)
    assert next_value(each, last_value, is_called) == expected


@pytest.mark.parametrize(
    ("type_", "typmod", "largest"),
    [
        ("smallint", -1, 32767),
        ("real", -1, 2**24),
        ("double precision", -1, 2**53),
        ("numeric", -1, math.inf),
        ("numeric", (5 << 16 | 0) + 4, 99999),
        ("numeric", (5 << 16 | 2) + 4, 999),
        ("numeric", (2 << 16 | 5) + 4, 0),
        ("numeric", (1000 << 16 | 0) + 4, 10**1000 - 1),
    ],
)
def test_the_largest_number_of_a_column(type_: str, typmod: int, largest: float) -> None:
    assert column(type_, typmod).largest == largest


@pytest.mark.parametrize(
    ("last_value", "status"), [(3, "behind"), (5, "unverified"), (36, "unverified"), (38, "ok")]
)
def test_on_a_standby_a_position_is_not_taken_for_certain(last_value: int, status: str) -> None:
    reading = Reading(last_value, True, 5, margin=33)
    assert verdict_on(sequence(), reading).status == status


def test_on_a_standby_an_empty_table_is_fine_wherever_the_sequence_stands() -> None:
    assert verdict_on(sequence(), Reading(1, True, None, margin=33)).status == "ok"


def test_a_doubt_never_says_ok_and_lets_a_rewind_decide() -> None:
    reading = Reading(900, True, 5, doubts=("an old snapshot",))
    assert verdict_on(sequence(), reading).status == "unverified"
    assert verdict_on(sequence(), reading, rewind=True).rewinds
