"""``restorehooks`` and ``python -m restorehooks``: the commands, with no Django project."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from django.core.management import find_commands, load_command_class

from . import __version__, standalone

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = [
        c for c in find_commands(str(Path(__file__).parent / "management")) if c != "loaddata"
    ]  # fixtures need models
    usage = f"usage: restorehooks COMMAND [OPTIONS]\n\ncommands: {', '.join(sorted(commands))}\n"
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        sys.stdout.write(f"{usage}\nThe database is the one that DATABASE_URL names.\n")
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"restorehooks {__version__}\n")
        return 0
    if arguments[0] not in commands:
        there = ", ".join(sorted(commands))
        sys.stderr.write(f'There is no command "{arguments[0]}"; there are: {there}.\n')
        return 2
    return _run(arguments)


def _run(arguments: list[str]) -> int:
    asks_for_help = bool({"-h", "--help"} & set(arguments))
    try:
        standalone.configure(needs_database=not asks_for_help)
    except standalone.StandaloneError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        command = load_command_class("restorehooks", arguments[0])
        command.run_from_argv(["restorehooks", *arguments])
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
