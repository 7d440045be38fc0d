"""Sends the statements of a dump, each in the way that its kind wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from restorehooks.restore.progress import Progress
from restorehooks.restore.superusers import extension_in

from .batch import Batch
from .lexer import Lexer, Statement
from .options import ScriptOptions
from .parallel.spread import Spread
from .rows import without_first_column
from .rules import called_by_name, resets_all
from .session import Settings
from .tolerated import EXTENSION, NO_ROWS, Tolerance, sent_under_savepoint, tolerance
from .wire import Wire
from .words import Words

# What --inserts and large objects are made of by the million. Reading on depends on nothing that
# such a statement does, so its result can wait.
_CAN_WAIT = (b"INSERT INTO ", b"SELECT pg_catalog.lowrite(")


IS_THERE = "SELECT pg_catalog.to_regclass(%s::pg_catalog.text) IS NOT NULL"
_HEAD = 500
"""Bytes in which the name of an extension is that a statement creates."""


def can_wait(statement: Statement) -> bool:
    """Return whether nothing that comes next depends on what a statement does."""
    return statement.text.startswith(_CAN_WAIT)


class Sender:
    """Sends statements: in order over one connection, what need not be in order over others too.

    ``creates`` says that something was created. ``options`` follow what was left out. Whatever is
    sent may raise StatementFailed, for itself or for a statement before it.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        wire: Wire,
        options: ScriptOptions,
        others: Sequence[psycopg.Connection[Any]],
        progress: Progress,
    ):
        self._connection = connection
        self._wire = wire
        self.options = options
        self._settings = Settings(connection, wire)
        self._batch = Batch(wire, options.commit_every)
        self._spread = Spread(connection, wire, self._batch, others, progress)
        self._there: dict[bytes, bool] = {}
        self._others: frozenset[tuple[str, str]] | None = None
        self.creates = False

    @property
    def rows(self) -> int:
        """How many rows were added so far."""
        return self._wire.rows + self._spread.rows

    def queue(self, statement: Statement) -> None:
        """Send a statement that can wait."""
        if self._spread.insert(statement):
            return
        self._spread.wait()
        self._batch.begin()
        self._wire.queue(statement)

    def copy(self, statement: Statement, lexer: Lexer, *, oids: bool) -> Tolerance | None:
        """Send a COPY with its rows, which the lexer is about to read.

        ``oids``: each row begins with an object id, which is left out. Return why nothing was sent
        where that is tolerated.
        """
        rows = lexer.copy_data()
        if lexer.no_rows_follow():
            none = list(rows)  # read on, whatever the server says
            self._batch.begin()
            return self._tolerated(statement, NO_ROWS, partial(self._wire.copy, rows=none))
        left = self._spread.copy(statement, without_first_column(rows) if oids else rows)
        if left is not None:
            self._spread.wait()
            self._batch.begin()
            self._wire.copy(statement, left)
            self._batch.count(statement)
        return None

    def run(self, statement: Statement, words: Words) -> Tolerance | None:
        """Send any other statement. Return why it was left out where its failure is tolerated."""
        may_fail = tolerance(statement.text, words, self.options, self._wire.encoding)
        if not may_fail and self._spread.build(statement):
            return None
        self._spread.wait()
        self._batch.begin()
        failed = None
        if resets_all(words):
            self._settings.put_back()
        elif may_fail:
            failed = self._tolerated(statement, may_fail, self._wire.run)
        else:
            self._batch.run(statement)
            self.creates = self.creates or words.first(1) == ["create"]
            if (role_set := self.options.role_set) and statement.text.startswith(b"SET ROLE "):
                self._wire.settle()
                role_set()
        self._spread.sent(statement, words)
        if not failed:
            self._tell_of_extension(statement)
        return failed

    def lacks(self, table: bytes) -> bool:
        """Return whether an extension was left out and there is no table of a name, as written."""
        if not self.options.without_extension:
            return False
        if table not in self._there:
            self._wire.settle()
            with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
                written = table.decode(self._wire.encoding, "replace")
                found = cursor.execute(IS_THERE, [written], prepare=False).fetchone()
            self._there[table] = found == (True,)
        return not self._there[table]

    def overload_of(self, statement: bytes) -> str | None:
        """Return what of another role a call could take in the place of what a statement makes."""
        if not self.options.others:
            return None
        if not (made := called_by_name(statement, self._wire.encoding)):
            return None
        schema, name = made

        def found() -> list[str]:
            each = self._others or ()
            return [".".join(one) for one in each if one == (schema or one[0], name)]

        if self._others is None or found():  # the dump may have dropped it
            self._wire.settle()
            self._others = self.options.others(self._connection)
        return next(iter(found()), None)

    def end(self) -> None:
        """Wait until all was done, and commit what is to be committed as it goes."""
        self._spread.wait()
        self._wire.settle()
        self._batch.end()

    def finish_what_is_given(self) -> None:
        """Wait for what others were given so far. Raises StatementFailed where that failed."""
        self._spread.finish()

    def abandon(self) -> None:
        """Stop what is under way, if anything is."""
        self._spread.stop()
        self._wire.abandon()

    def put_back(self) -> None:
        """Let the session have the settings again that it had before."""
        self._settings.put_back()

    def _tell_of_extension(self, statement: Statement) -> None:
        if tell := self.options.extension_made:
            name = extension_in(statement.text[:_HEAD].decode(self._wire.encoding, "replace"))
            if name:
                tell(self._connection, name)

    def _tolerated(
        self, statement: Statement, may_fail: Tolerance, send: Callable[[Statement], None]
    ) -> Tolerance | None:
        went_through = sent_under_savepoint(self._wire, statement, may_fail, send)
        self._batch.count(statement)
        if may_fail.what == EXTENSION and not went_through:
            self.options = replace(self.options, without_extension=True)
        return None if went_through else may_fail
