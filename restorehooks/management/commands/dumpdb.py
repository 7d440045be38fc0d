"""``manage.py dumpdb``: a dump that is known to be whole, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from restorehooks.management.asking import ending
from restorehooks.management.base import WRONG_USAGE, OneSentenceCommand, postgresql_aliases
from restorehooks.management.progress import reporter_for
from restorehooks.restore.backup import back_up
from restorehooks.restore.dump.facts import described


class Command(OneSentenceCommand):
    """Parse, call, print."""

    help = (
        "Dumps a database for restoredb: written under a temporary name, readable by you alone, "
        "read back to its end, then renamed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("file", type=Path, metavar="FILE")
        add("--database", default="default", metavar="ALIAS")
        add("--format", choices=["custom", "directory", "tar", "plain"], default="custom")
        add("--jobs", type=int, metavar="N", help="So many tables at once (directory only).")
        add("--compress", metavar="METHOD", help="0 to 9, or from pg_dump 16 on zstd, lz4:3, ...")
        add("--force", action="store_true", help="Replace FILE if it is there.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Dump it, and say what was written."""
        if options["jobs"] is not None and options["jobs"] < 1:
            raise CommandError("--jobs must be 1 or more.", returncode=WRONG_USAGE)
        postgresql_aliases([options["database"]], every=False)
        reporter = reporter_for(self.stderr, options["verbosity"])
        with ending(self, "dump", traceback=options["traceback"], untouched="No dump was written."):
            try:
                done = back_up(
                    options["file"],
                    using=options["database"],
                    form=options["format"],
                    jobs=options["jobs"],
                    compress=options["compress"],
                    force=options["force"],
                    reporter=reporter,
                )
            finally:
                reporter.close()
            if options["verbosity"] > 0:
                self.stdout.write(
                    f"Written in {done.seconds:.1f} s and read back: "
                    f"{described(done.dump, done.path)}."
                )
