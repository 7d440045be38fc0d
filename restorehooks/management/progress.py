"""How a restore shows how far it is: a bar on a terminal, plain lines with times in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from restorehooks.restore.progress import Progress, Reporter
from restorehooks.wording import printable, size_in_words

SECONDS_BETWEEN_LINES = 30.0
"""Seconds between two progress lines in a log."""
SECONDS_STANDING = 15.0
"""Seconds without progress after which the time left counts as unknown."""
SHARE_TO_TELL = 0.05
"""The share of the work that is done before the time left is estimated."""


class TimeLeft:
    """An estimate of the time left, by the share of the work that is done."""

    def __init__(self) -> None:
        self._began = self._moved = time.monotonic()
        self._share = 0.0

    def text(self, share: float) -> str:
        """Return it in words: unknown at the beginning, and where nothing moves."""
        now = time.monotonic()
        if share > self._share:
            self._share, self._moved = share, now
        if share < SHARE_TO_TELL or now - self._moved > SECONDS_STANDING:
            return "time left unknown"
        return f"about {_clock((now - self._began) * (1 - share) / share)} left"

    def elapsed(self) -> str:
        """Return how long it takes so far."""
        return _clock(time.monotonic() - self._began)


def _clock(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _done(progress: Progress) -> Iterator[str]:
    if progress.entries_total:
        yield f"{progress.entries}/{progress.entries_total} entries"
    if progress.bytes_total:
        read = min(progress.bytes, progress.bytes_total)
        yield f"{size_in_words(read)} of {size_in_words(progress.bytes_total)} read"


class Lines(Reporter):
    """Plain lines with times, for logs: each step, and every half minute how far it is."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self._said = time.monotonic()
        self._left = TimeLeft()

    def step(self, text: str) -> None:
        """Say which step begins."""
        self._left = TimeLeft()
        self._write(text)

    def note(self, text: str) -> None:
        """Say what the person in front of it should know."""
        self._write(f"note: {text}")

    def progress(self, progress: Progress) -> None:
        """Say how far it is, every half minute at most."""
        left = self._left.text(progress.share)
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._write(", ".join([*_done(progress), *progress.building, left]))

    def _write(self, text: str) -> None:
        self._said = time.monotonic()
        moment = datetime.now().astimezone().isoformat(timespec="seconds")
        self.stream.write(f"{moment} {text}\n")
        self.stream.flush()


class OnTerminal(Reporter):
    """A bar with entries, bytes, what is being built, and an estimate of the time left."""

    def __init__(self) -> None:
        # Not a command's stderr: that ends each piece with a new line, and paints it red.
        self.console = Console(stderr=True)
        # Refreshed by hand: a thread of its own would be in the way of forking safely.
        self.bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[said]}", markup=False),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID | None = None
        self._left = TimeLeft()

    def step(self, text: str) -> None:
        """Print which step begins."""
        self.close()
        self.console.print(printable(text), markup=False, highlight=False)

    def note(self, text: str) -> None:
        """Print what the person in front of it should know."""
        self.close()
        said = f"note: {printable(text)}"
        self.console.print(said, style="yellow", markup=False, highlight=False)

    def progress(self, progress: Progress) -> None:
        """Move the bar on."""
        if self._task is None:
            self._left = TimeLeft()
            self.bar.start()
            self._task = self.bar.add_task("loading", total=1.0, said="")
        share = progress.share
        clock = f"{self._left.elapsed()}, {self._left.text(share)}"
        said = ", ".join([*_done(progress), clock, *progress.building])
        self.bar.update(self._task, completed=share, said=printable(said), refresh=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self.bar.remove_task(self._task)
            self.bar.stop()
            self._task = None


def reporter_for(stream: Any, verbosity: int) -> Reporter:
    """Return who is to be told: nobody at verbosity 0, a terminal, or a log."""
    if verbosity == 0:
        return Reporter()
    return OnTerminal() if stream.isatty() else Lines(stream)
