"""What tests ask of a report and of the server's sequences, and how they put one behind."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import psycopg
from django.db import connections
from psycopg import sql

from restorehooks.sequences import repair
from restorehooks.sequences.report import Entry, Report
from restorehooks.sequences.scope import Limits, Scope
from tests.support import ROOT
from tests.support.databases import Database, pointed

DEFAULT = "default"
CASES = ROOT / "tests" / "cases" / "sequences.sql"
TABLE = re.compile(r'CREATE TABLE ((?:[\w.]|"(?:[^"]|"")*")+)')
CHILD = re.compile("PARTITION OF|INHERITS")


def inspect(using: str, models: Collection[Any] | None = None, **options: Any) -> Report:
    """Return the plan for one database; ``options`` are those of Scope, Limits and a repair."""
    return repair.inspect(using, *_split(models, options), **options)


def reset(using: str, models: Collection[Any] | None = None, **options: Any) -> Report:
    """Repair one database; ``options`` are those of Scope, Limits and a repair."""
    return repair.reset(using, *_split(models, options), **options)


def _split(models: Collection[Any] | None, options: dict[str, Any]) -> tuple[Scope, Limits]:
    """Take out of the options what stands for a scope and for limits."""
    scope = Scope(models, options.pop("schemas", None), options.pop("sequences", None))
    names = {each.name for each in fields(Limits)}
    limits = {name: options.pop(name) for name in list(options) if name in names}
    return scope, Limits(**limits)


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
    with pointed(DEFAULT, {**connections.settings[DEFAULT], **settings}) as alias:
        yield alias


def locks_of(connection: psycopg.Connection[Any], pid: int) -> set[tuple[Any, ...]]:
    """Return the locks that a session holds, but for those on its own transaction ids."""
    rows = connection.execute(
        "SELECT locktype, coalesce(relation::regclass::text, objid::text), mode FROM pg_locks"
        " WHERE pid = %s AND granted AND locktype NOT IN ('virtualxid', 'transactionid')",
        [pid],
    )
    return set(rows.fetchall())


INSERT_THING = "INSERT INTO thing (name) VALUES ('new') RETURNING id"
"""Adds a row to the table of the fixture ``things``."""


def set_back(database: Database, *tables: str, column: str = "id", to: int = 1) -> None:
    """Put the sequences of these tables back to ``to``, not called."""
    for table in tables:
        database.execute(
            "SELECT setval(pg_get_serial_sequence(%s, %s), %s, false)", table, column, to
        )


def upcoming(database: Database, table: str, column: str = "id") -> int:
    """Return what the table's sequence would hand out, without drawing it."""
    ((name,),) = database.execute("SELECT pg_get_serial_sequence(%s, %s)", table, column)
    return next_of(database, name)


def next_of(database: Database, quoted_sequence: str) -> int:
    """Return what a sequence of increment 1 would hand out, without drawing it."""
    query = "SELECT last_value + is_called::int FROM {}"
    ((number,),) = database.execute(sql.SQL(query).format(sql.SQL(quoted_sequence)))
    return int(number)


def said(output: str) -> list[str]:
    """Return the lines that the hooks wrote; ``flush -v2`` itself ends none of its own lines."""
    return re.findall("restorehooks: .*", output)


def expected() -> dict[str, str]:
    """Return the answer that the file gives after ``-- ->``, by the last table made before it."""
    answers = {}
    table = ""
    for line in CASES.read_text().splitlines():
        if (named := TABLE.match(line)) and not CHILD.search(line):
            table = named[1]
        if told := re.search(r"--(?: ->)? (-?\d+|exhausted|any)[^-]*$", line):
            answers[table] = told[1]
    return answers
