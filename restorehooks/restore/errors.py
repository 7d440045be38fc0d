"""What can go wrong with a restore or a backup: one family, and what it promises.

``RestoreError`` and all that derive from it are one sentence with its remedy, and mean that the
live database is as it was. The two errors beside it do not promise that.

``kind`` is the word for an error in JSON, ``hint`` what to do about it where the sentence itself
does not say so.
"""

from __future__ import annotations

from typing import ClassVar


class RestoreError(Exception):
    """The restore did not take place; one sentence. The live database is as it was."""

    kind: ClassVar[str] = "restore"
    hint: ClassVar[str | None] = None


class UsageError(RestoreError):
    """What was asked for cannot be asked for like that."""

    kind = "usage"
    hint = "See --help for what goes together."


class DeclinedError(RestoreError):
    """The person who was asked said no."""

    kind = "declined"


class NobodyToAskError(RestoreError):
    """A question has to be answered, and there is no terminal to ask it on."""

    kind = "no_terminal"
    hint = "Give --no-input to go on without being asked."


class AddressError(RestoreError):
    """An alias does not name a PostgreSQL database that can be used."""

    kind = "address"


class PoolerError(AddressError):
    """A pooler answers where a server's own sessions are needed."""


class DumpError(RestoreError):
    """What was given is no dump that can be restored."""

    kind = "dump"


class StorageError(RestoreError):
    """A storage of the project's cannot be reached, or does not have what was asked for."""

    kind = "storage"


class ProgramError(RestoreError):
    """A PostgreSQL program is missing, too old, or has failed."""

    kind = "program"


class TargetError(RestoreError):
    """Something stands in the way of the target database."""

    kind = "target"


class BusyError(TargetError):
    """Another restore of the same database is running."""

    kind = "busy"


class LockLostError(TargetError):
    """The session that holds the lock of a restore was lost while it ran."""

    kind = "lock_lost"


class HookError(RestoreError):
    """A hook failed; the sentence names it."""

    kind = "hook"


class ScriptError(RestoreError):
    """A plain dump was not restored: the sentence has the line of the dump and the reason.

    ``line`` counts from 1. ``sqlstate`` is the server's code, None where it was not the server
    that objected.
    """

    kind = "script"

    def __init__(self, message: str, line: int, sqlstate: str | None = None):
        super().__init__(message)
        self.line = line
        self.sqlstate = sqlstate


class LiveChangedError(Exception):
    """The restore took place in the live database, and what came after it failed."""

    kind: ClassVar[str] = "live_changed"
    hint: ClassVar[str | None] = "The restored data are live: do by hand what failed after them."


class OutcomeUnknownError(Exception):
    """The connection was lost at COMMIT and the server does not answer any more."""

    kind: ClassVar[str] = "outcome_unknown"
    hint: ClassVar[str | None] = "Look at the database before you try again."
