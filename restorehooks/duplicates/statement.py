"""Which columns a statement itself gives a value for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from restorehooks.driver import text

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
    found = NAMES_TABLE.match(as_text(statement))
    if found is None:
        return "", ""
    return folded(found["schema"]) if found["schema"] else "", folded(found["table"])


def columns_in(expression: str) -> list[str]:
    """Return the names in an expression that may be columns: no functions, no types."""
    bare = LITERALS.sub("", expression)
    bare = re.sub(r"::[\w ]+(?:\([\d,]+\))?(?:\[\])?", "", bare)
    return [
        folded(found[0])
        for found in ONE_NAME.finditer(bare)
        if not bare[found.end() :].lstrip().startswith("(")
    ]


def as_text(statement: Any) -> str:
    """Return the text of a statement in any of the forms that a cursor takes, else an empty one.

    A value in a t-string stands as ``%s``, which is how psycopg sends it.
    """
    if isinstance(statement, bytes):
        return statement.decode(errors="replace")
    if type(statement).__module__ == "string.templatelib":  # a t-string, from Python 3.14 on
        return "".join(part if isinstance(part, str) else _placed(part) for part in statement)
    if hasattr(statement, "as_string"):
        return text(statement)
    return statement if isinstance(statement, str) else ""


def _placed(part: Any) -> str:
    if part.format_spec == "i":
        return '"{}"'.format(str(part.value).replace('"', '""'))
    is_value = isinstance(part.value, str | bytes)
    return "%s" if is_value else as_text(part.value) or "%s"


def _parsed(statement: Any) -> Write | None:
    statement = as_text(statement)
    if fills := FILLS.match(statement):
        names = [folded(name) for name in ONE_NAME.findall(fills["columns"])]
        rows = _rows(fills["rest"])
        each = [fills["rest"]] * len(names)
        if rows and all(len(row) == len(names) for row in rows):
            each = [", ".join(values) for values in zip(*rows, strict=True)]
        return Write(folded(fills["table"]), False, dict(zip(names, each, strict=True)))
    if changes := CHANGES.match(statement):
        given = CONDITION.split(changes["rest"], maxsplit=1)[0]
        set_names = {folded(name): given for name in ONE_NAME.findall(LITERALS.sub("", given))}
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


def _may_draw(values: str) -> bool:
    bare = LITERALS.sub("", values)
    called = {name.lower() for name in CALLS.findall(bare)}
    return bool(NOT_ITS_OWN.search(bare)) or bool(called - DRAW_NOTHING)
