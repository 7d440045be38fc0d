"""Where a statement ends, by the rules of the server's scanner (src/backend/parser/scan.l).

psql adds two (src/fe_utils/psqlscan.l): a semicolon inside parentheses, or inside the
``BEGIN ATOMIC ... END`` of an SQL-standard function, ends no statement.
"""

from __future__ import annotations

import re

from .buffer import Buffer, LexingError

_TOKEN = re.compile(
    rb"""
      (?P<comment> --[^\r\n]* )
    | (?P<block> /\* )
    | (?P<escape> [eE]' )
    | (?P<bits> [bBxX]' )
    | (?P<string> ' )
    | (?P<name> " )
    | (?P<dollar> \$ (?: [A-Za-z_\x80-\xff] [A-Za-z0-9_\x80-\xff]* )? \$ )
    | (?P<word> [A-Za-z_\x80-\xff] [A-Za-z0-9_$\x80-\xff]* )
    | (?P<mark> [();\\] )
    | (?P<begun> (?: - | / | \$ [A-Za-z0-9_\x80-\xff]* ) \Z )
    """,
    re.VERBOSE,
)
_MAY_GROW = ("comment", "word", "begun")
_COMMENT_MARK = re.compile(rb"/\*|\*/")
_QUOTE = re.compile(rb"'")
_QUOTE_OR_ESCAPE = re.compile(rb"['\\]")
_NAME_QUOTE = re.compile(rb'"')
_LINE_COMMENT = re.compile(rb"[ \t\n\r\f\v]+|--[^\r\n]*")
_ANY_COMMENT = re.compile(rb"[ \t\n\r\f\v]+|--[^\r\n]*|/\*.*?\*/", re.DOTALL)
"""A run of blanks, or a comment."""
_ROUTINE = re.compile(rb"create (?:or replace )?(?:function|procedure) ")
_LONGEST_NAME = 1000
"""Bytes of a quoted name, or of what a $-quote begins with: a server keeps 63 of a name. Of what is
repeated in a pattern each repetition is kept, so that a longer one would fill the memory."""


class Unfinished(LexingError):  # noqa: N818 - the dump's state, not this program's
    """The dump ends inside a statement, a quotation, a comment or COPY data: it was cut off."""

    def __init__(self, inside: str, line: int):
        super().__init__(f"the dump ends in the middle of {inside} that begins there", line)


