"""``manage.py explainduplicate``: why a unique constraint was violated, and what mends it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import Error, connections

from restorehooks.duplicates.diagnosis import Diagnosis, Situation, diagnose
from restorehooks.duplicates.target import NotFoundError
from restorehooks.management.base import WRONG_USAGE, OneSentenceCommand, postgresql_aliases
from restorehooks.wording import first_line


class Command(OneSentenceCommand):
    """Reads the database, and prints what was found of each constraint that the text names."""

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
            why = first_line(error)
            raise CommandError(f'Database "{alias}" cannot be asked: {why}') from None
        if options["format"] == "json":
            self.stdout.write(json.dumps([each.as_dict() for each in found], indent=2))
            return
        self.stdout.write("\n\n".join(_texts(found)))


MANY = 3
"""Up to so many constraints of one name are explained one by one, as schema tenants have them."""
WORTH_SHOWING = (Situation.BEHIND, Situation.EXHAUSTED, Situation.DUPLICATED)
SHOWN = 10
"""So many of those are explained after the summary."""


def _texts(found: list[Diagnosis]) -> list[str]:
    if len(found) <= MANY:
        return [_as_text(each) for each in found]
    shown = [each for each in found if each.situation in WORTH_SHOWING]
    texts = [_summary(found), *map(_as_text, shown[:SHOWN])]
    if len(shown) > SHOWN:
        texts.append(f"And {len(shown) - SHOWN} more; --format json has them all.")
    return texts


def _summary(found: list[Diagnosis]) -> str:
    schemas = len({each.target.schema for each in found})
    counts = Counter(each.situation for each in found)
    said = ", ".join(f"{counts[each]} {IN_WORDS[each]}" for each in Situation if counts[each])
    names = ", ".join(dict.fromkeys(each.target.name for each in found))
    return f'Database "{found[0].database}": {names} in {schemas} schemas: {said}.'


IN_WORDS = {
    Situation.BEHIND: "with a sequence behind",
    Situation.EXHAUSTED: "with a sequence used up",
    Situation.UNSEEN: "with a sequence that cannot be judged",
    Situation.PASSED: "with no sequence behind",
    Situation.UNIQUE: "that no sequence numbers",
    Situation.DUPLICATED: "with rows duplicated",
    Situation.CLEAN: "with no rows duplicated",
}


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
