"""What one run found and did: data that knows its JSON form; the others are in ``forms``."""

from __future__ import annotations

from collections import Counter, abc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from restorehooks.wording import printable_sql

from .forms import hook_lines, sentence_about, sql_text, summary_sentence, table_text
from .verdict import Status, used_percent, widening

if TYPE_CHECKING:
    from .model import Sequence
    from .verdict import Verdict


@dataclass(frozen=True)
class Entry:
    """One sequence of a report.

    ``sequence`` and ``columns`` are names as PostgreSQL quotes them; ``models`` the labels of the
    installed models whose tables it numbers. ``next_after`` is what ``nextval`` hands out now, or,
    where nothing was to be changed, what it would hand out after a repair. ``reason`` explains
    whatever is not plainly ok. ``found`` is what all of it was decided on. ``changed``: this run
    moved the sequence.
    """

    sequence: str
    columns: tuple[str, ...]
    status: Status
    next_before: int | None
    next_after: int | None
    extreme: int | None
    limit: int
    used_percent: float | None
    reason: str | None = None
    models: tuple[str, ...] = ()
    found: tuple[Sequence, Verdict] | None = field(default=None, repr=False, compare=False)
    changed: bool = False

    @classmethod
    def of(
        cls,
        sequence: Sequence,
        verdict: Verdict,
        status: Status,
        next_after: int | None,
        reason: str | None,
        models: tuple[str, ...],
        *,
        changed: bool = False,
    ) -> Entry:
        """Return the entry for one sequence; ``next_after`` is what it hands out in the end."""
        stands = next_after if next_after is not None else verdict.next
        return cls(
            sequence.quoted,
            tuple(column.quoted for column in sequence.columns),
            status,
            verdict.next,
            next_after,
            verdict.extreme,
            sequence.limit,
            _used_percent(sequence, status, stands),
            reason,
            models,
            (sequence, verdict),
            changed,
        )

    @property
    def plan(self) -> tuple[Sequence, Verdict] | None:
        """What the move was decided on, None where there is none."""
        return self.found if self.found and self.found[1].target is not None else None

    @property
    def has_rows_past_it(self) -> bool:
        """Whether a row has the number that it was to hand out, or one past that."""
        if self.extreme is None or self.next_before is None:
            return False
        counts_up = self.found is None or self.found[0].counts_up
        return (self.extreme >= self.next_before) is counts_up or self.extreme == self.next_before

    @property
    def makes_room(self) -> tuple[str, ...]:
        """The ALTER statements that would widen its range, none where none can."""
        return tuple(map(printable_sql, widening(self.found[0]))) if self.found else ()

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "sequence": self.sequence,
            "columns": list(self.columns),
            "status": self.status.value,
            "next_before": self.next_before,
            "next_after": self.next_after,
            "extreme": self.extreme,
            "limit": self.limit,
            "used_percent": self.used_percent,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Report:
    """All that one run found in one database, and did there.

    ``applied`` tells a repair from a plan. ``read_only`` says why nothing could be changed, None
    where that was not the case. ``without_table`` are labels of models that were asked for and
    have no table here, ``without_sequence`` those of automatic fields that no sequence numbers.
    ``only_at_source`` are the sequences of another database, whose positions were taken along, that
    stand for none of this one; None where none were, or not all are in scope.
    ``notes`` are sentences on what may put a sequence behind again. ``node`` is where another node
    of a cluster answers, if this is about one.
    """

    database: str
    entries: tuple[Entry, ...] = ()
    applied: bool = False
    read_only: str | None = None
    without_table: tuple[str, ...] = ()
    without_sequence: tuple[str, ...] = ()
    only_at_source: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    node: str | None = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __bool__(self) -> bool:
        return True

    def having(self, *statuses: Status) -> list[Entry]:
        """Return the entries with one of these statuses."""
        return [entry for entry in self.entries if entry.status in statuses]

    @property
    def changed(self) -> list[Entry]:
        """The entries whose sequence this run moved."""
        return [entry for entry in self.entries if entry.changed]

    @property
    def place(self) -> str:
        """The database, and the node where that is another one, as a sentence names it."""
        return f'"{self.database}"' + (f" on node {self.node}" if self.node else "")

    @property
    def unresolved(self) -> list[Entry]:
        """The entries that somebody must look at: not fine, and not made so by this run."""
        return self.having(Status.BEHIND, Status.EXHAUSTED, Status.UNVERIFIED, Status.FAILED)

    @property
    def unsafe(self) -> list[Entry]:
        """The unresolved entries, without those that are only unverified and of no model here."""
        return [e for e in self.unresolved if e.models or e.status is not Status.UNVERIFIED]

    @property
    def is_fine(self) -> bool:
        """Whether no sequence is behind, exhausted or failed, and every model is safe.

        Where models were asked for and nothing was read, that is not known.
        """
        return not self.unsafe and not (self.without_table and not self.entries)

    def following(self, earlier: Report) -> Report:
        """Return what two runs, this one after ``earlier``, found and did together."""
        before = {entry.sequence: entry for entry in earlier.changed}
        return replace(self, entries=tuple(_merged(before.get(e.sequence), e) for e in self))

    def summary(self) -> dict[str, int]:
        """Return how many sequences there are, in all and of each status."""
        counts = Counter(entry.status for entry in self.entries)
        return {"total": len(self), **{status.value: counts[status] for status in Status}}

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: one element of ``databases``."""
        return {
            "database": self.database,
            **({"node": self.node} if self.node else {}),
            "sequences": [entry.as_dict() for entry in self.entries],
            "summary": self.summary(),
            **({} if self.only_at_source is None else {"only_at_source": [*self.only_at_source]}),
            **({"notes": [*self.notes]} if self.notes else {}),
        }

    def sentence(self) -> str:
        """Return the summary as one line."""
        return summary_sentence(self)

    def sentence_about(self, entry: Entry) -> str:
        """Return what is wrong with one sequence, as one line."""
        return sentence_about(self.place, entry)

    def lines(self, verbosity: int) -> list[str]:
        """Return what a hook prints, a line each: nothing where nothing was wrong.

        ``verbosity`` is Django's: 0 reports only what is behind, exhausted or failed, 1 also what
        was moved and which sequences of models could not be verified, 2 those of no model too, and
        the summary in any case.
        """
        return hook_lines(self, verbosity)

    def as_sql(self) -> str:
        """Return the statements that would do what this plan says; each guards itself."""
        return sql_text(self)

    def as_table(self, entries: abc.Iterable[Entry], *, colour: bool = False) -> str:
        """Return a table of some of the entries, for people."""
        return table_text(entries, applied=self.applied, colour=colour)


def _merged(before: Entry | None, entry: Entry) -> Entry:
    if before is None:
        return entry
    status = before.status if entry.status is Status.OK else entry.status
    return replace(entry, status=status, next_before=before.next_before, changed=True)


def _used_percent(sequence: Sequence, status: Status, stands: int | None) -> float | None:
    if status is Status.EXHAUSTED:  # wherever it stands, its rows have used the range up
        return 100.0
    return None if stands is None else used_percent(sequence, stands)
