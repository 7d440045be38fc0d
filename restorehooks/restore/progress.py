"""How far a restore or a backup is, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass
class Progress:
    """What is done so far: entries of an archive, and bytes.

    The totals are None where they cannot be known. ``building`` says what takes long right now.
    """

    entries: int = 0
    entries_total: int | None = None
    bytes: int = 0
    bytes_total: int | None = None
    building: Sequence[str] = ()

    @property
    def share(self) -> float:
        """How much of the work is done, from 0 to 1: the mean of what is known."""
        pairs = ((self.entries, self.entries_total), (self.bytes, self.bytes_total))
        shares = [min(1.0, done / total) for done, total in pairs if total]
        return sum(shares) / len(shares) if shares else 0.0


Watch = Callable[[Progress], None]


class Reporter:
    """Who is told how far it is; this one keeps quiet."""

    def step(self, text: str) -> None:
        """Take in which step begins."""

    def note(self, text: str) -> None:
        """Take in what the person who restores should know."""

    def progress(self, progress: Progress) -> None:
        """Take in how much of the dump is loaded."""

    def close(self) -> None:
        """Take in that it is over."""
