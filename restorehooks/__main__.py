"""``restorehooks`` and ``python -m restorehooks``: the commands, with no Django project."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from django.core.management import find_commands, load_command_class

from . import __version__, standalone

WRONG_USAGE, INTERRUPTED = 2, 130
USAGE = """\
usage: restorehooks COMMAND [OPTIONS]

commands: {commands}

The database is the one that DATABASE_URL names: postgresql://USER:PASSWORD@HOST:PORT/DATABASE,
or embedded: for a private one.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    there = ", ".join(sorted(_commands()))
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        sys.stdout.write(USAGE.format(commands=there))
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"restorehooks {__version__}\n")
        return 0
    if arguments[0] not in _commands():
        sys.stderr.write(f'There is no command "{arguments[0]}"; there are: {there}.\n')
        return WRONG_USAGE
    return _run(arguments)


def _commands() -> dict[str, str]:
    """Return the names of the commands, each with the app that has it."""
    ours = find_commands(str(Path(__file__).parent / "management"))
    return {
        **{name: "restorehooks" for name in ours if name != "loaddata"},  # fixtures need models
        "dbshell": "django.core",
    }


def _run(arguments: list[str]) -> int:
    asks_for_help = bool({"-h", "--help"} & set(arguments))
    try:
        with standalone.configured(needs_database=not asks_for_help):
            command = load_command_class(_commands()[arguments[0]], arguments[0])
            command.run_from_argv(["restorehooks", *arguments])
    except standalone.StandaloneError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USAGE
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
