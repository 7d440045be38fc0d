"""What a restore did: built once, shown as lines for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from restorehooks.sequences.report import Report as SequencesReport
from restorehooks.wording import size_in_words

from .dump.facts import Dump
from .plan import Plan
from .request import Mode
from .server.kept_databases import Kept


@dataclass
class RestoreReport:
    """What a restore did.

    using, target: the alias, and the name of its database.
    mode: beside the live database, in place, or data only.
    restored: the restored data are live. dry_run: nothing was to be changed.
    dump, plan: what was to be restored and how; None where it did not come so far.
    previous: the name under which the database that was replaced is kept.
    kept: the previous databases that are kept now, the latest first.
    dropped: the names of the previous databases that were dropped, as asked.
    left_out: what of the dump was left out, and why, a line each.
    notes: what the person who restores should know.
    hooks: what ran on the restored data, in order.
    sequences: how they stood and what was done.
    seconds: spent, by step.
    """

    using: str
    target: str = ""
    mode: Mode = "beside"
    restored: bool = False
    dry_run: bool = False
    dump: Dump | None = None
    plan: Plan | None = None
    previous: str | None = None
    kept: Sequence[Kept] = ()
    dropped: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    sequences: SequencesReport | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as what json.dumps takes."""
        return {
            "restored": self.restored,
            "dry_run": self.dry_run,
            "using": self.using,
            "target": self.target,
            "mode": self.mode,
            "dump": dump_as_json(self.dump) if self.dump else None,
            "plan": list(self.plan.lines()) if self.plan else [],
            "previous": self.previous,
            "dropped": self.dropped,
            "left_out": self.left_out,
            "notes": self.notes,
            "hooks": self.hooks,
            "sequences": self.sequences.as_dict() if self.sequences else None,
            "seconds": {step: round(seconds, 3) for step, seconds in self.seconds.items()},
        }

    def lines(self) -> Iterator[str]:
        """Yield it for people, the outcome last."""
        if self.dry_run and self.plan:
            yield from self.plan.lines()
        yield from self.details()
        yield self._outcome()

    def details(self) -> Iterator[str]:
        """Yield what was left out, what ran, how the sequences stand and what is kept."""
        for what in self.left_out:
            yield f"left out: {what}"
        for name in self.hooks:
            yield f"ran: {name}"
        if self.sequences is not None:
            yield from map(self.sequences.sentence_about, self.sequences.unresolved)
            yield self.sequences.sentence()
        if self.kept:
            yield room_of(self.kept)

    def _outcome(self) -> str:
        if self.dry_run:
            return "Nothing was changed."
        seconds = f"{sum(self.seconds.values()):.1f} s"
        if self.mode != "beside":
            return f'Restored "{self.target}" {self.mode} in {seconds}. {self.way_back()}'
        return f'Restored "{self.target}" in {seconds}. {self.way_back()}'

    def way_back(self) -> str:
        """Return what has become of the database that was replaced."""
        if self.mode != "beside":
            return "There is no undo."
        if self.previous:
            return (
                f'The previous one is kept as "{self.previous}": restoredb --undo brings it back.'
            )
        if self.dropped:
            return "The previous one was dropped, as asked: there is no undo."
        return "There was nothing to keep."


def dump_as_json(dump: Dump) -> dict[str, Any]:
    """Return what is known of a dump as what json.dumps takes.

    ``created_at_local`` is by the clock of the machine that dumped: a dump does not hold its zone.
    """
    version, created = dump.archive_version, dump.created_at
    return {
        "source": str(dump.source),
        "format": dump.format,
        "compression": dump.compression,
        "archive_version": f"{version[0]}.{version[1]}" if version else None,
        "server_version": dump.server_version,
        "dump_version": dump.dump_version,
        "database": dump.database,
        "created_at_local": created.isoformat() if created else None,
        "size": dump.size,
        "entries": dump.entries,
        "creates_database": dump.creates_database,
    }


def kept_as_json(kept: Kept) -> dict[str, Any]:
    """Return a previous database as what json.dumps takes; ``at`` is when it was replaced.

    ``origin`` is the dump that it came from, None where that is not known.
    """
    return {
        "name": kept.name,
        "at": kept.marker.at or None,
        "by": kept.marker.by,
        "origin": kept.marker.origin,
        "size": kept.size,
        "broken": kept.broken,
    }


def room_of(found: Sequence[Kept]) -> str:
    """Return how many previous databases are kept and how much room they take."""
    known = size_in_words(sum(one.size or 0 for one in found))
    room = known if all(one.size is not None for one in found) else f"at least {known}"
    are, take = ("database is", "takes") if len(found) == 1 else ("databases are", "take")
    return (
        f"{len(found)} previous {are} kept and {take} {room}: --kept lists them, --undo NAME "
        "brings one back, --drop-previous NAME drops it."
    )
