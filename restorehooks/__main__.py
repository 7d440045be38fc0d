"""The command ``restorehooks``, also ``python -m restorehooks``: it needs no Django project."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import files
from pathlib import Path
from textwrap import wrap

from restorehooks import __version__
from restorehooks.exit_codes import INTERRUPTED, WRONG_USAGE
from restorehooks.streams import or_nowhere, standard_streams
from restorehooks.wording import no, printable

USAGE = """\
usage: restorehooks COMMAND [OPTIONS]

commands:
{commands}

restorehooks COMMAND --help lists the options of a command.

The environment variable DATABASE_URL, or a file .env in the current folder, names the database:
postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or embedded: for a private server.
"""
RESTORE_SCRIPT, RESTORE_SH = "restore-script", "restore.sh"
PRINTS = {
    RESTORE_SCRIPT: "Prints restore.sh, for an image or a server that lacks it",
    "completion": 'Prints completion for bash and zsh: eval "$(restorehooks completion)"',
}
"""What is printed as it is, and what that is for."""
DJANGOS_OWN = (
    "Runs the command-line client for specified database, or the default database if none is "
    "provided"
)
"""What Django says of dbshell, which knows of other databases than PostgreSQL's."""
MISSING = (
    'The Python package {} is missing. Install it with: pip install "django-restorehooks[binary]"'
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    with standard_streams():
        sys.stdout, sys.stderr = or_nowhere(sys.stdout), or_nowhere(sys.stderr)
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], [RESTORE_SCRIPT]):  # these need no other package
        version = f"restorehooks {__version__}\n"
        sys.stdout.write(version if arguments == ["--version"] else _restore_script())
        return 0
    if missing := _missing():
        sys.stderr.write(f"{missing}\n")
        return WRONG_USAGE
    names = ", ".join(sorted([*_commands(), *PRINTS]))
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        sys.stdout.write(USAGE.format(commands="\n".join(_described())))
        return 0
    if arguments[0] in PRINTS:
        if arguments[1:]:
            sys.stderr.write(f"restorehooks {arguments[0]} takes no arguments.\n")
            return WRONG_USAGE
        sys.stdout.write(_completion())
        return 0
    if arguments[0] not in _commands():
        sys.stderr.write(f"There is {no('command', arguments[0])}; there are: {names}.\n")
        return WRONG_USAGE
    return _run(arguments)


def _missing() -> str | None:
    """Return what to install, where a package is missing that every command needs."""
    try:
        for package in ("django", "environ", "rich"):
            import_module(package)
    except ModuleNotFoundError as error:
        return MISSING.format(error.name)
    from restorehooks import driver

    return driver.why_not_at_all() if driver.name else driver.why_no_restore()


def _commands() -> dict[str, str]:
    """Return the names of the commands, each with the app that has it."""
    from django.core.management import find_commands

    ours = find_commands(str(Path(__file__).parent / "management"))
    return {
        **{name: "restorehooks" for name in ours if name != "loaddata"},  # fixtures need models
        "dbshell": "django.core",
    }


def _restore_script() -> str:
    """Return restore.sh: a checkout's, or the one that was installed with the package."""
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").exists():
        return (checkout / "scripts" / RESTORE_SH).read_text()
    installed = files("django-restorehooks") or []
    return next(
        Path(str(each.locate())) for each in installed if each.name == RESTORE_SH
    ).read_text()


def _completion() -> str:
    from django.conf import settings
    from django.core.management import load_command_class

    from restorehooks.management.completion import completion

    settings.configure()  # dbshell's options are the aliases, of which there are none
    return completion({n: load_command_class(a, n) for n, a in _commands().items()}, PRINTS)


def _described() -> Iterator[str]:
    """Yield each command with the first sentence of its help."""
    from django.core.management import load_command_class

    commands = {
        name: " ".join(load_command_class(app, name).help.split()).partition(". ")[0]
        for name, app in _commands().items()
    }
    for name, said in sorted({**commands, **PRINTS}.items()):
        summary = said.rstrip(".").replace(DJANGOS_OWN, "Opens psql on the database")
        yield "\n".join(wrap(f"  {name:<18}{summary}.", 100, subsequent_indent=" " * 20))


def _run(arguments: list[str]) -> int:
    from django.core.management import load_command_class

    from restorehooks import standalone
    from restorehooks.management.base import OneSentenceCommand
    from restorehooks.management.output import names_json

    asks_for_help = bool({"-h", "--help"} & set(arguments))
    command = load_command_class(_commands()[arguments[0]], arguments[0])
    try:
        if not asks_for_help:
            _require_agreement(arguments)
        with standalone.configured(needs_database=not asks_for_help):
            command.run_from_argv(["restorehooks", *arguments])
    except standalone.StandaloneError as error:
        if isinstance(command, OneSentenceCommand) and names_json(arguments):
            command.stdout.write_json(command.refused(str(error)))
        sys.stderr.write(f"{printable(str(error))}\n")
        return WRONG_USAGE
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    return 0


def _require_agreement(arguments: list[str]) -> None:
    """Raise StandaloneError where the project in this folder means another database."""
    from restorehooks.management.place import disagreement_here
    from restorehooks.standalone import StandaloneError

    if arguments[0] not in ("restoredb", "dumpdb") or "--database-url" in arguments:
        return
    if "--project" in arguments:
        raise StandaloneError(f"For the project's database run: python manage.py {arguments[0]}")
    if said := disagreement_here():
        raise StandaloneError(said)


if __name__ == "__main__":
    sys.exit(main())
