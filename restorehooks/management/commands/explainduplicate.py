"""``manage.py explainduplicate``: why a unique constraint was violated, and what mends it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from restorehooks.duplicates.diagnosis import Diagnosis, Situation, diagnose
from restorehooks.duplicates.target import NotFoundError
from restorehooks.exit_codes import WRONG_USAGE
from restorehooks.management.base import (
    CANNOT_BE_ASKED,
    OneSentenceCommand,
    add_database,
    cannot_be_asked,
    postgresql_aliases,
)
from restorehooks.management.output import add_format, asks_for_json
from restorehooks.wording import printable

EPILOG = """\
examples:
  Explain the constraint that an error message names:
      %(prog)s shop_order_pkey
  Explain a whole message, in whatever language the server wrote it:
      %(prog)s - < message.txt

exit codes:
  0  it is explained
  1  there is no such constraint, or the database cannot be asked
  2  wrong usage
"""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for: ``what`` is a constraint's name or an error message."""

    alias: str
    what: str
    as_json: bool

    @classmethod
    def parsed(cls, options: dict[str, Any]) -> Asked:
        """Return what these options mean; raises CommandError for what makes no sense."""
        named = [options["database"]] if options["database"] else []
        (alias,) = postgresql_aliases(named, every=False)
        what = " ".join(options["what"])
        if what == "-":
            what = sys.stdin.read()
        if not what.strip():
            raise CommandError(
                "Give a constraint's name or an error message.", returncode=WRONG_USAGE
            )
        return cls(alias, what, asks_for_json(options))


class Command(OneSentenceCommand):
    """Finds the constraint, compares its sequence and rows, and prints what is wrong and helps."""

    help = (
        "Explains why a unique constraint was violated. It looks at the database, and says\n"
        "whether a sequence is behind its rows or the data really are duplicated, and which\n"
        "command helps."
    )
    epilog = EPILOG
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
        add_database(parser)
        add_format(parser, ["text"], "Explain in text (the default), or as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Explain it, or exit with 1 where there is nothing of that name."""
        try:
            asked = Asked.parsed(options)
            found = self._explained(asked)
        except CommandError as error:
            if asks_for_json(options):
                kind = "usage" if error.returncode == WRONG_USAGE else "database"
                self.stdout.write_json(
                    {
                        "error": {"kind": kind, "message": str(error), "hint": None},
                        "exit_code": error.returncode,
                    }
                )
            raise
        if asked.as_json:
            self.stdout.write_json([each.as_dict() for each in found])
        else:
            self.stdout.write("\n\n".join(_texts(found)))

    def _explained(self, asked: Asked) -> list[Diagnosis]:
        try:
            return diagnose(connections[asked.alias], asked.what, self.program)
        except NotFoundError as error:
            raise CommandError(str(error)) from None
        except CANNOT_BE_ASKED as error:
            raise cannot_be_asked(f'Database "{asked.alias}"', error) from error


MANY = 3
"""Up to this many constraints of one name are explained one by one, as schema tenants have them."""
WORTH_SHOWING = (Situation.BEHIND, Situation.EXHAUSTED, Situation.DUPLICATED)
SHOWN = 10
"""How many of them are explained after the summary."""


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
    return "\n".join(map(printable, [*lines, *(f"  $ {each}" for each in diagnosis.commands)]))
