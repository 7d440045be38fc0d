"""Where the statements of a plain dump end, and where its COPY data does.

The rules are those of the server's scanner (src/backend/parser/scan.l), with psql's two additions
(src/fe_utils/psqlscan.l): a semicolon inside parentheses, or inside the ``BEGIN ATOMIC ... END``
of an SQL-standard function, ends no statement. psql's variables (``:name``) mean nothing here.

A mistake made here cannot let a second statement through: each one is sent in a message that the
server refuses to take as several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

CHUNK = 1024 * 1024
"""Bytes read at a time."""

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
#: The statements that ``pg_dump --inserts`` writes by the million, found in one go: no comments,
#: no $, and strings that are no E'', B'' or the like, since something else stands before them.
_PLAIN_INSERT = re.compile(
    rb"""
    INSERT\ INTO\ [^'"$;\\/-]*
    (?: (?: (?<=[ (,'])'[^']*' | "[^"]*" | -(?!-) ) [^'"$;\\/-]* ){0,5000}
    (?P<end> ; )
    """,
    re.VERBOSE,
)
_MAY_GROW = ("comment", "word", "begun")
_SPACE = re.compile(rb"[ \t\n\r\f\v]*")
_COMMENT_MARK = re.compile(rb"/\*|\*/")
_QUOTE = re.compile(rb"'")
_QUOTE_OR_ESCAPE = re.compile(rb"['\\]")
_NAME_QUOTE = re.compile(rb'"')
#: What stands between two strings that the server takes as one: a newline, blanks and comments.
_CONTINUATION = re.compile(rb"[ \t\f\v]*(?:--[^\r\n]*)?[\r\n](?:[ \t\n\r\f\v]|--[^\r\n]*[\r\n])*")
_NOTHING = re.compile(rb"(?:[ \t\n\r\f\v]|--[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_ROUTINE = re.compile(rb"create (?:or replace )?(?:function|procedure) ")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LexingError(Exception):
    """The dump cannot be read on; ``line`` says where."""

    def __init__(self, message: str, line: int):
        super().__init__(message)
        self.line = line


class Unfinished(LexingError):  # noqa: N818 - the dump's state, not this program's
    """The dump ends inside a statement, a quotation, a comment or COPY data: it was cut off."""

    def __init__(self, inside: str, line: int):
        super().__init__(f"the dump ends in the middle of {inside} that begins there", line)


@dataclass(frozen=True)
class Statement:
    """One SQL statement, without its semicolon and without the comments before it."""

    text: bytes
    line: int


@dataclass(frozen=True)
class MetaCommand:
    """A backslash outside every quotation, and the rest of its line: psql would act on it.

    ``inside`` tells that a statement is begun and not ended there.
    """

    text: bytes
    line: int
    inside: bool = False


@dataclass(frozen=True)
class Comment:
    """A ``--`` comment between two statements; pg_dump's first and last line are such."""

    text: bytes
    line: int


class Lexer:
    """Cuts a stream of bytes, read once and in order, into what it is made of.

    Memory holds one statement, or one chunk of COPY data.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._buffer = bytearray()
        self._position = 0
        self._line = 1
        self._exhausted = False
        if self._has(0, len(_BYTE_ORDER_MARK)) and self._buffer.startswith(_BYTE_ORDER_MARK):
            self._position = len(_BYTE_ORDER_MARK)

    @property
    def line(self) -> int:
        """The number of the line that was come to, from 1."""
        return self._line

    def at_end(self) -> bool:
        """Tell whether the stream has nothing more."""
        return not self._has(self._position, 1)

    def next(self, escapes: bool) -> Statement | MetaCommand | Comment | None:
        """Return what comes next, None at the end of the stream.

        ``escapes`` tells whether a backslash escapes in ordinary strings, which it does while the
        server's ``standard_conforming_strings`` is off. Raises Unfinished.
        """
        while True:
            self._forget()
            self._skip_space()
            start, line = self._position, self._line
            self._has(start, 2)
            head = bytes(self._buffer[start : start + 2])
            if not head:
                return None
            if head == b"--":
                # To the scanner a lone carriage return ends a comment too.
                return Comment(self._rest_of_line(b"\r"), line)
            if head == b"/*":
                self._consume(self._after_comment(start + 2))
            elif head[:1] == b";":
                self._consume(start + 1)
            elif head[:1] == b"\\":
                return MetaCommand(self._rest_of_line(), line)
            else:
                return self._statement(escapes)

    def at_line_end(self) -> bool:
        """Tell whether nothing but blanks follows in this line, as it must before COPY data.

        Raises Unfinished when the stream ends in this line.
        """
        end = self._find(b"\n", self._position)
        if end < 0:
            raise Unfinished("COPY data", self._line)
        return not self._buffer[self._position : end].strip(b" \t\r")

    def copy_data(self) -> Iterator[bytes]:
        """Yield the lines after this one in large blocks, up to the line ``\\.``.

        Raises Unfinished when the stream ends before that line.
        """
        first = self._line + 1
        # The newline before the data is kept: the line that ends it is looked for with its own.
        self._consume(self._find(b"\n", self._position))
        unsent = self._position + 1
        while True:
            newline, after = self._end_of_data()
            end = min(newline + 1, len(self._buffer))
            if end > unsent:
                yield self._copy_of(unsent, end)
            if after:
                self._consume(after)
                return
            self._consume(newline)
            unsent = end - self._position
            self._forget(0)
            if not self._more():
                raise Unfinished("COPY data", first)

    def _end_of_data(self) -> tuple[int, int]:
        """Return the newline before the line ``\\.``, and where that line ends.

        While that line has not come, it is the newline that may turn out to be the one, or the
        buffer's end; and 0.
        """
        size = len(self._buffer)
        at = self._buffer.find(b"\n\\.", self._position)
        while at >= 0:
            ending = bytes(self._buffer[at + 3 : at + 5])
            if ending.startswith(b"\n"):
                return at, at + 4
            if ending == b"\r\n":
                return at, at + 5
            if ending in (b"", b"\r"):
                return at, 0
            at = self._buffer.find(b"\n\\.", at + 1)
        if self._buffer.endswith(b"\n"):
            return size - 1, 0
        return (size - 2 if self._buffer.endswith(b"\n\\") else size), 0

    # --- One statement -------------------------------------------------------------------------

    def _statement(self, escapes: bool) -> Statement | MetaCommand:
        start, line = self._position, self._line
        plain = None if escapes else _PLAIN_INSERT.match(self._buffer, start)
        end = plain.start("end") if plain else self._statement_end(start, escapes)
        if self._buffer[end] == ord("\\"):
            self._consume(end)
            return MetaCommand(text=self._rest_of_line(), line=line, inside=True)
        text = self._copy_of(start, end)
        self._consume(end + 1)
        self._forget()
        return Statement(text, line)

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

    # --- The buffer ----------------------------------------------------------------------------

    def _more(self) -> bool:
        """Read on; as much again as there is, so that looking twice stays cheap."""
        chunk = b"" if self._exhausted else self._stream.read(max(CHUNK, len(self._buffer) // 2))
        self._exhausted = not chunk
        self._buffer += chunk
        return bool(chunk)

    def _has(self, position: int, count: int) -> bool:
        """Tell whether so many bytes are there, having read on for them."""
        while len(self._buffer) < position + count:
            if not self._more():
                return False
        return True

    def _find(self, what: bytes, position: int) -> int:
        """Return where the byte is found next, -1 when it is not."""
        while (at := self._buffer.find(what, position)) < 0:
            position = len(self._buffer)
            if not self._more():
                return -1
        return at

    def _copy_of(self, start: int, end: int) -> bytes:
        with memoryview(self._buffer) as view:  # a slice of the buffer would copy it twice
            return view[start:end].tobytes()

    def _consume(self, position: int) -> None:
        self._line += self._buffer.count(b"\n", self._position, position)
        self._position = position

    def _forget(self, unless_below: int = CHUNK) -> None:
        if self._position > unless_below:
            del self._buffer[: self._position]
            self._position = 0

    def _skip_space(self) -> None:
        while True:
            match = _SPACE.match(self._buffer, self._position)
            self._consume(match.end() if match else self._position)
            if self._position < len(self._buffer) or not self._more():
                return

    def _rest_of_line(self, or_until: bytes = b"\n") -> bytes:
        end = self._find(b"\n", self._position)
        end = len(self._buffer) if end < 0 else end
        sooner = self._buffer.find(or_until, self._position, end)
        end = end if sooner < 0 else sooner
        text = bytes(self._buffer[self._position : end])
        self._consume(end)
        return text.rstrip(b"\r")


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
