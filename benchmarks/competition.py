"""Lets competitors run in turn, round after round, and compares what each round says."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import comb
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent


class Died(Exception):  # noqa: N818 - what it is called in the table
    """A competitor could not do its work; the message is the first line of what it said."""


def nothing() -> None:
    """Prepare or check what needs none."""


@dataclass(frozen=True)
class Competitor:
    """One way to do the work.

    ``run`` does the work and returns the seconds that it took, or None to be timed from outside.
    ``prepare`` runs before it and ``check`` after it, neither timed. ``run`` and ``check`` raise
    :exc:`Died`. ``command`` is how it was run, for the reader.
    """

    name: str
    command: str
    run: Callable[[], float | None]
    prepare: Callable[[], object] = nothing
    check: Callable[[], object] = nothing


@dataclass
class Result:
    """The seconds of each round of one competitor, and how it died if it did."""

    name: str
    command: str
    seconds: list[float] = field(default_factory=list)
    died: str | None = None


class Ratio(NamedTuple):
    """Median, minimum and maximum over the rounds."""

    median: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Fact:
    """Something measured that is no ratio; ``reached`` is None where it has no bound.

    ``why`` is the reason, where it is missed.
    """

    subject: str
    what: str
    aim: str
    shown: str
    reached: bool | None
    why: str = ""


@dataclass
class Contest:
    """What was compared, under which circumstances, and what came out."""

    subject: str
    circumstances: dict[str, Any]
    results: list[Result]

    def has(self, circumstances: Mapping[str, Any]) -> bool:
        """Return whether it took place under these circumstances, and maybe more."""
        return circumstances.items() <= self.circumstances.items()

    def ratio(self, name: str, to: str) -> Ratio | None:
        """Return how many times as long as ``to`` it took, round by round; None where one died."""
        found = {result.name: result for result in self.results}
        if name not in found or to not in found or found[name].died or found[to].died:
            return None
        pairs = zip(found[name].seconds, found[to].seconds, strict=False)
        each = [one / other for one, other in pairs]
        return Ratio(median(each), min(each), max(each)) if each else None

    def ratio_of_medians(self, name: str, to: str) -> float:
        """Return how many times as long as ``to`` it took, by the medians of all rounds."""
        found = {result.name: result for result in self.results}
        return median(found[name].seconds) / median(found[to].seconds)

    def is_even(self, name: str, to: str) -> bool:
        """Whether neither is quicker so often that it is no chance (sign test, one in twenty)."""
        found = {result.name: result.seconds for result in self.results}
        pairs = list(zip(found[name], found[to], strict=False))
        slower = sum(one > other for one, other in pairs)
        most = max(slower, len(pairs) - slower)
        tail = sum(comb(len(pairs), many) for many in range(most, len(pairs) + 1))
        return 2 * tail / 2 ** len(pairs) >= 0.05

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contest:
        """Return what :meth:`as_dict` wrote."""
        results = [Result(**each) for each in data["results"]]
        return cls(data["subject"], data["circumstances"], results)


def compete(
    subject: str,
    circumstances: dict[str, Any],
    competitors: Sequence[Competitor],
    rounds: int,
    patience: float = 30.0,
) -> Contest:
    """Run all competitors in each round, another one first every time.

    Who died once does not run again. Who took longer than ``patience`` seconds runs in the first
    two rounds only.
    """
    results = [Result(each.name, each.command) for each in competitors]
    turns = list(zip(competitors, results, strict=True))
    for number in range(rounds):
        first = number % len(turns)
        for competitor, result in turns[first:] + turns[:first]:
            if result.died is None and (number < 2 or result.seconds[0] <= patience):
                _run(competitor, result)
    _tell(subject, circumstances, results)
    return Contest(subject, circumstances, results)


def _run(competitor: Competitor, result: Result) -> None:
    competitor.prepare()
    gc.collect()  # what earlier rounds have left is not this one's to clear away
    began = perf_counter()
    try:
        seconds = competitor.run()
        seconds = perf_counter() - began if seconds is None else seconds
        competitor.check()
    except Died as death:
        result.died = str(death)
    else:
        result.seconds.append(seconds)


def _tell(subject: str, circumstances: dict[str, Any], results: list[Result]) -> None:
    """Show on standard error how it goes on; seconds are for whoever watches, never published."""
    about = ", ".join(f"{name} {value}" for name, value in circumstances.items())
    print(f"{subject}: {about}", file=sys.stderr)
    for result in results:
        seen = f"died: {result.died}" if result.died else f"{median(result.seconds):9.4f} s"
        print(f"  {result.name:34} {seen}", file=sys.stderr, flush=True)


def command(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    stdin: Any = subprocess.DEVNULL,
    into: Sequence[str] | None = None,
) -> None:
    """Run a program to its end, its output piped ``into`` another one if there is one.

    Raises :exc:`Died` with the first line about an error where either fails.
    """
    environ = {**os.environ, **environ}
    first = subprocess.Popen(
        arguments,
        env=environ,
        stdin=stdin,
        stdout=subprocess.PIPE if into else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    said, code = "", 0
    if into:
        second = subprocess.run(
            into,
            env=environ,
            stdin=first.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
        said, code = second.stderr, second.returncode
    said = (first.communicate()[1] or "") + said
    if first.returncode or code or "ERROR:" in said:
        raise Died(_first_error(said))


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines[-1:])[0]


class Worker:
    """A Python process that stays, does one thing each time it is asked, and tells the seconds."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**os.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def ask(self, what: str) -> float:
        """Let it do ``what`` once and return the seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Died(f"the process for {what!r} has ended")
        return float(answer)

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def serve(tasks: Mapping[str, Callable[[], object]]) -> None:
    """Be such a process: time one of ``tasks`` for each line that comes in."""
    for line in sys.stdin:
        task = tasks[line.strip()]
        gc.collect()
        began = perf_counter()
        task()
        print(perf_counter() - began, flush=True)
