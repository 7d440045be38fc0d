"""What can go wrong with a restore or a backup: one family, and what it promises.

``RestoreError`` and all that derive from it are one sentence with its remedy, and mean that the
live database is as it was. The two errors beside it do not promise that.
"""

from __future__ import annotations


class RestoreError(Exception):
    """The restore did not take place; one sentence. The live database is as it was."""


class UsageError(RestoreError):
    """What was asked for cannot be asked for like that."""


class DeclinedError(RestoreError):
    """The person who was asked said no."""


class NobodyToAskError(RestoreError):
    """A question has to be answered, and there is no terminal to ask it on."""


class AddressError(RestoreError):
    """An alias does not name a PostgreSQL database that can be used."""


class DumpError(RestoreError):
    """What was given is no dump that can be restored."""


class ProgramError(RestoreError):
    """A PostgreSQL program is missing, too old, or has failed."""


class TargetError(RestoreError):
    """Something stands in the way of the target database."""


class BusyError(TargetError):
    """Another restore of the same database is running."""


class LockLostError(TargetError):
    """The session that holds the lock of a restore was lost while it ran."""


class HookError(RestoreError):
    """A hook failed; the sentence names it."""


class ScriptError(RestoreError):
    """A plain dump was not restored: the sentence has the line of the dump and the reason.

    ``line`` counts from 1. ``sqlstate`` is the server's code, None where it was not the server
    that objected.
    """

    def __init__(self, message: str, line: int, sqlstate: str | None = None):
        super().__init__(message)
        self.line = line
        self.sqlstate = sqlstate


class LiveChangedError(Exception):
    """The restore took place in the live database, and what came after it failed."""


class OutcomeUnknownError(Exception):
    """The connection was lost at COMMIT and the server does not answer any more."""
