"""One restore on its way: what was asked, what is planned, what was done, and who shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .dump.facts import Dump, described
from .plan import Plan
from .progress import Progress, Reporter
from .report import RestoreReport
from .request import Request
from .server.address import Address
from .server.lock import RestoreLock

IN_WORDS = {
    "sequences": "repairing the sequences",
    "migrate": "running migrate",
    "post_restore": "sending post_restore to the project's receivers",
    "analyze": "running ANALYZE",
    "commit": "committing",
}
"""What people are told of a step that has no words of its own; nothing of other steps."""


@dataclass
class Run:
    """One restore on its way.

    request: what was asked.
    confirm: asked before anything that is there is replaced, added to or dropped.
    reporter: shows how far it is.
    report: what was found and done so far.
    lock, plan: known once they are planned.
    has_statistics: the dump has brought planner statistics.
    without_extension: an extension of the dump was left out.
    role_set: called when the dump has set another role, where that has to be known.
    """

    request: Request
    confirm: Callable[[str], bool]
    reporter: Reporter
    report: RestoreReport
    lock: RestoreLock = field(init=False)
    plan: Plan = field(init=False)
    has_statistics: bool = False
    without_extension: bool = False
    role_set: Callable[[], None] | None = None
    _step: tuple[str, float] | None = None

    def announce(self, dump: Dump, address: Address) -> None:
        """Say which dump goes into which database, before anything is done to it."""
        role = f' in the role "{address.role}"' if address.role else ""
        self.reporter.step(f'restoring {described(dump)} into {address} as "{address.user}"{role}')

    def planned(self, plan: Plan, lock: RestoreLock) -> None:
        """Take in what will happen, and tell what the person who restores should know."""
        self.plan, self.lock = plan, lock
        self.report.plan, self.report.mode = plan, plan.mode
        self.report.target = plan.address.name
        for note in plan.notes:
            self.note(note)

    def step(self, name: str, text: str = "") -> None:
        """Begin a step: ``name`` in the report's seconds, ``text`` for people."""
        self.end_step()
        self._step = name, time.monotonic()
        if said := text or IN_WORDS.get(name):
            self.reporter.step(said)

    def end_step(self) -> None:
        """Add up the time that the step has taken."""
        if self._step:
            name, since = self._step
            spent = time.monotonic() - since
            self.report.seconds[name] = self.report.seconds.get(name, 0.0) + spent
        self._step = None

    def note(self, text: str) -> None:
        """Tell what the person who restores should know, and keep it in the report."""
        self.report.notes.append(text)
        self.reporter.note(text)

    def note_once(self, text: str) -> None:
        """Do so, unless it was told before."""
        if text not in self.report.notes:
            self.note(text)

    def bytes_watch(self, total: int | None) -> Callable[[int], None]:
        """Return a function that tells the reporter how many bytes of ``total`` are read."""
        return self.bytes_watch_of(Progress(bytes_total=total))

    def bytes_watch_of(self, progress: Progress) -> Callable[[int], None]:
        """Return a function that tells the reporter how many bytes are read, as ``progress``."""

        def watch(count: int) -> None:
            progress.bytes = count
            self.reporter.progress(progress)

        return watch

    def signal_arguments(self, target: str) -> dict[str, Any]:
        """Return what ``pre_restore`` and ``post_restore`` are sent with."""
        return {
            "using": self.request.using,
            "dump": self.report.dump,
            "target": target,
            "report": self.report,
        }
