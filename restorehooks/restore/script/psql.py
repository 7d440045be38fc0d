"""psql's commands in a plain dump, and what pg_dump --create writes around them."""

from __future__ import annotations

import re
from collections.abc import Callable

from .lexer import Statement
from .verdicts import LeaveOut, Verdict

# Guards and settings of psql, and what pg_dump writes before \connect to a database with an
# unusual name: the dump sets its own encoding again right after.
_SKIPPED = re.compile(
    rb"\\(?:(?:un)?restrict [A-Za-z0-9]+|encoding SQL_ASCII|timing(?: on| off)?"
    rb"|set (?:ON_ERROR_STOP|ON_ERROR_ROLLBACK|QUIET)(?: (?:on|off|0|1))?)[ \t]*"
)
_QUIT = re.compile(rb"\\q[ \t]*")
_CONNECT = re.compile(
    rb"\\connect (?:-reuse-previous=on )?(?:[A-Za-z0-9_.]+|\"(?:[^\"]|\"\"){0,1000}\")[ \t]*"
)
_CREATE_DATABASE = re.compile(rb"CREATE\s+DATABASE\s", re.IGNORECASE)
_CHANGE_DATABASE = re.compile(rb"(?:ALTER|DROP)\s", re.IGNORECASE)
OF_ANOTHER_DATABASE = "refused: it changes a database that this dump does not create"


def is_skipped(command: bytes, nothing_follows: Callable[[], bool]) -> bool:
    """Return whether a psql command concerns psql alone, or quits it where the dump ends."""
    return bool(_SKIPPED.fullmatch(command) or (_QUIT.fullmatch(command) and nothing_follows()))


class DatabaseStatements:
    """What pg_dump --create writes about the database as a whole, which has to hang together.

    With --clean first ALTER DATABASE and DROP DATABASE, then CREATE DATABASE, then one or more
    times the same ``\\connect``. Elsewhere such commands are not pg_dump's.
    """

    def __init__(self) -> None:
        self._created = False
        self._connect: bytes | None = None
        self.early: Statement | None = None

    def astray(self, statement: Statement, verdict: Verdict) -> Statement | None:
        """Take in the next statement; return it or the one before where it has no business."""
        if not isinstance(verdict, LeaveOut) or verdict.what != "database":
            return self.early
        if _CREATE_DATABASE.match(statement.text):
            self._created, self.early = True, None
        elif _CHANGE_DATABASE.match(statement.text) and not self._created:
            self.early = self.early or statement
        return None

    def may_connect(self, command: bytes) -> bool:
        """Return whether this connects to the database just created, and always to the same one."""
        if not self._created or not _CONNECT.fullmatch(command):
            return False
        self._connect = self._connect or command
        return self._connect == command
