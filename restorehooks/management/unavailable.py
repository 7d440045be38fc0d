"""The commands that need psycopg 3, where it is missing: one sentence says what to install."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

from django.core.management.base import CommandError, CommandParser

from restorehooks.driver import why_no_restore
from restorehooks.exit_codes import WRONG_USAGE
from restorehooks.management.base import OneSentenceCommand
from restorehooks.management.output import names_json


def with_psycopg(module: str) -> type[OneSentenceCommand]:
    """Return the ``Command`` of a module, or one that says what is missing.

    The module is not imported then: what it imports is psycopg 3.
    """
    if why_no_restore():
        return Unavailable
    found: type[OneSentenceCommand] = import_module(module).Command
    return found


class Unavailable(OneSentenceCommand):
    """A command that cannot run, whatever it is given."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Say why, and exit with 2."""
        self._argv = argv
        self._end()

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Say why, and exit with 2."""
        self._end()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Raise CommandError, for those who call it from Python."""
        raise CommandError(why_no_restore(), returncode=WRONG_USAGE)

    def _end(self) -> NoReturn:
        why = why_no_restore() or ""
        if names_json(self._argv):
            self.stdout.write_json(self.refused(why))
        self.stderr.write(why)
        sys.exit(WRONG_USAGE)
