"""Asking the person at the terminal, and the last line and exit code of what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import psycopg
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DjangoDatabaseError

from restorehooks.management.base import WRONG_USAGE
from restorehooks.restore.errors import (
    DeclinedError,
    LiveChangedError,
    NobodyToAskError,
    OutcomeUnknownError,
    RestoreError,
    UsageError,
)
from restorehooks.restore.interrupts import interruptible
from restorehooks.wording import first_line, sentence

FAILED, INTERRUPTED = 1, 130
UNTOUCHED = "The live database is as it was."


def asking(*, no_input: bool) -> Callable[[str], bool]:
    """Return a function that asks a question; ``--no-input`` answers yes to all of them.

    It raises NobodyToAskError where there is no terminal.
    """

    def ask(question: str) -> bool:
        if no_input:
            return True
        # The dump may be on stdin: the terminal itself is asked.
        with suppress(OSError), open("/dev/tty") as typed, open("/dev/tty", "w") as shown:
            shown.write(f"{question}\nContinue? [y/N] ")
            shown.flush()
            return typed.readline().strip().lower() in ("y", "yes")
        raise NobodyToAskError(question)

    return ask


@contextmanager
def ending(
    command: BaseCommand, verb: str, *, traceback: bool, untouched: str = UNTOUCHED
) -> Iterator[None]:
    """Turn what went wrong into a last line, on the live database too, and an exit code.

    Called from Python, the command raises CommandError with that line and ``returncode``.
    ``traceback`` lets an error through that is none of ours.
    """
    alone = getattr(command, "_called_from_command_line", False)
    try:
        with interruptible(for_good=alone):
            yield
    except UsageError as error:
        raise CommandError(str(error), returncode=WRONG_USAGE) from None
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, CommandError) or (traceback and not _is_ours(error)):
            raise
        if isinstance(error, NobodyToAskError):
            command.stderr.write(str(error))
        _end(command, *_last_line(error, verb, untouched), alone=alone)


def _is_ours(error: BaseException) -> bool:
    ours = (RestoreError, LiveChangedError, OutcomeUnknownError, KeyboardInterrupt)
    return isinstance(error, (*ours, psycopg.Error, DjangoDatabaseError))


def _last_line(error: BaseException, verb: str, untouched: str) -> tuple[str, int]:
    match error:
        case NobodyToAskError():
            said = f"There is no terminal to confirm this on: give --no-input to {verb} without"
            return f"{said} being asked. {untouched}", WRONG_USAGE
        case DeclinedError():
            return f"Not confirmed. {untouched}", FAILED
        case OutcomeUnknownError():
            return f"{error} Look at it before you try again.", FAILED
        case LiveChangedError():
            return f"Restored, but not finished. {sentence(error)}", FAILED
        case RestoreError():
            return f"Failed: {sentence(error)} {untouched}", FAILED
        case psycopg.Error() | DjangoDatabaseError():
            return f"Failed: {sentence(first_line(error))} {untouched}", FAILED
        case KeyboardInterrupt():
            return f"Interrupted. {untouched}", INTERRUPTED
    # A receiver's or a migration's: whatever a project may raise.
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"Failed: {sentence(what)} {untouched}", FAILED


def _end(command: BaseCommand, line: str, code: int, *, alone: bool) -> NoReturn:
    if not alone:
        raise CommandError(line, returncode=code)
    command.stderr.write(line)
    sys.exit(code)
