"""What the commands share: aliases, and errors that are one sentence."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from restorehooks.wording import first_line, sentence

WRONG_USAGE = 2


class OneSentenceCommand(BaseCommand):
    """A command whose wrong usage is one sentence and exit code 2, never a traceback."""

    requires_system_checks: list[str] = []  # noqa: RUF012  as Django declares it

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return a parser that says what is wrong, and what there is instead, in one sentence."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        setattr(parser, "error", partial(self._wrong_usage, parser))  # noqa: B010  its one hook
        return parser

    def _wrong_usage(self, parser: CommandParser, message: str) -> NoReturn:
        sentence = message[0].upper() + message[1:].rstrip(".")
        if message.startswith("unrecognized arguments"):
            names = (name for action in parser._actions for name in action.option_strings[-1:])
            sentence += f"; there are {', '.join(sorted(names))}"
        if not parser.called_from_command_line:
            raise CommandError(f"{sentence}.", returncode=WRONG_USAGE)
        self.stderr.write(f"{sentence}.")
        sys.exit(WRONG_USAGE)


def postgresql_aliases(named: list[str], *, every: bool) -> list[str]:
    """Return the aliases to work on: those named, or the default one, or all on PostgreSQL.

    Raises ``CommandError`` for an alias that does not exist or is on another engine.
    """
    wanted = list(connections) if every else list(dict.fromkeys(named)) or ["default"]
    there = ", ".join(connections)
    for alias in wanted:
        if alias not in connections:
            raise CommandError(
                f'There is no database "{alias}" in DATABASES; there are: {there}.',
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


def _vendor(alias: str) -> str:
    try:
        return connections[alias].vendor
    except (ImproperlyConfigured, ImportError) as error:  # its driver is not installed
        raise CommandError(
            f'Database "{alias}" cannot be used: {sentence(first_line(error))}',
            returncode=WRONG_USAGE,
        ) from None
