"""The options of ``restoredb``, declared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.core.management.base import CommandParser

from restorehooks.management.base import add_database
from restorehooks.management.output import add_format
from restorehooks.management.place import add_direct, add_place


def add_options(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="The dump: a file or directory made by pg_dump in any format, compressed or not;"
        " - for standard input; storage:NAME for a file in one of Django's storages, and storage:"
        " alone, or storage:FOLDER/, to list what is there. Or another database, which is dumped"
        " for this and never written to: alias:NAME for one of DATABASES,"
        " postgresql://USER@HOST/NAME, or env:NAME for a URL in an environment variable, which may"
        " hold a password.",
    )
    _add_source(parser)
    _add_what(parser)
    _add_how(parser)
    _add_hooks(parser)
    _add_previous(parser)
    _add_target(parser)
    add_format(parser, ["text"], "Report as text (the default), or as JSON on standard output.")


def add_storage(add: Callable[..., object]) -> None:
    """Add the option that names the storage, to the group that ``add`` is of."""
    add(
        "--storage",
        metavar="ALIAS",
        help="The storage of STORAGES that storage: means. The default is the setting"
        ' RESTOREHOOKS["STORAGE"], and without that "dumps".',
    )


def _add_source(parser: CommandParser) -> None:
    add = parser.add_argument_group("what the dump is read from").add_argument
    add(
        "--from-database",
        metavar="NAME",
        help="The one database to restore from a file that pg_dumpall made; with --latest, the"
        " database whose dump is meant.",
    )
    add_storage(add)
    add(
        "--latest",
        action="store_true",
        help="Take the newest dump of storage: or storage:FOLDER/.",
    )
    add(
        "--show-globals",
        action="store_true",
        help="Print the roles, tablespaces and grants that such a file creates, without their"
        " passwords, and restore nothing.",
    )
    add(
        "--accept-unfinished-dump",
        action="store_true",
        dest="accept_unfinished",
        help="Take a plain dump without pg_dump's last line: a missing end is not noticed.",
    )
    add(
        "--spool-dir",
        type=Path,
        metavar="DIR",
        help="Where a temporary copy of the dump goes, for one on standard input, in a storage,"
        " of another database or in another file. The default is where temporary files go"
        " (TMPDIR).",
    )


def _add_what(parser: CommandParser) -> None:
    add = parser.add_argument_group("what is restored").add_argument
    add(
        "--in-place",
        action="store_true",
        help="Restore into the live database itself, in one transaction: everything that the role"
        " owns there is dropped first. There is no undo.",
    )
    add(
        "--data-only",
        action="store_true",
        help="Only add the dump's rows to the tables that exist, in one transaction.",
    )
    add(
        "--schema",
        action="append",
        default=[],
        metavar="NAME",
        help="Restore only this schema of an archive. Can be given several times.",
    )
    add(
        "--table",
        action="append",
        default=[],
        metavar="NAME",
        help="Restore only this table of an archive. Can be given several times.",
    )


def _add_how(parser: CommandParser) -> None:
    group = parser.add_argument_group("how it is restored")
    add = group.add_argument
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="Load N tables and indexes at once. The default is one more than there are cores, and "
        "fewer where the server or the role has not as many connections left.",
    )
    for name, what in (("owner", "who owns each object"), ("privileges", "what is granted")):
        either = group.add_mutually_exclusive_group()
        either.add_argument(
            f"--{name}",
            action="store_true",
            default=None,
            help=f"Restore {what}, or fail. The default is to restore it where the roles exist.",
        )
        either.add_argument(
            f"--no-{name}", action="store_false", dest=name, help=f"Do not restore {what}."
        )
    add(
        "--skip-superuser-only",
        action="store_true",
        help="Leave out what only a superuser may make, such as event triggers; extensions and "
        "functions in C that the server has not got, too.",
    )
    add(
        "--dry-run",
        action="store_true",
        help="Read the dump to its end, print the plan, and change nothing.",
    )
    add(
        "--accept-lost-settings",
        action="store_true",
        help="Go on although some settings or grants of the live database cannot be carried over.",
    )


def _add_hooks(parser: CommandParser) -> None:
    add = parser.add_argument_group("what runs on the restored data").add_argument
    add("--migrate", action="store_true", help="Run migrate on the restored data.")
    add(
        "--hooks-dir",
        type=Path,
        metavar="DIR",
        help="Run the *.sql, *.sh and *.py files of this directory on the restored data, by name.",
    )
    add(
        "--no-analyze",
        action="store_false",
        dest="analyze",
        help="Do not run ANALYZE on the restored data.",
    )


def _add_previous(parser: CommandParser) -> None:
    add = parser.add_argument_group("previous databases").add_argument
    add("--kept", action="store_true", help="List the previous databases that are kept.")
    add(
        "--undo",
        nargs="?",
        const=True,
        metavar="NAME",
        help="Bring a previous database back: the latest, or the one named.",
    )
    add(
        "--drop-previous",
        nargs="*",
        metavar="NAME",
        help="After SOURCE: do not keep the database that is replaced. Without SOURCE: drop the"
        " previous databases named, or all of them.",
    )
    add(
        "--keep",
        type=int,
        metavar="N",
        help="After a successful restore keep the latest N previous databases, and drop the rest.",
    )


def _add_target(parser: CommandParser) -> None:
    group = add_database(parser)
    add = group.add_argument
    add(
        "--maintenance-db",
        metavar="NAME",
        help="The database to connect to while the live one is renamed. The default is postgres,"
        " then template1.",
    )
    add(
        "--no-input",
        "--noinput",
        action="store_false",
        dest="interactive",
        help="Do not ask before the database is replaced or dropped.",
    )
    add_direct(group)
    add_place(group)
