"""The words of one statement: tokenised once, as far as they are asked for, and asked often."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

_PIECE = re.compile(
    rb"""
      (?P<space> [ \t\n\r\f\v]+ | --[^\r\n]* )
    | (?P<block> /\* )
    | (?P<word> [A-Za-z_\x80-\xff] [A-Za-z0-9_$\x80-\xff]* )
    | (?P<quoted> "[^"]*(?:""[^"]*)*" | '[^']*' )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(rb"/\*|\*/")
_LONGEST_WORD = 100
"""Bytes of a word that are kept: more than any keyword has."""
_MOST = 1000
"""Words that are kept: each takes twenty times its length in memory."""


class Words:
    """A statement's words in lower case, and how everything else in it begins.

    Quoted names and strings are one word each, with their quotes, in the case they are written in.
    """

    def __init__(self, statement: bytes):
        self._statement = statement
        self._known: list[str] = []
        self._unread = _words(statement)

    def __iter__(self) -> Iterator[str]:
        for position in range(_MOST):
            if position == len(self._known):
                word = next(self._unread, None)
                if word is None:
                    return
                self._known.append(word)
            yield self._known[position]
        yield from islice(_words(self._statement), _MOST, None)

    def first(self, count: int) -> list[str]:
        """Return the first words: this many, or all where there are fewer."""
        return list(islice(self, count))

    def after(self, word: str) -> str:
        """Return what follows the first occurrence of a word; empty where nothing does."""
        words = iter(self)
        return next(words, "") if word in words else ""


def _words(statement: bytes) -> Iterator[str]:
    position = 0
    while match := _PIECE.match(statement, position):
        position = match.end()
        if match.lastgroup == "word":
            yield match[0][:_LONGEST_WORD].decode("latin-1").lower()
        elif match.lastgroup == "block":
            position = _after_comment(statement, position)
        elif match.lastgroup != "space":
            yield match[0][:_LONGEST_WORD].decode("latin-1")


def _after_comment(statement: bytes, position: int) -> int:
    depth = 1
    while depth and (mark := _COMMENT_MARK.search(statement, position)):
        depth += 1 if mark[0] == b"/*" else -1
        position = mark.end()
    return position
