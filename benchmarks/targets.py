"""A target: how many times as long one may take as another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.competition import Contest, Ratio


@dataclass(frozen=True)
class Target:
    """How many times as long ``name`` should take as ``to``, at least or at most.

    ``by_medians``: what counts is the ratio of the medians, not the median of the rounds' ratios.
    """

    what: str
    subject: str
    circumstances: dict[str, Any]
    name: str
    to: str
    least: float | None = None
    most: float | None = None
    by_medians: bool = False

    @property
    def aim(self) -> str:
        """The bound, for the reader."""
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    def reached(self, ratio: float) -> bool:
        """Whether a ratio is within the bound."""
        if self.least is not None:
            return ratio >= self.least
        return self.most is not None and ratio <= self.most

    def measured(self, contests: Iterable[Contest]) -> Ratio | None:
        """Return what was measured of it, None where nothing was."""
        for contest in contests:
            if contest.subject == self.subject and contest.circumstances == self.circumstances:
                ratio = contest.ratio(self.name, self.to)
                if ratio is None or not self.by_medians:
                    return ratio
                exact = contest.ratio_of_medians(self.name, self.to)
                return None if exact is None else ratio._replace(median=exact)
        return None
