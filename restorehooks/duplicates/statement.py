"""Which columns a statement itself gives a value for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .key import IDENTIFIER, ONE_NAME, closing, folded, parts

FILLS = re.compile(
    rf"\s*INSERT\s+INTO\s+(?:(?P<schema>{IDENTIFIER})\s*\.\s*)?(?P<table>{IDENTIFIER})\s*"
    rf"(?:AS\s+{IDENTIFIER}\s*)?"
    rf"\((?P<columns>\s*{IDENTIFIER}(?:\s*,\s*{IDENTIFIER})*\s*)\)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
CHANGES = re.compile(
    rf"\s*UPDATE\s+(?:ONLY\s+)?(?:(?P<schema>{IDENTIFIER})\s*\.\s*)?(?P<table>{IDENTIFIER})\s+"
    rf"(?:AS\s+{IDENTIFIER}\s+)?SET\s(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
NAMES_TABLE = re.compile(
    rf"(?:\s|/\*.*?\*/|--[^\n]*\n)*(?:INSERT\s+INTO|UPDATE(?:\s+ONLY)?|COPY|MERGE\s+INTO)\s+"
    rf"(?:(?P<schema>{IDENTIFIER})\s*\.\s*)?(?P<table>{IDENTIFIER})",
    re.IGNORECASE | re.DOTALL,
)
LITERALS = re.compile(r"'(?:[^']|'')*'")
ROWS = re.compile(r"\s*(?:OVERRIDING\s+SYSTEM\s+VALUE\s+)?VALUES\s*", re.IGNORECASE)
CONDITION = re.compile(r"\bWHERE\b", re.IGNORECASE)
NOT_ITS_OWN = re.compile(r"\bDEFAULT\b|\bOVERRIDING\s+USER\b", re.IGNORECASE)
"""The server takes the column's default, whatever the statement gives."""
CALLS = re.compile(rf"(?<!::)({IDENTIFIER})\s*\(")
"""What stands before a parenthesis, but for a type: a function, or one of the words below."""
DRAW_NOTHING = frozenset(
    {
        *("array", "as", "cast", "conflict", "from", "in", "over", "returning", "row", "select"),
        *("set", "using", "values", "numeric", "varchar"),
        *("any", "coalesce", "lower", "nullif", "st_geomfromewkb", "unnest", "upper"),
    }
)
"""Words and functions that draw no number; any other function may."""


@dataclass(frozen=True)
class Write:
    """A plain INSERT with a list of columns, or an UPDATE; names as the server calls them.

    ``columns`` are those that it fills, each with the text that stands for its values.
    """

    table: str
    changes: bool
    columns: dict[str, str]


def gives_value(statement: Any, table: str, column: str) -> bool | None:
    """Whether a statement itself gives a value for a column, which no sequence has then drawn.

    None where that is not known: another table's statement (a trigger's), one that draws values
    in its own words or by a function, or one that is no plain INSERT or UPDATE.
    """
    write = _parsed(statement)
    if write is None or write.table != table:
        return None
    if column not in write.columns:
        return False
    return None if _may_draw(write.columns[column]) else True


def only_changes(statement: Any) -> bool:
    """Whether a statement is an UPDATE: what it does not set has its values already."""
    write = _parsed(statement)
    return write is not None and write.changes


def names_table(statement: Any) -> tuple[str, str]:
    """Return schema and table that a statement writes to, each empty where it does not say."""
    found = NAMES_TABLE.match(statement) if isinstance(statement, str) else None
    if found is None:
        return "", ""
    return folded(found["schema"]) if found["schema"] else "", folded(found["table"])


def columns_in(expression: str) -> list[str]:
    """Return the names in an expression that may be columns: no functions, no types."""
    text = LITERALS.sub("", expression)
    text = re.sub(r"::[\w ]+(?:\([\d,]+\))?(?:\[\])?", "", text)
    return [
        folded(found[0])
        for found in ONE_NAME.finditer(text)
        if not text[found.end() :].lstrip().startswith("(")
    ]


def _parsed(statement: Any) -> Write | None:
    if not isinstance(statement, str):
        return None
    if fills := FILLS.match(statement):
        names = [folded(name) for name in ONE_NAME.findall(fills["columns"])]
        rows = _rows(fills["rest"])
        each = [fills["rest"]] * len(names)
        if rows and all(len(row) == len(names) for row in rows):
            each = [", ".join(values) for values in zip(*rows, strict=True)]
        return Write(folded(fills["table"]), False, dict(zip(names, each, strict=True)))
    if changes := CHANGES.match(statement):
        text = CONDITION.split(changes["rest"], maxsplit=1)[0]
        set_names = {folded(name): text for name in ONE_NAME.findall(LITERALS.sub("", text))}
        return Write(folded(changes["table"]), True, set_names)
    return None


def _rows(rest: str) -> list[list[str]]:
    """Return the values of each row of VALUES, none where there is no such list."""
    return list(_each_row(rest))


def _each_row(rest: str) -> Iterator[list[str]]:
    begins = ROWS.match(rest)
    position = begins.end() if begins else len(rest)
    while rest.startswith("(", position):
        end = closing(rest, position + 1)
        if end is None:
            return
        yield parts(rest[position + 1 : end])
        following = re.compile(r"\s*,\s*").match(rest, end + 1)
        position = following.end() if following else len(rest)


def _may_draw(text: str) -> bool:
    text = LITERALS.sub("", text)
    called = {name.lower() for name in CALLS.findall(text)}
    return bool(NOT_ITS_OWN.search(text)) or bool(called - DRAW_NOTHING)
