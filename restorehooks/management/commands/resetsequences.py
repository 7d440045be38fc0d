"""``manage.py resetsequences``: move every sequence that is behind past its rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error, connections

from restorehooks.announce import announce
from restorehooks.exit_codes import WRONG_USAGE
from restorehooks.management.base import NONSENSE, OneSentenceCommand
from restorehooks.management.output import asks_for_json
from restorehooks.management.sequence_options import Request, add_options
from restorehooks.management.sequence_runs import Run, runs
from restorehooks.sequences.entries import naming_nothing
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import Scope
from restorehooks.sequences.verdict import Status
from restorehooks.streams import onto_standard_error
from restorehooks.wording import first_line

EPILOG = """\
examples:
  Repair all sequences of the default database:
      %(prog)s
  Take over from an old server, whose writers may draw 1,000 numbers meanwhile:
      %(prog)s --from old --headroom 1000
  Repair the sequences of all nodes of a Citus cluster, each in its own range:
      %(prog)s --every-node
  Fail in CI where a sequence is behind, and change nothing:
      %(prog)s --check

exit codes:
  0  every sequence is as it should be, or was only to be looked at
  1  something is left to do, or a database cannot be asked
  2  wrong usage
"""


class Command(OneSentenceCommand):
    """Reads the sequences of each database, moves those that are behind, and prints the report."""

    help = (
        "Moves every PostgreSQL sequence that is behind the rows it numbers past them. Without\n"
        "labels it looks at all sequences of the database. It never moves a sequence back, unless\n"
        "--rewind asks for that."
    )
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, print the reports, and exit with 1 where something is left to do."""
        try:
            request = Request.parsed(options)
        except CommandError as error:
            if asks_for_json(options) and not options["sql"]:
                self.stdout.write_json(self.refused(str(error)))
            raise
        found = list(runs(request))
        reports = [run.result for run in found if isinstance(run.result, Report)]
        failures = [run.result for run in found if isinstance(run.result, CommandError)]
        is_fine = all(_is_fine(each, request) for each in reports)
        left = 0 if is_fine or request.mode == "dry-run" else 1
        code = max([left, *(failure.returncode for failure in failures)])
        if request.as_json:
            self.stdout.write_json(_as_json(found, code))
        self._print_all(reports, request)
        self._print_entries([each.database for each in reports if each.node is None], request)
        if failures:
            raise CommandError("\n".join(map(str, failures)), returncode=code)
        if code:
            sys.exit(code)

    def refused(self, message: str) -> dict[str, Any]:
        """Return the report in JSON of a command line that cannot be parsed."""
        return _as_json([], WRONG_USAGE, _error(CommandError(message, returncode=WRONG_USAGE)))

    def _print_all(self, reports: list[Report], request: Request) -> None:
        for report in reports:
            self._print(report, request)
            if report.applied:
                with onto_standard_error() if request.as_json else nullcontext():
                    announce(report, "resetsequences", printed=True)

    def _print_entries(self, aliases: list[str], request: Request) -> None:
        """Say which entries of the setting name nothing, as far as these databases tell."""
        is_whole = request.scope == Scope() and {*aliases} == {*connections}
        if request.verbosity > 1 or (request.verbosity and is_whole):
            try:
                said = naming_nothing([connections[alias] for alias in aliases], request.limits)
            except (Error, *NONSENSE) as error:
                said = [f"The entries of RESTOREHOOKS were not checked: {first_line(error)}"]
            for each in said:
                self.stderr.write(each)

    def _print(self, report: Report, request: Request) -> None:
        if report.read_only:
            self.stderr.write(
                f"Database {report.place}: nothing was changed, since {report.read_only}."
            )
        if request.verbosity > 0:
            for label in report.without_table:
                self.stderr.write(f"{label} has no table in database {report.place}.")
            for label in report.without_sequence:
                self.stderr.write(
                    f"No sequence numbers {label} in database {report.place}: an insert has to"
                    " bring its own number."
                )
            for note in report.notes:
                self.stderr.write(f"Database {report.place}: {note}")
            for name in report.only_at_source or ():
                self.stderr.write(
                    f"No sequence of database {report.place} stands for {name} of the source."
                )
        if request.mode == "sql":
            self.stdout.write(report.as_sql())
        elif not request.as_json:
            self._print_table(report, request)

    def _print_table(self, report: Report, request: Request) -> None:
        if request.verbosity == 0:
            for entry in report.unsafe:
                self.stderr.write(report.sentence_about(entry))
            return
        planned = [e for e in report if e.plan is not None]
        shown = {id(e): e for e in [*report.changed, *report.unresolved, *planned]}
        entries = [e for e in report if request.verbosity >= 2 or id(e) in shown]
        if entries:
            colour = self.stdout.isatty() if request.styled is None else request.styled
            self.stdout.write_safe(report.as_table(entries, colour=colour))
        self.stdout.write(report.sentence())


def _as_json(
    found: Sequence[Run], code: int, error: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what was found and done in the shape of ``schemas/report.json``."""
    reports = [run.result.as_dict() for run in found if isinstance(run.result, Report)]
    failed = [
        {"database": run.alias, **({"node": run.node} if run.node else {}), **_error(run.result)}
        for run in found
        if isinstance(run.result, CommandError)
    ]
    if failed:
        error = {key: failed[0][key] for key in ("kind", "message", "hint")}
    outcome = "unresolved" if code else "done"
    if error:
        outcome = "refused" if error["kind"] == "usage" else "failed"
    return {
        "command": "resetsequences",
        "outcome": outcome,
        "exit_code": code,
        "error": error,
        "ended_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "databases": reports,
        "failed": failed,
    }


def _error(error: CommandError) -> dict[str, Any]:
    kind = "usage" if error.returncode == WRONG_USAGE else "database"
    return {"kind": kind, "message": str(error), "hint": None}


def _is_fine(report: Report, request: Request) -> bool:
    if request.mode == "sql":  # what is behind is repaired by what was printed
        return all(entry.status is Status.BEHIND for entry in report.unsafe)
    return report.is_fine
