"""The standard streams of a command: closed, cut off by their reader, or on a full disk."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import Any

from restorehooks.exit_codes import CUT_OFF, FAILED

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN}
"""A disk or a quota that is full, a terminal that is gone, a stream that cannot be written."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let a command write in the block; where nobody can read it, end the process without a trace.

    A stream that is closed leads nowhere.
    """
    _open_what_is_closed()
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        _give_up(sys.stdout)
        sys.exit(CUT_OFF)
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:  # a file's, a network's
            raise
        _give_up(sys.stdout)
        said = f"Standard output cannot be written, and misses what came of it: {error.strerror}.\n"
        with suppress(OSError):
            or_nowhere(sys.stderr).write(said)
        sys.exit(FAILED)
    finally:
        try:
            or_nowhere(sys.stderr).flush()
        except OSError:
            _give_up(sys.stderr)


@contextmanager
def onto_standard_error() -> Iterator[None]:
    """Let what a project's code prints in the block go to standard error.

    What programs print that it starts, too: standard output is for the report.
    """
    with suppress(OSError):
        or_nowhere(sys.stdout).flush()
    with redirect_stdout(sys.stderr), ExitStack() as at_the_end:
        with suppress(OSError):
            kept = os.dup(1)
            at_the_end.callback(os.close, kept)
            os.dup2(2, 1)
            at_the_end.callback(os.dup2, kept, 1)
        yield


def or_nowhere(stream: Any) -> Any:
    """Return a stream, or one that leads nowhere in place of None: Python's for a closed one."""
    return open(os.devnull, "w") if stream is None else stream


def _open_what_is_closed() -> None:
    # The next file or connection would take its number, and get what programs print.
    for number in filter(_is_closed, range(3)):
        os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free
        os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def _give_up(stream: Any) -> None:
    """Let it lead nowhere: Python flushes it at its end, and would make another exit code of it."""
    with suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
