"""How a restore shows how far it is: a bar on a terminal, plain lines with times in a log."""

from __future__ import annotations

import time
from datetime import datetime
from typing import IO, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from restorehooks.restore.progress import Progress, Reporter
from restorehooks.wording import printable

SECONDS_BETWEEN_LINES = 10.0


class Lines(Reporter):
    """Plain lines with times, for logs: each step, and now and then how far it is."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self._said = time.monotonic()

    def step(self, text: str) -> None:
        """Say which step begins."""
        self._write(text)

    def note(self, text: str) -> None:
        """Say what the person in front of it should know."""
        self._write(f"note: {text}")

    def progress(self, progress: Progress) -> None:
        """Say how much is loaded, every few seconds at most."""
        if time.monotonic() - self._said < SECONDS_BETWEEN_LINES:
            return
        parts = []
        if progress.entries_total:
            parts.append(f"{progress.entries} of {progress.entries_total} entries")
        if progress.bytes_total:
            share = min(100, 100 * progress.bytes // progress.bytes_total)
            parts.append(f"{share} % of {progress.bytes_total} bytes")
        if parts:
            self._write(", ".join(parts))

    def _write(self, text: str) -> None:
        self._said = time.monotonic()
        moment = datetime.now().astimezone().isoformat(timespec="seconds")
        self.stream.write(f"{moment} {text}\n")
        self.stream.flush()


class OnTerminal(Reporter):
    """A bar with entries, bytes and an estimate of the time left."""

    def __init__(self) -> None:
        # Not a command's stderr: that ends each piece with a new line, and paints it red.
        self.console = Console(stderr=True)
        # Refreshed by hand: a thread of its own would be in the way of forking safely.
        self.bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[entries]}", markup=False),
            DownloadColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID | None = None

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
            self.bar.start()
            self._task = self.bar.add_task("loading", total=progress.bytes_total, entries="")
        entries = f"{progress.entries}/{progress.entries_total}" if progress.entries_total else ""
        self.bar.update(self._task, completed=progress.bytes, entries=entries, refresh=True)

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
