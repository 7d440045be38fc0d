"""A plain dump, read as statements and COPY data and sent through psycopg; psql is never run.

``lexer`` finds where statements end, ``rules`` judges each one, ``wire`` sends it. Nothing in a
dump is ever run on this side: a backslash command is passed over where pg_dump writes it and it
does no more than guard or connect psql, and refused elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from restorehooks.restore.client import Problem, reason_to_tolerate
from restorehooks.restore.dump import HEADER, TRAILER, printable
from restorehooks.restore.lexer import (
    Comment,
    Lexer,
    LexingError,
    MetaCommand,
    Statement,
    Unfinished,
)
from restorehooks.restore.rules import Omitted, Policy, Refused, copies_in, judge
from restorehooks.restore.wire import IN_FLIGHT, StatementFailed, Wire

__all__ = ["LeftOut", "Policy", "ScriptError", "ScriptResult", "run_script"]

SESSION_SETTINGS = """
SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session'
UNION ALL VALUES ('role', pg_catalog.current_setting('role')),
                 ('session_authorization', session_user::text)
"""
SET_CONFIG = "SELECT pg_catalog.set_config(%s, %s, false)"

#: Client encodings in which a backslash can be the second byte of a character. No database is in
#: one of them (https://www.postgresql.org/docs/current/multibyte.html).
_UNSAFE_ENCODINGS = frozenset(
    (b"BIG5", b"GB18030", b"GBK", b"JOHAB", b"SHIFT_JIS_2004", b"SJIS", b"UHC")
)
#: What --inserts and large objects are made of by the million. Reading on depends on nothing that
#: such a statement does, so its result can wait.
_CAN_WAIT = (b"INSERT INTO ", b"SELECT pg_catalog.lowrite(")
#: Guards of psql, and what pg_dump writes before \connect to a database with an unusual name:
#: the dump sets its own encoding again right after.
_PASSED_OVER = re.compile(rb"\\(?:(?:un)?restrict [A-Za-z0-9]+|encoding SQL_ASCII)[ \t]*")
_CONNECT = re.compile(
    rb"\\connect (?:-reuse-previous=on )?(?:[A-Za-z0-9_.]+|\"(?:[^\"]|\"\")*\")[ \t]*"
)
_CREATE_DATABASE = re.compile(rb"CREATE\s+DATABASE\s", re.IGNORECASE)
_CHANGE_DATABASE = re.compile(rb"(?:ALTER|DROP)\s", re.IGNORECASE)
_ASTRAY = "refused: it changes a database that this dump does not create"
_WITH_SECRETS = ("CREATE USER", "ALTER USER", "CREATE SUBSCR", "ALTER SUBSCR", "CREATE SERVER")
_SECRET = re.compile(r"(?i)\b(?:OPTIONS|CONNECTION)\b.*")
_SHOWN = 100
"""Characters of a statement that a message shows."""
_TOLERABLE = 10_000
"""Bytes of the longest statement whose failure is compared with the allow-list."""


class ScriptError(Exception):
    """A plain dump was not restored; one sentence with the line of the dump and the reason.

    ``sqlstate`` is the server's code, None where it was not the server that objected.
    """

    def __init__(self, line: int, reason: str, statement: str = "", sqlstate: str | None = None):
        self.line = line
        self.sqlstate = sqlstate
        code = f" (SQLSTATE {sqlstate})" if sqlstate else ""
        shown = f", in: {statement}" if statement else ""
        super().__init__(printable(f"line {line} of the dump: {reason}{code}{shown}"))


@dataclass(frozen=True)
class LeftOut:
    """Statements that were not sent, all for one reason; the first of them, and how many."""

    what: str
    statement: str
    line: int
    reason: str
    count: int


@dataclass
class ScriptResult:
    """What was sent and what was not.

    ``complete`` says that pg_dump's last line was seen and that nothing follows it. Without it the
    dump was cut off, and nothing of it may be committed or used.
    """

    statements: int
    rows: int
    left_out: list[LeftOut]
    complete: bool


def run_script(
    stream: BinaryIO,
    connection: psycopg.Connection[Any],
    *,
    policy: Policy,
    progress: Callable[[int], None] | None = None,
) -> ScriptResult:
    """Send a plain dump over ``connection`` and return what became of it.

    Everything goes into the transaction that is open, or into a new one that is left open: the
    caller commits, once the result is ``complete``. With ``policy.commit_every`` the connection
    has to be an autocommitting one with no transaction open, and what is sent is committed as it
    goes. The session's settings are afterwards what they were. ``progress`` is told the number of
    statements so far.

    Raises ScriptError, and whatever reading ``stream`` raises; the connection is then closed, or
    its transaction has failed. Raises ValueError for a connection that does not suit the policy.
    """
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    if policy.commit_every and not (idle and connection.autocommit):
        raise ValueError("commit_every needs an autocommitting connection with no transaction open")
    wire = Wire(connection)
    if idle and not policy.commit_every:
        wire.command(b"BEGIN")
    with _session_kept(connection, wire):
        return _Script(stream, wire, policy, progress).run()


@contextmanager
def _session_kept(connection: psycopg.Connection[Any], wire: Wire) -> Iterator[None]:
    """Put back the settings that a dump makes for itself, an empty search_path among them."""
    encoding = wire.parameter(b"client_encoding")
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        before: dict[str, str] = dict(cursor.execute(SESSION_SETTINGS, prepare=False).fetchall())
        yield
        # First of all, since psycopg does not speak every encoding.
        wire.command(b"SET client_encoding = '%s'" % encoding)
        after: dict[str, str] = dict(cursor.execute(SESSION_SETTINGS, prepare=False).fetchall())
        # The session's user comes before its role, which it resets.
        for name in sorted(after.keys() | before.keys(), reverse=True):
            if after.get(name) != before.get(name):
                # NULL means RESET.
                cursor.execute(SET_CONFIG, [name, before.get(name)], prepare=False)


class _Script:
    """One dump on its way to the server."""

    def __init__(
        self,
        stream: BinaryIO,
        wire: Wire,
        policy: Policy,
        progress: Callable[[int], None] | None,
    ):
        self._lexer = Lexer(stream)
        self._wire = wire
        self._policy = policy
        self._progress = progress
        self._statements = 0
        self._omitted: dict[Omitted, LeftOut] = {}
        self._complete = False
        self._database = _DatabaseStatements()
        self._batch = _Batch(wire, policy.commit_every)
        self._encoding = (b"", "ascii")

    def run(self) -> ScriptResult:
        try:
            while (piece := self._next()) is not None:
                if isinstance(piece, Comment):
                    self._comment(piece)
                elif isinstance(piece, MetaCommand):
                    self._meta_command(piece)
                else:
                    self._statement(piece)
            if self._database.early:
                raise self._error(self._database.early, _ASTRAY)
            self._wire.settle()
            self._batch.end()
        except LexingError as error:
            raise ScriptError(error.line, str(error)) from None
        except StatementFailed as error:
            raise self._error(error.statement, str(error), error.sqlstate) from None
        except psycopg.Error as error:
            reason = f"the connection was lost: {str(error).partition(chr(10))[0]}"
            raise ScriptError(self._lexer.line, reason) from error
        finally:
            # After a success it finds nothing to do.
            self._wire.abandon()
        left_out = list(self._omitted.values())
        return ScriptResult(self._statements, self._wire.rows, left_out, self._complete)

    def _next(self) -> Statement | MetaCommand | Comment | None:
        encoding = self._wire.parameter(b"client_encoding")
        if encoding != self._encoding[0]:
            if encoding in _UNSAFE_ENCODINGS:
                reason = (
                    f"the dump is in {encoding.decode()}, in which a backslash may be half a "
                    "character; make it again with pg_dump --encoding=UTF8"
                )
                raise ScriptError(self._lexer.line, reason)
            self._encoding = encoding, self._wire.encoding
        return self._lexer.next(self._wire.parameter(b"standard_conforming_strings") == b"off")

    def _comment(self, comment: Comment) -> None:
        text = comment.text.rstrip()
        if text in (HEADER, TRAILER):
            self._complete = text == TRAILER

    def _meta_command(self, command: MetaCommand) -> None:
        if not command.inside and _PASSED_OVER.fullmatch(command.text):
            return
        if command.inside or not self._database.may_connect(command.text):
            if self._lexer.at_end():
                raise Unfinished("a psql command", command.line)
            raise self._error(command, "refused: no psql runs, and pg_dump writes no such command")
        self._complete = False
        self._leave_out(Omitted("connect", "everything goes into one database"), command)

    def _statement(self, statement: Statement) -> None:
        self._complete = False
        try:
            if b"\0" in statement.text:
                raise Refused("a zero byte would hide the rest of the statement")
            verdict = judge(statement.text, self._policy, self._encoding[1])
        except Refused as refused:
            raise self._error(statement, f"refused: {refused}") from None
        if astray := self._database.astray(statement, verdict):
            raise self._error(astray, _ASTRAY)
        if isinstance(verdict, Omitted):
            if verdict.what == "transaction":
                self._batch.omitted(statement)
            self._leave_out(verdict, statement)
        else:
            self._send(Statement(verdict, statement.line))

    def _send(self, statement: Statement) -> None:
        self._batch.begin()
        waits = statement.text.startswith(_CAN_WAIT)
        if waits:
            self._wire.queue(statement)
        elif copies_in(statement.text):
            if not self._lexer.at_line_end():
                raise self._error(statement, "refused: its rows must begin in the next line")
            self._wire.copy(statement, self._lexer.copy_data())
        elif reason := self._tolerable(statement):
            self._tolerantly(statement, reason)
        else:
            self._wire.run(statement)
        self._statements += 1
        if not waits:
            self._batch.count()
        if self._progress and (not waits or self._statements % IN_FLIGHT == 0):
            self._progress(self._statements)

    def _tolerable(self, statement: Statement) -> str | None:
        if len(statement.text) > _TOLERABLE:
            return None
        text = statement.text.decode(self._encoding[1], "replace")
        return reason_to_tolerate(Problem("", f"{text};"))

    def _tolerantly(self, statement: Statement, reason: str) -> None:
        """Send a statement on the allow-list so that its failure harms nothing else."""
        self._wire.command(b"SAVEPOINT restorehooks")
        try:
            self._wire.run(statement)
        except StatementFailed:
            self._wire.command(b"ROLLBACK TO SAVEPOINT restorehooks")
            self._leave_out(Omitted("tolerated", reason), statement)
            self._statements -= 1
        self._wire.command(b"RELEASE SAVEPOINT restorehooks")

    def _leave_out(self, omitted: Omitted, piece: Statement | MetaCommand) -> None:
        shown = _shown(piece.text, self._encoding[1])
        reason = printable(omitted.reason)
        first = LeftOut(omitted.what, shown, piece.line, reason, 0)
        known = self._omitted.get(omitted, first)
        self._omitted[omitted] = replace(known, count=known.count + 1)

    def _error(
        self, piece: Statement | MetaCommand, reason: str, sqlstate: str | None = None
    ) -> ScriptError:
        line = piece.line or self._lexer.line
        return ScriptError(line, reason, _shown(piece.text, self._encoding[1]), sqlstate)


class _DatabaseStatements:
    """What pg_dump --create writes about the database as a whole, which has to hang together.

    With --clean first ALTER DATABASE and DROP DATABASE, then CREATE DATABASE, then one or more
    times the same ``\\connect``. Elsewhere such commands are not pg_dump's.
    """

    def __init__(self) -> None:
        self._created = False
        self._connect: bytes | None = None
        self.early: Statement | None = None

    def astray(self, statement: Statement, verdict: bytes | Omitted) -> Statement | None:
        """Take in the next statement; return it or the one before where it has no business."""
        if not isinstance(verdict, Omitted) or verdict.what != "database":
            return self.early
        if _CREATE_DATABASE.match(statement.text):
            self._created, self.early = True, None
        elif _CHANGE_DATABASE.match(statement.text) and not self._created:
            self.early = self.early or statement
        return None

    def may_connect(self, command: bytes) -> bool:
        """Tell whether this connects to the database just created, and always to the same one."""
        if not self._created or not _CONNECT.fullmatch(command):
            return False
        self._connect = self._connect or command
        return self._connect == command


class _Batch:
    """Transactions of our own, each of ``size`` statements; none where ``size`` is None."""

    def __init__(self, wire: Wire, size: int | None):
        self._wire = wire
        self._size = size
        self._count: int | None = None
        self._large_object = False

    def begin(self) -> None:
        if self._size and self._count is None:
            self._wire.command(b"BEGIN")
            self._count = 0

    def count(self) -> None:
        if self._size and self._count is not None:
            self._count += 1
            if self._count >= self._size and not self._large_object:
                self.end()

    def end(self) -> None:
        if self._count is not None:
            self._wire.command(b"COMMIT")
            self._count = None

    def omitted(self, statement: Statement) -> None:
        """Keep together what stands between BEGIN and COMMIT: a large object open for writing."""
        self._large_object = statement.text[:5].upper() == b"BEGIN"


def _shown(text: bytes, encoding: str) -> str:
    """Return the beginning of a statement in one line, without a password it may hold."""
    line = printable(" ".join(text[: 10 * _SHOWN].decode(encoding, "replace").split()))
    if line.upper().startswith(_WITH_SECRETS):
        line = _SECRET.sub("...", line)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
