"""A plain dump, read as statements and COPY data and sent through psycopg; psql is never run.

``lexer`` finds where statements end, ``rules`` judges each one, ``wire`` sends it. Nothing in a
dump is ever run on this side: a backslash command is passed over where pg_dump writes it and it
does no more than guard or connect psql, and refused elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import psycopg
from psycopg.pq import TransactionStatus

from restorehooks.restore.errors import RestoreError, ScriptError
from restorehooks.restore.progress import Progress
from restorehooks.wording import first_line

from .buffer import LexingError
from .ending import Ending
from .hints import EXISTS, OF_OTHERS, hint
from .lexer import Comment, Lexer, MetaCommand, Statement
from .oids import copies_oids
from .options import ScriptOptions
from .owners_and_privileges import plain_names
from .psql import OF_ANOTHER_DATABASE, DatabaseStatements, is_skipped
from .results import Collected, ScriptResult, script_error, shown
from .rules import (
    LONGEST_POSITION,
    POSITION,
    brings_statistics,
    copies_in,
    decide,
    filled_by,
    left_out_around,
)
from .scanner import Unfinished
from .sending import Sender, can_wait
from .tables import refuse_to_take_over
from .tolerated import ROWS_OF_NO_EXTENSION
from .verdicts import LeaveOut, Refused, Replaced, Verdict
from .wire import StatementFailed, Wire
from .words import Words

UNSAFE_ENCODINGS = frozenset(
    (b"BIG5", b"GB18030", b"GBK", b"JOHAB", b"SHIFT_JIS_2004", b"SJIS", b"UHC")
)
"""Client encodings in which a backslash can be the second byte of a character. No database is in
one of them (https://www.postgresql.org/docs/current/multibyte.html)."""
OVERLOAD = (
    "another role has made a {}, too, which would be called with the rights of this one; drop it, "
    "or restore without --in-place"
)
_UNSAFE = (
    "the dump is in {}, in which a backslash may be half a character; make it again with pg_dump "
    "--encoding=UTF8"
)


def run_script(
    stream: BinaryIO,
    connection: psycopg.Connection[Any],
    *,
    options: ScriptOptions,
    others: Sequence[psycopg.Connection[Any]] = (),
    progress: Progress | None = None,
    first_line: int = 1,
) -> ScriptResult:
    """Send a plain dump over ``connection`` and return what became of it.

    Everything goes into the transaction that is open, or into a new one that is left open: the
    caller commits, once the result is ``complete``. With ``options.commit_every`` the connection
    has to be an autocommitting one with no transaction open, and what is sent is committed as it
    goes. Then ``others`` may be given: connections like this one, over which goes what need not be
    done in order. The session's settings are afterwards what they were. ``progress`` is kept up
    to date with what is built. ``first_line`` is the number that messages give to the stream's
    first line.

    Raises ScriptError, and whatever reading ``stream`` raises; the connection is then closed, or
    its transaction has failed. Raises ValueError for a connection that does not suit them.
    """
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    if options.commit_every and not (idle and connection.autocommit):
        raise ValueError("commit_every needs an autocommitting connection with no transaction open")
    if others and not options.commit_every:
        raise ValueError("other connections see nothing of a transaction that is left open")
    wire = Wire(connection)
    if idle and not options.commit_every:
        wire.command(b"BEGIN")
    sender = Sender(connection, wire, options, others, progress or Progress())
    result = _Script(Lexer(stream, first_line), wire, sender).run()
    sender.put_back()
    return result


class _Script:
    """One dump on its way to the server."""

    def __init__(self, lexer: Lexer, wire: Wire, sender: Sender):
        self._lexer = lexer
        self._wire = wire
        self._sender = sender
        self._result = ScriptResult()
        self._left_out = Collected()
        self._ending = Ending(begun=not self._lexer.has_first_line())
        self._database = DatabaseStatements()
        self._encoding = (b"", "ascii")

    def run(self) -> ScriptResult:
        try:
            self._read()
            self._sender.end()
        except StatementFailed as error:
            raise self._failed(error) from None
        except psycopg.Error as error:
            reason = f"the connection was lost: {first_line(error)}"
            raise script_error(self._lexer.line, reason) from error
        finally:
            # After a success it finds nothing to do.
            self._sender.abandon()
        result, ending = self._result, self._ending
        result.rows, result.left_out = self._sender.rows, self._left_out.all()
        result.complete, result.reason = ending.complete, ending.reason
        return result

    def _read(self) -> None:
        try:
            for message in self._lexer.messages():
                self._leave_out(LeaveOut("text", "no part of the dump"), message)
            while (piece := self._next()) is not None:
                if isinstance(piece, Comment):
                    self._ending.comment(piece.text)
                    self._result.tables.comment(piece.text, self._encoding[1])
                elif isinstance(piece, MetaCommand):
                    self._meta_command(piece)
                else:
                    self._statement(piece)
            if self._database.early:
                raise self._error(self._database.early, OF_ANOTHER_DATABASE)
        except (LexingError, RestoreError) as error:
            # What is wrong with earlier lines comes first.
            self._sender.finish_what_is_given()
            if isinstance(error, LexingError):
                raise script_error(error.line, str(error)) from None
            raise

    def _next(self) -> Statement | MetaCommand | Comment | None:
        encoding = self._wire.parameter(b"client_encoding")
        if encoding != self._encoding[0]:
            if encoding in UNSAFE_ENCODINGS:
                raise script_error(self._lexer.line, _UNSAFE.format(encoding.decode()))
            self._encoding = encoding, self._wire.encoding
        return self._lexer.next(self._wire.parameter(b"standard_conforming_strings") == b"off")

    def _meta_command(self, command: MetaCommand) -> None:
        if not command.inside and is_skipped(command.text, self._lexer.nothing_follows):
            return
        if command.inside or not self._database.may_connect(command.text):
            if self._lexer.at_end():
                raise Unfinished("a psql command", command.line)
            why = hint(command.before, None, creates=True)
            said = f"refused: {why or 'no psql runs, and pg_dump writes no such command'}"
            raise self._error(command, said)
        self._ending.statement(command, "")
        self._leave_out(LeaveOut("connect", "everything goes into one database"), command)

    def _statement(self, statement: Statement) -> None:
        words = Words(statement.text)
        try:
            if b"\0" in statement.text:
                raise Refused("a zero byte would hide the rest of the statement")
            verdict = self._verdict(statement.text, words)
        except Refused as refused:
            why = hint(statement.text, None, creates=True) or str(refused)
            raise self._error(statement, f"refused: {why}") from None
        self._ending.statement(statement, words.first(1)[0])
        if astray := self._database.astray(statement, verdict):
            raise self._error(astray, OF_ANOTHER_DATABASE)
        if isinstance(verdict, LeaveOut):
            if verdict.what == POSITION and len(statement.text) < LONGEST_POSITION:
                self._result.positions.append(statement.text.decode(self._encoding[1], "replace"))
            self._leave_out(verdict, statement)
            if copies_in(words):
                deque(self._lexer.copy_data(), maxlen=0)
            return
        if isinstance(verdict, Replaced):
            self._leave_out(verdict.omitted, statement)
            verdict = verdict.statement
        oids = copies_oids(statement.text) is not None
        self._send(Statement(verdict, statement.line), words, oids=oids)

    def _verdict(self, statement: bytes, words: Words) -> Verdict:
        encoding = self._encoding[1]
        if self._ending.outside and (around := left_out_around(words)):
            return around
        table = filled_by(statement)
        if table and self._sender.lacks(table) and not self._result.tables.makes(table, encoding):
            name = ".".join(plain_names(table, encoding))
            return LeaveOut("rows", ROWS_OF_NO_EXTENSION.format(name))
        if other := self._sender.overload_of(statement):
            raise Refused(OVERLOAD.format(other))
        options = self._sender.options
        refuse_to_take_over(statement, options.standing, encoding)
        if options.keeps_others and self._result.tables.drops_its_own(statement, encoding):
            options = replace(options, keeps_others=False)
        return decide(statement, words, options, encoding)

    def _send(self, statement: Statement, words: Words, *, oids: bool = False) -> None:
        may_fail = None
        if can_wait(statement):
            self._sender.queue(statement)
        elif oids or copies_in(words):
            if not self._lexer.at_line_end():
                raise self._error(statement, "refused: its rows must begin in the next line")
            may_fail = self._sender.copy(statement, self._lexer, oids=oids)
        else:
            may_fail = self._sender.run(statement, words)
            self._result.statistics += brings_statistics(statement.text)
            if not may_fail:
                self._result.tables.statement(statement.text, self._encoding[1])
        if may_fail:
            self._leave_out(LeaveOut(may_fail.what, may_fail.reason), statement)
        else:
            self._result.statements += 1

    def _leave_out(self, omitted: LeaveOut, piece: Statement | MetaCommand | Comment) -> None:
        self._left_out.add(omitted, piece.text, piece.line, self._encoding[1])

    def _failed(self, error: StatementFailed) -> ScriptError:
        text, creates = error.statement.text, self._sender.creates
        more = hint(text, error.sqlstate, creates=creates, in_function=error.in_function)
        if self._sender.options.keeps_others and error.sqlstate in EXISTS:
            more = more or OF_OTHERS
        said = f"{error}; {more}" if more else str(error)
        return self._error(error.statement, said, error.sqlstate)

    def _error(
        self, piece: Statement | MetaCommand, reason: str, sqlstate: str | None = None
    ) -> ScriptError:
        line = piece.line or self._lexer.line
        return script_error(line, reason, shown(piece.text, self._encoding[1]), sqlstate)
