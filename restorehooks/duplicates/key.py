"""Reads which key was duplicated off the server's words, and which columns a statement fills."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

NAME = r'(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)'
ONE_NAME = re.compile(NAME)
FILLS = re.compile(
    rf"\s*INSERT\s+INTO\s+(?:{NAME}\s*\.\s*)*(?P<table>{NAME})\s*(?:AS\s+{NAME}\s*)?"
    rf"\((?P<columns>\s*{NAME}(?:\s*,\s*{NAME})*\s*)\)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
CHANGES = re.compile(
    rf"\s*UPDATE\s+(?:ONLY\s+)?(?:{NAME}\s*\.\s*)*(?P<table>{NAME})\s+(?:AS\s+{NAME}\s+)?SET\s"
    r"(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
DRAWS = re.compile(r"\b(?:DEFAULT|nextval)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Key:
    """The key of a message like ``Key (a, lower(b))=(1, x) already exists.``.

    ``columns`` are raw names of columns, and expressions as the server wrote them; ``values`` is
    its text for all of them. None of it depends on the server's language.
    """

    columns: tuple[str, ...]
    values: str

    @property
    def each_value(self) -> tuple[str, ...] | None:
        """The values one by one, None where commas within them leave it open which is which."""
        if len(self.columns) == 1:
            return (self.values,)
        found = tuple(self.values.split(", "))
        return found if len(found) == len(self.columns) else None

    @property
    def holds_no_number(self) -> bool:
        """Whether it is a key of one column whose value no sequence can have drawn."""
        return len(self.columns) == 1 and not re.fullmatch(r"-?\d+(?:\.0*)?", self.values)


def parse_key(text: str) -> Key | None:
    """Return the key that a message names, in whatever language; None where it names none.

    Every translation has ``(COLUMNS)=(VALUES)`` in it, with other words and quotes around
    (PostgreSQL's ``BuildIndexValueDescription``).
    """
    for opening in re.finditer(r"\(", text):
        end = _closing(text, opening.end())
        if end is None or not text.startswith(")=(", end):
            continue
        values = _values(text, end + 3)
        if values is not None:
            parts = _parts(text[opening.end() : end])
            return Key(tuple(unquoted(part) for part in parts), values)
    return None


def unquoted(name: str) -> str:
    """Return an identifier as it is called, or an expression unchanged."""
    if ONE_NAME.fullmatch(name) and name.startswith('"'):
        return name[1:-1].replace('""', '"')
    return name


def gives_value(statement: Any, table: str, column: str) -> bool | None:
    """Whether a statement itself gives a value for a column; an UPDATE that violates its key does.

    None where that cannot be told: another table's statement (a trigger's), one that draws values
    in its own words, or one that is no plain INSERT or UPDATE.
    """
    if not isinstance(statement, str):
        return None
    fills, changes = FILLS.match(statement), CHANGES.match(statement)
    found = fills or changes
    if found is None or _folded(found["table"]) != table or DRAWS.search(found["rest"]):
        return None
    return fills is None or column in map(_folded, ONE_NAME.findall(fills["columns"]))


def _folded(name: str) -> str:
    return unquoted(name) if name.startswith('"') else name.lower()


def _closing(text: str, start: int) -> int | None:
    """Return where the parenthesis that was opened before ``start`` is closed."""
    for position, depth in _depths(text, start):
        if depth < 0:
            return position
    return None


def _parts(text: str) -> list[str]:
    """Split a list at its own commas, not at those within parentheses and quotes."""
    cuts = [at for at, depth in _depths(text, 0) if depth == 0 and text[at] == ","]
    bounds = [-1, *cuts, len(text)]
    return [text[a + 1 : b].strip() for a, b in pairwise(bounds)]


def _depths(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield the positions outside quotes, with how many parentheses are open there."""
    depth, quote = 0, None
    for position in range(start, len(text)):
        character = text[position]
        if quote is not None:
            quote = None if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character == "(") - (character == ")")
            yield position, depth


def _values(text: str, start: int) -> str | None:
    """Return what stands before the last closing parenthesis, since values may hold any.

    Last in the line, or in the quoted field that CSV and JSON logs make of it.
    """
    line = re.split(r'\n|",(?! )', text[start:], maxsplit=1)[0]
    end = line.rfind(")")
    return None if end < 0 else line[:end]
