"""The options of ``restoredb``, parsed once into what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from restorehooks.restore.errors import UsageError
from restorehooks.restore.from_server import is_server
from restorehooks.restore.request import Request
from restorehooks.restore.storage.store import PREFIX, is_folder

Action = Literal["restore", "undo", "drop previous", "list kept", "list storage", "show globals"]

OPTIONS: dict[Action, str] = {
    "undo": "--undo",
    "drop previous": "--drop-previous",
    "list kept": "--kept",
    "show globals": "--show-globals",
}
RESTORE_ONLY: dict[str, tuple[str, object]] = {
    "from_database": ("--from-database", None),
    "spool_dir": ("--spool-dir", None),
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
    "skip_superuser_only": ("--skip-superuser-only", False),
    "accept_unfinished": ("--accept-unfinished-dump", False),
    "keep": ("--keep", None),
}
"""What a restore alone takes: the option by its name in Python, with its default."""

SHARED = {("spool_dir", "show globals")}
"""What another action takes as well."""

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
    if options["show_globals"]:
        return "show globals"
    if is_folder_of_storage(options["source"]) and not options["latest"]:
        return "list storage"
    drops_alone = _names(options["drop_previous"]) is not None and options["source"] is None
    return "drop previous" if drops_alone else "restore"


def is_folder_of_storage(source: str | None) -> bool:
    """Return whether SOURCE is a folder of a storage, and not one dump."""
    found = source or ""
    return found.startswith(PREFIX) and is_folder(found.removeprefix(PREFIX))


def _names(value: Any) -> Names | None:
    """Return the names given with an option: None where it was not given at all."""
    if value is None or value is False:
        return None
    names = [value] if isinstance(value, str) else [] if value is True else value
    return tuple(names)


def _wrong(options: dict[str, Any], drops: Names | None) -> Iterator[str]:
    """Yield what is wrong with these options, a sentence each."""
    action = action_of(options)
    if action == "restore":
        yield from _wrong_restore(options, drops)
        return
    option = OPTIONS.get(action) or f"The list of {options['source']}"
    if action == "show globals":
        if options["source"] in (None, "-"):
            yield "--show-globals needs SOURCE: a file that pg_dumpall made."
    elif options["source"] is not None and action != "list storage":
        yield f"Give {option} without SOURCE: it restores no dump."
    if action != "drop previous" and drops is not None:
        yield f"Give {option} or --drop-previous, not both."
    if action == "undo" and options["kept"]:
        yield "Give --undo or --kept, not both."
    if action != "show globals" and options["show_globals"]:
        yield f"Give {option} or --show-globals, not both."
    yield from _wrong_source(options)
    for name, (other, default) in RESTORE_ONLY.items():
        if options[name] != default and (name, action) not in SHARED:
            yield f"{option} does not take {other}: that is for a restore."


def _wrong_source(options: dict[str, Any]) -> Iterator[str]:
    source = options["source"] or ""
    if options["storage"] is not None and not source.startswith(PREFIX):
        yield f"--storage needs SOURCE to be {PREFIX}NAME, or {PREFIX} alone for a list."
    if is_server(source):
        for name, option in (
            ("from_database", "--from-database"),
            ("accept_unfinished", "--accept-unfinished-dump"),
            ("show_globals", "--show-globals"),
        ):
            if options[name]:
                yield f"{option} is for a file: SOURCE is a database that is dumped for this."
    if options["latest"] and not is_folder_of_storage(source):
        yield f"--latest needs SOURCE to be {PREFIX} or {PREFIX}FOLDER/, of which it takes one."


def _wrong_restore(options: dict[str, Any], drops: Names | None) -> Iterator[str]:
    keep = options["keep"]
    if options["source"] is None:
        yield "SOURCE is missing: name a dump, or - for standard input."
    yield from _wrong_source(options)
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
        storage=options["storage"],
        from_database=options["from_database"],
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
        skip_superuser_only=options["skip_superuser_only"],
        accept_unfinished=options["accept_unfinished"],
        drop_previous=drop_previous,
        keep=options["keep"],
        maintenance_db=options["maintenance_db"],
        spool_dir=options["spool_dir"],
    )
