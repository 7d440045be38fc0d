"""Whether a connection is a session of its own on the server, or one of a pooler's."""

from __future__ import annotations

import socket
from contextlib import suppress
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


def require_direct(connection: psycopg.Connection[Any], place: str, database: str) -> None:
    """Raise PoolerError where a pooler answers, AddressError where another database does.

    ``place`` is the address in a sentence.
    """
    row = connection.execute(WHERE_I_AM).fetchone()
    assert row  # noqa: S101 - it has no FROM
    pid, found, client_port, port = row
    if pid != connection.info.backend_pid or (
        not _both_ends_agree(connection, client_port, port) and is_pgpool(connection)
    ):
        raise PoolerError(
            f"A pooler answers at {place}, and this needs sessions of its own: give the server's "
            f"own address with --direct or in {DIRECT_URL}."
        )
    if found != database:
        raise AddressError(
            f'The connection to "{database}" on {place} leads to "{found}": restore into a '
            "PostgreSQL server."
        )


def is_pgpool(connection: psycopg.Connection[Any]) -> bool:
    """Return whether pgpool-II answers. A server's log has an error afterwards if none does."""
    with suppress(errors.UndefinedObject):
        connection.execute(PGPOOL_VERSION)
        return True
    return False


def _both_ends_agree(
    connection: psycopg.Connection[Any], client_port: int | None, server_port: int
) -> bool:
    """Return whether the server sees the client where it is.

    It does not through a pooler, nor through address translation or a tunnel. pgpool-II passes on
    the process number of the session, which other poolers do not.
    """
    ours = socket.socket(fileno=connection.fileno())
    try:
        place = ours.getsockname()
    finally:
        ours.detach()
    if isinstance(place, tuple):
        return bool(place[1] == client_port)
    return client_port is None and server_port == connection.info.port
