"""Whether a plain dump is there to its end: what pg_dump's last line and what follows it say."""

from __future__ import annotations

import re

from restorehooks.restore.dump.facts import CLOSING, HEADER, TRAILER

from .lexer import MetaCommand, Statement

NO_LAST_LINE = "the dump was cut off: pg_dump's last line is missing"

# How Rails ends its structure.sql: a path that it sets, and the list of its migrations.
_PATH = re.compile(rb"SET search_path TO ")
_MIGRATIONS = re.compile(rb'INSERT INTO "schema_migrations" \(version\) VALUES\s')


class Ending:
    """Follows a dump to its end.

    ``begun`` says that no first line is to come any more. ``followed_by`` is the first statement
    after pg_dump's last line that may change something.
    """

    def __init__(self, *, begun: bool) -> None:
        self._begun = begun
        self._ended = False
        self.followed_by: Statement | MetaCommand | None = None

    @property
    def outside(self) -> bool:
        """What comes next stands before pg_dump's first line, or after its last."""
        return not self._begun or self._ended

    @property
    def complete(self) -> bool:
        """pg_dump's last line was seen, and nothing follows that changes anything."""
        return self._ended and self.followed_by is None

    @property
    def reason(self) -> str:
        """Why it is not complete, without a full stop; empty where it is."""
        if self.complete:
            return ""
        if not self.followed_by:
            return f"{NO_LAST_LINE}; make or copy it again"
        return (
            f"line {self.followed_by.line} of the dump: more statements follow pg_dump's last "
            "line, and nothing tells whether they are all there; take them off"
        )

    def comment(self, text: bytes) -> None:
        """Take in a comment between two statements."""
        line = text.rstrip()
        if line in (HEADER, TRAILER):
            self._begun, self._ended = True, line == TRAILER
            self.followed_by = None

    def statement(self, piece: Statement | MetaCommand, first_word: str) -> None:
        """Take in a statement, or a command of psql that does something."""
        if self.followed_by:
            if _MIGRATIONS.match(piece.text) and _PATH.match(self.followed_by.text):
                self.followed_by = None
        elif self._ended and (first_word not in CLOSING or _PATH.match(piece.text)):
            self.followed_by = piece
