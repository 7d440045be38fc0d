"""What a sequence is set to, for tests that put it behind its rows and look where it went."""

from __future__ import annotations

import re

from psycopg import sql

from tests.conftest import Database


def set_back(database: Database, *tables: str, column: str = "id", to: int = 1) -> None:
    """Put the sequences of these tables back to ``to``, not called."""
    for table in tables:
        database.execute(
            "SELECT setval(pg_get_serial_sequence(%s, %s), %s, false)", table, column, to
        )


def upcoming(database: Database, table: str, column: str = "id") -> int:
    """Return what the table's sequence would hand out, without drawing it."""
    ((name,),) = database.execute("SELECT pg_get_serial_sequence(%s, %s)", table, column)
    return standing(database, name)


def standing(database: Database, quoted_sequence: str) -> int:
    """Return what a sequence of increment 1 would hand out, without drawing it."""
    query = "SELECT last_value + is_called::int FROM {}"
    ((number,),) = database.execute(sql.SQL(query).format(sql.SQL(quoted_sequence)))
    return int(number)


def said(output: str) -> list[str]:
    """Return the lines that the hooks wrote; ``flush -v2`` itself ends none of its own lines."""
    return re.findall("restorehooks: .*", output)
