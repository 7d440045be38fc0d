"""What of a plain dump goes to several connections, and in which order.

A dump's statements are read one after the other. Rows of a table without indexes, triggers and the
like may come in any order, and are given away as they are read. Indexes, keys and foreign keys that
follow each other are collected, and then built together, those first that the most waits for.
Everything else is sent in order, once all that was given away is done.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import psycopg

from restorehooks.restore.progress import Progress
from restorehooks.restore.script.batch import Batch
from restorehooks.restore.script.lexer import Statement
from restorehooks.restore.script.owners_and_privileges import NAME
from restorehooks.restore.script.rows import joined_at_odd_line_ends, whole_lines
from restorehooks.restore.script.session import read_settings
from restorehooks.restore.script.wire import StatementFailed, Wire
from restorehooks.restore.script.words import Words

from . import tasks
from .builds import Builds, most_waited_for_first
from .inserts import Inserts
from .relations import Relations
from .workers import Workers

_COPY = re.compile(
    rb"COPY\s+(%s(?:\.%s)?)\s+(?:\((%s(?:,\s*%s){0,2000})\)\s+)?FROM\s+stdin\s*"
    % (NAME, NAME, NAME, NAME),
    re.IGNORECASE,
)
_MAY_SET = frozenset(("call", "do", "reset", "select", "set", "table", "values", "with"))
_NO_TABLE = frozenset(("comment", "copy", "grant", "insert", "revoke", "security"))
_NOTHING_NEW = re.compile(
    rb"SELECT pg_catalog\.(?:setval|lo_[a-z]+)\("
    rb"|ALTER TABLE [^;']+ (?:DISABLE|ENABLE) TRIGGER ALL\Z"
)


class Spread:
    """Gives away what need not be done in order; nothing without others to give it to.

    What a method does not take has to be sent in order, after ``wait``. Any method raises
    StatementFailed for what was given away before. ``progress`` is kept up to date with what is
    built.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        wire: Wire,
        batch: Batch,
        others: Sequence[psycopg.Connection[Any]],
        progress: Progress,
    ):
        self._connection = connection
        self._wire = wire
        self._batch = batch
        self._workers = Workers(others)
        self._alone = not others
        self._busy = False
        self._tables = Relations(connection, wire)
        self._builds = Builds(self._tables if others else None)
        self._inserts = Inserts(self._tables)
        self._progress = progress
        self._known: tasks.SessionSettings | None = None
        self._bytes: Counter[int] = Counter()

    @property
    def rows(self) -> int:
        """How many rows the others have added."""
        return self._workers.rows

    def copy(self, statement: Statement, blocks: Iterable[bytes]) -> Iterable[bytes] | None:
        """Take the rows of a COPY, or return those that have to be sent in order."""
        if self._builds:
            self.wait()
        found = None if self._alone else _COPY.fullmatch(statement.text)
        if not found or not (table := self._tables.to_be_filled(*found.groups())):
            return blocks
        pieces = whole_lines(blocks)
        first, whole = next(pieces, (b"", True))
        if b"\r" in first or not whole:
            return chain([first], (piece for piece, _ in pieces))
        copy = tasks.Copy(statement, self._settings(), table.name)
        line = 1
        pieces = joined_at_odd_line_ends(chain([(first, True)], pieces))
        for piece, whole in pieces:
            if not whole:
                self._send_on(copy, line, chain([piece], (rest for rest, _ in pieces)))
                break
            self._give(tasks.rows(copy, piece, line))
            self._bytes[table.oid] += len(piece)
            line += piece.count(b"\n")
        return None

    def insert(self, statement: Statement) -> bool:
        """Take an INSERT whose rows may come in any order."""
        escapes = self._wire.parameter(b"standard_conforming_strings") != b"on"
        if self._alone or self._builds or escapes:
            return False
        if not self._inserts.fits(statement):
            self._give_inserts()
        if not (table := self._inserts.add(statement)):
            return False
        self._bytes[table.oid] += len(statement.text)
        if self._inserts.are_enough:
            self._give_inserts()
        return True

    def build(self, statement: Statement) -> bool:
        """Take a statement that builds something, or that depends on what is built alone."""
        if self._builds.add_after(statement):
            return True
        if not (build := self._builds.recognise(statement)):
            return False
        if not self._builds.has_room_for(build):
            self.wait()
        self._builds.add(build)
        return True

    def wait(self) -> None:
        """Let all be done that was taken. Raises StatementFailed."""
        self.finish()
        if not self._builds:
            return
        builds, after = self._builds.take()
        self._progress.more_to_build(len(builds))
        if self._alone:
            for one in builds:
                self._batch.run(one.statement)
                self._progress.one_is_built()
        else:
            settings = self._settings()
            for one in most_waited_for_first(builds, self._bytes):
                self._give(tasks.building(one, settings, self._progress.one_is_built))
            self.finish()
        for statement in after:
            self._batch.run(statement)
        self._forget_tables()  # rows that come after a key are checked in their order

    def finish(self) -> None:
        """Let all be done but what waits for what follows. Raises StatementFailed."""
        self._give_inserts()
        if self._busy:
            self._workers.finish()
            self._busy = False

    def stop(self) -> None:
        """End what others are doing."""
        self._workers.stop()

    def sent(self, statement: Statement, words: Words) -> None:
        """Take in that a statement was sent in order, which may change what is known."""
        first = words.first(1)[0]
        if self._alone or first in _NO_TABLE or _NOTHING_NEW.match(statement.text):
            return
        self._forget_tables()
        if first in _MAY_SET:
            self._known = None

    def _forget_tables(self) -> None:
        self._tables.forget()
        self._inserts.forget()

    def _settings(self) -> tasks.SessionSettings:
        """Let others see what was sent in order, and return this session's settings for them."""
        self._wire.settle()
        self._batch.end()
        if self._known is None:
            self._known = read_settings(self._connection)
        return self._known

    def _give_inserts(self) -> None:
        if collected := self._inserts.take():
            self._give(tasks.inserts(collected, self._settings()))

    def _give(self, task: tasks.Task) -> None:
        self._workers.give(task)
        self._busy = True

    def _send_on(self, copy: tasks.Copy, line: int, blocks: Iterable[bytes]) -> None:
        """Send the rest of the rows, which begin with a long line, in order."""
        self.finish()
        try:
            self._wire.copy(copy.statement, blocks)
        except StatementFailed as error:
            raise copy.with_line_of_dump(error, [(0, line)]) from None
