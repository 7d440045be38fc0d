"""Programs run by a restore: argv lists, never a shell; ended with their parent.

They are run without libpq's variables of this environment, so that the connection string alone
decides, and with messages in English.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO

from restorehooks.restore.errors import ProgramError

SECONDS_TO_STOP = 5.0
"""How long a program may take to end after SIGTERM before it gets SIGKILL."""
SECONDS_A_TICK = 0.3
"""How often whoever reads a program's output is called while nothing is written."""
LONGEST_LINE = 65536
"""Bytes of a line that are kept, about: what a dump raises may have a gigabyte."""

_KEPT = ("PGSERVICEFILE", "PGSYSCONFDIR", "PGPASSFILE", "PGSSLCERTMODE")
"""libpq's variables that say where it looks things up, and nothing else."""


@contextmanager
def running(
    argv: list[str],
    environment: Mapping[str, str],
    stdout: int = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of PostgreSQL's; whatever ends the block ends it and its workers too.

    ``environment`` is added to this process's own without libpq's variables. Raises ProgramError
    where the program cannot be started.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - an argv list
            argv,
            env={**quiet_environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            # A session of its own: Ctrl-C reaches this process alone, which then ends the others.
            start_new_session=True,
            umask=0o077,
            preexec_fn=die_with_parent(),
        )
    except OSError as error:  # its frames have the environment, and reports of errors show that
        raise ProgramError(f"{argv[0]} cannot be started: {error.strerror}") from None
    try:
        yield process
    finally:
        end(process)


def quiet_environment() -> dict[str, str]:
    """Return this environment without libpq's variables, messages in English."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    own |= {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**own, "LC_ALL": "C"}


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
    for number, seconds in ((signal.SIGTERM, SECONDS_TO_STOP), (signal.SIGKILL, None)):
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def lines_of(stream: IO[bytes], tick: Callable[[], None]) -> Iterator[str]:
    """Yield the lines of a pipe as they come, calling ``tick`` a few times a second between.

    Of a line of any length no more than its beginning is kept.
    """
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
                pending = pending[:LONGEST_LINE]
                yield from (line.decode(errors="replace") for line in whole)
                if not chunk:
                    break
    if pending:
        yield pending.decode(errors="replace")
