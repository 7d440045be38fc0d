"""Names as the server's messages write them, in whatever language."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches

from restorehooks.wording import printable

QUOTES = "\"'`\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e\u2039\u203a\u300c\u300d\u300e\u300f"
"""What the server's languages put around a name."""
SPACES = " \u00a0\u202f"
IN_QUOTES = re.compile(rf"[{QUOTES}][{SPACES}]?([^{QUOTES}]+?)[{SPACES}]?[{QUOTES}]")
SHARD = re.compile(r"(?<=\w)_\d{6,}(?![\w$])")
"""What Citus appends to the name of a shard and of what belongs to it: 102008 is the first."""

CLIPPED = re.compile(r"([^\"]{20,63})_[0-9a-f]{8}_\d{6,}(?![\w$])")
"""A long name with its hash, eight digits, and the number of a shard; no name is longer."""


def quoted_name(text: str) -> str | None:
    """Return the first name in quotes, None where there is none."""
    found = IN_QUOTES.search(text)
    return found[1] if found else None


def of_table(table: str, constraint: str) -> tuple[str, str]:
    """Return the names of table and constraint; both lose the number where both are a shard's."""
    number = SHARD.search(table)
    if number and table.endswith(number[0]) and constraint.endswith(number[0]):
        return table[: number.start()], without_shard(constraint)
    return table, constraint


def clipped(text: str, names: Collection[str]) -> list[str]:
    """Return the names that Citus has shortened in a text, to make room for a shard's number.

    It keeps the beginning, and writes the whole name's hash in place of the rest.
    """
    kept = CLIPPED.search(text)
    if kept is None:
        return []
    return [name for name in names if name.startswith(kept[1]) and len(name) > len(kept[1])]


def without_shard(text: str) -> str:
    """Return a text whose names have lost the number of a shard."""
    return SHARD.sub("", text)


def named_in(text: str, names: Collection[str]) -> list[str]:
    """Return which of the names stand in a text, in order: those in quotes, or else as words."""
    if text in names:
        return [text]
    places: list[tuple[int, bool, str]] = []
    for name in names:
        if name not in text:
            continue
        for found in re.finditer(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text):
            # Not more of it: the name may stand there a million times.
            before = text[max(found.start() - 2, 0) : found.start()].rstrip(SPACES)[-1:]
            after = text[found.end() : found.end() + 2].lstrip(SPACES)[:1]
            in_quotes = bool(before and after) and before in QUOTES and after in QUOTES
            places.append((found.start(), in_quotes, name))
    quoted = [place for place in places if place[1]]
    return list(dict.fromkeys(name for _, _, name in sorted(quoted or places)))


def not_found(alias: str, text: str, names: Collection[str]) -> str:
    """Return the sentence for a text that names none of these; it offers the nearest ones."""
    in_quotes = quoted_name(text)
    wanted = in_quotes or text
    if " " in wanted and not in_quotes:
        return f'No constraint of database "{alias}" is named in that message.'
    alike = sorted(name for name in names if ("." in name) == ("." in wanted))
    near = get_close_matches(wanted, alike, n=3)
    offer = f"; near it are: {', '.join(near)}" if near else ""
    return printable(f'There is no unique constraint "{wanted}" in database "{alias}"{offer}.')
