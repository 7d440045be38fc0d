"""What the commands share: wrong usage in one sentence, help with examples, and aliases."""

from __future__ import annotations

import atexit
import gc
import logging
import re
import struct
import sys
from argparse import RawDescriptionHelpFormatter, _ArgumentGroup
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from itertools import pairwise
from traceback import format_exc
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)
from django.db import Error as DatabaseError
from django.db import connections

from restorehooks import driver
from restorehooks.exit_codes import FAILED, INTERRUPTED, WRONG_USAGE
from restorehooks.management.output import SafeOutput, is_readable, names_json
from restorehooks.streams import standard_streams
from restorehooks.wording import described, first_line, no, sentence, without_login


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Django's order of options, and texts whose lines stay as they are."""


class OneSentenceCommand(BaseCommand):
    """A command whose wrong usage is one sentence and exit code 2, never a traceback.

    ``epilog`` has the examples and exit codes that stand at the end of its help.
    """

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it
    epilog = ""
    stdout: SafeOutput
    stderr: SafeOutput

    def __init__(self, stdout: Any = None, stderr: Any = None, **kwargs: Any) -> None:
        super().__init__(stdout, stderr, **kwargs)
        self._argv: Sequence[str] = ()
        self.stdout = SafeOutput(stdout or sys.stdout)
        self.stderr = SafeOutput(stderr or sys.stderr, may_be_lost=True)
        self.stderr.style_func = self.style.ERROR

    @property
    def is_alone(self) -> bool:
        """Whether the process runs this command and nothing else."""
        return bool(getattr(self, "_called_from_command_line", False))

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return a parser that says what is wrong, and what there is instead, in one sentence."""
        kwargs = {"formatter_class": _HelpFormatter, "epilog": self.epilog or None, **kwargs}
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        setattr(parser, "error", partial(self._wrong_usage, parser))  # noqa: B010 - its one hook
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """Run it; Ctrl-C and a reader of its output that goes away end it without a traceback."""
        self._argv = argv
        # Python looks through all objects before it ends: a fifth of the time of a short command.
        atexit.register(gc.freeze)
        with standard_streams():
            if empty := _empty(argv[2:]):
                self._refuse(empty)
            try:
                super().run_from_argv(argv)
            except KeyboardInterrupt:
                self.stderr.write("Interrupted.")
                sys.exit(INTERRUPTED)
            except OSError:
                raise
            except Exception:
                if "--traceback" not in argv:
                    raise
                self.stderr.write(format_exc())  # it holds what a server said
                sys.exit(FAILED)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run it, with lines that command no terminal on whatever streams were given."""
        if logging.lastResort:  # what prints a log to the terminal that a project does not set up
            logging.lastResort.addFilter(is_readable)
        if why_not := driver.why_not_at_all():
            raise CommandError(why_not, returncode=WRONG_USAGE)
        for name in ("stdout", "stderr"):
            if stream := options.pop(name, None):
                setattr(self, name, SafeOutput(stream, may_be_lost=name == "stderr"))
        try:
            return super().execute(*args, **options)
        except NONSENSE as error:
            if options.get("traceback"):
                raise
            said = f"This was not expected: {described(error)}; --traceback shows where."
            raise CommandError(said) from error

    def _wrong_usage(self, parser: CommandParser, message: str) -> NoReturn:
        message = without_login(message)  # it repeats what was given
        said = message[0].upper() + message[1:].rstrip(".")
        if message.startswith("unrecognized arguments: "):
            said = _too_much(parser, message.removeprefix("unrecognized arguments: ").split()[0])
        if not parser.called_from_command_line:
            raise CommandError(f"{said}.", returncode=WRONG_USAGE)
        self._refuse(f"{said}.")

    def _refuse(self, said: str) -> NoReturn:
        if names_json(self._argv):
            self.stdout.write_json(self.refused(said))
        self.stderr.write(said)
        sys.exit(WRONG_USAGE)

    def refused(self, message: str) -> dict[str, Any]:
        """Return the report in JSON of a command line that cannot be parsed."""
        return {"error": {"kind": "usage", "message": message, "hint": None}, "exit_code": 2}


def _empty(arguments: Sequence[str]) -> str | None:
    """Return a sentence about an empty value: it would mean a default, or the current folder."""
    for before, one in pairwise(["", *arguments]):
        name, is_option = (one[:-1], one.endswith("=")) if one else (before, True)
        if is_option and re.fullmatch(r"--?[a-z][a-z-]*", name):
            return f"The value of {name} is empty: perhaps a variable is not set."
        if not one:
            return "An argument is empty: perhaps a variable is not set."
    return None


def _too_much(parser: CommandParser, argument: str) -> str:
    if not argument.startswith("-"):
        return f'"{argument}" is one argument too many: --help lists what there is'
    names = [name for action in parser._actions for name in action.option_strings]
    close = get_close_matches(argument.partition("=")[0], names, 1, cutoff=0.75)
    meant = f": did you mean {close[0]}? --help lists all" if close else "; --help lists all"
    return f"There is no option {argument}{meant}"


def postgresql_aliases(named: list[str], *, every: bool) -> list[str]:
    """Return the aliases to work on: those named, or the default one, or all on PostgreSQL.

    Raises ``CommandError`` for an alias that does not exist or is on another engine.
    """
    wanted = list(connections) if every else list(dict.fromkeys(named)) or ["default"]
    there = ", ".join(connections)
    for alias in wanted:
        if alias not in connections:
            raise CommandError(
                f"There is {no('database', alias)} in DATABASES; there are: {there}.",
                returncode=WRONG_USAGE,
            )
    vendors = {alias: _vendor(alias) for alias in wanted}
    found = [alias for alias in wanted if vendors[alias] == "postgresql"]
    others = [alias for alias in wanted if alias not in found]
    if others and (not every or not found):
        raise CommandError(
            f'Database "{others[0]}" is on {vendors[others[0]]}; restorehooks works on'
            " PostgreSQL only.",
            returncode=WRONG_USAGE,
        )
    return found


def cannot_be_asked(what: str, error: Exception) -> CommandError:
    """Return the error of a command that gets no answer of ``what``, or none that makes sense."""
    said = first_line(error)
    if isinstance(error, NONSENSE):
        said = f"its answers are not understood ({described(error)}); --traceback shows where"
    found = CommandError(f"{what} cannot be asked: {said}")
    found.__cause__ = error
    return found


NONSENSE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    struct.error,
    TypeError,
    ValueError,
    driver.Error,  # what Django does not make its own: an encoding that Python does not know
)
"""What the answers of a broken or hostile server lead to, where they are used."""
CANNOT_BE_ASKED = (DatabaseError, ImproperlyConfigured, *NONSENSE)


def add_database(parser: CommandParser) -> _ArgumentGroup:
    """Add ``--database``, and return its group for what else says which database is meant."""
    group = parser.add_argument_group("which database")
    group.add_argument(
        "--database", metavar="ALIAS", help='Alias of the database. The default is "default".'
    )
    return group


def _vendor(alias: str) -> str:
    try:
        return connections[alias].vendor
    except (ImproperlyConfigured, ImportError) as error:  # its driver is not installed
        said = driver.why_no_restore() if driver.name is None else sentence(first_line(error))
        raise CommandError(
            f'Database "{alias}" cannot be used: {said}', returncode=WRONG_USAGE
        ) from None
