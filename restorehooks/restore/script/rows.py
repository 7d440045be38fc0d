"""Rows on their way: what takes some away, and those of a COPY, changed and cut at line ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .words import Words

PIECE = 512 * 1024
"""Bytes of a piece of whole lines, about."""
LONGEST_LINE = 2 * 1024 * 1024
"""Bytes that a line may have to be kept whole."""
_FIRST_COLUMN = re.compile(rb"^[^\t\n]*\t", re.MULTILINE)
_TAKING = frozenset(("delete", "merge", "truncate", "update"))


def takes_away(statement: bytes, words: Words) -> str:
    """Return what a statement does to rows that are there, empty where it only adds others."""
    (first,) = words.first(1) or ("",)
    if first in _TAKING:
        return first.upper()
    if first == "with":
        return next((word.upper() for word in words if word in _TAKING), "")
    if first == "insert" and b"conflict" in statement.lower():
        after = iter(words)
        while "do" in after:
            if next(after, "") == "update":
                return "ON CONFLICT DO UPDATE"
    return ""


def without_first_column(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield rows without what stands before the first tab of each: the object ids of old dumps.

    ``blocks`` are pieces of COPY data in text format, cut anywhere.
    """
    rest, inside = b"", False  # a line's beginning that has no tab yet; whether one goes on
    for block in blocks:
        start = block.find(b"\n") + 1 if inside else 0
        if inside and not start:
            yield block
            continue
        lines, newline, last = (rest + block[start:]).rpartition(b"\n")
        inside = b"\t" in last or len(last) > LONGEST_LINE
        rest = b"" if inside else last
        whole = lines + newline + (last if inside else b"")
        if done := block[:start] + _FIRST_COLUMN.sub(b"", whole):
            yield done
    if rest:
        yield rest


def whole_lines(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces of COPY data in text format, each with whether it is made of whole lines.

    After a line that is too long to be kept in memory, all pieces are cut anywhere.
    """
    unsent = iter(blocks)
    rest = b""
    for block in unsent:
        rest += block
        while len(rest) >= PIECE and (end := _end_of_line(rest, PIECE)):
            yield rest[:end], True
            rest = rest[end:]
        if len(rest) > LONGEST_LINE:
            yield rest, False
            rest = b""
            yield from ((each, False) for each in unsent)
    if rest:
        yield rest, True


def _end_of_line(text: bytes, most: int) -> int:
    """Return where the last line ends that ends before ``most`` bytes, or else the last of all.

    0 where none ends. A backslash lets a line go on.
    """
    for size in (most, len(text)):
        at = text.rfind(b"\n", 0, size)
        while at > 0 and text[at - 1] == ord("\\"):
            at = text.rfind(b"\n", 0, at)
        if at >= 0:
            return at + 1
    return 0


def joined_at_odd_line_ends(pieces: Iterable[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
    """Join a piece with a carriage return to the piece before it that has none.

    The server tells from the first line of a COPY how all its lines end, and refuses one that ends
    otherwise. It would not see that where such a line came first.
    """
    before: tuple[bytes, bool] | None = None
    for piece, whole in pieces:
        if before and b"\r" in piece and b"\r" not in before[0]:
            before = before[0] + piece, whole
            continue
        if before:
            yield before
        before = piece, whole
    if before:
        yield before
