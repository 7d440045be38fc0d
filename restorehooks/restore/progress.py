"""How far a restore or a backup is, and who shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

SECONDS_A_BEAT = 1.0
"""How often a reporter is told that time goes by, while nothing else tells it."""


@dataclass(frozen=True)
class Building:
    """What a session of the server works on.

    kind: "index", "constraint", "view" or "rows of". name: as the statement has it. seconds: how
    long it takes so far. percent: of the blocks; rows: copied so far; None where not known.
    """

    kind: str
    name: str
    seconds: int
    percent: int | None = None
    rows: int | None = None


@dataclass
class Progress:
    """What is done so far: things that are counted, bytes, and what is built.

    ``unit`` is the word for what is counted, ``entries`` of an archive or another. ``builds`` are
    indexes and constraints; of a plain dump, which is read once, ``builds_total`` are those that
    were read so far: pg_dump writes them after each other, foreign keys last. The totals are None
    where they cannot be known. ``building`` says what the server works on right now.
    """

    entries: int = 0
    entries_total: int | None = None
    bytes: int = 0
    bytes_total: int | None = None
    builds: int = 0
    builds_total: int | None = None
    building: Sequence[Building] = ()
    unit: str = "entries"

    @property
    def share(self) -> float:
        """How much of the work is done, from 0 to 1: the mean of what is known."""
        pairs = ((self.entries, self.entries_total), (self.bytes, self.bytes_total))
        shares = [min(1.0, done / total) for done, total in pairs if total]
        return sum(shares) / len(shares) if shares else 0.0

    def more_to_build(self, count: int) -> None:
        """Take in that there are more indexes and constraints to build."""
        self.builds_total = (self.builds_total or 0) + count

    def one_is_built(self) -> None:
        """Take in that one of them is built."""
        self.builds += 1

    @property
    def share_built(self) -> float:
        """How much of the indexes and constraints is built, from 0 to 1."""
        begun = sum((each.percent or 0) / 100 for each in self.building if each.kind != "rows of")
        return min(1.0, (self.builds + begun) / self.builds_total) if self.builds_total else 0.0


Watch = Callable[[Progress], None]
Look = Callable[[], Sequence[Building]]


class Reporter:
    """Shows how far it is; this one shows nothing."""

    def step(self, text: str) -> None:
        """Take in which step begins."""

    def note(self, text: str) -> None:
        """Take in what the person who restores should know."""

    def progress(self, progress: Progress) -> None:
        """Take in how much of the step is done."""

    def tick(self, building: Sequence[Building] = ()) -> None:
        """Take in that time goes by, and what the server works on; any thread may call it."""

    def close(self) -> None:
        """Take in that it is over."""


@contextmanager
def heartbeat(reporter: Reporter, look: Look = tuple) -> Iterator[None]:
    """Tell a reporter every second that the block is still at work, and what ``look`` returns.

    It is a thread: start no program within, which could not be told to end with this process.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(SECONDS_A_BEAT):
            reporter.tick(look())

    thread = threading.Thread(target=beat, name="restorehooks-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS_A_BEAT)
