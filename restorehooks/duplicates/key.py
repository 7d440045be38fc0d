"""The key of a violation, read from the server's message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

IDENTIFIER = r'(?:"[^"]*(?:""[^"]*)*"|[^\W\d][\w$]*)'
ONE_NAME = re.compile(IDENTIFIER)
FAR_ENOUGH = 1_000_000
"""Characters that are looked at for a key: a message may hold any number of parentheses."""


@dataclass(frozen=True)
class DuplicateKey:
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


def parse_key(text: str) -> DuplicateKey | None:
    """Return the key that a message names, in whatever language; None where it names none.

    Every translation has ``(COLUMNS)=(VALUES)`` in it, with other words and quotes around
    (PostgreSQL's ``BuildIndexValueDescription``). A message of an exclusion constraint has it
    twice: the first is the new row's.
    """
    looked_at = 0
    for opening in re.finditer(r"\(", text):
        end = closing(text, opening.end())
        looked_at += (len(text) if end is None else end) - opening.end()
        if looked_at > FAR_ENOUGH:
            return None
        if end is None or not text.startswith(")=(", end):
            continue
        values = _values(text, end + 3, again=text[opening.start() : end + 3])
        if values is not None:
            columns = parts(text[opening.end() : end])
            return DuplicateKey(tuple(unquoted(column) for column in columns), values)
    return None


def unquoted(name: str) -> str:
    """Return an identifier as it is called, or an expression unchanged."""
    if ONE_NAME.fullmatch(name) and name.startswith('"'):
        return name[1:-1].replace('""', '"')
    return name


def folded(name: str) -> str:
    """Return the name that an identifier of a statement stands for."""
    return unquoted(name) if name.startswith('"') else name.lower()


def closing(text: str, start: int) -> int | None:
    """Return where the parenthesis that was opened before ``start`` is closed."""
    for position, depth in _depths(text, start):
        if depth < 0:
            return position
    return None


def parts(text: str) -> list[str]:
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


def _values(text: str, start: int, again: str) -> str | None:
    """Return what stands before the last closing parenthesis, since values may hold any.

    Last in the line, before the same columns come ``again``, or in the quoted field that CSV and
    JSON logs make of it.
    """
    line = re.split(r'\n|",(?! )', text[start:], maxsplit=1)[0].partition(again)[0]
    end = line.rfind(")")
    return None if end < 0 else line[:end]
