"""Running pg_restore and pg_dump: argv lists, the password in the environment alone."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from restorehooks.programs import Program, find
from restorehooks.restore.dump.contents import ArchiveEntry
from restorehooks.restore.dump.copies import private_folder, temporary_files
from restorehooks.restore.dump.facts import Dump, size_of
from restorehooks.restore.errors import ProgramError, RestoreError, ScriptError
from restorehooks.restore.processes import (
    SECONDS_A_TICK,
    lines_of,
    running,
)
from restorehooks.restore.progress import Progress, Watch

from .messages import Outcome, check_exit, read_messages, unknown_settings

_LINES = 4
"""Of pg_dump's messages about what went wrong, how many are repeated."""
_READS = {(1, 14): 12, (1, 15): 16, (1, 16): 17}
"""The first major of pg_restore that reads an archive version (pg_backup_archiver.h)."""


def pg_restore_for(dump: Dump, prefer: int | None = None) -> Program:
    """Return a pg_restore that reads this archive, of the major preferred where there is one.

    Raises ProgramError, naming the package to install, when none is present.
    """
    version = (dump.archive_version or (1, 14, 0))[:2]
    return find("pg_restore", at_least=_READS.get((version[0], version[1]), 12), prefer=prefer)


@contextmanager
def list_file(entries: Iterable[ArchiveEntry]) -> Iterator[Path]:
    """Write these entries to a temporary file for ``--use-list``."""
    with private_folder(None) as folder:
        path = folder / "entries"
        path.write_text("".join(f"{entry.line}\n" for entry in entries))
        yield path


def load(
    program: Program,
    archive: Path,
    *,
    conninfo: str,
    environment: Mapping[str, str],
    server_version: int,
    flags: Iterable[str] = (),
    jobs: int = 1,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Load an archive into the database that ``conninfo`` names, which must hold no secret.

    ``watch`` is called a few times a second, and may raise to end the load. Raises ProgramError
    for any error but that of a setting which a server of ``server_version`` (150019 for 15.19)
    does not know, and for a run that ended without saying that it went through.
    """
    parallel = ["--jobs", str(jobs)] if jobs > 1 else []
    argv = [str(program.path), "--verbose", "--dbname", conninfo, *flags, *parallel]
    with running([*argv, "--", str(archive)], environment) as process:
        state = progress or Progress()
        done = state.entries

        def tick() -> None:
            state.bytes = max(state.bytes, _bytes_read(process.pid))
            if watch:
                watch(state)

        def on_entry(seen: Outcome) -> None:
            _count(state, done + seen.finished, seen.built, jobs)
            if watch:
                watch(state)

        assert process.stderr  # noqa: S101 - it was asked for
        outcome = read_messages(lines_of(process.stderr, tick), on_entry)
        expected = unknown_settings(program.major, server_version, parallel=jobs > 1)
        check_exit(outcome, process.wait(), expected)
    return outcome


def _count(state: Progress, entries: int, built: int, jobs: int) -> None:
    # What one line announces is not always an entry of its own.
    state.entries = min(entries, state.entries_total or entries)
    # A serial run names what it begins.
    state.builds = built if jobs > 1 else max(0, built - 1)


def prove(program: Program, archive: Path, watch: Watch | None = None) -> None:
    """Read an archive to its end without any server; raise ProgramError if it is not whole."""
    with statements(program, archive, to=os.devnull) as process:
        state = Progress(bytes_total=size_of(archive))
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_A_TICK)
            state.bytes = max(state.bytes, _bytes_read(process.pid))
            if watch:
                watch(state)


@contextmanager
def statements(
    program: Program, archive: Path, flags: Iterable[str] = (), to: str = "-"
) -> Iterator[subprocess.Popen[bytes]]:
    """Turn an archive into SQL: yield the process, whose stdout is the SQL.

    Raises ProgramError after the block when the archive was not read to its end.
    """
    argv = [str(program.path), "--file", to, *flags, "--", str(archive)]
    out = subprocess.PIPE if to == "-" else subprocess.DEVNULL
    with (
        tempfile.TemporaryFile(dir=temporary_files()) as said,
        running(argv, {}, out, said) as process,
    ):
        try:
            yield process
        except ScriptError:
            raise
        except RestoreError:  # the SQL has no end: pg_restore may say why
            _require_success(process, said)
            raise
        _require_success(process, said)


def _require_success(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    code = process.wait()
    said.seek(0)
    lines = (line.decode(errors="replace").rstrip("\n") for line in said)
    check_exit(read_messages(lines), code)


def write(
    program: Program,
    to: Path,
    *,
    conninfo: str,
    environment: Mapping[str, str],
    flags: Iterable[str] = (),
    on_line: Callable[[str], None] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Run pg_dump on the database that ``conninfo`` names; raise ProgramError when it failed.

    ``tick`` is called a few times a second, and may raise to end it.
    """
    argv = [str(program.path), "--dbname", conninfo, "--file", str(to), *flags]
    with running(argv, environment) as process:
        assert process.stderr  # noqa: S101 - it was asked for
        first: list[str] = []
        for line in lines_of(process.stderr, tick):
            if "error: " in line or not line.startswith("pg_dump: "):
                if len(first) < _LINES:  # a server may warn without end
                    first.append(line.removeprefix("pg_dump: ").removeprefix("error: "))
            elif on_line:
                on_line(line.removeprefix("pg_dump: "))
        if code := process.wait():
            said = " ".join(first) or f"it exited {code} and did not say why"
            raise ProgramError(f"pg_dump: {said}")


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
