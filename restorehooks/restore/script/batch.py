"""The transactions in which a plain dump is loaded into a database of its own."""

from __future__ import annotations

import re

from .lexer import Statement
from .wire import Wire

_LARGE_OBJECT = re.compile(rb"SELECT (?:pg_catalog\.)?lo_(open|close)\(")


class Batch:
    """Transactions of our own, each of ``size`` statements; none where ``size`` is None."""

    def __init__(self, wire: Wire, size: int | None):
        self._wire = wire
        self._size = size
        self._count: int | None = None
        self._large_object = False

    def begin(self) -> None:
        """Begin a transaction, unless one is open."""
        if self._size and self._count is None:
            self._wire.command(b"BEGIN")
            self._count = 0

    def run(self, statement: Statement) -> None:
        """Send a statement, and wait until it is done. Raises StatementFailed."""
        self.begin()
        self._wire.run(statement)
        self.count(statement)

    def count(self, statement: Statement) -> None:
        """Take in a statement that was sent, and commit when there are enough of them.

        A large object stays open for writing to the end of its transaction and no longer.
        """
        if found := _LARGE_OBJECT.match(statement.text):
            self._large_object = found[1] == b"open"
        if self._size and self._count is not None:
            self._count += 1
            if self._count >= self._size and not self._large_object:
                self.end()

    def end(self) -> None:
        """Commit, where a transaction is open."""
        if self._count is not None:
            self._wire.command(b"COMMIT")
            self._count = None
