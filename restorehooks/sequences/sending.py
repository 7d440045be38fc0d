"""Sending several statements as one message with psycopg 3, one by one with psycopg2."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from restorehooks import driver
from restorehooks.driver import sql

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

Rows = list[tuple[Any, ...]]
Statement = sql.Composable | str
"""A str is complete: its names come quoted from the server, and it holds no other values."""


def execute(
    connection: BaseDatabaseWrapper, statements: abc.Sequence[Statement], *, within: bool
) -> list[Rows]:
    """Run the statements and return the rows of each; all are one transaction.

    ``within``: one of the caller's is open, and they are a part of it. Raises
    ``django.db.DatabaseError``.
    """
    connection.ensure_connection()
    texts = [
        statement if isinstance(statement, str) else statement.as_string(connection.connection)
        for statement in statements
    ]
    if driver.name == "psycopg2":
        return list(_one_by_one(connection, texts, within=within))
    with _unprepared(connection), connection.cursor() as cursor:
        cursor.execute(";\n".join(texts))
        with connection.wrap_database_errors:
            bare = cursor.cursor  # Django's wrapper would check for errors at every single call
            results = [_rows(bare)]
            while bare.nextset():
                results.append(_rows(bare))
    return results


def _rows(bare: Any) -> Rows:
    # Whether there are columns; the cursor's description would name the type of each.
    return bare.fetchall() if bare.pgresult.nfields else []


def _one_by_one(
    connection: BaseDatabaseWrapper, texts: abc.Sequence[str], *, within: bool
) -> Iterator[Rows]:
    # Of several statements in one message psycopg2 keeps the rows of the last alone. So a DO, which
    # has none and may guard the next one, goes with it, and nobody has a round trip's time between.
    with connection.cursor() as cursor:
        try:
            if not within:
                cursor.execute("BEGIN")
            first = ""
            for number, text in enumerate(texts, 1):
                if text.lstrip().startswith("DO ") and number < len(texts):
                    first += f"{text};\n"
                    yield []
                else:
                    cursor.execute(first + text)
                    first = ""
                    yield cursor.fetchall() if cursor.description else []
            if not within:
                cursor.execute("COMMIT")
        except BaseException:  # a signal's too: the caller's next rows would never be committed
            if not within and not connection.connection.closed:
                cursor.execute("ROLLBACK")
            raise


@contextmanager
def _unprepared(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let psycopg prepare nothing: a prepared statement cannot be several."""
    bare = connection.connection
    threshold = bare.prepare_threshold
    bare.prepare_threshold = None
    try:
        yield
    finally:
        bare.prepare_threshold = threshold
