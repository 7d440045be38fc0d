"""``manage.py restoredb``: restore a dump beside the live database and put it in its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandParser

from restorehooks.management.asking import asking
from restorehooks.management.base import OneSentenceCommand, postgresql_aliases
from restorehooks.management.ending import Failure, as_it_was, ending
from restorehooks.management.outcome import Done
from restorehooks.management.output import asks_for_json
from restorehooks.management.place import direct, require_no_password, settle
from restorehooks.management.progress import reporter_for
from restorehooks.management.restore_arguments import Asked, action_of
from restorehooks.management.restore_options import add_options
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.restore import restore
from restorehooks.restore.sources import list_storage, show_globals
from restorehooks.restore.undo import drop_previous, kept_databases, undo
from restorehooks.wording import printable

EPILOG = """\
examples:
  Restore a dump; the live database is kept under another name:
      %(prog)s backup.dump
  See what would be done, and whether the dump is whole:
      %(prog)s backup.dump --dry-run
  Make this database a copy of another one, with the project's hooks run on the copy:
      %(prog)s alias:production --hooks-dir hooks
  List what is in the project's storage of dumps, and restore the newest:
      %(prog)s storage:
      %(prog)s storage: --latest
  Bring the previous database back:
      %(prog)s --undo

exit codes:
  0    it is done
  1    it failed, or was not confirmed; the last line says what is live
  2    wrong usage, or no terminal to ask on
  130  it was interrupted
"""


ASKED_FOR = ("list kept", "list storage", "show globals")
"""Actions that are asked for their output, which is written at any verbosity."""


class Command(OneSentenceCommand):
    """Restores a dump, puts a previous database back, drops what is kept, or lists it."""

    help = (
        "Restores a dump beside the live database, repairs its sequences, runs the hooks on it,\n"
        "and puts it in the live database's place. If anything fails before that, the live\n"
        "database is as it was. The database that was replaced is kept: --undo brings it back."
    )
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_options(parser)

    def refused(self, message: str) -> dict[str, Any]:
        """Return the report in JSON of a command line that cannot be parsed."""
        return Done("restore", RestoreReport("default")).as_json(Failure.of_usage(message))

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is asked for, report it, and exit with the code that says what came of it."""
        using = options["database"] or "default"
        done = Done(action_of(options), RestoreReport(using, dry_run=options["dry_run"]))
        as_json = asks_for_json(options)

        def report(failure: Failure) -> None:
            if as_json:
                self.stdout.write_json(done.as_json(failure))
            elif options["verbosity"] > 0:
                self._print(done.lines_so_far())

        with (
            direct(options["direct"]),
            ending(
                self,
                "restore",
                traceback=options["traceback"],
                untouched=as_it_was(using),
                report=report,
            ),
        ):
            require_no_password(options["direct"])
            asked = Asked.parsed(options)
            postgresql_aliases([using], every=False)
            settle(options["database"], options["place"], is_alone=self.is_alone)
            self._do(asked, done)
        if as_json:
            self.stdout.write_json(done.as_json())
        elif options["verbosity"] > 0 or done.action in ASKED_FOR:
            self._print(done.lines())

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(printable(line))
        self.stdout.flush()

    def _do(self, asked: Asked, done: Done) -> None:
        confirm = asking(interactive=asked.interactive)
        request, names = asked.request, asked.names
        maintenance, dry_run = request.maintenance_db, request.dry_run
        match asked.action:
            case "list kept":
                done.kept = kept_databases(request.using, maintenance_db=maintenance)
            case "show globals":
                done.globals_ = show_globals(request)
            case "list storage":
                done.stored = list_storage(request)
            case "undo":
                done.undone = undo(
                    request.using,
                    name=names[0] if names else None,
                    confirm=confirm,
                    dry_run=dry_run,
                    maintenance_db=maintenance,
                )
            case "drop previous":
                drop_previous(
                    request.using,
                    names=names,
                    confirm=confirm,
                    dry_run=dry_run,
                    maintenance_db=maintenance,
                    dropped=done.dropped,
                )
            case "restore":
                reporter = reporter_for(self.stderr, asked.verbosity)
                try:
                    restore(request, confirm=confirm, reporter=reporter, report=done.report)
                finally:
                    reporter.close()
