"""Asking the person in front of it, and the exit codes of what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import psycopg
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DjangoDatabaseError

from restorehooks.management.base import WRONG_USAGE
from restorehooks.restore.address import AddressError
from restorehooks.restore.client import ClientError
from restorehooks.restore.database import OutcomeUnknownError
from restorehooks.restore.dump import DumpError
from restorehooks.restore.hooks import HookError
from restorehooks.restore.interrupts import ended_politely
from restorehooks.restore.plan import (
    DeclinedError,
    LiveChangedError,
    RestoreError,
    UsageError,
)
from restorehooks.restore.script import ScriptError
from restorehooks.restore.turn import TargetError, first_line

FAILED, INTERRUPTED = 1, 130
UNTOUCHED = "The live database is as it was."

SENTENCES = (
    RestoreError, DumpError, ClientError, TargetError, HookError, ScriptError, AddressError,
)  # fmt: skip


class NobodyToAskError(Exception):
    """There is no terminal, and --no-input was not given."""


def asking(*, no_input: bool) -> Callable[[str], bool]:
    """Return a function that asks a question; ``--no-input`` answers yes to all of them."""

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
def ending(command: BaseCommand, verb: str, untouched: str = UNTOUCHED) -> Iterator[None]:
    """Turn what went wrong into a last line, on the live database too, and an exit code."""
    alone = getattr(command, "_called_from_command_line", False)
    try:
        with ended_politely(for_good=alone):
            yield
    except UsageError as error:
        raise CommandError(str(error), returncode=WRONG_USAGE) from None
    except NobodyToAskError as error:
        command.stderr.write(str(error))
        _end(
            command,
            f"There is no terminal to confirm this on: give --no-input to {verb} without being "
            f"asked. {untouched}",
            WRONG_USAGE,
        )
    except DeclinedError:
        _end(command, f"Not confirmed. {untouched}", FAILED)
    except OutcomeUnknownError as error:
        _end(command, f"{error} Look at it before you try again.", FAILED)
    except LiveChangedError as error:
        _end(command, f"Restored, but not finished. {_sentence(error)}", FAILED)
    except SENTENCES as error:
        _end(command, f"Failed: {_sentence(error)} {untouched}", FAILED)
    except (psycopg.Error, DjangoDatabaseError) as error:
        _end(command, f"Failed: {_sentence(first_line(error))} {untouched}", FAILED)
    except KeyboardInterrupt:
        _end(command, f"Interrupted. {untouched}", INTERRUPTED)
    except Exception as error:  # a receiver's or a migration's: whatever a project may raise
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if command_wants_traceback():
            raise
        _end(command, f"Failed: {_sentence(what)} {untouched}", FAILED)


def command_wants_traceback() -> bool:
    """Tell whether --traceback was given, as Django's own commands understand it."""
    return "--traceback" in sys.argv


def _sentence(error: Any) -> str:
    text = str(error).strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _end(command: BaseCommand, line: str, code: int) -> NoReturn:
    command.stderr.write(line)
    sys.exit(code)
