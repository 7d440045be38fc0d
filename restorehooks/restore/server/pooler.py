"""Whether a connection is a session of its own on the server, or one of a pooler's."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Timer
from typing import Any

import psycopg
from psycopg import errors

from restorehooks.restore.errors import AddressError, PoolerError

DIRECT_URL = "RESTOREHOOKS_DIRECT_URL"
"""The variable that names the server's own address, where the alias leads through a pooler."""

WHERE_I_AM = """
SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_database(),
       pg_catalog.inet_client_port(), pg_catalog.current_setting('port')::pg_catalog.int4
"""
PGPOOL_VERSION = "SHOW pool_version"
"""pgpool-II answers it itself; PostgreSQL knows no such setting."""


SECONDS_TO_ANSWER = "5"
"""How long a server may take to answer whether it is there."""
SECONDS_TO_BEGIN = "2"
"""How long another session may take to begin: there is none on a server with one for all."""
SECONDS_TO_END = 2.0
"""How long another session may take to answer, and to end after its connection."""
STILL_THERE = """
SELECT pg_catalog.pg_backend_pid(), EXISTS (
    SELECT FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) %s)
"""
OWN_PROCESS = """
SELECT pg_catalog.pg_backend_pid(),
       extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text
"""


def require_direct(
    connection: psycopg.Connection[Any],
    place: str,
    database: str,
    link: Callable[[], psycopg.Connection[Any]] | None,
) -> None:
    """Raise PoolerError where a pooler answers, AddressError where another database does.

    ``place`` is the address in a sentence, ``link`` makes another connection to it, and is None
    where it is known that no pooler answers there.
    """
    row = connection.execute(WHERE_I_AM).fetchone()
    assert row  # noqa: S101 - it has no FROM
    pid, found, client_port, port = row
    if link is None or _both_ends_agree(connection, pid, client_port, port):
        is_pooled = False
    elif pid == connection.info.backend_pid:
        is_pooled = is_pgpool(connection) or _keeps_sessions(connection, pid, link) is True
    else:
        is_pooled = _keeps_sessions(connection, pid, link) is not False
    if is_pooled:
        raise PoolerError(
            f"A pooler answers at {place}, and this needs sessions of its own: give the server's "
            f"own address with --direct or in {DIRECT_URL}."
        )
    if found != database:
        raise AddressError(
            f'The connection to "{database}" on {place} leads to "{found}": restore into a '
            "PostgreSQL server."
        )


def _keeps_sessions(
    connection: psycopg.Connection[Any], pid: int, link: Callable[[], psycopg.Connection[Any]]
) -> bool | None:
    """Return whether a session outlives its connection: a pooler gives it to the next client.

    A proxy that gives each client a session of its own may hide its process number, too (Neon's).
    None where that is not found out: where all connections are one session, or lead to several
    servers.
    """
    deadline = time.monotonic() + SECONDS_TO_END
    with suppress(psycopg.Error, TimeoutError):
        with link() as second, soon(second, SECONDS_TO_END), soon(connection):
            # While a transaction is open, a pooler has another session for the second client.
            with connection.transaction():
                (_, server), (other, elsewhere) = _process(connection), _process(second)
            if server != elsewhere:
                return None
            # Now it has both to give, in whatever order, to clients that have none of their own.
            if (_process(connection)[0], _process(second)[0]) != (pid, other):
                return True
        with soon(connection):
            while other != pid:
                found = connection.execute(STILL_THERE, [other]).fetchone()
                if found != (pid, True) or time.monotonic() > deadline:
                    return found != (pid, False)
                time.sleep(SECONDS_A_LOOK)
    return None


def _process(connection: psycopg.Connection[Any]) -> tuple[int, str]:
    """Return a session's process, and which server's."""
    row = connection.execute(OWN_PROCESS).fetchone()
    assert row  # noqa: S101 - it has no FROM
    return row[0], row[1]


SECONDS_A_LOOK = 0.02
"""How often it is looked whether a session has ended."""


@contextmanager
def soon(connection: psycopg.Connection[Any], seconds: float | None = None) -> Iterator[None]:
    """Raise TimeoutError where what the block asks is not answered soon: the connection has ended.

    A pooler that is paused, or full, accepts connections, and answers when it goes on.
    """
    late, link = Event(), socket.socket(fileno=connection.fileno())

    def end() -> None:
        late.set()
        with suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds or float(SECONDS_TO_ANSWER), end)
    timer.start()
    try:
        yield
    except psycopg.OperationalError:
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        timer.join()
        link.detach()


def is_pgpool(connection: psycopg.Connection[Any]) -> bool:
    """Return whether pgpool-II answers. A server's log has an error afterwards if none does."""
    with suppress(errors.UndefinedObject):
        connection.execute(PGPOOL_VERSION)
        return True
    return False


def _both_ends_agree(
    connection: psycopg.Connection[Any], pid: int, client_port: int | None, server_port: int
) -> bool:
    """Return whether the server sees the client where it is, and has the number that it gave.

    It does not through a pooler, nor through address translation or a tunnel. pgpool-II and
    pgagroal pass on the process number of the session, which other poolers do not.
    """
    if pid != connection.info.backend_pid:
        return False
    ours = socket.socket(fileno=connection.fileno())
    try:
        place = ours.getsockname()
    finally:
        ours.detach()
    if isinstance(place, tuple):
        return bool(place[1] == client_port)
    return client_port is None and server_port == connection.info.port
