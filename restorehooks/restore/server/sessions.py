"""The sessions in the way of a rename or a DROP: which can be ended, and ending them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex

import psycopg

from .address import Connection

SECONDS_A_ROUND = 0.002
"""How long to wait before the sessions are looked for again."""
_CHANNEL = f"restorehooks_{token_hex(8)}"
"""Nobody else can guess it: what is said there may end the session of who listens, since text that
is not in the client's encoding is a fatal error in a database of SQL_ASCII."""
LISTEN, NOTIFY = f"LISTEN {_CHANNEL}", f"NOTIFY {_CHANNEL}"

Found = tuple[int, str, bool]
SESSIONS = """
SELECT a.pid, coalesce(a.usename, ''), me.rolsuper OR (
           NOT coalesce(r.rolsuper, true)
           AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE')
                OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
FROM pg_catalog.pg_stat_activity a
JOIN pg_catalog.pg_roles me ON me.rolname = current_user
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
WHERE (a.datname = ANY(%(databases)s)
       OR a.pid = ANY(pg_catalog.pg_blocking_pids(%(waiting)s))
       OR a.pid IN (SELECT l.pid FROM pg_catalog.pg_locks l
                    JOIN pg_catalog.pg_database d ON d.oid = l.objid
                    WHERE l.classid = 'pg_catalog.pg_database'::regclass AND l.granted
                      AND l.locktype = 'object' AND d.datname = ANY(%(databases)s)))
  AND a.pid NOT IN (pg_catalog.pg_backend_pid(), %(waiting)s)
  AND a.usesysid IS NOT NULL  -- autovacuum makes way by itself
"""
"""The sessions in some databases: process, user, and whether this role may end it.

So are those in others that hold a lock on one of them (every role may ALTER itself IN DATABASE), or
that the process which waits is waiting for.
"""
PREPARED = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = ANY(%s)"
END = "SELECT pg_catalog.pg_terminate_backend(p) FROM pg_catalog.unnest(%s) p"


def found_in(connection: Connection, databases: list[str], waiting: int = 0) -> list[Found]:
    """Return the sessions in the way, see ``SESSIONS``; ``waiting`` is the process that waits."""
    return connection.execute(SESSIONS, {"databases": databases, "waiting": waiting}).fetchall()


def unendable(connection: Connection, databases: list[str]) -> list[str]:
    """Return what keeps these databases from being renamed, as people read it.

    The sessions that this role may not end, and transactions that are prepared there.
    """
    found = found_in(connection, databases)
    prepared = connection.execute(PREPARED, [databases]).fetchall()
    return [
        *(named(pid, user) for pid, user, endable in found if not endable),
        *(f'the prepared transaction "{name}"' for (name,) in prepared),
    ]


def named(pid: int, user: str) -> str:
    """Return a session as people read it."""
    return f'process {pid} of "{user}"'


@contextmanager
def sessions_ended(
    terminator: Connection, databases: list[str], waiting: int
) -> Iterator[list[str]]:
    """End the sessions in these databases again and again while the block runs.

    So are those that the process ``waiting`` waits for. None is ended while there is one that
    cannot be: the rename would fail all the same. Yields those, as they were seen last.

    A rename keeps new sessions out from its beginning, and looks for those that are in, but naps
    for a tenth of a second before it looks again (CountOtherDBBackends in procarray.c). Any signal
    wakes it; a NOTIFY that it listens to is one that every role may send.
    """
    over = threading.Event()
    in_the_way: list[str] = []

    def end_all() -> None:
        with suppress(psycopg.Error):
            while not over.wait(SECONDS_A_ROUND):
                found = found_in(terminator, databases, waiting)
                if not found:
                    terminator.execute(NOTIFY)
                elif all(endable for _, _, endable in found):
                    terminator.execute(END, [[pid for pid, _, _ in found]])
                else:
                    in_the_way[:] = [named(pid, user) for pid, user, may in found if not may]

    thread = threading.Thread(target=end_all, name="restorehooks-sessions", daemon=True)
    thread.start()
    try:
        yield in_the_way
    finally:
        over.set()
        thread.join()
