"""A connection at the level of libpq, where one message is one statement.

psycopg's cursors send a statement without parameters by the simple protocol, which runs several
that stand in one string, and must be told beforehand which statement begins a COPY. Here every
statement goes by the extended protocol, and the server says when it wants rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from restorehooks.wording import LONGEST

from .channel import Channel
from .lexer import Statement

IN_FLIGHT = 1000
"""How many statements may wait for their results."""
BYTES_IN_FLIGHT = 1024 * 1024
SECONDS_TO_CANCEL = 5.0

_COPYING = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)
_IDLE = (TransactionStatus.IDLE, TransactionStatus.INTRANS, TransactionStatus.INERROR)
_NOT_FOUND = ("42P01", "42883", "42704", "3F000")
"""There is no such table, function, type or schema."""
_FUNCTION = ("PL/", "SQL function ")
"""How the context of an error in a function begins: "PL/pgSQL function public.f() line 1"."""


class StatementFailed(Exception):  # noqa: N818 - the server's verdict
    """The server refused a statement; ``sqlstate`` is None where it gave none.

    ``row`` is the one that it refused of a COPY over several connections, counted from 1.
    ``in_function``: a function that the statement calls did not find a name.
    """

    def __init__(
        self,
        statement: Statement,
        message: str,
        sqlstate: str | None,
        row: int = 0,
        *,
        in_function: bool = False,
    ):
        super().__init__(message)
        self.statement = statement
        self.sqlstate = sqlstate
        self.row = row
        self.in_function = in_function


class Wire(Channel):
    """Sends statements over a connection that does nothing else.

    ``rows`` counts what INSERT and COPY have added. A connection that breaks raises
    psycopg.OperationalError.
    """

    def __init__(self, connection: psycopg.Connection[Any]):
        super().__init__(connection)
        self._queued: list[Statement] = []
        self._queued_bytes = 0
        self._pipelines = psycopg.capabilities.has_pipeline()
        self.rows = 0

    def run(self, statement: Statement) -> None:
        """Run one statement; rows it returns are dropped. Raises StatementFailed."""
        self.settle()
        self._send(statement)
        self._finish(statement)

    def command(self, text: bytes) -> None:
        """Run a statement of our own, such as COMMIT."""
        self.run(Statement(text, 0))

    def copy(self, statement: Statement, rows: Iterable[bytes]) -> None:
        """Run a COPY FROM STDIN and give the server the rows when it asks for them.

        Raises StatementFailed, and whatever reading the rows raises: see ``abandon``.
        """
        self.begin_copy(statement)
        for block in rows:
            self.put(block)
        self.end_copy(statement)

    def begin_copy(self, statement: Statement) -> None:
        """Run a COPY FROM STDIN up to where the server asks for rows. Raises StatementFailed."""
        self.settle()
        self._send(statement)
        result = self._result()
        if result is None or result.status != ExecStatus.COPY_IN:
            self._finish(statement, result)
            raise StatementFailed(statement, "the server wants no rows for this statement", None)
        if result.binary_tuples:
            raise StatementFailed(statement, "a plain dump cannot hold binary rows", None)

    def put(self, block: bytes) -> None:
        """Give the server the next rows of the COPY that was begun, cut anywhere."""
        while not self._pgconn.put_copy_data(block):
            self._flush()
        self._flush()

    def end_copy(self, statement: Statement) -> None:
        """End the COPY that was begun. Raises StatementFailed."""
        while not self._pgconn.put_copy_end():
            self._flush()
        self._flush()
        self._finish(statement)

    def queue(self, statement: Statement) -> None:
        """Send a statement whose result can wait. Raises StatementFailed for an earlier one too."""
        if not self._pipelines:
            self.run(statement)
            return
        if not self._queued:
            self._pgconn.enter_pipeline_mode()
        self._pgconn.send_query_params(statement.text, None)
        self._queued.append(statement)
        self._queued_bytes += len(statement.text)
        if len(self._queued) >= IN_FLIGHT or self._queued_bytes >= BYTES_IN_FLIGHT:
            self._collect()

    def settle(self) -> None:
        """Wait for all that was queued. Raises StatementFailed."""
        if self._queued:
            self._collect()

    def abandon(self) -> None:
        """Stop what is under way, if anything is: the server rolls back, the connection closes."""
        if self._pgconn.transaction_status in _IDLE:
            return
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=SECONDS_TO_CANCEL)
        self._connection.close()

    # --- Messages and results ------------------------------------------------------------------

    def _send(self, statement: Statement) -> None:
        self._pgconn.send_query_params(statement.text, None)
        self._pgconn.set_single_row_mode()
        self._flush()

    def _finish(self, statement: Statement, first: PGresult | None = None) -> None:
        """Take the results of the statement up to the last."""
        failure = None
        result = first or self._result()
        while result is not None:
            if result.status in _COPYING:
                message = "the server began a COPY that the dump has no rows for"
                raise StatementFailed(statement, message, None)
            if result.status == ExecStatus.FATAL_ERROR:
                failure = failure or result
            self._count(result)
            result = self._result()
        if failure:
            raise self._failed(statement, failure)

    def _collect(self) -> None:
        """Take the results of all that is queued; the first failure makes the others void."""
        self._pgconn.pipeline_sync()
        self._flush()
        failed: StatementFailed | None = None
        for statement in self._queued:
            if not failed:
                self._pgconn.set_single_row_mode()
            while (result := self._result()) is not None:
                if result.status == ExecStatus.FATAL_ERROR:
                    failed = failed or self._failed(statement, result)
                self._count(result)
        self._result()  # the synchronisation point
        self._queued, self._queued_bytes = [], 0
        self._pgconn.exit_pipeline_mode()
        if failed:
            raise failed

    def _count(self, result: PGresult) -> None:
        if (result.command_status or b"").startswith((b"INSERT", b"COPY")):
            self.rows += result.command_tuples or 0

    def _failed(self, statement: Statement, result: PGresult) -> StatementFailed:
        def said(field: DiagnosticField) -> str:
            text = (result.error_field(field) or b"")[:LONGEST].decode(self.encoding, "replace")
            return " ".join(text.splitlines()[:1])

        message = said(DiagnosticField.MESSAGE_PRIMARY) or result.get_error_message()
        for more in (DiagnosticField.MESSAGE_DETAIL, DiagnosticField.MESSAGE_HINT):
            message += f"; {said(more).rstrip('.')}" if said(more) else ""
        sqlstate = said(DiagnosticField.SQLSTATE) or None
        where = said(DiagnosticField.CONTEXT)
        in_function = sqlstate in _NOT_FOUND and where.startswith(_FUNCTION)
        if in_function or where.startswith("COPY"):
            message += f" ({where})"
        return StatementFailed(statement, message, sqlstate, in_function=in_function)
