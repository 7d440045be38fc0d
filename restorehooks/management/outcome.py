"""What ``restoredb`` did, whatever was asked of it: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from restorehooks.management.ending import Failure
from restorehooks.management.restore_arguments import Action
from restorehooks.restore.report import RestoreReport, dump_as_json, kept_as_json, room_of
from restorehooks.restore.server.kept_databases import Kept
from restorehooks.restore.storage.listing import Listing, Stored
from restorehooks.restore.undo import Undone
from restorehooks.wording import printable, size_in_words

_OUTCOMES: dict[Action, str] = {
    "restore": "restored",
    "undo": "undone",
    "drop previous": "dropped",
    "list kept": "listed",
    "list storage": "listed",
    "show globals": "shown",
}


@dataclass
class Done:
    """What was done so far.

    report: of the restore; of the other actions it holds the alias alone.
    undone, dropped, kept: what was put back, what was dropped, what is kept.
    globals_: what a file of pg_dumpall creates beside databases.
    stored: what is in a storage.
    """

    action: Action
    report: RestoreReport
    undone: Undone | None = None
    dropped: list[Kept] = field(default_factory=list)
    kept: Sequence[Kept] = ()
    globals_: Sequence[str] = ()
    stored: Listing | None = None

    def lines(self) -> Iterator[str]:
        """Yield it for people, the outcome last."""
        dry_run = self.report.dry_run
        if self.undone:
            yield _undone_line(self.undone, dry_run=dry_run)
        elif self.action == "drop previous":
            yield from self._dropped_lines()
        elif self.action == "list kept":
            yield from map(_kept_line, self.kept)
            yield room_of(self.kept) if self.kept else "No previous database is kept."
        elif self.action == "show globals":
            yield from self.globals_
        elif self.stored:
            yield from self.stored.lines()
        else:
            yield from self.report.lines()

    def lines_so_far(self) -> Iterator[str]:
        """Yield for people what was done before the rest of it failed."""
        if self.action == "drop previous":
            yield from self._dropped_lines()
        elif self.report.restored:
            yield from self.report.details()
            yield self.report.way_back()

    def _dropped_lines(self) -> Iterator[str]:
        verb = "Would drop" if self.report.dry_run else "Dropped"
        for one in self.dropped:
            yield f'{verb} "{one.name}" ({size_in_words(one.size or 0)}).'

    def as_json(self, failure: Failure | None = None) -> dict[str, Any]:
        """Return it as what json.dumps takes, in the shape of ``schemas/report.json``."""
        report = self.report.as_json()
        if self.undone:
            report |= {"target": self.undone.target, "restored": not self.report.dry_run}
        if self.dropped:
            report["dropped"] = [one.name for one in self.dropped]
        if failure and failure.outcome == "unknown":
            report["restored"] = None
        return {
            "command": "restoredb",
            "action": self.action,
            "outcome": failure.outcome if failure else self._outcome(),
            "exit_code": failure.exit_code if failure else 0,
            "error": failure.as_dict() if failure else None,
            "ended_at": datetime.now().astimezone().isoformat(timespec="seconds"),
            **report,
            "undone": _undone_as_json(self.undone) if self.undone else None,
            "globals": list(self.globals_),
            "stored": list(map(stored_as_json, self.stored.files if self.stored else ())),
            "stored_in_all": self.stored.in_all if self.stored else 0,
            "kept": [kept_as_json(one) for one in self.kept or self.report.kept],
        }

    def _outcome(self) -> str:
        return "dry run" if self.report.dry_run else _OUTCOMES[self.action]


def stored_as_json(one: Stored) -> dict[str, Any]:
    """Return a file of a storage as what json.dumps takes."""
    return {
        "name": one.name,
        "size": one.size,
        "modified_at": one.modified.isoformat() if one.modified else None,
        "dump": dump_as_json(one.dump) if one.dump else None,
        "why_not": one.why or None,
    }


def _undone_line(undone: Undone, *, dry_run: bool) -> str:
    kept = f' What was live is kept as "{undone.replaced}".' if undone.replaced else ""
    return (
        f'"{undone.back.name}" {"would be" if dry_run else "is"} "{undone.target}" again, as it '
        f"was before {undone.back.marker.at}.{kept}"
    )


def _kept_line(kept: Kept) -> str:
    size = size_in_words(kept.size) if kept.size is not None else "size not known"
    origin = kept.marker.origin or "not known"
    broken = "; a DROP of it was cut off: it can only be dropped" if kept.broken else ""
    return printable(
        f'"{kept.name}" ({size}), from: {origin}; replaced {kept.marker.at} by: {kept.marker.by}'
        f"{broken}"
    )


def _undone_as_json(undone: Undone) -> dict[str, Any]:
    return {**kept_as_json(undone.back), "replaced": undone.replaced}
