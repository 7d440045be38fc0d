"""INSERT statements whose rows may come in any order, as ``pg_dump --inserts`` writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from restorehooks.restore.script.lexer import Statement
from restorehooks.restore.script.owners_and_privileges import NAME

from .relations import Relations, Table

# Constants alone: a function may draw a number, or read other rows. No E'', whose end a backslash
# may hide, and no DEFAULT.
_VALUE = rb"(?:[BX]?'[^']*'(?:'[^']*')*|-?[0-9][0-9.]*(?:e[+-]?[0-9]+)?|NULL|true|false)"
_ROW = rb"\(%s(?:, %s)*\)" % (_VALUE, _VALUE)
_EACH_VALUE = re.compile(_VALUE)
_MOST, _MOST_BYTES = 500, 256 * 1024
"""Statements and bytes that make a transaction."""
_LONGEST = 1024 * 1024
"""Bytes of a statement that is compared: each value takes up to 200 times its length in memory."""


@cache
def _insert() -> re.Pattern[bytes]:
    # Most dumps have none, and compiling it takes longer than loading a small dump.
    return re.compile(
        rb"(?P<head>INSERT INTO (?P<table>%s(?:\.%s)?) (?:\((?P<columns>%s(?:, %s){0,2000})\) )?"
        rb"(?:OVERRIDING SYSTEM VALUE )?VALUES\s+)(?P<rows>(?P<row>%s)(?:,\s+%s)*)"
        rb"(?P<tail>(?:\s+ON CONFLICT DO NOTHING)?)" % (NAME, NAME, NAME, NAME, _ROW, _ROW)
    )


@dataclass
class Collected:
    """Statements that differ in their rows alone: what stands before and after these."""

    head: bytes
    tail: bytes
    table: Table | None
    all_columns: bool
    statements: list[Statement] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    size: int = 0

    def as_one(self) -> Statement:
        """Return one statement that adds all the rows."""
        text = self.head + b",\n".join(self.rows) + self.tail
        return Statement(text, self.statements[0].line)


class Inserts:
    """Collects INSERT statements that are to be sent together."""

    def __init__(self, relations: Relations):
        self._relations = relations
        self._now = Collected(b"", b"", None, all_columns=False)

    @property
    def are_enough(self) -> bool:
        """Whether they make a transaction."""
        return len(self._now.statements) >= _MOST or self._now.size >= _MOST_BYTES

    def fits(self, statement: Statement) -> bool:
        """Return whether a statement begins as those do that are collected, if any are."""
        return not self._now.statements or statement.text.startswith(self._now.head)

    def add(self, statement: Statement) -> Table | None:
        """Take in a statement, and return the table that it fills; None for one to send in order.

        Backslashes must mean nothing in ordinary strings.
        """
        is_short = len(statement.text) <= _LONGEST
        found = _insert().fullmatch(statement.text) if is_short else None
        if not found:
            return None
        now = self._now
        if (found["head"], found["tail"]) != (now.head, now.tail):
            if now.statements:
                return None
            table = self._relations.to_be_filled(found["table"], found["columns"])
            now = Collected(found["head"], found["tail"], table, all_columns=not found["columns"])
            self._now = now
        if not now.table:
            return None
        if now.all_columns and now.table.defaults and _count(found["row"]) != now.table.columns:
            return None
        now.statements.append(statement)
        now.rows.append(found["rows"])
        now.size += len(statement.text)
        return now.table

    def take(self) -> Collected | None:
        """Return what was collected, None for nothing; that is all then."""
        now = self._now
        self._now = Collected(now.head, now.tail, now.table, all_columns=now.all_columns)
        return now if now.statements else None

    def forget(self) -> None:
        """Take in that tables may have changed, or the path on which they are looked for."""
        self._now = Collected(b"", b"", None, all_columns=False)


def _count(row: bytes) -> int:
    return sum(1 for _ in _EACH_VALUE.finditer(row))