class Scanner(Buffer):
    """Finds the end of the statement that begins at the reader's position."""

    def _statement_end(self, start: int, escapes: bool) -> int:
        """Return the place of the semicolon, or of a backslash that has no business there."""
        body = _AtomicBody()
        depth = 0
        last_mode, last_end = escapes, start
        position = start
        while match := self._token(position):
            kind, position = match.lastgroup, match.end()
            if kind == "word":
                body.word(self._buffer, match, depth)
            elif kind in ("string", "escape", "bits"):
                mode = kind == "escape" or (kind == "string" and escapes)
                if kind == "string" and mode != last_mode:
                    goes_on = self._goes_on(last_end, match.start())
                    mode = last_mode if goes_on else mode
                position = last_end = self._after_string(position, mode)
                last_mode = mode
            elif kind == "mark":
                mark = match[0]
                if mark == b"\\" or (mark == b";" and depth == 0 and not body.depth):
                    return match.start()
                depth = depth + 1 if mark == b"(" else max(depth - (mark == b")"), 0)
            elif kind == "name":
                position = self._after_name(position)
            elif kind == "block":
                position = self._after_comment(position)
            elif kind == "dollar":
                self._require_name(match.start(), position, "a $-quote")
                tag = re.compile(re.escape(match[0]))
                position = self._after(tag, position, "a $-quoted string", len(match[0]) - 1)
        raise Unfinished("a statement", self._line)

    def _token(self, position: int) -> re.Match[bytes] | None:
        """Return the next token, whole: one that the buffer may have cut is read again."""
        while True:
            match = _TOKEN.search(self._buffer, position)
            if match and (match.end() < len(self._buffer) or match.lastgroup not in _MAY_GROW):
                return match
            position = match.start() if match else len(self._buffer)
            if not self._more():
                return match

    def _after_string(self, position: int, escapes: bool) -> int:
        """Return where the string ends whose content begins here."""
        start = position
        pattern = _QUOTE_OR_ESCAPE if escapes else _QUOTE
        while True:
            position = self._after(pattern, position, "a string ('...)", origin=start)
            if self._buffer[position - 1] == ord("\\"):
                position += 1  # whatever is escaped, it does not end the string
            elif self._has(position, 1) and self._buffer[position] == ord("'"):
                position += 1  # a doubled quote stands for one
            else:
                return position

    def _goes_on(self, start: int, end: int) -> bool:
        """Return whether the server takes the strings before and after this as one.

        That is so where a newline stands between them, with blanks and comments.
        """
        newline = any(self._buffer.find(each, start, end) >= 0 for each in (b"\n", b"\r"))
        return newline and _is_all(_LINE_COMMENT, self._buffer, start, end)

    def _after_name(self, start: int) -> int:
        inside = 'a quoted name ("...)'
        position = self._after(_NAME_QUOTE, start, inside)
        while self._has(position, 1) and self._buffer[position] == ord('"'):
            position = self._after(_NAME_QUOTE, position + 1, inside, origin=start)
        self._require_name(start, position, "a quoted name")
        return position

    def _require_name(self, start: int, end: int, what: str) -> None:
        if end - start > _LONGEST_NAME:
            line = self._line + self._buffer.count(b"\n", self._position, start)
            raise LexingError(f"{what} has more than {_LONGEST_NAME} bytes, as no name has", line)

    def _after_comment(self, position: int) -> int:
        start, depth = position, 1
        while depth:
            position = self._after(_COMMENT_MARK, position, "a comment (/*...)", 1, start)
            depth += 1 if self._buffer[position - 2 : position] == b"/*" else -1
        return position

    def _after(
        self,
        pattern: re.Pattern[bytes],
        position: int,
        inside: str,
        overlap: int = 0,
        origin: int | None = None,
    ) -> int:
        """Return where the pattern's next match ends; the last ``overlap`` bytes may begin one."""
        origin = position if origin is None else origin
        while True:
            if match := pattern.search(self._buffer, position):
                return match.end()
            position = max(position, len(self._buffer) - overlap)
            if not self._more():
                begins = self._line + self._buffer.count(b"\n", self._position, origin)
                raise Unfinished(inside, begins)


def _is_all(pattern: re.Pattern[bytes], buffer: bytearray, start: int, end: int) -> bool:
    """Return whether what stands there is nothing but matches of the pattern."""
    while start < end and (match := pattern.match(buffer, start)):
        start = match.end()
    return start == end


class _AtomicBody:
    """Follows a statement's words to know whether they are inside BEGIN ATOMIC ... END."""

    def __init__(self) -> None:
        self.depth = 0
        self._opening: bytes | None = b""
        self._begin_end = -1

    def word(self, buffer: bytearray, match: re.Match[bytes], parentheses: int) -> None:
        """Take in the next word, ``parentheses`` deep."""
        if self._opening is None:
            return
        word = match[0].lower()
        if not _ROUTINE.match(self._opening):
            self._opening += word + b" "
            if self._opening.count(b" ") == 5 or not b"create".startswith(self._opening[:6]):
                self._opening = None
        elif parentheses:
            return
        elif self.depth:
            self.depth += {b"case": 1, b"end": -1}.get(word, 0)
        elif word == b"begin":
            self._begin_end = match.end()
        else:
            if word == b"atomic" and self._begin_end >= 0:
                self.depth = int(_is_all(_ANY_COMMENT, buffer, self._begin_end, match.start()))
            self._begin_end = -1
