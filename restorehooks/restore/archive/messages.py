"""What pg_restore writes to its standard error, and when its run counts as a success.

Its words are no proof: they repeat what the server says, rows included, so that a row can hold a
line that looks like pg_restore's own. What counts is how many errors pg_restore itself has counted,
which its exit code and its very last line say. How many there have to be is known beforehand:
nothing that it is given may fail, but for one setting that servers before 17 do not know.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from restorehooks.restore.errors import DumpError, ProgramError
from restorehooks.restore.script.hints import hint_for_a_constraint
from restorehooks.wording import LONGEST


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

    problems: what seems to be the setting that servers before 17 do not know.
    warnings: its own, without the prefix.
    last: the last line of all.
    finished: entries of the table of contents that were begun (serial) or done (parallel).
    built: the indexes and constraints among them.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    last: str = ""
    finished: int = 0
    built: int = 0


# Workers share one stderr and write a line in pieces, so that the words before a message may have
# gone before somebody else's. The message itself, "Command was:" included, is one piece.
_BEFORE = re.compile(r"\s*(?:(?:pg_restore|pg_dump|error|warning|detail|hint):\s*)*")
_MESSAGE = re.compile(r"could not execute query: |COPY failed for table |error returned by PQ")
_IGNORED = re.compile(r"(?:pg_restore: )?warning: errors ignored on restore: ([0-9]{1,9})")
_STARTED = re.compile(
    r"(?:creating|processing data for table|executing|connecting to database for restore)\b"
)
_PLACE = re.compile(r"CONTEXT:|LINE |\s*\^\s*\Z")
"""Lines that show where in a statement the server objects to something."""
_FINISHED = re.compile(r"finished item \d+ ")
_BUILT = re.compile(r"(?:finished item \d+|creating) (?:INDEX|(?:FK )?CONSTRAINT) ")
_NO_ERROR = re.compile(
    r"(?:processing|launching|skipping|finished) item |entering main |"
    r"while (?:INITIALIZING|PROCESSING TOC|FINALIZING):|from TOC entry \d+; |"
    r"(?:creating|executing|processing data for table|connecting to database for restore)\b"
)
_ENDS = re.compile(r"^pg_restore: (?:could not read from input file: |unexpected )end of file")
_MOST = 50
"""Lines of a message, and messages, that are kept: what a dump raises may have millions."""
_UNKNOWN_TO_OLD_SERVERS = "SET transaction_timeout = 0;"


def read_messages(
    lines: Iterable[str], on_entry: Callable[[Outcome], None] | None = None
) -> Outcome:
    """Read pg_restore's stderr (with ``-v``, LC_ALL=C) into what it means.

    Raises ProgramError at the first error that it understands: there is no point in loading the
    rest. That none is raised proves nothing, see ``check_exit``. ``on_entry`` is called with
    what there was so far. A parallel run names each entry when it is finished, a serial
    one when it begins.
    """
    reading = _Reading(on_entry or (lambda outcome: None))
    for line in lines:
        reading.take(line)
    reading.close()
    return reading.outcome


class _Reading:
    """One pass over stderr: a message may go on for several lines."""

    def __init__(self, on_entry: Callable[[Outcome], None]) -> None:
        self.outcome = Outcome()
        self.on_entry = on_entry
        self._message: list[str] = []
        self._statement: list[str] = []
        self._entry = ""

    def take(self, line: str) -> None:
        self.outcome.last = line or self.outcome.last
        before = _BEFORE.match(line)
        words = before[0].strip() if before else ""
        said = line[before.end() :] if before else line
        if _MESSAGE.match(said) or ("error:" in words and not _NO_ERROR.match(said)):
            self.close()
            self._message.append(re.sub(r"^could not execute query: (?:ERROR:\s+)?", "", said))
        elif self._message and said and words.endswith(("detail:", "hint:")):
            self._message[_MOST:] = [said]  # pg_restore's own, after a message of its own
        elif words or _NO_ERROR.match(said):
            self.close()
            self._take_note(words, said)
        else:
            self._continue(line)

    def _take_note(self, words: str, said: str) -> None:
        if said.startswith("from TOC entry "):
            self._entry = re.sub(r"^from TOC entry \d+; \d+ \d+ ", "", said)
        elif "warning:" in words and not said.startswith("errors ignored on restore: "):
            is_shown = len(self.outcome.warnings) < _MOST
            self.outcome.warnings[_MOST:] = [said[:LONGEST] if is_shown else "there are more"]
        elif _FINISHED.match(said) or _STARTED.match(said):
            self.outcome.finished += 1
            self.outcome.built += bool(_BUILT.match(said))
            self.on_entry(self.outcome)

    def _continue(self, line: str) -> None:
        if line.startswith("Command was: "):
            self._statement.append(line.removeprefix("Command was: "))
        elif self._statement:
            self._statement[_MOST:] = [line]
        elif self._message and not _PLACE.match(line):
            self._message[_MOST:] = [line.strip()]

    def close(self) -> None:
        if self._message:
            text = " ".join(part for part in self._message if part)[:LONGEST]
            problem = Problem(text, "\n".join(self._statement), self._entry)
            self.outcome.problems.append(problem)
            is_known = problem.statement.strip() == _UNKNOWN_TO_OLD_SERVERS
            if not is_known or len(self.outcome.problems) > _MOST:
                more = hint_for_a_constraint(problem.statement.encode())
                raise ProgramError(f"pg_restore: {problem}" + (f"; {more}" if more else ""))
            self._entry = ""
        self._message, self._statement = [], []


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Let an error of pg_restore's that an archive ends too early name the archive.

    Raises DumpError in place of that ProgramError.
    """
    try:
        yield
    except ProgramError as error:
        if _ENDS.search(str(error)):
            raise DumpError(f"{source} was cut off: copy or dump it again ({error}).") from None
        raise


def unknown_settings(program_major: int, server_version: int, *, parallel: bool) -> int:
    """Return how many errors a run of pg_restore into this server has to count.

    One for each connection of the leader, which sets transaction_timeout from 17 on: the one it
    begins with, and with --jobs the one it ends with. What its workers meet while they connect is
    not in the count (``restore_toc_entry_worker`` in pg_backup_archiver.c).
    """
    if program_major < 17 or server_version >= 170000:
        return 0
    return 2 if parallel else 1


def check_exit(outcome: Outcome, exit_code: int, expected: int = 0) -> None:
    """Raise ProgramError unless pg_restore has counted exactly the errors that were expected.

    Its exit code is 0 without any, and 1 both for errors that it ignores and for those it gave up
    on; only its last line, "errors ignored on restore: N", tells those apart.
    """
    if exit_code < 0:
        raise ProgramError(f"pg_restore was ended by {_name_of(-exit_code)}")
    last = _IGNORED.fullmatch(outcome.last)
    counted = int(last[1]) if last and exit_code == 1 else 0
    if exit_code != (1 if counted else 0):
        raise ProgramError(f"pg_restore exited {exit_code} and did not say why")
    seen = len(outcome.problems)
    if counted != expected or seen < expected or (seen and not expected):
        problems = "; ".join(map(str, outcome.problems[:3])) or "none of which it explains"
        raise ProgramError(
            f"pg_restore counted {counted} errors where {expected} were to be expected: {problems}"
        )


def _name_of(number: int) -> str:
    known = {each.value: each.name for each in signal.Signals}
    return known.get(number, f"the signal {number}")
