"""What the tests of the engine ask of a report and of the server."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections

from restorehooks.sequences import repair
from restorehooks.sequences.report import Entry, Report
from restorehooks.sequences.scope import LOCK_TIMEOUT, Limits, Scope
from tests.conftest import Database

DEFAULT = "default"


def inspect(using: str, models: Collection[Any] | None = None, **options: Any) -> Report:
    """Return the plan for one database; ``options`` are those of Scope, Limits and a repair."""
    return repair.inspect(using, *_split(models, options), **options)


def reset(using: str, models: Collection[Any] | None = None, **options: Any) -> Report:
    """Repair one database; ``options`` are those of Scope, Limits and a repair."""
    return repair.reset(using, *_split(models, options), **options)


def _split(models: Collection[Any] | None, options: dict[str, Any]) -> tuple[Scope, Limits]:
    """Take out of the options what stands for a scope and for limits."""
    scope = Scope(models, options.pop("schemas", None), options.pop("sequences", None))
    lock_timeout = options.pop("lock_timeout", LOCK_TIMEOUT)
    return scope, Limits(lock_timeout, options.pop("scan_limit", None))


def entry(report: Report, sequence: str) -> Entry:
    """Return the one entry of a sequence; a name without schema is one of public."""
    name = sequence if "." in sequence else f"public.{sequence}"
    (found,) = [each for each in report if each.sequence == name]
    return found


def statuses(report: Report) -> dict[str, str]:
    """Return the status of each sequence, by its quoted name without ``public.``."""
    return {each.sequence.removeprefix("public."): each.status.value for each in report}


def draw(database: Database, sequence: str) -> int:
    """Draw the next number of a sequence; ``sequence`` is written as in SQL."""
    ((number,),) = database.execute("SELECT nextval(%s)", sequence)
    return int(number)


def standing(database: Database, sequence: str) -> tuple[int, bool]:
    """Return a sequence's ``last_value`` and ``is_called``; ``sequence`` is written as in SQL."""
    ((last_value, is_called),) = database.execute(f"SELECT last_value, is_called FROM {sequence}")
    return last_value, is_called


def bytes_of_sequences(database: Database) -> dict[str, tuple[Any, ...]]:
    """Return everything that is stored of every sequence: its row, and who wrote that row when."""
    names = database.execute(
        "SELECT seqrelid::regclass::text, seqrelid::oid FROM pg_sequence ORDER BY 1"
    )
    return {
        name: database.execute(f"SELECT ctid, xmin, xmax, * FROM {name}")[0]
        + database.execute("SELECT pg_relation_filenode(%s::oid)", oid)[0]
        for name, oid in names
    }


@contextmanager
def django_as(database: Database, **settings: Any) -> Iterator[str]:
    """Let Django's default alias reach the database with other settings, and yield the alias."""
    before = connections.settings[DEFAULT]
    _settle({**before, **settings})
    try:
        yield DEFAULT
    finally:
        _settle(before)


def _settle(settings: dict[str, Any]) -> None:
    connection = connections[DEFAULT]
    connection.close()
    if hasattr(connection, "close_pool"):
        connection.close_pool()
    del connections[DEFAULT]
    connections.settings[DEFAULT] = settings
    connections.configure_settings(connections.settings)


def locks_of(connection: psycopg.Connection[Any], pid: int) -> set[tuple[Any, ...]]:
    """Return the locks that a session holds, but for those on its own transaction ids."""
    rows = connection.execute(
        "SELECT locktype, coalesce(relation::regclass::text, objid::text), mode FROM pg_locks"
        " WHERE pid = %s AND granted AND locktype NOT IN ('virtualxid', 'transactionid')",
        [pid],
    )
    return set(rows.fetchall())
