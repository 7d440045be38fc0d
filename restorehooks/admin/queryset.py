"""The sequences of a report, as the admin works on a query set."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from restorehooks.models import Sequence
from restorehooks.sequences.report import Entry, Report
from restorehooks.sequences.verdict import Status

if TYPE_CHECKING:
    _QuerySet = QuerySet[Sequence]
else:
    _QuerySet = QuerySet

WORST_FIRST = (
    Status.EXHAUSTED,
    Status.BEHIND,
    Status.FAILED,
    Status.UNVERIFIED,
    Status.OK,
)


class SequenceQuerySet(_QuerySet):
    """The sequences of one report, which no query is sent for; ``problem`` says why there is none.

    Paging, counting and choosing by primary key work; other filters change nothing.
    """

    report: Report
    problem: str | None

    @classmethod
    def of(cls, report: Report, problem: str | None = None) -> SequenceQuerySet:
        """Return the sequences of a report, the worst first."""
        found = cls(Sequence)
        found.report, found.problem = report, problem
        return found.only_those(
            [Sequence.found(report.database, entry) for entry in sorted(report, key=badness)]
        )

    def only_those(self, sequences: list[Sequence]) -> SequenceQuerySet:
        """Return a query set of these."""
        chosen = SequenceQuerySet(Sequence)
        chosen.report, chosen.problem = self.report, self.problem
        chosen._result_cache = sequences
        return chosen

    def filter(self, *args: Any, **kwargs: Any) -> SequenceQuerySet:
        """Return those with one of the keys ``pk__in``, as an action asks for them."""
        keys = set(kwargs["pk__in"]) if "pk__in" in kwargs else None
        return self.only_those([each for each in self if keys is None or each.pk in keys])

    def order_by(self, *orders: Any) -> SequenceQuerySet:
        """Return them in the order of columns, by their keys in ``ORDERS``; "-" reverses one.

        What has no number comes last either way.
        """
        sequences = list(self)
        for order in reversed([each for each in orders if each.removeprefix("-") in ORDERS]):
            key, down = ORDERS[order.removeprefix("-")], order.startswith("-")
            known = [(key(each.entry), each) for each in sequences]
            unknown = [each for value, each in known if value is None]
            known = [pair for pair in known if pair[0] is not None]
            known.sort(key=lambda pair: pair[0], reverse=down)
            sequences = [each for _, each in known] + unknown
        return self.only_those(sequences)

    @property
    def totally_ordered(self) -> bool:
        """Whether the order is always the same: of a list in memory it is."""
        return True

    def _clone(self) -> SequenceQuerySet:
        return self.only_those(list(self))


def moves(sequence: Sequence) -> bool:
    """Return whether a repair would move a sequence."""
    return sequence.entry.plan is not None


def badness(entry: Entry) -> tuple[Any, ...]:
    """Return what the page is sorted by at first: the worst, and nearest its end, comes first."""
    return WORST_FIRST.index(entry.status), -(entry.used_percent or 0), natural(entry.sequence)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return what names are sorted by, so that ``t2`` comes before ``t10``."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


ORDERS: dict[str, Callable[[Entry], Any]] = {
    "sequence": lambda entry: natural(entry.sequence),
    "status": badness,
    "next_id": lambda entry: entry.next_before,
    "last_id": lambda entry: entry.extreme,
    "used": lambda entry: entry.used_percent,
}
"""What the columns of the list are sorted by."""
