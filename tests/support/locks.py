"""How long somebody waits for locks, as the server tells.

How long a test takes depends on the machine and what else it does; a wait for a lock does not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.databases import Database

WAITS = """
SELECT l.pid, l.waitstart, extract(epoch FROM clock_timestamp() - l.waitstart)::float
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.datname = current_database() AND l.waitstart IS NOT NULL
"""
SECONDS_A_LOOK = 0.02


class Waits:
    """The waits for locks in a database: of each, which session began it when, and its length."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, object], float] = {}

    @property
    def seconds(self) -> float:
        """How long all of them took."""
        return sum(self.found.values())


@contextmanager
def lock_waits(database: Database) -> Iterator[Waits]:
    """Look at who waits for a lock while the block runs, many times a second."""
    waits, over = Waits(), threading.Event()

    def look() -> None:
        with database.connect() as connection:
            while not over.wait(SECONDS_A_LOOK):
                for pid, since, seconds in connection.execute(WAITS):
                    waits.found[pid, since] = seconds

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()
