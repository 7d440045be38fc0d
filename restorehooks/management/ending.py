"""How a restore or a backup ends: its last line, its exit code, and the same for machines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import psycopg
from django.core.management.base import CommandError
from django.db import Error as DjangoDatabaseError

from restorehooks.exit_codes import FAILED, INTERRUPTED, WRONG_USAGE
from restorehooks.management.base import OneSentenceCommand
from restorehooks.restore.errors import (
    AddressError,
    DeclinedError,
    DumpError,
    LiveChangedError,
    NobodyToAskError,
    OutcomeUnknownError,
    RestoreError,
    UsageError,
)
from restorehooks.restore.interrupts import interruptible
from restorehooks.restore.server.address import Address
from restorehooks.wording import (
    described,
    first_line,
    place_of,
    printable,
    printable_lines,
    sentence,
    without_login,
)

Outcome = Literal["failed", "refused", "declined", "interrupted", "unknown"]
"""In what way a command did not do its work."""


UNTOUCHED = "The live database is as it was."
NO_ANSWER = (
    "Nothing was changed in the live database, but its server does not answer now: look at it "
    "when it does."
)
_BEFORE_THE_SERVER = (UsageError, DumpError, AddressError, DeclinedError, NobodyToAskError)
"""Errors that say nothing of the server, which is not asked whether it answers then."""


@dataclass(frozen=True)
class Failure:
    """Why a command did not do its work, or not all of it.

    kind: a word for programs (see ``errors``); message: one or two sentences; hint: what to do
    about it, None where the message says so. line: the last line for people.
    """

    outcome: Outcome
    kind: str
    message: str
    hint: str | None
    line: str
    exit_code: int

    @classmethod
    def of_usage(cls, message: str) -> Failure:
        """Return the failure of a command line that cannot be parsed."""
        return cls("refused", "usage", message, None, message, WRONG_USAGE)

    def as_dict(self) -> dict[str, Any]:
        """Return it as the ``error`` of a report in JSON."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint}


@contextmanager
def ending(
    command: OneSentenceCommand,
    verb: str,
    *,
    traceback: bool,
    untouched: Callable[[BaseException], str],
    report: Callable[[Failure], None],
) -> Iterator[None]:
    """Turn what goes wrong in the block into a last line and an exit code.

    Called from Python, the command raises CommandError with that line and ``returncode``.
    ``traceback`` lets an error through that is none of ours. ``untouched`` returns the sentence
    about what is as it was, ``report`` is called with the failure first.
    """
    alone = command.is_alone
    try:
        with interruptible(for_good=alone):
            yield
    except BaseException as error:  # a receiver's SystemExit, too: it is not done
        if traceback and isinstance(error, Exception) and not _is_ours(error):
            raise
        failure = _failure(error, verb, untouched)
        try:
            report(failure)
        except BrokenPipeError:
            raise
        except OSError:  # a full disk: stderr may still be read
            pass
        if isinstance(error, NobodyToAskError) and alone:
            command.stderr.write(str(error))
        _end(command, failure, alone=alone)


def as_it_was(using: str) -> Callable[[BaseException], str]:
    """Return a function that says what is known of the live database after an error."""

    def untouched(error: BaseException) -> str:
        if isinstance(error, (*_BEFORE_THE_SERVER, KeyboardInterrupt)):
            return UNTOUCHED
        with suppress(RestoreError):
            return UNTOUCHED if Address.of(using).answers() else NO_ANSWER
        return UNTOUCHED

    return untouched


def _is_ours(error: BaseException) -> bool:
    ours = (RestoreError, LiveChangedError, OutcomeUnknownError, CommandError, KeyboardInterrupt)
    return isinstance(error, (*ours, psycopg.Error, DjangoDatabaseError))


def _failure(error: BaseException, verb: str, untouched: Callable[[BaseException], str]) -> Failure:
    kind, hint = getattr(error, "kind", "project"), getattr(error, "hint", None)
    text = printable(without_login(str(error)))
    said = sentence(text)

    def failure(outcome: Outcome, line: str, code: int = FAILED, said: str = said) -> Failure:
        return Failure(outcome, kind, said, hint, line, code)

    match error:
        case UsageError():
            return failure("refused", text, WRONG_USAGE)
        case CommandError():  # an alias that cannot be used
            kind = "usage"
            # It may be a migration's, and of several lines.
            return failure("refused", printable_lines(without_login(str(error))), error.returncode)
        case NobodyToAskError():
            why = f"There is no terminal to confirm this on: give --no-input to {verb} without"
            why = f"{why} being asked."
            return failure("refused", f"{why} {untouched(error)}", WRONG_USAGE, why)
        case DeclinedError():
            return failure("declined", f"Not confirmed. {untouched(error)}")
        case OutcomeUnknownError():
            return failure("unknown", f"{text} Look at it before you try again.")
        case LiveChangedError():
            return failure("failed", f"Restored, but not finished. {said}")
        case RestoreError():
            return failure("failed", f"Failed: {said} {untouched(error)}")
        case psycopg.Error() | DjangoDatabaseError():
            kind, said = _database_kind(error), sentence(printable(first_line(error)))
            return failure("failed", f"Failed: {said} {untouched(error)}", said=said)
        case KeyboardInterrupt():
            kind, said = "interrupted", f"The {verb} was interrupted."
            return failure("interrupted", f"Interrupted. {untouched(error)}", INTERRUPTED, said)
    # A receiver's or a migration's: whatever a project may raise.
    said = sentence(printable(f"{described(error)}{place_of(error)}"))
    return failure("failed", f"Failed: {said} {untouched(error)}", said=said)


def _database_kind(error: BaseException) -> str:
    # libpq gives no SQLSTATE where there was no session, or it was lost.
    is_lost = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return "connection" if is_lost else "database"


def _end(command: OneSentenceCommand, failure: Failure, *, alone: bool) -> NoReturn:
    if not alone or failure.kind == "usage":
        raise CommandError(failure.line, returncode=failure.exit_code)
    command.stderr.write(failure.line)
    sys.exit(failure.exit_code)
