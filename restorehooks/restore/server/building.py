"""What a load is building in a database right now: indexes and constraints take the longest."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psycopg

from restorehooks.restore.errors import RestoreError
from restorehooks.restore.progress import Building, Look
from restorehooks.wording import printable

from .address import Connection

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_WORTH_SAYING = 1
"""What has taken less is over before it is read."""

NOW = """
SELECT a.query,
       extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.query_start)::int,
       (100 OPERATOR(pg_catalog.*) p.blocks_done
            OPERATOR(pg_catalog./) nullif(p.blocks_total, 0))::int,
       c.tuples_processed
FROM pg_catalog.pg_stat_activity AS a
LEFT JOIN pg_catalog.pg_stat_progress_create_index AS p USING (pid)
LEFT JOIN pg_catalog.pg_stat_progress_copy AS c USING (pid)
WHERE a.datname OPERATOR(pg_catalog.=) %s AND a.state OPERATOR(pg_catalog.=) 'active'
    AND a.backend_type OPERATOR(pg_catalog.=) 'client backend'
ORDER BY a.query_start
"""
# A quote that is doubled ends one quoted part and begins the next: there is one way to read it.
_NAME = r'((?:"[^"]*"|[\w$.])+)'
_BUILDS = (
    ("index", re.compile(rf"\s*CREATE (?:UNIQUE )?INDEX {_NAME} ON ")),
    ("constraint", re.compile(rf"\s*ALTER TABLE .*?\bADD CONSTRAINT {_NAME} ", re.DOTALL)),
    ("view", re.compile(rf"\s*REFRESH MATERIALIZED VIEW {_NAME}")),
    ("rows of", re.compile(rf"\s*COPY {_NAME} ")),
)


def building(connection: Callable[[], Connection], database: str) -> Look:
    """Return a function that says what sessions in a database work on, each with how long.

    It asks every two seconds at most, and says nothing where it cannot ask.
    """
    said: list[Building] = []
    asked = time.monotonic()

    def now() -> Sequence[Building]:
        nonlocal asked
        if time.monotonic() - asked > SECONDS_BETWEEN_LOOKS:
            said.clear()
            with suppress(psycopg.Error, RestoreError):
                for query, *known in connection().execute(NOW, [database]).fetchall():
                    if known[0] >= SECONDS_WORTH_SAYING and (what := _what(query)):
                        said.append(Building(*what, *known))
            asked = time.monotonic()
        return tuple(said)

    return now


def _what(query: str) -> tuple[str, str] | None:
    for kind, pattern in _BUILDS:
        if found := pattern.match(query):
            return kind, printable(found[1])
    return None
