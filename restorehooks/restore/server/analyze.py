"""Planner statistics for what was restored: several tables at once, past any autovacuum."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress

import psycopg
from psycopg import errors, sql

from restorehooks.restore.progress import SECONDS_A_BEAT, Progress, Watch

from .address import Address, Connection
from .session_settings import PAST_AUTOVACUUM

# As ANALYZE without a name takes them, but for partitions, which their root brings along. The
# largest come first, so that none is left over for one worker alone.
TO_ANALYZE = """
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND NOT (%s AND EXISTS (SELECT FROM pg_catalog.pg_stats s
                              WHERE s.schemaname = n.nspname AND s.tablename = c.relname)
               -- a dump by 18 has none for those of CREATE STATISTICS
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext WHERE stxrelid = c.oid))
ORDER BY c.relkind = 'p' DESC, pg_catalog.pg_relation_size(c.oid) DESC
"""
SECONDS_TO_CANCEL = 5.0


def analyze(
    address: Address,
    database: str,
    jobs: int,
    *,
    missing_only: bool = False,
    watch: Watch | None = None,
) -> None:
    """Gather statistics on every table of a database, ``jobs`` at a time.

    ``missing_only``: the dump has brought statistics; tables that have them are passed over.
    ``watch`` is called every second with the number of tables done.

    What this role may not analyze or not reach is passed over. Whatever interrupts it ends the
    work of all connections. Raises psycopg.Error.
    """
    with address.connect(database) as first:
        tables = deque(sql.Identifier(*name) for name in first.execute(TO_ANALYZE, [missing_only]))
    running: list[Connection] = []
    with ThreadPoolExecutor(jobs, "restorehooks-analyze") as pool:
        try:
            work = [pool.submit(_work, address, database, tables, running) for _ in range(jobs)]
            total, left = len(tables), set(work)
            while left:
                done, left = wait(left, timeout=SECONDS_A_BEAT, return_when=FIRST_EXCEPTION)
                if any(each.exception() for each in done):
                    break
                if watch:
                    begun = total - len(tables)
                    watch(Progress(max(0, begun - len(left)), total, unit="tables"))
            for each in done:
                each.result()
        except BaseException:
            tables.clear()
            for connection in running:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=SECONDS_TO_CANCEL)
            raise


def _work(
    address: Address, database: str, tables: deque[sql.Identifier], running: list[Connection]
) -> None:
    with address.connect(database) as connection:
        running.append(connection)
        with suppress(errors.InsufficientPrivilege):
            connection.execute(f"SET {PAST_AUTOVACUUM}".encode())
        # Up to 16 an index's expression is evaluated under it, as always with its owner's rights.
        connection.execute("RESET search_path")
        # The swap waits for the disk, and so for all that came before it.
        connection.execute("SET synchronous_commit = off")
        while True:
            try:
                table = tables.popleft()
            except IndexError:
                return
            connection.execute(sql.SQL("ANALYZE {}").format(table))
