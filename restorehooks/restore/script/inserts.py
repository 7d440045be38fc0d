"""INSERT statements whose rows may come in any order, as ``pg_dump --inserts`` writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .lexer import Statement
from .owners_and_privileges import NAME
from .relations import Relations, Table

# Constants alone: a function may draw a number, or read other rows. No E'', whose end a backslash
# may hide, and no DEFAULT.
_VALUE = rb"(?:[BX]?'[^']*'(?:'[^']*')*|-?[0-9][0-9.]*(?:e[+-]?[0-9]+)?|NULL|true|false)"
_ROW = rb"\(%s(?:, %s)*\)" % (_VALUE, _VALUE)
_INSERT = re.compile(
    rb"INSERT INTO (?P<table>%s(?:\.%s)?) (?:\((?P<columns>%s(?:, %s)*)\) )?"
    rb"(?:OVERRIDING SYSTEM VALUE )?VALUES\s+(?P<row>%s)(?:,\s+%s)*(?:\s+ON CONFLICT DO NOTHING)?"
    % (NAME, NAME, NAME, NAME, _ROW, _ROW)
)
_EACH_VALUE = re.compile(_VALUE)
_MOST, _MOST_BYTES = 500, 256 * 1024
"""Statements and bytes that make a transaction."""


class Inserts:
    """Collects statements that are to be sent in one transaction."""

    def __init__(self, tables: Relations):
        self._tables = tables
        self._collected: list[Statement] = []
        self._bytes = 0
        self._target: tuple[bytes, bytes | None] = b"", None
        self._table: Table | None = None

    @property
    def are_enough(self) -> bool:
        """Whether they make a transaction."""
        return len(self._collected) >= _MOST or self._bytes >= _MOST_BYTES

    def add(self, statement: Statement) -> Table | None:
        """Take in a statement, and return the table that it fills; None for one to send in order.

        Backslashes must mean nothing in ordinary strings.
        """
        found = _INSERT.fullmatch(statement.text)
        if not found:
            return None
        target = found["table"], found["columns"]
        if target != self._target:
            self._target, self._table = target, self._tables.to_be_filled(*target)
        table = self._table
        if not table:
            return None
        if table.defaults and not target[1] and _count(found["row"]) != table.columns:
            return None
        self._collected.append(statement)
        self._bytes += len(statement.text)
        return table

    def take(self) -> tuple[Sequence[Statement], int]:
        """Return what was collected, and how many bytes that is; that is all then."""
        taken = self._collected, self._bytes
        self._collected, self._bytes = [], 0
        return taken

    def forget(self) -> None:
        """Take in that tables may have changed, or the path on which they are looked for."""
        self._target = b"", None


def _count(row: bytes) -> int:
    return sum(1 for _ in _EACH_VALUE.finditer(row))
