"""The sessions in a database that is to be renamed: which can be ended, and ending them."""

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

SESSIONS = """
SELECT a.pid, coalesce(a.usename, ''), me.rolsuper OR (
           NOT coalesce(r.rolsuper, true)
           AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE')
                OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
FROM pg_catalog.pg_stat_activity a
JOIN pg_catalog.pg_roles me ON me.rolname = current_user
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
WHERE a.datname = ANY(%s) AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.usesysid IS NOT NULL  -- autovacuum makes way by itself
"""
"""The sessions in some databases: process, user, and whether this role may end it."""
PREPARED = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = ANY(%s)"
END = "SELECT pg_catalog.pg_terminate_backend(p) FROM pg_catalog.unnest(%s) p"


def unendable(connection: Connection, databases: list[str]) -> list[str]:
    """Return what keeps these databases from being renamed, as people read it.

    The sessions that this role may not end, and transactions that are prepared there.
    """
    found = connection.execute(SESSIONS, [databases]).fetchall()
    prepared = connection.execute(PREPARED, [databases]).fetchall()
    return [
        *(f'process {pid} of "{user}"' for pid, user, endable in found if not endable),
        *(f'the prepared transaction "{name}"' for (name,) in prepared),
    ]


@contextmanager
def sessions_ended(terminator: Connection, databases: list[str]) -> Iterator[None]:
    """End the sessions in these databases again and again while the block runs.

    None is ended while there is one that cannot be: the rename would fail all the same.

    A rename keeps new sessions out from its beginning, and looks for those that are in, but naps
    for a tenth of a second before it looks again (CountOtherDBBackends in procarray.c). Any signal
    wakes it; a NOTIFY that it listens to is one that every role may send.
    """
    over = threading.Event()

    def end_all() -> None:
        with suppress(psycopg.Error):
            while not over.wait(SECONDS_A_ROUND):
                found = terminator.execute(SESSIONS, [databases]).fetchall()
                if not found:
                    terminator.execute(NOTIFY)
                elif all(endable for _, _, endable in found):
                    inside = [pid for pid, _, _ in found]
                    terminator.execute(END, [inside])

    thread = threading.Thread(target=end_all, name="restorehooks-sessions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
