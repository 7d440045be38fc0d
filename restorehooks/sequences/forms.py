"""How a report is shown: as sentences, as a table for people, as SQL."""

from __future__ import annotations

from collections import abc
from io import StringIO
from typing import TYPE_CHECKING

from restorehooks.wording import first_of, printable, printable_sql

from .statements import move_for_dba
from .verdict import Status

if TYPE_CHECKING:
    from .report import Entry, Report

SHOWN = 5
"""How many sequences one line names; a report has them all."""
ALIKE = 20
"""So many are named for which the same has to be said."""
STYLES = {
    Status.OK: "green",
    Status.BEHIND: "red",
    Status.ADVANCED: "cyan",
    Status.REWOUND: "cyan",
    Status.EXHAUSTED: "bold red",
    Status.UNVERIFIED: "yellow",
    Status.FAILED: "bold red",
}


def summary_sentence(report: Report) -> str:
    """Return the summary as one line."""
    counts = ", ".join(
        f"{count} {status}"
        for status, count in report.summary().items()
        if count and status != "total"
    )
    noun = "sequence" if len(report) == 1 else "sequences"
    said = f"Database {report.place}: {len(report)} {noun}"
    if not report.entries and report.without_table:
        return f"{said}; none numbers a table of {', '.join(report.without_table)} there."
    return f"{said}{': ' + counts if counts else ''}."


def sentence_about(place: str, entry: Entry) -> str:
    """Return what is wrong with one sequence, as one line; ``place`` is as in the report."""
    passed = []
    if entry.status is Status.BEHIND and entry.has_rows_past_it:
        passed = ["its rows have passed it"]
    reason = "; ".join([*passed, *filter(None, [entry.reason])])
    return f"In database {place}, sequence {entry.sequence} is {entry.status.value}: {reason}."


def hook_lines(report: Report, verbosity: int) -> list[str]:
    """Return what a hook prints, a line each; see :meth:`Report.lines`."""
    lines = []
    if verbosity >= 1 and report.changed:
        moved = [f"{e.sequence} to {e.next_after}" for e in report.changed]
        lines.append(
            f"In database {report.place}, moved {len(moved)} of {len(report)} sequences past"
            f" their rows: {first_of(moved, SHOWN)}."
        )
    lines += _sentences_about(
        report.place,
        [
            entry
            for entry in (report.unresolved if verbosity >= 2 else report.unsafe)
            if verbosity >= 1 or entry.status is not Status.UNVERIFIED
        ],
    )
    # They go to whatever stream a hook has: nothing in a name may command a terminal.
    said = lines or ([summary_sentence(report)] if verbosity >= 2 else [])
    return [printable(line) for line in said]


def _sentences_about(place: str, entries: abc.Iterable[Entry]) -> abc.Iterator[str]:
    """Yield a sentence for each reason; the same one is said of several sequences at once."""
    alike: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: not entry.models):  # the project's own first
        alike.setdefault(_kind(entry), []).append(entry)
    for first, *others in alike.values():
        said = sentence_about(place, first)
        if others:
            names = [other.sequence for other in others]
            verb = "is" if len(names) == 1 else "are"
            said = f"{said[:-1]}; for the same reason so {verb} {first_of(names, ALIKE)}."
        yield said


def _kind(entry: Entry) -> tuple[str, str]:
    """Return the status, and the reason without the names that are the entry's own."""
    reason = entry.reason or ""
    if entry.status is Status.EXHAUSTED:  # each has a remedy of its own
        return entry.status.value, f"{entry.sequence}: {reason}"
    tables = [column.quoted_table for column in entry.found[0].columns] if entry.found else []
    for name in sorted([*entry.columns, *tables, entry.sequence], key=len, reverse=True):
        reason = reason.replace(name, "*")
    return entry.status.value, reason


def sql_text(report: Report) -> str:
    """Return the statements that do what a plan says; each guards itself.

    Nothing in a name commands a terminal, or ends a comment.
    """
    lines = [printable(f"-- {summary_sentence(report)}")]
    for entry in report.entries:
        if entry.status in (Status.EXHAUSTED, Status.UNVERIFIED, Status.FAILED):
            said = f"-- {entry.status.value}: {entry.sequence}: {entry.reason or ''}"
            lines.append(printable(_one_line(said)))
        if entry.plan is not None:
            lines.append(printable_sql(move_for_dba(*entry.plan)))
    return "\n".join(lines)


def table_text(entries: abc.Iterable[Entry], *, applied: bool, colour: bool) -> str:
    """Return a table of some entries; ``applied`` tells the headings of a repair from a plan's."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("sequence", "columns", "status"):
        table.add_column(heading, no_wrap=True)
    numbers = ("next was", "next is") if applied else ("next is", "should be")
    for heading in (*numbers, "rows end at", "used"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("reason")
    for entry in entries:
        table.add_row(
            escape(printable(entry.sequence)),
            escape(printable(", ".join(entry.columns))),
            f"[{STYLES[entry.status]}]{entry.status.value}[/]",
            *map(_number, (entry.next_before, entry.next_after, entry.extreme)),
            "" if entry.used_percent is None else f"{entry.used_percent:g}%",
            escape(printable(entry.reason or "")),
        )
    text = StringIO()
    system = "standard" if colour else None
    console = Console(
        file=text,
        width=10_000,
        force_terminal=colour,
        color_system=system,  # type: ignore[arg-type]
        emoji=False,  # a name may be ":x:"
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _number(number: int | None) -> str:
    return "" if number is None else str(number)


def _one_line(text: str) -> str:
    return " ".join(text.split())
