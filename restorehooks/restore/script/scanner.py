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
# What stands between two strings that the server takes as one: a newline, blanks and comments.
_CONTINUATION = re.compile(rb"[ \t\f\v]*(?:--[^\r\n]*)?[\r\n](?:[ \t\n\r\f\v]|--[^\r\n]*[\r\n])*")
_NOTHING = re.compile(rb"(?:[ \t\n\r\f\v]|--[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_ROUTINE = re.compile(rb"create (?:or replace )?(?:function|procedure) ")


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
                    gap = _CONTINUATION.match(self._buffer, last_end)
                    mode = last_mode if gap and gap.end() == match.start() else mode
                position = last_end = self._after_string(position, mode)
                last_mode = mode
            elif kind == "mark":
                mark = match[0]
                if mark == b"\\" or (mark == b";" and depth == 0 and not body.depth):
                    return match.start()
                depth = depth + 1 if mark == b"(" else max(depth - (mark == b")"), 0)
            elif kind == "name":
                position = self._after(_NAME_QUOTE, position, 'a quoted name ("...)')
            elif kind == "block":
                position = self._after_comment(position)
            elif kind == "dollar":
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
        elif word == b"atomic" and self._begin_end >= 0:
            gap = _NOTHING.match(buffer, self._begin_end)
            self.depth = int(gap is not None and gap.end() == match.start())
