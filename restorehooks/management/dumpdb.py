"""``manage.py dumpdb``: a dump that is known to be whole, or none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from restorehooks.management.base import OneSentenceCommand, add_database, postgresql_aliases
from restorehooks.management.ending import Failure, ending
from restorehooks.management.output import add_format, asks_for_json
from restorehooks.management.place import add_direct, add_place, direct, require_no_password, settle
from restorehooks.management.progress import reporter_for
from restorehooks.management.restore_options import add_storage
from restorehooks.restore.backup import Written, back_up
from restorehooks.restore.backup_to_storage import back_up_to_storage
from restorehooks.restore.backup_to_stream import back_up_to_stream
from restorehooks.restore.dump.facts import Format, described
from restorehooks.restore.errors import UsageError
from restorehooks.restore.progress import Reporter
from restorehooks.restore.report import dump_as_json
from restorehooks.restore.server.keywords import is_address
from restorehooks.restore.storage.store import PREFIX, is_folder

EPILOG = """\
examples:
  Dump the database into one compressed file:
      %(prog)s backup.dump
  Dump it into the project's storage of dumps, and keep the latest seven there:
      %(prog)s storage: --keep 7
  Dump four tables at once into a directory, and replace the last one:
      %(prog)s backups/shop --format directory --jobs 4 --force

exit codes:
  0    the dump is written, and was read back to its end
  1    it failed; no dump was written
  2    wrong usage
  130  it was interrupted; no dump was written
"""
NOTHING = "No dump was written."
STANDARD_OUTPUT = "-"


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    to: where the dump will be, a path or storage:NAME. using: the alias. form: pg_dump's format.
    jobs: tables at once. compress: as pg_dump takes it. force: replace what is there.
    mode: the permissions of what is written.
    storage: the alias of the storage. keep: how many dumps of the database stay there.
    spool_dir: where the dump is until it is sent there.
    """

    to: str
    using: str
    form: Format
    jobs: int | None
    compress: str | None
    force: bool
    storage: str | None
    keep: int | None
    spool_dir: Path | None
    mode: int

    @classmethod
    def parsed(cls, options: dict[str, Any]) -> Asked:
        """Return what these options mean; raises UsageError for what makes no sense."""
        if wrong := next(_wrong(options), None):
            raise UsageError(wrong)
        return cls(
            to=options["file"],
            using=options["database"] or "default",
            form="custom" if options["format"] == "json" else options["format"],
            jobs=options["jobs"],
            compress=options["compress"],
            force=options["force"],
            storage=options["storage"],
            keep=options["keep"],
            spool_dir=options["spool_dir"],
            mode=int(options["mode"], 8),
        )

    def written(self, reporter: Reporter) -> Written:
        """Dump it, and return what was written."""
        if self.to.startswith(PREFIX):
            return back_up_to_storage(
                self.to.removeprefix(PREFIX),
                storage=self.storage,
                using=self.using,
                form=self.form,
                compress=self.compress,
                keep=self.keep,
                spool_dir=self.spool_dir,
                reporter=reporter,
            )
        how: dict[str, Any] = {
            "using": self.using,
            "form": self.form,
            "jobs": self.jobs,
            "compress": self.compress,
            "reporter": reporter,
        }
        if self.is_sent_on:
            if sys.__stdout__ is None:
                raise UsageError("Standard output is closed: name a file.")
            return back_up_to_stream(sys.stdout.buffer, spool_dir=self.spool_dir, **how)
        return back_up(Path(self.to), force=self.force, mode=self.mode, **how)

    @property
    def is_sent_on(self) -> bool:
        """Whether the dump goes to standard output."""
        return self.to == STANDARD_OUTPUT


