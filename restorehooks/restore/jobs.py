"""How many jobs load a dump, and analyze what was loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from restorehooks.sequences.other_connections import FREE

from .dump.facts import Dump
from .extension_registry import one_job
from .request import Mode
from .server.address import Connection

SPARE = 4
"""Connections left to others, pg_restore's leader and the maintenance connection among them."""


def _in_parallel(mode: Mode, dump: Dump) -> bool:
    return mode == "beside" and dump.format in ("custom", "directory", "plain")


def jobs_for(
    asked: int | None, mode: Mode, dump: Dump, extensions: Sequence[str], connection: Connection
) -> int:
    """Return how many jobs load, ``asked`` for or not: as many as cores and connections allow.

    There is one where the mode, the dump or one of its extensions allows no more.
    """
    if not _in_parallel(mode, dump) or one_job(extensions):
        return 1
    # One more than there are cores, since each waits for the disk now and then.
    return asked or max(1, min(_cores() + 1, _connections_left(connection)))


def jobs_to_dump(asked: int | None, connection: Connection) -> int:
    """Return how many connections read a database that is dumped from this server."""
    return asked or max(1, min(_cores() + 1, _connections_left(connection)))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _connections_left(connection: Connection) -> int:
    row = connection.execute(FREE).fetchone()
    return int(row[0]) - SPARE if row else 1


def notes_on_jobs(asked: int | None, mode: Mode, dump: Dump) -> Iterator[str]:
    """Yield what is to be said where more jobs were asked for than there will be."""
    if asked and asked > 1 and not _in_parallel(mode, dump):
        yield f"a {dump.format} dump, {mode}, is loaded by one job"
