"""A plain dump, read as statements and COPY data and sent through psycopg; psql is never run.

``lexer`` finds where statements end, ``rules`` judges each one, ``wire`` sends it. Nothing in a
dump is ever run on this side: a backslash command is passed over where pg_dump writes it and it
does no more than guard or connect psql, and refused elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import psycopg
from psycopg.pq import TransactionStatus

from restorehooks.restore.dump.facts import HEADER, TRAILER
from restorehooks.restore.errors import ScriptError
from restorehooks.restore.harmless import why_harmless
from restorehooks.wording import first_line, printable

from .lexer import Comment, Lexer, MetaCommand, Statement
from .psql import OF_ANOTHER_DATABASE, DatabaseStatements, is_skipped
from .rules import LeaveOut, Policy, Refused, copies_in, decide
from .scanner import LexingError, Unfinished
from .session import settings_kept
from .wire import IN_FLIGHT, StatementFailed, Wire
from .words import Words

#: Client encodings in which a backslash can be the second byte of a character. No database is in
#: one of them (https://www.postgresql.org/docs/current/multibyte.html).
_UNSAFE_ENCODINGS = frozenset(
    (b"BIG5", b"GB18030", b"GBK", b"JOHAB", b"SHIFT_JIS_2004", b"SJIS", b"UHC")
)
#: What --inserts and large objects are made of by the million. Reading on depends on nothing that
#: such a statement does, so its result can wait.
_CAN_WAIT = (b"INSERT INTO ", b"SELECT pg_catalog.lowrite(")
_WITH_SECRETS = ("CREATE USER", "ALTER USER", "CREATE SUBSCR", "ALTER SUBSCR", "CREATE SERVER")
_SECRET = re.compile(r"(?i)\b(?:OPTIONS|CONNECTION)\b.*")
_SHOWN = 100
"""Characters of a statement that a message shows."""
_LONGEST_HARMLESS = 10_000
"""Bytes of the longest statement that is compared with those whose failure is harmless."""


@dataclass(frozen=True)
class LeftOut:
    """Statements that were left out, all for one reason.

    what: the kind of thing they are.
    statement, line: the first of them, its beginning in one line, and where it stands in the dump.
    reason: why they were left out.
    count: how many they are.
    """

    what: str
    statement: str
    line: int
    reason: str
    count: int

    def __str__(self) -> str:
        return f"{self.what}: {self.reason} ({self.count}, the first: {self.statement})"


@dataclass
class ScriptResult:
    """What was sent and what was not: the numbers of statements and of rows.

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
    with settings_kept(connection, wire):
        return _Script(stream, wire, policy, progress).run()


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
        self._left_out: dict[LeaveOut, LeftOut] = {}
        self._complete = False
        self._database = DatabaseStatements()
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
                raise self._error(self._database.early, OF_ANOTHER_DATABASE)
            self._wire.settle()
            self._batch.end()
        except LexingError as error:
            raise script_error(error.line, str(error)) from None
        except StatementFailed as error:
            raise self._error(error.statement, str(error), error.sqlstate) from None
        except psycopg.Error as error:
            reason = f"the connection was lost: {first_line(error)}"
            raise script_error(self._lexer.line, reason) from error
        finally:
            # After a success it finds nothing to do.
            self._wire.abandon()
        left_out = list(self._left_out.values())
        return ScriptResult(self._statements, self._wire.rows, left_out, self._complete)

    def _next(self) -> Statement | MetaCommand | Comment | None:
        encoding = self._wire.parameter(b"client_encoding")
        if encoding != self._encoding[0]:
            if encoding in _UNSAFE_ENCODINGS:
                reason = (
                    f"the dump is in {encoding.decode()}, in which a backslash may be half a "
                    "character; make it again with pg_dump --encoding=UTF8"
                )
                raise script_error(self._lexer.line, reason)
            self._encoding = encoding, self._wire.encoding
        return self._lexer.next(self._wire.parameter(b"standard_conforming_strings") == b"off")

    def _comment(self, comment: Comment) -> None:
        text = comment.text.rstrip()
        if text in (HEADER, TRAILER):
            self._complete = text == TRAILER

    def _meta_command(self, command: MetaCommand) -> None:
        if not command.inside and is_skipped(command.text):
            return
        if command.inside or not self._database.may_connect(command.text):
            if self._lexer.at_end():
                raise Unfinished("a psql command", command.line)
            raise self._error(command, "refused: no psql runs, and pg_dump writes no such command")
        self._complete = False
        self._leave_out(LeaveOut("connect", "everything goes into one database"), command)

    def _statement(self, statement: Statement) -> None:
        self._complete = False
        words = Words(statement.text)
        try:
            if b"\0" in statement.text:
                raise Refused("a zero byte would hide the rest of the statement")
            verdict = decide(statement.text, words, self._policy, self._encoding[1])
        except Refused as refused:
            raise self._error(statement, f"refused: {refused}") from None
        if astray := self._database.astray(statement, verdict):
            raise self._error(astray, OF_ANOTHER_DATABASE)
        if isinstance(verdict, LeaveOut):
            if verdict.what == "transaction":
                self._batch.omitted(statement)
            self._leave_out(verdict, statement)
            verdict = verdict.instead
        if verdict:
            self._send(Statement(verdict, statement.line), words)

    def _send(self, statement: Statement, words: Words) -> None:
        self._batch.begin()
        waits = statement.text.startswith(_CAN_WAIT)
        if waits:
            self._wire.queue(statement)
        elif copies_in(words):
            if not self._lexer.at_line_end():
                raise self._error(statement, "refused: its rows must begin in the next line")
            self._wire.copy(statement, self._lexer.copy_data())
        elif reason := self._why_harmless(statement):
            self._run_under_savepoint(statement, reason)
        else:
            self._wire.run(statement)
        self._statements += 1
        if not waits:
            self._batch.count()
        if self._progress and (not waits or self._statements % IN_FLIGHT == 0):
            self._progress(self._statements)

    def _why_harmless(self, statement: Statement) -> str | None:
        if len(statement.text) > _LONGEST_HARMLESS:
            return None
        return why_harmless(f"{statement.text.decode(self._encoding[1], 'replace')};")

    def _run_under_savepoint(self, statement: Statement, reason: str) -> None:
        """Send a statement so that its failure, which is harmless, ends nothing else."""
        self._wire.command(b"SAVEPOINT restorehooks")
        try:
            self._wire.run(statement)
        except StatementFailed:
            self._wire.command(b"ROLLBACK TO SAVEPOINT restorehooks")
            self._leave_out(LeaveOut("failed without harm", reason), statement)
            self._statements -= 1
        self._wire.command(b"RELEASE SAVEPOINT restorehooks")

    def _leave_out(self, omitted: LeaveOut, piece: Statement | MetaCommand) -> None:
        shown = _shown(piece.text, self._encoding[1])
        reason = printable(omitted.reason)
        first = LeftOut(omitted.what, shown, piece.line, reason, 0)
        known = self._left_out.get(omitted, first)
        self._left_out[omitted] = replace(known, count=known.count + 1)

    def _error(
        self, piece: Statement | MetaCommand, reason: str, sqlstate: str | None = None
    ) -> ScriptError:
        line = piece.line or self._lexer.line
        return script_error(line, reason, _shown(piece.text, self._encoding[1]), sqlstate)


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


def script_error(
    line: int, reason: str, statement: str = "", sqlstate: str | None = None
) -> ScriptError:
    """Return the error for what stands in a line of the dump."""
    code = f" (SQLSTATE {sqlstate})" if sqlstate else ""
    shown = f", in: {statement}" if statement else ""
    message = printable(f"line {line} of the dump: {reason}{code}{shown}")
    return ScriptError(message, line, sqlstate)
