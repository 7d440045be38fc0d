"""Rows in tables of extensions that dumps carry: what ``pg_extension.extconfig`` names.

Those are what users have put there: own coordinate systems of PostGIS, jobs of pg_cron. The rows
that the extension itself has brought are told apart by its own condition, as pg_dump does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from .session_settings import own_names

CONFIGURED = """
SELECT e.extname::pg_catalog.text, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       coalesce(configured.condition, ''),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE')
           AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
           AND (o.rolsuper OR o.rolname OPERATOR(pg_catalog.=) current_user)
           AND NOT pg_catalog.row_security_active(c.oid),
       pg_catalog.has_table_privilege(c.oid, 'INSERT')
           AND pg_catalog.has_table_privilege(c.oid, 'DELETE'),
       pg_catalog.pg_relation_size(c.oid) OPERATOR(pg_catalog.>) 0
FROM pg_catalog.pg_extension AS e
CROSS JOIN LATERAL ROWS FROM (
    pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)
) AS configured (oid, condition)
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) configured.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) c.relowner
WHERE c.relkind OPERATOR(pg_catalog.=) 'r'
"""
"""Another role's table is not read: its indexes may call that role's functions. Nor is one of which
row-level security hides rows."""
OF_USERS = sql.SQL("SELECT ctid FROM ONLY {} ")
"""The rows of a table of an extension that are not its own, once its condition is added."""
REPLICA = "SELECT pg_catalog.set_config('session_replication_role', %s, true)"
ROLE = "SELECT pg_catalog.current_setting('session_replication_role')"


@dataclass(frozen=True)
class _Table:
    """One such table: its extension, its name, the condition, and what this role may do.

    ``has_pages``: it may hold rows, be they the extension's own.
    """

    extension: str
    schema: str
    name: str
    condition: str
    may_read: bool
    may_write: bool
    has_pages: bool

    @property
    def quoted(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def of_users(self, connection: psycopg.Connection[Any]) -> str:
        """Return the query of its rows; the condition is the server's own, and may be any tail."""
        return OF_USERS.format(self.quoted).as_string(connection) + self.condition


def filled_tables(connection: psycopg.Connection[Any]) -> int:
    """Return how many tables of extensions hold rows of users, or may do so unseen by this role."""
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        tables = [table for table in _tables(cursor) if table.has_pages]
        readable = [table for table in tables if table.may_read]
        asked = (f"SELECT EXISTS ({one.of_users(connection)})".encode() for one in readable)
        filled = sum(bool(row[0]) for each in asked if (row := cursor.execute(each).fetchone()))
    return filled + len(tables) - len(readable)


def tables_of_extensions(
    connection: psycopg.Connection[Any], *, closed: bool = False
) -> frozenset[tuple[str, str]]:
    """Return schema and name of these tables, or of those ``closed`` to this role alone."""
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        tables = _tables(cursor)
    return frozenset((one.schema, one.name) for one in tables if not (closed and one.may_write))


def clear_tables(
    connection: psycopg.Connection[Any], extensions: Sequence[str], *, superuser: bool
) -> None:
    """Delete users' rows from the tables of these extensions, where this role may put others.

    In the transaction that is open. All go at once, since one table may refer to another; triggers
    that ask what has been dropped already are left out where the role is a ``superuser``.
    """
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        tables = [one for one in _tables(cursor) if one.extension in extensions]
        deletions = [
            f"{_delete(connection, one)} WHERE ctid IN ({one.of_users(connection)})"
            for one in tables
            if one.may_read and one.may_write
        ]
        if not deletions:
            return
        before = cursor.execute(ROLE).fetchone()
        if superuser:
            cursor.execute(REPLICA, ["replica"])
        each = ", ".join(f"deletion_{n} AS ({text})" for n, text in enumerate(deletions))
        cursor.execute(f"WITH {each} SELECT".encode())
        if superuser:
            cursor.execute(REPLICA, before)


def _delete(connection: psycopg.Connection[Any], table: _Table) -> str:
    return sql.SQL("DELETE FROM ONLY {}").format(table.quoted).as_string(connection)


def _tables(cursor: psycopg.Cursor[Any]) -> list[_Table]:
    return [_Table(*row) for row in cursor.execute(CONFIGURED)]
