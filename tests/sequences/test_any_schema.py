"""Databases at random: whatever the schema and the rows, a repair saves every insert that it can.

hypothesis makes sequences and tables, and a role repairs them in one of the ways that there are.
Then a row is inserted through every way that the schema offers. RESTOREHOOKS_FUZZ=3000 makes it
that many databases, other ones each time.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import ProgrammingError, connections, transaction
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from psycopg import sql

from restorehooks import inspect_sequences, reset_sequences
from restorehooks.receivers import before_migrate
from restorehooks.sequences.glance import all_fine
from restorehooks.sequences.report import Entry
from tests.support.databases import Database
from tests.support.expectations import Expectation, following
from tests.support.numberings import LARGEST, SCHEMA, Numbering, Table, numberings, smallest
from tests.support.numberings_sql import created
from tests.support.sequences import DEFAULT, bytes_of_sequences, django_as

MANY = int(os.environ.get("RESTOREHOOKS_FUZZ", "0"))
SEVERAL = 5
"""Sequences to a database."""
FAR = 50_000
"""A hook may leave a row alone that stands further than this from others."""


def api() -> None:
    reset_sequences()


def within() -> None:
    with transaction.atomic():
        reset_sequences()


def rolled_back() -> None:
    with transaction.atomic():
        reset_sequences()
        transaction.set_rollback(True)


def command() -> None:
    with suppress(SystemExit):  # something is left to do
        call_command("resetsequences", stdout=io.StringIO(), stderr=io.StringIO())


def hook() -> None:
    first = next(config for config in apps.get_app_configs() if config.models_module)
    before_migrate(first, using=DEFAULT, verbosity=0)


def printed() -> None:
    """Run what a plan prints, line by line, as the role that it was printed for."""
    for line in inspect_sequences().as_sql().splitlines():
        connection = connections[DEFAULT]
        with suppress(ProgrammingError), connection.cursor() as cursor:  # no privilege
            cursor.execute(line)
        connection.close()  # the transaction that failed


WAYS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (api, within, rolled_back, command, hook, printed)
}


@pytest.fixture
def roles(database: Database) -> dict[str, str]:
    return {name: database.role(name) for name in ("owner", "stranger", "other")}


@pytest.mark.slow
@settings(
    max_examples=MANY or 30,
    derandomize=not MANY,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    made=st.tuples(*map(numberings, range(SEVERAL))),
    who=st.sampled_from(["superuser", "owner", "other"]),
    way=st.sampled_from([*WAYS]),
)
def test_no_insert_fails_that_could_have_been_saved_and_nothing_healthy_is_moved(
    database: Database, roles: dict[str, str], made: tuple[Numbering, ...], who: str, way: str
) -> None:
    make(database, roles, made)
    expected = [Expectation(each, who) for each in made]
    before = bytes_of_sequences(database)
    with django_as(database, **({} if who == "superuser" else {"USER": roles[who]})):
        if all_fine(connections[DEFAULT], []):
            assert {each.status for each in expected if each.may_move} <= {"ok"}
        plan = {entry.sequence: entry for entry in inspect_sequences()}
        assert bytes_of_sequences(database) == before
        WAYS[way]()
        after = bytes_of_sequences(database)
        WAYS[way]()
        assert bytes_of_sequences(database) == after
        then = {entry.sequence: entry.status.value for entry in inspect_sequences()}
    for each in expected:
        name = as_quoted(each.numbering)
        note(f"{each.numbering}: {each.status}, {each.target}; {plan.get(name)}")
        if way == "hook" and is_far(each.numbering):
            continue
        check_position(each, before[name], after[name])
        if way != "hook":
            check_status(each, plan[name], then[name])
        check_inserts(database, roles, each, after[name])


def make(database: Database, roles: dict[str, str], made: tuple[Numbering, ...]) -> None:
    statements = [
        f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE",
        f"CREATE SCHEMA {SCHEMA}",
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC",
        "SET client_min_messages = error",
    ]
    for each in made:
        statements += created(each, roles["owner"], roles["stranger"], roles["other"])
    database.execute(";\n".join(statements))


def as_quoted(numbering: Numbering) -> str:
    """Return the name of a sequence as PostgreSQL quotes it."""
    is_plain = numbering.name.isalnum() and numbering.name.islower()
    return f"{SCHEMA}.{numbering.name}" if is_plain else numbering.quoted


def is_far(numbering: Numbering) -> bool:
    return any(abs(number) > FAR for table in numbering.tables for number in table.numbers)


Row = tuple[Any, ...]
"""All that is stored of a sequence."""


def upcoming(numbering: Numbering, row: Row) -> int:
    _, _, _, last_value, _, is_called, _ = row
    return following(numbering, last_value, is_called)


def check_position(expected: Expectation, before: Row, after: Row) -> None:
    if expected.target is None:
        assert after == before, "moved without a reason"
        return
    found = upcoming(expected.numbering, after)
    steps = (found - expected.target) // expected.numbering.increment
    if expected.may_be_left():
        assert steps <= 0
    else:
        assert 0 <= steps < expected.numbering.cache
    assert (found - expected.next) % expected.numbering.increment == 0, "another phase"


def check_status(expected: Expectation, before: Entry, after: str) -> None:
    status = expected.status
    if status in ("advanced", "failed"):
        assert (before.status.value, before.next_after) == ("behind", expected.wanted)
        assert after == ("ok" if status == "advanced" and not expected.may_be_left() else "behind")
    else:
        assert (before.status.value, after) == (status, status)


def check_inserts(
    database: Database, roles: dict[str, str], expected: Expectation, after: Row
) -> None:
    """Insert through every door as long as there are numbers; each insert gets the next one."""
    numbering = expected.numbering
    if numbering.cycle and not expected.fits:
        return
    first = number = upcoming(numbering, after)
    for table in filter(expected.saves, expected.counting):
        role = roles["stranger" if table.is_strange else "owner"]
        for member, part in table.doors(database.server.version):
            low = max(numbering.minimum, smallest(table.type))
            if not low <= number <= min(numbering.maximum, LARGEST[table.type]):
                assert number != first, "no number left"
                break
            if number in expected.numbers:
                assert number != first, "not past the rows"
                return
            assert inserted(database, role, table, member, part) == number
            number += numbering.increment


def inserted(database: Database, role: str, table: Table, member: str, part: int) -> int:
    """Insert a row without a number as the table's owner, and return the number that it got."""
    statement = f"INSERT INTO {member} (k) VALUES ({part}) RETURNING {table.quoted_column}"
    database.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    try:
        ((number,),) = database.execute(statement)
    finally:
        database.execute("RESET ROLE")
    return int(number)
