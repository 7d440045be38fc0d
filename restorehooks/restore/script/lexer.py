"""A plain dump, cut into statements, comments, psql commands and COPY data.

psql's variables (``:name``) mean nothing here. A mistake made here cannot let a second statement
through: each one is sent in a message that the server refuses to take as several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .buffer import CHUNK
from .scanner import Scanner, Unfinished
from .text import FIRST_LINE, is_sql

# The statements that ``pg_dump --inserts`` writes by the million, found in one go: no comments,
# no $, and strings that are no E'', B'' or the like, since something else stands before them.
_PLAIN_INSERT = re.compile(
    rb"""
    INSERT\ INTO\ [^'"$;\\/-]*
    (?: (?: (?<=[ (,'])'[^']*' | "[^"]{0,1000}"(?!") | -(?!-) ) [^'"$;\\/-]* ){0,5000}
    (?P<end> ; )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Statement:
    """One SQL statement, without its semicolon and without the comments before it."""

    text: bytes
    line: int


@dataclass(frozen=True)
class MetaCommand:
    """A backslash outside every quotation, and the rest of its line: psql would act on it.

    ``inside`` says that a statement is begun and not ended there: ``before`` is what it has so far.
    """

    text: bytes
    line: int
    inside: bool = False
    before: bytes = b""


@dataclass(frozen=True)
class Comment:
    """A ``--`` comment between two statements, or a line of text before the dump.

    pg_dump's first and last line are comments.
    """

    text: bytes
    line: int


class Lexer(Scanner):
    """Cuts a stream of bytes, read once and in order, into what it is made of.

    Memory holds one statement, or one chunk of COPY data.
    """

    def has_first_line(self) -> bool:
        """Return whether pg_dump's first line is to come soon."""
        self._has(self._position, CHUNK)
        return FIRST_LINE.search(self._buffer, self._position) is not None

    def messages(self) -> Iterator[Comment]:
        """Yield the lines before the dump that are no SQL, such as a warning or a prompt.

        They are looked for where pg_dump's first line follows them, and nowhere else.
        """
        if not self.has_first_line():
            return
        while True:
            self._skip_space()
            end = self._find(b"\n", self._position)
            if end < 0 or is_sql(self._copy_of(self._position, end)):
                return
            yield Comment(self._rest_of_line(), self._line)

    def next(self, escapes: bool) -> Statement | MetaCommand | Comment | None:
        """Return what comes next, None at the end of the stream.

        ``escapes`` says whether a backslash escapes in ordinary strings, which it does while the
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

    def nothing_follows(self) -> bool:
        """Return whether nothing but blanks is left of the stream."""
        self._skip_space()
        return self.at_end()

    def offset_of_next(self) -> int:
        """Return the offset at which the next piece begins."""
        self._skip_space()
        return self.offset

    def at_line_end(self) -> bool:
        """Return whether nothing but blanks follows in this line, as it must before COPY data.

        Raises Unfinished when the stream ends in this line.
        """
        end = self._find(b"\n", self._position)
        if end < 0:
            raise Unfinished("COPY data", self._line)
        return not self._buffer[self._position : end].strip(b" \t\r")

    def no_rows_follow(self) -> bool:
        """Return whether the COPY data after this line are none at all."""
        start = self._find(b"\n", self._position) + 1
        self._has(start, 4)
        return bytes(self._buffer[start : start + 4]).startswith((b"\\.\n", b"\\.\r\n"))

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

    def _statement(self, escapes: bool) -> Statement | MetaCommand:
        start, line = self._position, self._line
        plain = None if escapes else _PLAIN_INSERT.match(self._buffer, start)
        end = plain.start("end") if plain else self._statement_end(start, escapes)
        if self._buffer[end] == ord("\\"):
            before = self._copy_of(start, end)
            self._consume(end)
            return MetaCommand(self._rest_of_line(), line, inside=True, before=before)
        text = self._copy_of(start, end)
        self._consume(end + 1)
        self._forget()
        return Statement(text, line)

    def _rest_of_line(self, or_until: bytes = b"\n") -> bytes:
        end = self._find(b"\n", self._position)
        end = len(self._buffer) if end < 0 else end
        sooner = self._buffer.find(or_until, self._position, end)
        end = end if sooner < 0 else sooner
        text = bytes(self._buffer[self._position : end])
        self._consume(end)
        return text.rstrip(b"\r")
