"""Gives a reading its verdict, and reads the last rows again where they are in a repair's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .lone_rows import AT_THE_END, is_full, jumps_far, with_lone_rows
from .message import LockBudget
from .model import Reading, Sequence
from .reading import read
from .scope import Limits
from .verdict import Status, Verdict, verdict_on

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class SecondReading(NamedTuple):
    """Verdicts of a run, after a second reading where that is needed; ``verdict`` has the rule."""

    connection: BaseDatabaseWrapper
    budget: LockBudget
    limits: Limits
    headroom: int
    rewind: bool

    def verdict_on(self, sequence: Sequence, reading: Reading) -> tuple[Reading, Verdict]:
        """Return the verdict, and the reading with all that it was decided on."""
        reading, verdict = self._verdict_on(sequence, reading)
        if verdict.status is Status.EXHAUSTED and verdict.target is None:
            target = self._target_of_others(sequence, verdict, reading.taken_at_source)
            verdict = verdict._replace(target=target)
        return reading, verdict

    def _verdict_on(self, sequence: Sequence, reading: Reading) -> tuple[Reading, Verdict]:
        verdict = self._first_verdict_on(sequence, reading)
        for is_so, most in ((jumps_far, 1), (is_full, AT_THE_END)):
            if reading.lone is None and not self.headroom and is_so(sequence, verdict):
                reading = with_lone_rows(self.connection, sequence, reading, self.budget, most=most)
                verdict = self._first_verdict_on(sequence, reading)
        return reading, verdict

    def _first_verdict_on(self, sequence: Sequence, reading: Reading) -> Verdict:
        return verdict_on(
            sequence,
            reading,
            headroom=self.headroom,
            rewind=self.rewind,
            follows_lone_rows=self.limits.follows_lone_rows,
        )

    def _target_of_others(
        self, sequence: Sequence, verdict: Verdict, taken_at_source: int | None
    ) -> int | None:
        """Return the target for the columns of a larger type, where a small one is used up."""
        others = None if verdict.next is None else sequence.still_drawing(verdict.next)
        if others is None:
            return None
        limit = self.limits.scan_limit
        ((_, reading),) = read(self.connection, [others], self.budget, scan_limit=limit)
        reading = reading._replace(taken_at_source=taken_at_source)
        return self._verdict_on(others, reading)[1].target
