"""What waits for a lock that somebody holds on a database: for a while, and then not in silence.

Locks on a database are no privilege of who may change it: every role may set something for itself
in any of them, and leave that uncommitted.
"""

from __future__ import annotations

from collections.abc import Callable

from psycopg import errors

from restorehooks.restore.errors import TargetError

from .address import Connection
from .lock import RestoreLock, connect_maintenance
from .sessions import sessions_ended


def freed(lock: RestoreLock, what: str, do: Callable[[Connection], object]) -> None:
    """Do something over the session of the lock; who holds it up is ended, or else named.

    ``do`` is called again when it has waited for too long. Raises TargetError.
    """
    try:
        do(lock.connection)
        return
    except errors.LockNotAvailable:
        connection = lock.connection
    info = connection.info
    with (
        connect_maintenance(lock.address, info.dbname) as other,
        sessions_ended(other, [], info.backend_pid) as in_the_way,
    ):
        try:
            do(connection)
        except errors.LockNotAvailable:
            who = ", ".join(in_the_way) or "another transaction"
            raise TargetError(
                f"{what} is held up by a lock of {who}: wait until it is over, or end it with "
                "pg_terminate_backend"
            ) from None
