"""``manage.py explainduplicate``: why a unique constraint was violated, and what mends it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import Error, connections

from restorehooks.duplicates.diagnosis import Diagnosis, diagnose
from restorehooks.duplicates.target import NotFoundError
from restorehooks.management.base import WRONG_USAGE, OneSentenceCommand, postgresql_aliases


class Command(OneSentenceCommand):
    """Parse, call, print."""

    help = (
        "Explains a unique violation by looking at the database: a sequence behind, or data that"
        " really are duplicated, and the command that mends it."
    )
    program: tuple[str, ...] = ("python", "manage.py")

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser, and remember what the commands to be printed begin with."""
        if Path(prog_name).name == "restorehooks":
            self.program = ("restorehooks",)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "what",
            nargs="+",
            metavar="WHAT",
            help="A constraint's name, or a whole error message in any of the server's languages;"
            " - for standard input.",
        )
        parser.add_argument(
            "--database",
            metavar="ALIAS",
            help='Alias of the database; "default" if not given.',
        )
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        """Explain it, or exit with 1 where there is nothing of that name."""
        named = [options["database"]] if options["database"] else []
        (alias,) = postgresql_aliases(named, every=False)
        what = " ".join(options["what"])
        if what == "-":
            what = sys.stdin.read()
        if not what.strip():
            raise CommandError(
                "Give a constraint's name or an error message.", returncode=WRONG_USAGE
            )
        try:
            found = diagnose(connections[alias], what, self.program)
        except NotFoundError as error:
            raise CommandError(str(error)) from None
        except (Error, ImproperlyConfigured) as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CommandError(f'Database "{alias}" cannot be asked: {first_line}') from None
        if options["format"] == "json":
            self.stdout.write(json.dumps([each.as_dict() for each in found], indent=2))
            return
        self.stdout.write("\n\n".join(_as_text(each) for each in found))


def _as_text(diagnosis: Diagnosis) -> str:
    target, model = diagnosis.target, diagnosis.target.model
    whose = f", of model {model._meta.label}" if model else ""
    lines = [
        f'Database "{diagnosis.database}": {target.name} is on {target.on} of'
        f" {target.quoted_table}{whose}.",
        diagnosis.sentences,
    ]
    for key, rows in diagnosis.duplicates.worst if diagnosis.duplicates else ():
        values = ", ".join("null" if value is None else value for value in key)
        lines.append(f"    {rows} rows with ({target.on})=({values})")
    return "\n".join([*lines, *(f"  $ {command}" for command in diagnosis.commands)])
