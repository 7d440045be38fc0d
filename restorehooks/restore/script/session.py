"""The settings of a session that a dump changes for itself."""

from __future__ import annotations

from collections.abc import Mapping
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


def read_settings(connection: psycopg.Connection[Any]) -> Mapping[str, str]:
    """Return the settings that this session has changed, and whom it acts as."""
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        return dict(cursor.execute(SESSION_SETTINGS, prepare=False).fetchall())


def change_settings(
    connection: psycopg.Connection[Any], before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """Change a session's settings, which are ``before``, to ``after``."""
    with psycopg.Cursor(connection) as cursor:
        # The session's user comes before its role, which it resets.
        for name in sorted(before.keys() | after.keys(), reverse=True):
            if before.get(name) != after.get(name):
                # NULL means RESET.
                cursor.execute(SET_CONFIG, [name, after.get(name)], prepare=False)


class Settings:
    """The settings of a session before a dump changes them."""

    def __init__(self, connection: psycopg.Connection[Any], wire: Wire):
        self._connection = connection
        self._wire = wire
        self._encoding = wire.parameter(b"client_encoding")
        self._before = read_settings(connection)

    def put_back(self) -> None:
        """Let the session have the settings again that it had before."""
        # First of all, since psycopg does not speak every encoding.
        self._wire.command(b"SET client_encoding = '%s'" % self._encoding)
        change_settings(self._connection, read_settings(self._connection), self._before)
