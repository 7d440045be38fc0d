"""``manage.py resetsequences``: move every sequence that is behind past its rows."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import Error, connections, router

from restorehooks import conf
from restorehooks.announce import announce
from restorehooks.management.base import WRONG_USAGE, OneSentenceCommand, postgresql_aliases
from restorehooks.sequences.repair import inspect, reset
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import check_schemas, models_for
from restorehooks.sequences.verdict import Status

if TYPE_CHECKING:
    from django.db.models import Model


class Command(OneSentenceCommand):
    """Parse, call, print."""

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
        parser.add_argument("--format", choices=["table", "json"], default="table")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, print it, and exit with 1 where something is left to do."""
        if options["all_databases"] and options["database"]:
            raise CommandError(
                "Give --database or --all-databases, not both.", returncode=WRONG_USAGE
            )
        if options["sql"] and options["format"] == "json":
            raise CommandError("Give --sql or --format json, not both.", returncode=WRONG_USAGE)
        aliases = postgresql_aliases(options["database"], every=options["all_databases"])
        if options["sql"] and len(aliases) > 1:
            raise CommandError(
                f"--sql prints what one database is to run: name one of {', '.join(aliases)} with"
                " --database.",
                returncode=WRONG_USAGE,
            )
        try:
            models = models_for(options["labels"]) if options["labels"] else None
            options["lock_timeout"] = conf.lock_timeout()
        except (LookupError, ImproperlyConfigured) as error:
            raise CommandError(error.args[0], returncode=WRONG_USAGE) from None
        results = [self._run(alias, models, options) for alias in aliases]
        reports = [result for result in results if isinstance(result, Report)]
        failures = [result for result in results if isinstance(result, CommandError)]
        self._print_all(reports, options)
        if failures:
            sentences = "\n".join(str(failure) for failure in failures)
            raise CommandError(sentences, returncode=max(f.returncode for f in failures))
        if not options["dry_run"] and not all(_is_fine(report, options) for report in reports):
            sys.exit(1)

    def _run(
        self, alias: str, models: list[type[Model]] | None, options: dict[str, Any]
    ) -> Report | CommandError:
        plan_only = options["check"] or options["dry_run"] or options["sql"]
        function = inspect if plan_only else reset
        try:
            check_schemas(connections[alias], options["schema"] or [])
            report = function(
                alias,
                models,
                schemas=options["schema"],
                headroom=options["headroom"],
                rewind=options["rewind"],
                lock_timeout=options["lock_timeout"],
            )
        except LookupError as error:
            return CommandError(error.args[0], returncode=WRONG_USAGE)
        except (Error, ImproperlyConfigured) as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            return CommandError(f'Database "{alias}" cannot be asked: {first_line}')
        if models and not any(router.allow_migrate_model(alias, model) for model in models):
            labels = ", ".join(model._meta.label for model in models)
            return CommandError(
                f'The router keeps {labels} out of database "{alias}"; name another with'
                " --database.",
                returncode=WRONG_USAGE,
            )
        if report.without_table and not report.entries:
            return CommandError(
                f'There is no table in database "{alias}" for {", ".join(report.without_table)};'
                " run migrate first."
            )
        return report

    def _print_all(self, reports: list[Report], options: dict[str, Any]) -> None:
        if options["format"] == "json":
            databases = [report.as_dict() for report in reports]
            self.stdout.write(json.dumps({"databases": databases}, indent=2))
        for report in reports:
            self._print(report, options)
            if report.applied:
                announce(report, "resetsequences", printed=True)

    def _print(self, report: Report, options: dict[str, Any]) -> None:
        verbosity = options["verbosity"]
        if report.read_only:
            self.stderr.write(
                f'Database "{report.database}": nothing was changed, since {report.read_only}.'
            )
        if verbosity > 0:
            for label in report.without_table:
                self.stderr.write(f'{label} has no table in database "{report.database}".')
        if options["sql"]:
            self.stdout.write(report.as_sql())
        elif options["format"] == "table":
            self._print_table(report, options)

    def _print_table(self, report: Report, options: dict[str, Any]) -> None:
        verbosity = options["verbosity"]
        if verbosity == 0:
            for entry in report.unsafe:
                self.stderr.write(report.sentence_about(entry))
            return
        planned = [e for e in report if e.plan is not None]
        shown = {id(e): e for e in [*report.changed, *report.unresolved, *planned]}
        entries = [e for e in report if verbosity >= 2 or id(e) in shown]
        if entries:
            on_terminal = self.stdout.isatty() and not options["no_color"]
            colour = on_terminal or options["force_color"]
            self.stdout.write(report.as_table(entries, colour=colour))
        self.stdout.write(report.sentence())


def _is_fine(report: Report, options: dict[str, Any]) -> bool:
    if options["sql"]:  # what is behind is mended by what was printed
        return all(entry.status is Status.BEHIND for entry in report.unsafe)
    return report.is_fine


def _at_least_0(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)
