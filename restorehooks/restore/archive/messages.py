"""What pg_restore writes to its standard error, read into what it means."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from restorehooks.restore.errors import ProgramError
from restorehooks.restore.harmless import why_harmless


@dataclass(frozen=True)
class Problem:
    """One error pg_restore reported.

    message: the server's.
    statement: the SQL that failed, empty where it was none.
    entry: the entry of the table of contents that it belongs to, as pg_restore names it.
    """

    message: str
    statement: str = ""
    entry: str = ""

    def __str__(self) -> str:
        place = f" ({self.entry})" if self.entry else ""
        return f"{self.message}{place}"


@dataclass
class Outcome:
    """What a run of pg_restore reported, line by line.

    problems: errors, all of them harmless (see ``why_harmless``).
    warnings: its own, without the prefix.
    ignored: the number of errors by its own count, None where it gave none.
    finished: entries of the table of contents that were begun (serial) or done (parallel).
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ignored: int | None = None
    finished: int = 0

    def left_out(self) -> dict[str, int]:
        """Return why statements failed without harm, and how often."""
        counts: dict[str, int] = {}
        for problem in self.problems:
            if reason := why_harmless(problem.statement):
                counts[reason] = counts.get(reason, 0) + 1
        return counts


# Workers share one stderr and write a line in pieces, so that the words before a message may have
# gone before somebody else's. The message itself, "Command was:" included, is one piece.
_BEFORE = re.compile(r"\s*(?:(?:pg_restore|pg_dump|error|warning|detail|hint):\s*)*")
_MESSAGE = re.compile(r"could not execute query: |COPY failed for table |error returned by PQ")
_IGNORED = re.compile(r"errors ignored on restore: (\d+)")
_STARTED = re.compile(
    r"(?:creating|processing data for table|executing|connecting to database for restore)\b"
)
_PLACE = re.compile(r"CONTEXT:|LINE |\s*\^\s*\Z")
"""Lines that show where in a statement the server objects to something."""
_FINISHED = re.compile(r"finished item \d+ ")
_NO_ERROR = re.compile(
    r"(?:processing|launching|skipping|finished) item |entering main |"
    r"while (?:INITIALIZING|PROCESSING TOC|FINALIZING):|from TOC entry \d+; |"
    r"(?:creating|executing|processing data for table|connecting to database for restore)\b"
)


def read_messages(lines: Iterable[str], on_entry: Callable[[int], None] | None = None) -> Outcome:
    """Read pg_restore's stderr (with ``-v``, LC_ALL=C) into what it means.

    Raises ProgramError at the first error that is not harmless: there is no point in loading the
    rest. ``on_entry`` is called with the number of entries done so far. A parallel run names each
    entry when it is finished, a serial one when it begins.
    """
    reading = _Reading(on_entry or (lambda number: None))
    for line in lines:
        reading.take(line)
    reading.close()
    return reading.outcome


class _Reading:
    """One pass over stderr: a message may go on for several lines."""

    def __init__(self, on_entry: Callable[[int], None]) -> None:
        self.outcome = Outcome()
        self.on_entry = on_entry
        self._message: list[str] = []
        self._statement: list[str] = []
        self._entry = ""

    def take(self, line: str) -> None:
        before = _BEFORE.match(line)
        words = before[0].strip() if before else ""
        said = line[before.end() :] if before else line
        if _MESSAGE.match(said) or ("error:" in words and not _NO_ERROR.match(said)):
            self.close()
            self._message.append(re.sub(r"^could not execute query: (?:ERROR:\s+)?", "", said))
        elif self._message and said and words.endswith(("detail:", "hint:")):
            self._message.append(said)  # pg_restore's own, after a message of its own
        elif words or _NO_ERROR.match(said):
            self.close()
            self._take_note(words, said)
        else:
            self._continue(line)

    def _take_note(self, words: str, said: str) -> None:
        if said.startswith("from TOC entry "):
            self._entry = re.sub(r"^from TOC entry \d+; \d+ \d+ ", "", said)
        elif ignored := _IGNORED.match(said):
            self.outcome.ignored = int(ignored[1])
        elif "warning:" in words:
            self.outcome.warnings.append(said)
        elif _FINISHED.match(said) or _STARTED.match(said):
            self.outcome.finished += 1
            self.on_entry(self.outcome.finished)

    def _continue(self, line: str) -> None:
        if line.startswith("Command was: "):
            self._statement.append(line.removeprefix("Command was: "))
        elif self._statement:
            self._statement.append(line)
        elif self._message and not _PLACE.match(line):
            self._message.append(line.strip())

    def close(self) -> None:
        if self._message:
            text = " ".join(part for part in self._message if part)
            problem = Problem(text, "\n".join(self._statement), self._entry)
            self.outcome.problems.append(problem)
            if why_harmless(problem.statement) is None:
                raise ProgramError(f"pg_restore: {problem}")
            self._entry = ""
        self._message, self._statement = [], []


def check_exit(outcome: Outcome, exit_code: int, workers: int = 0) -> None:
    """Raise ProgramError unless every error pg_restore counted was seen, and is harmless.

    It exits 1 both for errors that it ignores and for those it gave up on; only its last line,
    "errors ignored on restore: N", tells them apart. ``workers`` is the number of --jobs: what
    each one meets while it connects is not in the count.
    """
    if exit_code < 0:
        raise ProgramError(f"pg_restore was ended by {signal.Signals(-exit_code).name}")
    seen, counted = len(outcome.problems), outcome.ignored or 0
    connecting = sum(problem.statement.startswith("SET ") for problem in outcome.problems)
    if seen != counted + (workers if connecting > workers else 0):
        raise ProgramError(f"pg_restore counted {counted} errors, and {seen} were understood")
    if exit_code != (1 if counted else 0):
        raise ProgramError(f"pg_restore exited {exit_code} and did not say why")
