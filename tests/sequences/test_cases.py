"""Twenty-three ways a sequence can stand to its rows, each asked for its next number."""

from __future__ import annotations

import pytest

from restorehooks.sequences.report import Report
from restorehooks.sequences.statements import decide_and_move
from tests.support.databases import Database
from tests.support.sequences import (
    CASES,
    DEFAULT,
    bytes_of_sequences,
    draw,
    entry,
    expected,
    inspect,
    reset,
)


def sequence_of(report: Report, table: str) -> str:
    """Return the sequence that numbers a column of the table."""
    name = table if "." in table else f"public.{table}"
    (found,) = [e.sequence for e in report if any(c.startswith(f"{name}.") for c in e.columns)]
    return found


@pytest.fixture
def cases(database: Database) -> Database:
    database.execute(CASES.read_text())
    return database


def test_every_case_has_an_answer() -> None:
    assert len(expected()) == 23


def test_every_case_is_right(cases: Database) -> None:
    report = reset(DEFAULT)
    assert len(report) == 23
    found = {}
    for table, answer in expected().items():
        sequence = sequence_of(report, table)
        found[table] = entry(report, sequence).status.value
        if answer != "exhausted":
            found[table] = str(draw(cases, sequence))
            if answer == "any":
                found[table] = "any"
    assert found == expected()


def test_the_plan_says_what_the_repair_then_does(cases: Database) -> None:
    before = bytes_of_sequences(cases)
    plan = inspect(DEFAULT)
    assert bytes_of_sequences(cases) == before
    done = reset(DEFAULT)
    assert [(e.sequence, e.next_after) for e in plan] == [(e.sequence, e.next_after) for e in done]
    assert {e.sequence for e in plan if e.status == "behind"} == {
        e.sequence for e in done if e.status == "advanced"
    }


def test_the_statements_for_a_dba_do_the_same(cases: Database) -> None:
    cases.execute(inspect(DEFAULT).as_sql())
    again = inspect(DEFAULT)
    assert {e.status.value for e in again} == {"ok", "exhausted"}
    found = {
        table: str(draw(cases, sequence_of(again, table)))
        for table, answer in expected().items()
        if answer not in ("exhausted", "any")
    }
    assert found == {t: a for t, a in expected().items() if a not in ("exhausted", "any")}


def test_the_statement_of_a_migration_does_the_same(cases: Database) -> None:
    report = inspect(DEFAULT)
    for each in report:
        for column in each.columns:
            table, _, name = column.rpartition(".")
            cases.execute(decide_and_move(table, name.strip('"').replace('""', '"')))
    found = {
        table: str(draw(cases, sequence_of(report, table)))
        for table, answer in expected().items()
        if answer not in ("exhausted", "any")
    }
    assert found == {t: a for t, a in expected().items() if a not in ("exhausted", "any")}


def test_a_second_repair_changes_nothing(cases: Database) -> None:
    reset(DEFAULT)
    before = bytes_of_sequences(cases)
    assert not reset(DEFAULT).changed
    assert bytes_of_sequences(cases) == before


def test_the_next_insert_works_for_every_sequence_that_has_room(cases: Database) -> None:
    report = reset(DEFAULT)
    for each in report.having(*{e.status for e in report if e.status != "exhausted"}):
        table = each.columns[0].rpartition(".")[0]
        extra = "(d) VALUES ('2020-02-02')" if table == "public.part" else "DEFAULT VALUES"
        cases.execute(f"INSERT INTO {table} {extra}")
