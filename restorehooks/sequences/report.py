"""What was found and done: data first, then its table, JSON and SQL forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import TYPE_CHECKING, Any

from psycopg import sql

from .verdict import Status, used_percent, widening

if TYPE_CHECKING:
    from .catalog import Sequence
    from .verdict import Verdict

SHOWN = 5
"""So many sequences are named in a line; a report has them all."""
STYLES = {
    Status.OK: "green",
    Status.BEHIND: "red",
    Status.ADVANCED: "cyan",
    Status.REWOUND: "cyan",
    Status.EXHAUSTED: "bold red",
    Status.UNVERIFIED: "yellow",
    Status.FAILED: "bold red",
}


@dataclass(frozen=True)
class Entry:
    """One sequence of a report.

    ``sequence`` and ``columns`` are names as PostgreSQL quotes them; ``models`` the labels of the
    installed models whose tables it numbers. ``next_after`` is what ``nextval`` hands out now, or,
    where nothing was to be changed, what it would hand out after a repair. ``reason`` explains
    whatever is not plainly ok. ``found`` is what all of it was decided on.
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

    @classmethod
    def of(
        cls,
        sequence: Sequence,
        verdict: Verdict,
        status: Status,
        next_after: int | None,
        reason: str | None,
        models: tuple[str, ...],
    ) -> Entry:
        """Put together what is known of one sequence."""
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
        )

    @property
    def plan(self) -> tuple[Sequence, Verdict] | None:
        """What the move was decided on, None where there is none."""
        return self.found if self.found and self.found[1].target is not None else None

    @property
    def makes_room(self) -> tuple[str, ...]:
        """The ALTER statements that would widen its range, none where none can."""
        return widening(self.found[0]) if self.found else ()

    @property
    def changed(self) -> bool:
        """Whether this run moved the sequence."""
        return self.status in (Status.ADVANCED, Status.REWOUND) or (
            self.status is Status.UNVERIFIED and self.next_after != self.next_before
        )

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
    have no table here.
    """

    database: str
    entries: tuple[Entry, ...] = ()
    applied: bool = False
    read_only: str | None = None
    without_table: tuple[str, ...] = ()

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
    def unresolved(self) -> list[Entry]:
        """The entries that somebody must look at: not fine, and not made so by this run."""
        return self.having(Status.BEHIND, Status.EXHAUSTED, Status.UNVERIFIED, Status.FAILED)

    @property
    def unsafe(self) -> list[Entry]:
        """The unresolved entries, without those that are only unverified and of no model here."""
        return [e for e in self.unresolved if e.models or e.status is not Status.UNVERIFIED]

    @property
    def is_fine(self) -> bool:
        """Whether no sequence is behind, exhausted or failed, and every model is safe."""
        return not self.unsafe

    def following(self, earlier: Report) -> Report:
        """Return what two runs, this one after ``earlier``, found and did together."""
        before = {entry.sequence: entry for entry in earlier.changed}
        return replace(self, entries=tuple(_both(before.get(e.sequence), e) for e in self))

    def summary(self) -> dict[str, int]:
        """Return how many sequences there are, in all and of each status."""
        counts = Counter(entry.status for entry in self.entries)
        return {"total": len(self), **{status.value: counts[status] for status in Status}}

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: one element of ``databases``."""
        return {
            "database": self.database,
            "sequences": [entry.as_dict() for entry in self.entries],
            "summary": self.summary(),
        }

    def sentence(self) -> str:
        """Return the summary as one line."""
        counts = ", ".join(
            f"{count} {status}"
            for status, count in self.summary().items()
            if count and status != "total"
        )
        noun = "sequence" if len(self) == 1 else "sequences"
        return f'Database "{self.database}": {len(self)} {noun}{": " + counts if counts else ""}.'

    def sentence_about(self, entry: Entry) -> str:
        """Return what is wrong with one sequence, as one line."""
        return (
            f'In database "{self.database}", sequence {entry.sequence} is {entry.status.value}:'
            f" {entry.reason or 'its rows have passed it'}."
        )

    def lines(self, verbosity: int) -> list[str]:
        """Return what a hook has to say, a line each: nothing when nothing was wrong.

        ``verbosity`` is Django's: 0 tells only what is exhausted or failed, 1 also what was moved
        and what could not be verified, 2 the summary in any case.
        """
        said = []
        if verbosity >= 1 and self.changed:
            moved = [f"{e.sequence} to {e.next_after}" for e in self.changed]
            rest = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
            said.append(
                f'In database "{self.database}", moved {len(moved)} of {len(self)} sequences past'
                f" their rows: {', '.join(moved[:SHOWN])}{rest}."
            )
        said += [
            self.sentence_about(entry)
            for entry in self.unresolved
            if verbosity >= 1 or entry.status is not Status.UNVERIFIED
        ]
        return said or ([self.sentence()] if verbosity >= 2 else [])

    def as_sql(self) -> str:
        """Return the statements that would do what this plan says; each guards itself."""
        lines = [f"-- {self.sentence()}"]
        for entry in self.entries:
            if entry.status in (Status.EXHAUSTED, Status.UNVERIFIED, Status.FAILED):
                reason = " ".join((entry.reason or "").split())
                lines.append(f"-- {entry.status.value}: {_one_line(entry.sequence)}: {reason}")
            if entry.plan is not None:
                lines.append(_statement(*entry.plan))
        return "\n".join(lines)

    def as_table(self, entries: list[Entry], *, colour: bool = False) -> str:
        """Return a table of some of the entries, for people."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for heading in ("sequence", "columns", "status"):
            table.add_column(heading, no_wrap=True)
        ids = ("next was", "next is") if self.applied else ("next is", "should be")
        for heading in (*ids, "rows end at", "used"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("reason")
        for entry in entries:
            table.add_row(
                escape(entry.sequence),
                escape(", ".join(entry.columns)),
                f"[{STYLES[entry.status]}]{entry.status.value}[/]",
                *(_shown(n) for n in (entry.next_before, entry.next_after, entry.extreme)),
                "" if entry.used_percent is None else f"{entry.used_percent:g}%",
                escape(entry.reason or ""),
            )
        console = Console(
            file=StringIO(),
            width=10_000,
            force_terminal=colour,
            color_system="standard" if colour else None,
        )
        console.print(table)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in text.splitlines())


def _both(before: Entry | None, entry: Entry) -> Entry:
    if before is None:
        return entry
    status = before.status if entry.status is Status.OK else entry.status
    return replace(entry, status=status, next_before=before.next_before)


def _used_percent(sequence: Sequence, status: Status, stands: int | None) -> float | None:
    if status is Status.EXHAUSTED:  # wherever it stands, its rows have used the range up
        return 100.0
    return None if stands is None else used_percent(sequence, stands)


def _shown(number: int | None) -> str:
    return "" if number is None else str(number)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _statement(sequence: Sequence, verdict: Verdict) -> str:
    """Return the statement for a DBA, which does nothing where it has become needless."""
    move = sql.SQL("pg_catalog.setval({}, {}, false) FROM {} WHERE {} {} {}").format(
        sql.Literal(sequence.quoted),
        sql.Literal(verdict.target),
        sequence.identifier,
        sql.Literal(verdict.target),
        sql.SQL("<" if (sequence.increment > 0) == verdict.rewinds else ">"),
        _upcoming(sequence),
    )
    if not verdict.rewinds:
        return sql.SQL("SELECT {};").format(move).as_string()
    body = sql.SQL("BEGIN {} PERFORM {}; END").format(
        sql.SQL(" ").join(
            sql.SQL("LOCK TABLE {} IN SHARE MODE;").format(identifier)
            for identifier in {c.table_oid: c.identifier for c in sequence.columns}.values()
        ),
        move + _before_all_rows(sequence, verdict),
    )
    return sql.SQL("DO {};").format(sql.Literal(body.as_string())).as_string()


def _upcoming(sequence: Sequence) -> sql.Composable:
    """Return the expression for what the sequence would hand out, as numeric: it may not fit."""
    bounds = (sequence.minimum, sequence.maximum)
    first = bounds[0 if sequence.increment > 0 else 1]
    starts_over = sql.SQL("WHEN last_value::numeric + {} NOT BETWEEN {} AND {} THEN {} ").format(
        sql.Literal(sequence.increment), *map(sql.Literal, (*bounds, first))
    )
    return sql.SQL(
        "CASE WHEN NOT is_called THEN last_value {}ELSE last_value::numeric + {} END"
    ).format(starts_over if sequence.cycle else sql.SQL(""), sql.Literal(sequence.increment))


def _before_all_rows(sequence: Sequence, verdict: Verdict) -> sql.Composed:
    reached = sql.SQL(">=" if sequence.increment > 0 else "<=")
    return sql.SQL("").join(
        sql.SQL(" AND NOT EXISTS (SELECT FROM {} WHERE {} {} {})").format(
            column.identifier, sql.Identifier(column.name), reached, sql.Literal(verdict.target)
        )
        for column in sequence.columns
    )
