"""The options of ``restoredb``: declared, and parsed once into what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from django.core.management.base import CommandParser

from restorehooks.management.output import add_format
from restorehooks.management.place import add_place
from restorehooks.restore.errors import UsageError
from restorehooks.restore.request import Request

Action = Literal["restore", "undo", "drop previous", "list kept"]

OPTIONS: dict[Action, str] = {
    "undo": "--undo",
    "drop previous": "--drop-previous",
    "list kept": "--kept",
}
RESTORE_ONLY = {
    "in_place": ("--in-place", False),
    "data_only": ("--data-only", False),
    "schema": ("--schema", []),
    "table": ("--table", []),
    "jobs": ("--jobs", None),
    "owner": ("--owner or --no-owner", None),
    "privileges": ("--privileges or --no-privileges", None),
    "migrate": ("--migrate", False),
    "analyze": ("--no-analyze", True),
    "hooks_dir": ("--hooks-dir", None),
    "accept_lost_settings": ("--accept-lost-settings", False),
    "accept_unfinished": ("--accept-unfinished-dump", False),
    "keep": ("--keep", None),
}
"""What a restore alone takes: the option by its name in Python, with its default."""

Names = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    action: what is to be done. request: the restore; the other actions take what they share.
    names: the previous databases to put back or to drop; without any, the latest or all.
    interactive: ask before anything is replaced or dropped.
    """

    action: Action
    request: Request
    names: Names
    interactive: bool
    verbosity: int

    @classmethod
    def parsed(cls, options: dict[str, Any]) -> Asked:
        """Return what these options mean; raises UsageError for what does not go together."""
        undo, drops = _names(options["undo"]), _names(options["drop_previous"])
        if wrong := next(_wrong(options, drops), None):
            raise UsageError(wrong)
        return cls(
            action=action_of(options),
            request=_request(options, drop_previous=drops is not None),
            names=undo or drops or (),
            interactive=options["interactive"],
            verbosity=options["verbosity"],
        )


def action_of(options: dict[str, Any]) -> Action:
    """Return what is to be done: a restore where nothing else is named."""
    if _names(options["undo"]) is not None:
        return "undo"
    if options["kept"]:
        return "list kept"
    drops_alone = _names(options["drop_previous"]) is not None and options["source"] is None
    return "drop previous" if drops_alone else "restore"


def _names(value: Any) -> Names | None:
    """Return the names given with an option: None where it was not given at all."""
    if value is None or value is False:
        return None
    names = [value] if isinstance(value, str) else [] if value is True else value
    return tuple(filter(None, names))


def _wrong(options: dict[str, Any], drops: Names | None) -> Iterator[str]:
    """Yield what is wrong with these options, a sentence each."""
    action = action_of(options)
    if action == "restore":
        yield from _wrong_restore(options, drops)
        return
    option = OPTIONS[action]
    if options["source"] is not None:
        yield f"Give {option} without SOURCE: it restores no dump."
    if action != "drop previous" and drops is not None:
        yield f"Give {option} or --drop-previous, not both."
    if action == "undo" and options["kept"]:
        yield "Give --undo or --kept, not both."
    for name, (other, default) in RESTORE_ONLY.items():
        if options[name] != default:
            yield f"{option} does not take {other}: that is for a restore."


def _wrong_restore(options: dict[str, Any], drops: Names | None) -> Iterator[str]:
    keep = options["keep"]
    if options["source"] is None:
        yield "SOURCE is missing: name a dump, or - for standard input."
    if options["jobs"] is not None and options["jobs"] < 1:
        yield "--jobs must be 1 or more."
    if keep is not None and keep < 1:
        yield "--keep must be 1 or more; --drop-previous keeps none."
    if options["data_only"] and (options["in_place"] or options["migrate"]):
        yield "--data-only adds rows: it goes with neither --in-place nor --migrate."
    if drops:
        yield "With SOURCE, --drop-previous takes no NAME: it drops the database replaced."
    if drops is not None and keep is not None:
        yield "Give --drop-previous or --keep, not both."
    if (options["in_place"] or options["data_only"]) and not (drops is None and keep is None):
        yield "In place no previous database is kept: leave out --drop-previous and --keep."


def _request(options: dict[str, Any], *, drop_previous: bool) -> Request:
    return Request(
        source=options["source"] or "",
        using=options["database"] or "default",
        in_place=options["in_place"],
        data_only=options["data_only"],
        schemas=tuple(options["schema"]),
        tables=tuple(options["table"]),
        jobs=options["jobs"],
        owner=options["owner"],
        privileges=options["privileges"],
        migrate=options["migrate"],
        analyze=options["analyze"],
        hooks_dir=options["hooks_dir"],
        dry_run=options["dry_run"],
        accept_lost_settings=options["accept_lost_settings"],
        accept_unfinished=options["accept_unfinished"],
        drop_previous=drop_previous,
        keep=options["keep"],
        maintenance_db=options["maintenance_db"],
    )


def add_options(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="The dump: a file or directory made by pg_dump in any format, compressed or not;"
        " - for standard input.",
    )
    _add_what(parser)
    _add_how(parser)
    _add_hooks(parser)
    _add_previous(parser)
    _add_target(parser)
    add_format(parser, ["text"], "Report as text (the default), or as JSON on standard output.")


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
        help="Load N tables and indexes at once. The default is one more than there are cores.",
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
        "--dry-run",
        action="store_true",
        help="Read the dump to its end, print the plan, and change nothing.",
    )
    add(
        "--accept-lost-settings",
        action="store_true",
        help="Go on although some settings or grants of the live database cannot be carried over.",
    )
    add(
        "--accept-unfinished-dump",
        action="store_true",
        dest="accept_unfinished",
        help="Take a plain dump without pg_dump's last line: a missing end is not noticed.",
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
        const="",
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
    group = parser.add_argument_group("which database")
    add = group.add_argument
    add("--database", metavar="ALIAS", help='Alias of the database. The default is "default".')
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
    add_place(group)
