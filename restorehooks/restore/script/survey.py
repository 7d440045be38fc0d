"""What a plain dump holds, found out by reading its statements without any server."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from restorehooks.restore.dump.facts import HEADER, TRAILER, Dump, Part
from restorehooks.restore.dump.proof import open_plain
from restorehooks.restore.errors import DumpError
from restorehooks.restore.superusers import LONGEST_NAME, extension_in, made_by_superusers
from restorehooks.wording import printable

from .buffer import LexingError
from .lexer import Comment, Lexer, MetaCommand, Statement
from .oids import copies_oids
from .rules import copies_in
from .scanner import Unfinished
from .tables import Tables
from .words import Words

_CONNECT = re.compile(rb"\\(?:connect|c) (?:-reuse-previous=on )?(.+)")
_STRINGS = re.compile(
    rb"SET (?:SESSION )?standard_conforming_strings\s*(?:=|TO)\s*'?(\w+)'?\s*\Z", re.IGNORECASE
)
_ROLE = re.compile(rb"CREATE (?:ROLE|USER|GROUP) (\"(?:[^\"]|\"\")+\"|[^\s;]+)", re.IGNORECASE)
# What begins with a $ may end anywhere, and to look for that would take for ever; each character of
# a string takes memory.
_SECRET = re.compile(r"(?is)\bPASSWORD\s+(?:(?:e|u&)?'(?:[^'\\]|''|\\.){0,10000}(?:'|.*)|\$.*)")
_FILLS = (b"INSERT INTO ", b"COPY ")
_LARGE_OBJECT = b"SELECT pg_catalog.lowrite("
_MOST_GLOBALS, _EACH = 64 << 20, 100
"""Bytes that statements outside of all databases may take: no server has as many roles. And those
that each one takes beside its text."""


@dataclass
class Survey:
    """What a plain dump holds.

    What has a name is kept once: a small file may unpack to millions of the same.

    parts: of a file that pg_dumpall made, each database's part, whole ones alone.
    roles: those that it creates. globals_: all that it creates beside databases, a statement each,
        without passwords.
    extensions: those that it creates. for_superusers: what it makes that only a superuser may.
    creates: it creates something. fills: it has statements that add rows. has_rows: there are rows.
    tables: those that it names and makes, as far as it was read. ended: that is all of it.
    cut: how it was cut off, in the middle of a statement; empty where that is not seen.
    strings_off: it sets standard_conforming_strings to off.
    """

    parts: dict[str, Part] = field(default_factory=dict)
    roles: dict[str, None] = field(default_factory=dict)
    globals_: list[str] = field(default_factory=list)
    extensions: dict[str, None] = field(default_factory=dict)
    for_superusers: dict[str, None] = field(default_factory=dict)
    creates: bool = False
    fills: bool = False
    has_rows: bool = False
    tables: Tables = field(default_factory=Tables)
    ended: bool = False
    cut: str = ""
    strings_off: bool = False
    row_security: bool = False


def survey(
    dump: Dump, *, to_the_end: bool = True, watch: Callable[[int], None] | None = None
) -> Survey:
    """Read a plain dump and return what it holds.

    Not ``to_the_end`` stops at the first row, and of one that can be read once its beginning alone
    is read. ``watch`` is called with the number of bytes that were read so far. Raises DumpError
    where it cannot be read.
    """
    with io.BytesIO(dump.beginning) if dump.stream else open_plain(dump, watch) as stream:
        reading = _Reading(stream, of_server=dump.of_server)
        try:
            reading.run(to_the_end=to_the_end)
            reading.found.ended = reading.found.ended and not dump.stream
        except Unfinished as error:
            if dump.stream:  # what comes then is not known
                reading.found.fills = reading.found.has_rows = True
            reading.found.cut = f"it was cut off: {error} (line {error.line})"
        except LexingError as error:
            raise DumpError(f"{dump.source}: line {error.line}: {error}") from None
    return reading.found


def has_rows(stream: BinaryIO) -> bool:
    """Read SQL up to its first row, and return whether there is one; True where it is cut off."""
    reading = _Reading(stream, of_server=False)
    try:
        reading.run(to_the_end=False)
    except LexingError:
        return True
    return reading.found.has_rows


class _Reading:
    """One pass over a dump."""

    def __init__(self, stream: BinaryIO, *, of_server: bool):
        self._lexer = Lexer(stream)
        self._of_server = of_server
        self._escapes = False
        self._database = ""
        self._start: tuple[int, int] | None = None
        self._to_the_end = True
        self._bytes_of_globals = 0
        self.found = Survey()

    def run(self, *, to_the_end: bool) -> None:
        self._to_the_end = to_the_end
        deque(self._lexer.messages(), maxlen=0)
        while True:
            place = self._lexer.offset_of_next(), self._lexer.line
            piece = self._lexer.next(self._escapes)
            if piece is None:
                self.found.ended = True
                return
            if isinstance(piece, Comment):
                self._comment(piece, place)
            elif isinstance(piece, MetaCommand):
                if piece.inside:
                    return  # the load will refuse it
                if connected := _CONNECT.fullmatch(piece.text.rstrip(b" \t")):
                    self._database = _name(connected[1])[:LONGEST_NAME]
            else:
                self._statement(piece)
                if self.found.has_rows and not to_the_end:
                    return

    def _comment(self, comment: Comment, place: tuple[int, int]) -> None:
        self.found.tables.comment(comment.text)
        line = comment.text.rstrip()
        if line == HEADER:
            self._start = place
        elif line == TRAILER and self._start:
            start, first_line = self._start
            end = self._lexer.offset
            self.found.parts[self._database] = Part(self._database, start, end, first_line)
            self._start = None

    def _statement(self, statement: Statement) -> None:
        found, text = self.found, statement.text
        found.fills = found.fills or text.startswith(_FILLS)
        if text.startswith((b"INSERT INTO ", _LARGE_OBJECT)):
            found.has_rows = True
            return
        words = Words(text)
        if copies_in(words) or copies_oids(text):
            if self._lexer.at_line_end():
                found.has_rows = found.has_rows or not self._lexer.no_rows_follow()
                if self._to_the_end or not found.has_rows:
                    deque(self._lexer.copy_data(), maxlen=0)
            return
        found.tables.statement(text)
        if strings := _STRINGS.match(text):
            self._escapes = strings[1].lower() in (b"off", b"false", b"0")
            found.strings_off = found.strings_off or self._escapes
        if role := _ROLE.match(text):
            found.roles[_unquoted(role[1].decode(errors="replace"))[:LONGEST_NAME]] = None
        found.row_security |= words.first(4) == ["set", "row_security", "=", "on"]
        first = words.first(1)
        if self._of_server and self._start is None and first not in (["set"], ["select"]):
            self._bytes_of_globals += len(text) + _EACH
            if self._bytes_of_globals > _MOST_GLOBALS:
                raise LexingError("more roles and the like than any server has", statement.line)
            shown = _SECRET.sub("PASSWORD '...'", text.decode(errors="replace"))
            found.globals_.append(f"{printable(' '.join(shown.split()))};")
        if first == ["create"]:
            self._created(text[:10_000].decode(errors="replace"))

    def _created(self, text: str) -> None:
        found = self.found
        found.creates = True
        if extension := extension_in(text):
            found.extensions[extension] = None
        elif made := made_by_superusers(text):
            found.for_superusers[printable(made)] = None


def _name(connected: bytes) -> str:
    """Return the database that psql's ``\\connect`` names."""
    text = connected.decode(errors="replace")
    if text.startswith('"') and "dbname=" in text:
        try:
            return str(conninfo_to_dict(_unquoted(text))["dbname"])
        except (ProgrammingError, KeyError):
            return _unquoted(text)
    return _unquoted(text)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
