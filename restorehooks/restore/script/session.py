"""The settings of a session that a dump changes for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from .wire import Wire

SESSION_SETTINGS = """
SELECT name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'
UNION ALL VALUES ('role', pg_catalog.current_setting('role')),
                 ('session_authorization', session_user::pg_catalog.text)
"""
SET_CONFIG = "SELECT pg_catalog.set_config(%s, %s, false)"


@contextmanager
def settings_kept(connection: psycopg.Connection[Any], wire: Wire) -> Iterator[None]:
    """Put back the settings that a dump makes for itself, an empty search_path among them."""
    encoding = wire.parameter(b"client_encoding")
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        before: dict[str, str] = dict(cursor.execute(SESSION_SETTINGS, prepare=False).fetchall())
        yield
        # First of all, since psycopg does not speak every encoding.
        wire.command(b"SET client_encoding = '%s'" % encoding)
        after: dict[str, str] = dict(cursor.execute(SESSION_SETTINGS, prepare=False).fetchall())
        # The session's user comes before its role, which it resets.
        for name in sorted(after.keys() | before.keys(), reverse=True):
            if after.get(name) != before.get(name):
                # NULL means RESET.
                cursor.execute(SET_CONFIG, [name, before.get(name)], prepare=False)
