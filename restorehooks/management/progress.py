"""How a restore shows how far it is: a bar on a terminal, plain lines with times in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from threading import RLock
from typing import IO, TYPE_CHECKING, Any

from restorehooks.restore.progress import Building, Progress, Reporter
from restorehooks.wording import printable, size_in_words

if TYPE_CHECKING:
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 30.0
"""Seconds between two progress lines in a log."""
SECONDS_STANDING = 15.0
"""Seconds without progress after which the time left counts as unknown."""
SECONDS_TO_TELL = 3.0
"""The time from which on what is left can be told."""
SHARE_TO_TELL = 0.05
"""The share of the work that is done before the time left is estimated."""
WIDE = 100
"""Columns of a terminal from which on the bars are long: the words beside them say more."""


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
        too_early = share < SHARE_TO_TELL or now - self._began < SECONDS_TO_TELL
        if too_early or now - self._moved > SECONDS_STANDING:
            return "time left unknown"
        return f"about {_clock((now - self._began) * (1 - share) / share)} left"

    def elapsed(self) -> str:
        """Return how long it takes so far."""
        return f"{_clock(time.monotonic() - self._began)} so far"


def _clock(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _done(progress: Progress) -> Iterator[str]:
    if progress.entries_total:
        yield f"{progress.entries} of {progress.entries_total} {progress.unit}"
    if progress.bytes_total:
        read = min(progress.bytes, progress.bytes_total)
        yield f"{size_in_words(read)} of {size_in_words(progress.bytes_total)} read"
    elif progress.bytes:
        yield f"{size_in_words(progress.bytes)} written"


def _built(progress: Progress) -> Iterator[str]:
    """Yield what is being built, numbered where it is known how much there is to build."""
    number = progress.builds
    for each in progress.building:
        if each.kind in ("index", "constraint") and progress.builds_total:
            number = min(number + 1, progress.builds_total)
            yield _named(each, f" {number} of {progress.builds_total}:")
        else:
            yield _named(each)


def _named(building: Building, number: str = "") -> str:
    known = [f"{building.kind}{number} {building.name}"]
    known += [f"{building.percent} %"] if building.percent is not None else []
    known += [f"{building.rows:,} so far"] if building.rows else []
    return printable(", ".join([*known, _clock(building.seconds)]))


class Lines(Reporter):
    """Plain lines with times, for logs: each step, and every half minute how far it is."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self._lock = RLock()
        self._said = time.monotonic()
        self._left = TimeLeft()
        self._step = "preparing"
        self._progress: Progress | None = None

    def step(self, text: str) -> None:
        """Say which step begins."""
        self._left, self._step, self._progress = TimeLeft(), text, None
        self._write(text)

    def note(self, text: str) -> None:
        """Say what the person in front of it should know."""
        self._write(f"note: {text}")

    def progress(self, progress: Progress) -> None:
        """Say how far it is, every half minute at most."""
        self._progress = progress
        self.tick(progress.building)

    def tick(self, building: Sequence[Building] = ()) -> None:
        """Say that it is still at work, every half minute at most."""
        progress = replace(self._progress or Progress(), building=building)
        left = self._left.text(progress.share)
        with self._lock:
            if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
                so_far = f"still {self._step}, {self._left.elapsed()}"
                self._write(", ".join([so_far, *_done(progress), *_built(progress), left]))

    def _write(self, text: str) -> None:
        with self._lock:
            self._said = time.monotonic()
            moment = datetime.now().astimezone().isoformat(timespec="seconds")
            self.stream.write(f"{moment} {printable(text)}\n")
            self.stream.flush()


class OnTerminal(Reporter):
    """A bar for the step, one for what is built, each with an estimate of the time left."""

    def __init__(self) -> None:
        # They take a tenth of a second, and a log needs none of them.
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        # Not a command's stderr: that ends each piece with a new line, and paints it red.
        self.console = Console(stderr=True, emoji=False)  # a name may be ":x:"
        # Refreshed by hand: a thread of its own would be in the way of forking safely.
        self.bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=20 if self.console.width >= WIDE else 8),
            TextColumn(
                "{task.fields[said]}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=self.console,
            expand=True,
            auto_refresh=False,
            transient=True,
        )
        self._lock = RLock()
        self._tasks: dict[str, tuple[TaskID, TimeLeft]] = {}
        self._progress = Progress()
        self._since = TimeLeft()

    def step(self, text: str) -> None:
        """Print which step begins."""
        self.close()
        self._since = TimeLeft()
        self.console.print(printable(text), markup=False, highlight=False)

    def note(self, text: str) -> None:
        """Print what the person in front of it should know."""
        self.close()
        said = f"note: {printable(text)}"
        self.console.print(said, style="yellow", markup=False, highlight=False)

    def progress(self, progress: Progress) -> None:
        """Move the bars on."""
        self._progress = progress
        self.tick(progress.building)

    def tick(self, building: Sequence[Building] = ()) -> None:
        """Let the clocks go on."""
        with self._lock:
            progress = replace(self._progress, building=building)
            done, built = [*_done(progress)], [*_built(progress)]
            name = progress.unit if progress.entries_total else "dump" if done else "working"
            is_known = progress.entries_total or progress.bytes_total
            self._show(name, progress.share if is_known else None, done)
            if built or progress.builds:
                share = progress.share_built if progress.builds_total else None
                self._show("indexes and keys", share, built)
            self.bar.refresh()

    def _show(self, name: str, share: float | None, said: Sequence[str]) -> None:
        """Show a bar; one without a share has no end that is known."""
        if name not in self._tasks:
            left = TimeLeft() if self._tasks else self._since
            self.bar.start()
            self._tasks[name] = self.bar.add_task(name, total=None, said=""), left
        task, left = self._tasks[name]
        said = [*said, left.elapsed(), left.text(share or 0.0)]
        total = None if share is None else 1.0
        text = printable(", ".join(said))
        self.bar.update(task, total=total, completed=share or 0.0, said=text)

    def close(self) -> None:
        """Take the bars away."""
        with self._lock:
            for task, _ in self._tasks.values():
                self.bar.remove_task(task)
            if self._tasks:
                self.bar.stop()
            self._tasks, self._progress = {}, Progress()


def reporter_for(stream: Any, verbosity: int) -> Reporter:
    """Return who is to be told: nobody at verbosity 0, a terminal, or a log."""
    if verbosity == 0:
        return Reporter()
    return OnTerminal() if stream.isatty() else Lines(stream)
