"""Statements end in the same places however the stream is cut into blocks."""

from __future__ import annotations

import io
from collections import deque
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restorehooks.restore.script import buffer
from restorehooks.restore.script.buffer import CHUNK, LexingError
from restorehooks.restore.script.lexer import Comment, Lexer, MetaCommand, Statement

SCRIPT = rb"""-- a comment; with 'a quote
-- ended by a return alone
SELECT 1;SELECT 'a;''b';
/* outer /* inner; */ still; */ SELECT E'it\'s; \\' , e'\'', B'1;', x'f', N'n;', U&'\0061;';
SELECT 'one'
   -- and
   'more;', E'\';'
   '\';', "a ""name""; "    , $$;'$$, $tag$; $other$ $tag; $$ $tag$, a$b$c, $1, 1$x$;$x$;
INSERT INTO t VALUES (1, 'a;''b', -2, "x;y", 'c--d');
INSERT INTO t VALUES (e'\'; ', 'x');
INSERT INTO t VALUES ('x', 3 - - 4, 5 -- 'y
);
CREATE RULE r AS ON INSERT TO v DO (INSERT INTO t VALUES (1); SELECT ';)';);
CREATE OR REPLACE FUNCTION begin(begin int, atomic text) RETURNS int LANGUAGE sql
BEGIN /* ; */ ATOMIC
    SELECT CASE WHEN (SELECT true; ) THEN 'end;' ELSE "end" END; SELECT 2;
END;
create procedure p() language sql begin atomic select 1; end;
CREATE FUNCTION f() RETURNS begin.atomic LANGUAGE sql AS 'BEGIN ATOMIC';
CREATE FUNCTION begin() RETURNS int LANGUAGE sql RETURN 1;
CREATE TABLE begin (atomic int);
\restrict abc
SELECT 3 /* ; */ -- ;
;;; ;
SELECT 4;
""".replace(b" alone\n", b" alone\r")


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, content: bytes, step: int):
        self._content, self._step = io.BytesIO(content), step

    def read(self, count: int = -1) -> bytes:
        """Return the next few bytes, whatever was asked for."""
        return self._content.read(self._step)


Piece = Statement | MetaCommand | Comment | str


def pieces(content: bytes, step: int, escapes: bool = False) -> list[Piece]:
    """Return what the lexer finds, the error that it ends with included."""
    stream: Any = Trickle(content, step)
    found: list[Piece] = []
    try:
        lexer = Lexer(stream)
        while (piece := lexer.next(escapes)) is not None:
            found.append(piece)
    except LexingError as error:
        found.append(f"{error.line}: {error}")
    return found


def test_each_statement_is_found() -> None:
    found = [piece for piece in pieces(SCRIPT, 1 << 20) if isinstance(piece, Statement)]
    assert [(one.line, one.text.split()[0]) for one in found] == [
        (2, b"SELECT"),
        (2, b"SELECT"),
        (3, b"SELECT"),
        (4, b"SELECT"),
        (8, b"INSERT"),
        (9, b"INSERT"),
        (10, b"INSERT"),
        (12, b"CREATE"),
        (13, b"CREATE"),
        (17, b"create"),
        (18, b"CREATE"),
        (19, b"CREATE"),
        (20, b"CREATE"),
        (22, b"SELECT"),
        (24, b"SELECT"),
    ]
    assert found[4].text == b"""INSERT INTO t VALUES (1, 'a;''b', -2, "x;y", 'c--d')"""
    assert found[5].text == rb"INSERT INTO t VALUES (e'\'; ', 'x')"
    assert found[8].text.endswith(b"END")
    others = [piece for piece in pieces(SCRIPT, 1 << 20) if not isinstance(piece, Statement)]
    assert others == [
        Comment(b"-- a comment; with 'a quote", 1),
        Comment(b"-- ended by a return alone", 2),
        MetaCommand(rb"\restrict abc", 21),
    ]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 11, 64])
def test_where_blocks_end_changes_nothing(step: int) -> None:
    assert pieces(SCRIPT, step) == pieces(SCRIPT, 1 << 20)


@pytest.mark.parametrize("cut", range(0, len(SCRIPT), 7))
def test_a_cut_script_gives_what_is_before_the_cut(cut: int) -> None:
    whole = [piece for piece in pieces(SCRIPT, 1 << 20) if isinstance(piece, Statement)]
    found = [piece for piece in pieces(SCRIPT[:cut], 50) if isinstance(piece, Statement)]
    assert found == whole[: len(found)]


MARKS = ["'", "''", "\\'", "\\\\", '"', "$$", "$a$", "$a", "$", "--", "/*", "*/", "-", "/", "*"]
WORDS = ["begin", "atomic", "case", "end", "create", "function", "E'", "B'", "e", "x", "é", "1"]
OTHER = ["(", ")", ";", ";\n", "\n", "\r", ", ", "'a'", "INSERT INTO ", "insert", "-1", "\\n"]
SOUP = st.lists(st.sampled_from(MARKS + WORDS + OTHER).map(str.encode), max_size=40)


@settings(max_examples=400, deadline=None)
@given(soup=SOUP, step=st.integers(1, 9), blank=st.sampled_from([b"", b" "]), escapes=st.booleans())
def test_blocks_change_nothing_in_any_soup(
    soup: list[bytes], step: int, blank: bytes, escapes: bool
) -> None:
    content = blank.join(soup)
    assert pieces(content, step, escapes) == pieces(content, 1 << 20, escapes)


@pytest.mark.parametrize(
    "begun", [b"SELECT '", b"SELECT (", b"/* ", b"-- ", b"SELECT $a$", b"\\q "]
)
def test_what_has_no_end_is_not_kept_for_ever(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few megabytes of a compressed file can be gigabytes of one statement."""
    monkeypatch.setattr(buffer, "LONGEST", 4 * CHUNK)
    source = Endless(b"SET a = 1;\n\n" + begun)
    lexer = Lexer(io.BufferedReader(source))
    with pytest.raises(LexingError, match="more than 4 MB, which no server takes") as caught:
        deque(iter(partial(lexer.next, escapes=False), None), maxlen=0)
    assert caught.value.line == 3
    assert source.given < 16 * CHUNK


class Endless(io.RawIOBase):
    """A beginning, and then the same letter for ever."""

    def __init__(self, beginning: bytes) -> None:
        self.beginning, self.given = beginning, 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        first, self.beginning = self.beginning[: len(into)], self.beginning[len(into) :]
        into[:] = first + b"a" * (len(into) - len(first))
        self.given += len(into)
        return len(into)
