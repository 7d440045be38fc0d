"""The options of ``restoredb``, parsed once into what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from restorehooks.restore.errors import UsageError
from restorehooks.restore.request import Request

Action = Literal["restore", "undo", "drop previous", "list kept", "show globals"]

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
    if action == "show globals":
        if options["source"] in (None, "-"):
            yield "--show-globals needs SOURCE: a file that pg_dumpall made."
    elif options["source"] is not None:
        yield f"Give {option} without SOURCE: it restores no dump."
    if action != "drop previous" and drops is not None:
        yield f"Give {option} or --drop-previous, not both."
    if action == "undo" and options["kept"]:
        yield "Give --undo or --kept, not both."
    if action != "show globals" and options["show_globals"]:
        yield f"Give {option} or --show-globals, not both."
    for name, (other, default) in RESTORE_ONLY.items():
        if options[name] != default and (name, action) not in SHARED:
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
