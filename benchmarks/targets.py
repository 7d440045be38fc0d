"""A target: how many times as long one may take as another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.competition import Contest, Ratio


@dataclass(frozen=True)
class Target:
    """How many times as long ``name`` should take as ``to``, at least or at most.

    ``circumstances`` are those that matter: of several contests that have them, the first counts.
    ``by_medians``: what counts is the ratio of the medians, not the median of the rounds' ratios.
    ``or_even``: it is reached, too, where the rounds cannot tell the two apart. ``why`` is the
    reason, known beforehand, in case that it is missed.
    """

    what: str
    subject: str
    circumstances: dict[str, Any]
    name: str
    to: str
    least: float | None = None
    most: float | None = None
    by_medians: bool = False
    or_even: bool = False
    why: str = ""

    @property
    def aim(self) -> str:
        """The bound, for the reader."""
        if self.or_even:
            return "no measurable difference"
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    def measured(self, contests: Iterable[Contest]) -> tuple[Ratio, bool] | None:
        """Return what was measured and whether it is within the bound, None where nothing was."""
        for contest in contests:
            if contest.subject == self.subject and contest.has(self.circumstances):
                return self._judged(contest)
        return None

    def _judged(self, contest: Contest) -> tuple[Ratio, bool] | None:
        ratio = contest.ratio(self.name, self.to)
        if ratio is None:
            return None
        if self.by_medians:
            ratio = ratio._replace(median=contest.ratio_of_medians(self.name, self.to))
        if self.least is not None:
            return ratio, ratio.median >= self.least
        is_within = self.most is not None and ratio.median <= self.most
        return ratio, is_within or (self.or_even and contest.is_even(self.name, self.to))
