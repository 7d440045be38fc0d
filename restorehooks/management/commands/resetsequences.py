"""``manage.py resetsequences``: move every sequence that is behind past its rows."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import Error, connections

from restorehooks import conf
from restorehooks.announce import announce
from restorehooks.management.base import WRONG_USAGE, OneSentenceCommand, postgresql_aliases
from restorehooks.management.output import add_format, asks_for_json
from restorehooks.sequences.repair import inspect, reset
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import Limits, Scope, check_schemas, models_for
from restorehooks.sequences.tenants import is_allowed, within_tenant
from restorehooks.sequences.verdict import Status
from restorehooks.wording import first_line


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    ``mode`` is "reset", or one of "check", "dry-run" and "sql", which change nothing.
    ``styled`` says whether a table has colours, None where the output decides.
    """

    aliases: list[str]
    scope: Scope
    limits: Limits
    mode: str
    headroom: int
    rewind: bool
    as_json: bool
    verbosity: int
    styled: bool | None

    @classmethod
    def parsed(cls, options: dict[str, Any]) -> Request:
        """Return the request; raises ``CommandError`` for what cannot be meant."""
        if options["all_databases"] and options["database"]:
            raise _wrong_usage("Give --database or --all-databases, not both.")
        if options["sql"] and asks_for_json(options):
            raise _wrong_usage("Give --sql or --format json, not both.")
        aliases = postgresql_aliases(options["database"], every=options["all_databases"])
        if options["sql"] and len(aliases) > 1:
            raise _wrong_usage(
                f"--sql prints what one database is to run: name one of {', '.join(aliases)} with"
                " --database."
            )
        modes = {"check": "check", "dry_run": "dry-run", "sql": "sql"}
        try:
            models = models_for(options["labels"]) if options["labels"] else None
            limits = conf.limits()
            if options["by_name"]:
                limits = replace(limits, names="repaired")
        except (LookupError, ImproperlyConfigured) as error:
            raise _wrong_usage(error.args[0]) from None
        return cls(
            aliases=aliases,
            scope=Scope(models, options["schema"]),
            limits=limits,
            mode=next((mode for name, mode in modes.items() if options[name]), "reset"),
            headroom=options["headroom"],
            rewind=options["rewind"],
            as_json=asks_for_json(options),
            verbosity=options["verbosity"],
            styled=True if options["force_color"] else False if options["no_color"] else None,
        )


class Command(OneSentenceCommand):
    """Reads the sequences of each database, moves those that are behind, and prints the report."""

    help = (
        "Moves every PostgreSQL sequence that is behind the rows it numbers past them. Without"
        " labels: all sequences of the database. Never moves one back unless told to."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "labels",
            nargs="*",
            metavar="app_label[.Model]",
            help="Only the sequences of these models' tables.",
        )
        parser.add_argument(
            "--database",
            action="append",
            default=[],
            metavar="ALIAS",
            help='Alias of the database, repeatable; "default" if not given.',
        )
        parser.add_argument(
            "--all-databases", action="store_true", help="All PostgreSQL databases of DATABASES."
        )
        parser.add_argument(
            "--schema",
            action="append",
            metavar="NAME",
            help="Only sequences in this schema, or numbering a table there; repeatable.",
        )
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument(
            "--check",
            action="store_true",
            help="Change nothing; exit with 1 if a sequence is behind or exhausted.",
        )
        mode.add_argument(
            "--dry-run", action="store_true", help="Change nothing; show what would be done."
        )
        mode.add_argument(
            "--sql", action="store_true", help="Change nothing; print the SQL that would do it."
        )
        parser.add_argument(
            "--rewind",
            action="store_true",
            help="Also lower sequences that are ahead, and restart those of empty tables. Their"
            " numbers may have been handed out before.",
        )
        parser.add_argument(
            "--headroom",
            type=_at_least_0,
            default=0,
            metavar="N",
            help="Stay N increments clear of the rows.",
        )
        parser.add_argument(
            "--by-name",
            action="store_true",
            help="Also move sequences that only their names (TABLE_COLUMN_seq, TABLE_seq) lead to a"
            " key without a default.",
        )
        add_format(
            parser, ["table"], "Report as a table (the default), or as JSON on standard output."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, print the reports, and exit with 1 where something is left to do."""
        try:
            request = Request.parsed(options)
        except CommandError as error:
            if asks_for_json(options):
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

    def _print(self, report: Report, request: Request) -> None:
        if report.read_only:
            self.stderr.write(
                f'Database "{report.database}": nothing was changed, since {report.read_only}.'
            )
        if request.verbosity > 0:
            for label in report.without_table:
                self.stderr.write(f'{label} has no table in database "{report.database}".')
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
        check_schemas(connections[alias], scope.schemas or [])
        report = function(
            alias, scope, request.limits, headroom=request.headroom, rewind=request.rewind
        )
    except LookupError as error:
        return _wrong_usage(error.args[0])
    except (Error, ImproperlyConfigured) as error:
        return CommandError(f'Database "{alias}" cannot be asked: {first_line(error)}')
    if scope.schemas is None and not is_allowed(alias, scope):
        labels = ", ".join(model._meta.label for model in scope.models or [])
        return _wrong_usage(
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


def _wrong_usage(sentence: str) -> CommandError:
    return CommandError(sentence, returncode=WRONG_USAGE)


def _is_fine(report: Report, request: Request) -> bool:
    if request.mode == "sql":  # what is behind is repaired by what was printed
        return all(entry.status is Status.BEHIND for entry in report.unsafe)
    return report.is_fine


def _at_least_0(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)
