"""Proxies before a server's socket: one that cuts a connection at its COMMIT, one like a pooler."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.support.databases import Database

TERMINATE = b"X\0\0\0\4"
PLAIN = {"sslmode": "disable", "gssencmode": "disable"}
"""Options of a connection that a proxy can read."""


@dataclass
class Proxy:
    """A proxy that passes on what ``ours`` and ``theirs`` make of each piece of bytes.

    ``ours`` is called with what a client sends, ``theirs`` with what the server does; each with a
    dict of the connection's own. None cuts the connection. With ``keeps_sessions`` the server's
    session outlives it, as a pooler's does.
    """

    server: str
    ours: Callable[[bytes, dict[str, Any]], bytes | None] = lambda data, state: data
    theirs: Callable[[bytes, dict[str, Any]], bytes | None] = lambda data, state: data
    keeps_sessions: bool = False
    listener: socket.socket = field(
        default_factory=lambda: socket.create_server(("localhost", 0)), init=False
    )
    sockets: list[socket.socket] = field(default_factory=list, init=False)

    @property
    def port(self) -> int:
        """The port on localhost where it listens."""
        return int(self.listener.getsockname()[1])

    def settings(self, database: Database) -> dict[str, Any]:
        """Return what stands in Django's DATABASES for the database behind the proxy."""
        place = {"HOST": "localhost", "PORT": str(self.port), "OPTIONS": dict(PLAIN)}
        return {**database.settings, **place}

    def run(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                inner, _ = self.listener.accept()
            except OSError:
                return
            outer = socket.socket(socket.AF_UNIX)
            try:
                outer.connect(self.server)
            except OSError:
                inner.close()
                outer.close()
                continue
            self.sockets += [inner, outer]
            state: dict[str, Any] = {}
            for pair in ((inner, outer, self.ours), (outer, inner, self.theirs)):
                threading.Thread(target=self._pass, args=(*pair, state), daemon=True).start()

    def _pass(
        self,
        source: socket.socket,
        to: socket.socket,
        change: Callable[[bytes, dict[str, Any]], bytes | None],
        state: dict[str, Any],
    ) -> None:
        keeps = self.keeps_sessions and to.family == socket.AF_UNIX
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and (changed := change(data, state)) is not None:
                if keeps and changed == TERMINATE:
                    break
                to.sendall(changed)
        for end in (source,) if keeps else (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(database: Database, **how: Any) -> Iterator[Proxy]:
    """Run a proxy before the server of a database while the block runs."""
    params = database.server.params
    made = Proxy(f"{params['host']}/.s.PGSQL.{params['port']}", **how)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        for opened in (made.listener, *made.sockets):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        thread.join(5)


def at_commit(
    sign: bytes, then: Callable[[], None]
) -> Callable[[bytes, dict[str, Any]], bytes | None]:
    """Return what holds the first COMMIT back that follows ``sign``, calls ``then`` and cuts."""
    done = threading.Event()

    def ours(data: bytes, state: dict[str, Any]) -> bytes | None:
        state["signed"] = state.get("signed") or sign in data
        if state["signed"] and b"COMMIT" in data and not done.is_set():
            done.set()
            then()
            return None
        return data

    return ours


_NUMBERS = count(4_000_000)
"""Numbers of processes that no server has."""


def as_a_pooler(data: bytes, state: dict[str, Any]) -> bytes:
    """Give a connection a process number of its own, as PgBouncer does, and Neon's proxy."""
    at = -1 if state.get("begun") else data.find(b"K\0\0\0\x0c")
    if at < 0:
        return data
    state["begun"] = True
    return data[: at + 5] + struct.pack("!I", next(_NUMBERS)) + data[at + 9 :]