def _wrong(options: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with these options, a sentence each."""
    to, keep = options["file"], options["keep"]
    if options["jobs"] is not None and options["jobs"] < 1:
        yield "--jobs must be 1 or more."
    if is_address(to):
        yield "FILE is the address of a database: name the file that the dump is written to."
    if keep is not None and keep < 1:
        yield "--keep must be 1 or more."
    if to == STANDARD_OUTPUT and asks_for_json(options):
        yield "Standard output is for the dump or for the report: leave out --json."
    if not re.fullmatch("0?6[046][04]", options["mode"]):
        yield (
            f"--mode takes 600, 640, 644, 660 or 664, not {options['mode']}: a dump is not run, and"
            " not for all to write."
        )
    if not to.startswith(PREFIX):
        for name in ("storage", "keep"):
            if options[name] is not None:
                yield f"--{name} is for a dump in a storage: {PREFIX}NAME."
        if options["spool_dir"] is not None and to != STANDARD_OUTPUT:
            yield f"--spool-dir is for a dump that is sent on: - or {PREFIX}NAME."
        return
    if options["format"] == "directory":
        yield "A directory is many files, and a storage takes a dump as one: leave out --format."
    if options["jobs"] is not None:
        yield "--jobs needs --format directory, which no storage takes: leave it out."
    if int(options["mode"], 8) != 0o600:
        yield "Who may read a dump in a storage is for its settings to say: leave out --mode."
    if options["force"]:
        yield "In a storage nothing is replaced: leave out --force, and choose another name."
    if keep is not None and not is_folder(to.removeprefix(PREFIX)):
        yield (
            f"--keep counts the dumps whose names are given here: name {PREFIX} or "
            f"{PREFIX}FOLDER/ alone."
        )


def _add_storage(parser: CommandParser) -> None:
    add = parser.add_argument_group("in a storage").add_argument
    add_storage(add)
    add(
        "--keep",
        type=int,
        metavar="N",
        help="After a success keep the latest N dumps of this database that were named there,"
        " and delete the older ones.",
    )
    add(
        "--spool-dir",
        type=Path,
        metavar="DIR",
        help="Where the dump is until it is sent. The default is where temporary files go"
        " (TMPDIR).",
    )


class Command(OneSentenceCommand):
    """Dumps a database, reads the dump back, and only then gives it its name."""

    help = (
        "Dumps a database for restoredb. The dump is readable by you alone. It is written under\n"
        "a temporary name, read back to its end, and only then renamed to FILE."
    )
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add(
            "file",
            metavar="FILE",
            help="The file, or with --format directory the directory; - for standard output;"
            " storage:NAME for a file in one of Django's storages; storage: or storage:FOLDER/ for"
            " one that is named there after database, server and time.",
        )
        group = add_database(parser)
        add_direct(group)
        add_place(group)
        add = parser.add_argument_group("how it is dumped").add_argument
        add("--jobs", type=int, metavar="N", help="Dump N tables at once (directory only).")
        add(
            "--compress",
            metavar="METHOD",
            help="A level from 0 to 9, or with pg_dump 16 and later a method and level: zstd,"
            " lz4:3, none.",
        )
        add(
            "--mode",
            default="600",
            metavar="MODE",
            help="The permissions of the dump, such as 640 for those in its group to read it. The"
            " default is 600: you alone.",
        )
        add(
            "--force",
            action="store_true",
            help="Replace FILE if it exists; a directory only if it is a dump.",
        )
        _add_storage(parser)
        add_format(
            parser,
            ["custom", "directory", "tar", "plain"],
            "pg_dump's format for the dump (the default is custom); or json, to report as JSON on"
            " standard output. Can be given twice.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Dump it, and report what was written."""
        as_json = asks_for_json(options)

        def report(failure: Failure) -> None:
            if as_json:
                self.stdout.write_json(_as_json(None, failure))

        with (
            direct(options["direct"]),
            ending(
                self,
                "dump",
                traceback=options["traceback"],
                untouched=lambda error: NOTHING,
                report=report,
            ),
        ):
            require_no_password(options["direct"])
            asked = Asked.parsed(options)
            postgresql_aliases([asked.using], every=False)
            settle(options["database"], options["place"], is_alone=self.is_alone)
            reporter = reporter_for(self.stderr, options["verbosity"])
            try:
                written = asked.written(reporter)
            finally:
                reporter.close()
        if as_json:
            self.stdout.write_json(_as_json(written))
        elif options["verbosity"] > 0:
            (self.stderr if asked.is_sent_on else self.stdout).write(
                f"Written in {written.seconds:.1f} s and read back: "
                f"{described(written.dump, written.path)}.",
                str,  # not painted as an error
            )
            if written.deleted:
                self.stdout.write(f"Deleted, being older: {', '.join(written.deleted)}.")

    def refused(self, message: str) -> dict[str, Any]:
        """Return the report in JSON of a command line that cannot be parsed."""
        return _as_json(None, Failure.of_usage(message))


def _as_json(written: Written | None, failure: Failure | None = None) -> dict[str, Any]:
    return {
        "command": "dumpdb",
        "outcome": failure.outcome if failure else "written",
        "exit_code": failure.exit_code if failure else 0,
        "error": failure.as_dict() if failure else None,
        "ended_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "written": written is not None,
        "path": str(written.path) if written else None,
        "dump": dump_as_json(written.dump) if written else None,
        "deleted": list(written.deleted) if written else [],
        "seconds": round(written.seconds, 3) if written else None,
    }
