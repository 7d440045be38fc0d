"""Gives triggers back the states that they had before rows were loaded past them.

After a table's rows ``pg_dump --disable-triggers`` writes ``ENABLE TRIGGER ALL``. That switches on
what was off, too, and what fired always, or in replicas alone, fires as others do.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from .session_settings import own_names

STATES = """
SELECT t.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, t.tgname::pg_catalog.text,
       t.tgenabled::pg_catalog.text
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
ORDER BY t.oid
"""
_COMMANDS = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
"""How each value of tgenabled is set (https://www.postgresql.org/docs/current/catalog-pg-trigger.html)."""


def put_back(connection: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> None:
    """Set each trigger, in the open transaction, to the state that another session sees.

    That is the one before the transaction, since whoever has changed it holds the table's lock.
    """
    before = {oid: state for oid, *_, state in _states(other)}
    with own_names(connection), psycopg.Cursor(connection) as cursor:
        for oid, schema, table, name, state in _states(connection):
            if before.get(oid, state) != state:
                command = f"ALTER TABLE ONLY {{}} {_COMMANDS[before[oid]]} TRIGGER {{}}"
                of, trigger = sql.Identifier(schema, table), sql.Identifier(name)
                cursor.execute(sql.SQL(command).format(of, trigger))


def _states(connection: psycopg.Connection[Any]) -> list[tuple[int, str, str, str, str]]:
    """Read the triggers: oid, schema, table, name, and tgenabled."""
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        return cursor.execute(STATES).fetchall()
