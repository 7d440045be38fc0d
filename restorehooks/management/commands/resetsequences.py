"""``manage.py resetsequences``: move every sequence that is behind past its rows."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import Error, connections

from restorehooks.announce import announce
from restorehooks.management.base import WRONG_USAGE, OneSentenceCommand
from restorehooks.management.output import asks_for_json
from restorehooks.management.positions import positions_at
from restorehooks.management.sequence_options import Request, add_options, wrong_usage
from restorehooks.sequences.entries import naming_nothing
from restorehooks.sequences.repair import inspect, reset
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import Scope, schemas_named
from restorehooks.sequences.tenants import is_allowed, within_tenant
from restorehooks.sequences.verdict import Status
from restorehooks.wording import first_line

EPILOG = """\
examples:
  Repair all sequences of the default database:
      %(prog)s
  Take over from an old server, whose writers may draw 1,000 numbers meanwhile:
      %(prog)s --from old --headroom 1000
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
        results = {alias: _run(alias, request) for alias in request.aliases}
        reports = [result for result in results.values() if isinstance(result, Report)]
        failures = [result for result in results.values() if not isinstance(result, Report)]
        is_fine = all(_is_fine(each, request) for each in reports)
        left = 0 if is_fine or request.mode == "dry-run" else 1
        code = max([left, *(failure.returncode for failure in failures)])
        if request.as_json:
            self.stdout.write_json(_as_json(results, code))
        self._print_all(reports, request)
        self._print_entries([report.database for report in reports], request)
        if failures:
            raise CommandError("\n".join(map(str, failures)), returncode=code)
        if code:
            sys.exit(code)

    def refused(self, message: str) -> dict[str, Any]:
        """Return the report in JSON of a command line that cannot be parsed."""
        return _as_json({}, WRONG_USAGE, _error(CommandError(message, returncode=WRONG_USAGE)))

    def _print_all(self, reports: list[Report], request: Request) -> None:
        for report in reports:
            self._print(report, request)
            if report.applied:
                announce(report, "resetsequences", printed=True)

    def _print_entries(self, aliases: list[str], request: Request) -> None:
        """Say which entries of the setting name nothing, as far as these databases tell."""
        is_whole = request.scope == Scope() and {*aliases} == {*connections}
        if request.verbosity > 1 or (request.verbosity and is_whole):
            try:
                said = naming_nothing([connections[alias] for alias in aliases], request.limits)
            except Error as error:
                said = [f"The entries of RESTOREHOOKS were not checked: {first_line(error)}"]
            for each in said:
                self.stderr.write(each)

    def _print(self, report: Report, request: Request) -> None:
        if report.read_only:
            self.stderr.write(
                f'Database "{report.database}": nothing was changed, since {report.read_only}.'
            )
        if request.verbosity > 0:
            for label in report.without_table:
                self.stderr.write(f'{label} has no table in database "{report.database}".')
            for label in report.without_sequence:
                self.stderr.write(
                    f'No sequence numbers {label} in database "{report.database}": an insert has to'
                    " bring its own number."
                )
            for note in report.notes:
                self.stderr.write(f'Database "{report.database}": {note}')
            for name in report.only_at_source or ():
                self.stderr.write(
                    f'No sequence of database "{report.database}" stands for {name} of the source.'
                )
        if request.mode == "sql":
            # For psql a name has to stay as it is; a terminal gets it printable.
            write = self.stdout.write if self.stdout.isatty() else self.stdout.write_safe
            write(report.as_sql())
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


def _run(alias: str, request: Request) -> Report | CommandError:
    function = reset if request.mode == "reset" else inspect
    try:
        scope = within_tenant(connections[alias], request.scope)
        if scope.schemas is not None:
            scope = replace(scope, schemas=schemas_named(connections[alias], scope.schemas))
        source = None
        if request.source is not None:
            source = positions_at(request.source, alias, request.limits.lock_timeout)
        report = function(
            alias,
            scope,
            request.limits,
            headroom=request.headroom,
            rewind=request.rewind,
            source=source,
        )
    except CommandError as error:
        return error
    except LookupError as error:
        return wrong_usage(error.args[0])
    except (Error, ImproperlyConfigured) as error:
        return CommandError(f'Database "{alias}" cannot be asked: {first_line(error)}')
    if scope.schemas is None and not is_allowed(alias, scope):
        labels = ", ".join(model._meta.label for model in scope.models or [])
        return wrong_usage(
            f'The router keeps {labels} out of database "{alias}"; name another with --database.'
        )
    if report.without_table and not report.entries:
        return CommandError(
            f'There is no table in database "{alias}" for {", ".join(report.without_table)};'
            " run migrate first."
        )
    return report


def _as_json(
    results: Mapping[str, Report | CommandError], code: int, error: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the results by alias in the shape of ``schemas/report.json``."""
    reports = [each.as_dict() for each in results.values() if isinstance(each, Report)]
    failed = [
        {"database": alias, **_error(each)}
        for alias, each in results.items()
        if isinstance(each, CommandError)
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
