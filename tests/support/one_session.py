"""A server that has one session for all of its connections, as PGlite behind its socket has."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.databases import Database
from tests.support.proxies import PLAIN


@dataclass
class OneSession:
    """A proxy that sends what all clients ask over one connection, one question at a time.

    Whatever database a client names, it enters that of the session; with ``by_database`` there is
    one session for each. While ``most`` clients are connected, others have to wait.
    """

    server: str
    database: str
    by_database: bool = False
    most: int = 100
    asked: list[bytes] = field(default_factory=list, init=False)
    listener: socket.socket = field(
        default_factory=lambda: socket.create_server(("localhost", 0)), init=False
    )
    _sessions: dict[str, tuple[socket.socket, bytes]] = field(default_factory=dict, init=False)
    _clients: list[socket.socket] = field(default_factory=list, init=False)
    _places: threading.Semaphore = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._places = threading.Semaphore(self.most)

    def settings(self, database: Database) -> dict[str, Any]:
        """Return what stands in Django's DATABASES for the database behind it."""
        place = {"HOST": "localhost", "PORT": str(self.listener.getsockname()[1])}
        return {**database.settings, **place, "OPTIONS": dict(PLAIN)}

    def run(self) -> None:
        """Accept connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self._clients.append(client)
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        sessions = [session for session, _ in self._sessions.values()]
        for each in (self.listener, *self._clients, *sessions):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), self._places:
            (length,) = struct.unpack("!I", _exactly(client, 4))
            words = _exactly(client, length - 4)[4:].split(b"\0")
            named = dict(zip(words[::2], words[1::2], strict=False))[b"database"].decode()
            with self._lock:
                session, greeting = self._session(named if self.by_database else self.database)
            client.sendall(greeting)
            question = b""
            while (message := _message(client))[:1] != b"X":
                question += message
                if message[:1] in b"QS":  # a query, or the end of one in several messages
                    self.asked.append(question)
                    with self._lock:
                        session.sendall(question)
                        answer = _until_ready(session)
                    client.sendall(answer)
                    question = b""

    def _session(self, name: str) -> tuple[socket.socket, bytes]:
        if name not in self._sessions:
            session = socket.socket(socket.AF_UNIX)
            session.connect(self.server)
            words = ["user", "postgres", "database", name, "client_encoding", "UTF8", "", ""]
            body = struct.pack("!I", 196608) + "\0".join(words)[:-1].encode() + b"\0"
            session.sendall(struct.pack("!I", len(body) + 4) + body)
            self._sessions[name] = (session, _until_ready(session))
        return self._sessions[name]


@contextlib.contextmanager
def one_session(database: Database, **how: Any) -> Iterator[OneSession]:
    """Run one before the server of a database while the block runs."""
    params = database.server.params
    made = OneSession(f"{params['host']}/.s.PGSQL.{params['port']}", database.name, **how)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(5)


def _until_ready(session: socket.socket) -> bytes:
    answer = b""
    while True:
        message = _message(session)
        answer += message
        if message[:1] == b"Z":
            return answer


def _message(source: socket.socket) -> bytes:
    head = _exactly(source, 5)
    return head + _exactly(source, struct.unpack("!I", head[1:])[0] - 4)


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (piece := source.recv(size - len(data))):
            raise EOFError
        data += piece
    return data
