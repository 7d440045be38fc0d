"""``manage.py restoredb``: a dump in, a working database out, and nothing lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from restorehooks.management.asking import asking, ending
from restorehooks.management.base import WRONG_USAGE, OneSentenceCommand, postgresql_aliases
from restorehooks.management.progress import reporter_for
from restorehooks.restore.cluster import show_globals
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.undo import drop_previous, undo
from restorehooks.wording import size_in_words


class Command(OneSentenceCommand):
    """Parse, call, print."""

    help = (
        "Restores a dump beside the live database, repairs its sequences, runs the hooks on it, "
        "and puts it in the live one's place. If anything goes wrong before that, the live "
        "database is as it was; afterwards --undo brings it back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "source",
            nargs="?",
            metavar="SOURCE",
            help="A dump made by pg_dump, in any format, compressed or not; - for stdin.",
        )
        parser.add_argument("--database", default="default", metavar="ALIAS")
        parser.add_argument(
            "--from-database",
            metavar="NAME",
            help="The database to take out of a file that pg_dumpall made.",
        )
        parser.add_argument(
            "--show-globals",
            action="store_true",
            help="Print the roles and tablespaces that such a file would create, and stop.",
        )
        self._add_what(parser)
        self._add_how(parser)
        self._add_afterwards(parser)

    def _add_what(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--in-place",
            action="store_true",
            help="Drop what this role owns in the live database and load into it, in one "
            "transaction. There is no undo.",
        )
        parser.add_argument(
            "--data-only",
            action="store_true",
            help="Only add the dump's rows to the tables that are there, in one transaction.",
        )
        parser.add_argument("--schema", action="append", default=[], metavar="NAME")
        parser.add_argument(
            "--table",
            action="append",
            default=[],
            metavar="NAME",
            help="Only this schema or table, as pg_restore has it: a table comes without its "
            "indexes, constraints and defaults. Repeatable.",
        )

    def _add_how(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--jobs", type=int, metavar="N", help="So many at once; the cores if not given.")
        for name, kept in (("owner", "who owns each object"), ("privileges", "what is granted")):
            group = parser.add_mutually_exclusive_group()
            group.add_argument(
                f"--{name}", action="store_true", default=None, help=f"Restore {kept}."
            )
            group.add_argument(
                f"--no-{name}", action="store_false", dest=name, help=f"Do not restore {kept}."
            )
        add("--migrate", action="store_true", help="Run migrate on the restored data.")
        add("--no-analyze", action="store_false", dest="analyze", help="Do not run ANALYZE.")
        add("--hooks-dir", type=Path, metavar="DIR", help="Run its *.sql, *.sh and *.py.")
        add("--dry-run", action="store_true", help="Prove the dump, print the plan, stop.")
        add("--accept-lost-settings", action="store_true", help="Swap what cannot come over.")
        add(
            "--accept-unfinished-dump",
            action="store_true",
            dest="accept_unfinished",
            help="Take a plain dump without pg_dump's last line: a missing end is not noticed.",
        )
        add("--spool-dir", type=Path, metavar="DIR", help="Where temporary copies go (TMPDIR).")
        add("--maintenance-db", metavar="NAME", help="The database to work from (postgres).")

    def _add_afterwards(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--undo", action="store_true", help="Bring the previous database back.")
        add(
            "--drop-previous",
            action="store_true",
            help="With SOURCE: do not keep the database that is replaced. Without: drop all kept.",
        )
        add("--no-input", action="store_false", dest="interactive", help="Do not ask anything.")
        add("--noinput", action="store_false", dest="interactive", help="The same.")
        add("--json", action="store_true", help="Print the report as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore, undo or drop, print it, and exit."""
        self._check(options)
        postgresql_aliases([options["database"]], every=False)
        with ending(self, "restore", traceback=options["traceback"]):
            if options["show_globals"]:
                for line in show_globals(options["source"], options["spool_dir"]):
                    self.stdout.write(line)
            elif options["undo"]:
                self._undo(options)
            elif options["source"] is None:
                self._drop_previous(options)
            else:
                self._restore(options)

    def _check(self, options: dict[str, Any]) -> None:
        source, alone = options["source"], options["undo"] or options["drop_previous"]
        wrong = None
        if source is None and not alone:
            wrong = "SOURCE is missing: name a dump, or - for stdin."
        elif options["undo"] and (source is not None or options["drop_previous"]):
            wrong = "Give --undo alone: it takes neither SOURCE nor --drop-previous."
        elif options["show_globals"] and source in (None, "-"):
            wrong = "--show-globals needs a file that pg_dumpall made."
        elif options["jobs"] is not None and options["jobs"] < 1:
            wrong = "--jobs must be 1 or more."
        elif options["data_only"] and (options["in_place"] or options["migrate"]):
            wrong = "--data-only adds rows and goes with neither --in-place nor --migrate."
        elif options["drop_previous"] and (options["in_place"] or options["data_only"]):
            wrong = "In place there is no previous database to drop."
        if wrong:
            raise CommandError(wrong, returncode=WRONG_USAGE)

    def _restore(self, options: dict[str, Any]) -> None:
        request = Request(
            source=options["source"],
            using=options["database"],
            from_database=options["from_database"],
            in_place=options["in_place"],
            data_only=options["data_only"],
            schemas=tuple(options["schema"]),
            tables=tuple(options["table"]),
            jobs=options["jobs"],
            owner=options["owner"],
            privileges=options["privileges"],
            migrate=options["migrate"],
            analyze=options["analyze"],
            hooks_dir=options["hooks_dir"],
            dry_run=options["dry_run"],
            accept_lost_settings=options["accept_lost_settings"],
            accept_unfinished=options["accept_unfinished"],
            drop_previous=options["drop_previous"],
            maintenance_db=options["maintenance_db"],
            spool_dir=options["spool_dir"],
        )
        reporter = reporter_for(self.stderr, options["verbosity"])
        try:
            report = restore(
                request, confirm=asking(no_input=not options["interactive"]), reporter=reporter
            )
        finally:
            reporter.close()
        self._print(report, options)

    def _print(self, report: RestoreReport, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
            return
        if options["verbosity"] == 0:
            return
        for line in report.lines():
            self.stdout.write(line)

    def _undo(self, options: dict[str, Any]) -> None:
        done = undo(
            options["database"],
            confirm=asking(no_input=not options["interactive"]),
            dry_run=options["dry_run"],
            maintenance_db=options["maintenance_db"],
        )
        kept = f' What was live is kept as "{done.replaced}".' if done.replaced else ""
        verb = "would be" if options["dry_run"] else "is"
        self.stdout.write(
            f'"{done.back.name}" {verb} "{done.target}" again, as it was before '
            f"{done.back.marker.at}.{kept}"
        )

    def _drop_previous(self, options: dict[str, Any]) -> None:
        found = drop_previous(
            options["database"],
            confirm=asking(no_input=not options["interactive"]),
            dry_run=options["dry_run"],
            maintenance_db=options["maintenance_db"],
        )
        verb = "Would drop" if options["dry_run"] else "Dropped"
        for one in found:
            self.stdout.write(f'{verb} "{one.name}" ({size_in_words(one.size or 0)}).')
