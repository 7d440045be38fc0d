"""Results and waiting on one connection of libpq's: what psycopg does within its cursors."""

from __future__ import annotations

import selectors
from typing import Any

import psycopg
from psycopg.pq.abc import PGresult

from restorehooks.driver import SECONDS_A_WAIT


class Channel:
    """A connection that is read and written by hand."""

    def __init__(self, connection: psycopg.Connection[Any]):
        self._connection = connection
        self._pgconn = connection.pgconn

    def parameter(self, name: bytes) -> bytes:
        """Return a setting of the session that the server reports by itself."""
        return self._pgconn.parameter_status(name) or b""

    @property
    def encoding(self) -> str:
        """Python's name of the client encoding, or of one that lets ASCII be read."""
        try:
            codec = self._connection.info.encoding
        except psycopg.NotSupportedError:
            return "latin-1"
        return "utf-8" if codec == "ascii" else codec  # SQL_ASCII is anything

    def _result(self) -> PGresult | None:
        while self._pgconn.is_busy():
            self._wait(selectors.EVENT_READ)
            self._consume()
        return self._pgconn.get_result()

    def _flush(self) -> None:
        while self._pgconn.flush():
            # The server may have to be heard before it listens again.
            if self._wait(selectors.EVENT_READ | selectors.EVENT_WRITE) & selectors.EVENT_READ:
                self._consume()

    def _consume(self) -> None:
        self._pgconn.consume_input()
        while self._pgconn.notifies():  # libpq keeps them all; a dump may send itself any number
            pass

    def _wait(self, events: int) -> int:
        with selectors.DefaultSelector() as selector:
            selector.register(self._pgconn.socket, events)
            while not (ready := selector.select(SECONDS_A_WAIT)):
                pass
            return ready[0][1]
