"""What counts for a sequence, and what is somebody else's: a situation a file in cases/rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import DatabaseError, connections
from django.test import override_settings

from restorehooks.checks import sequences_are_ahead
from restorehooks.duplicates.diagnosis import Situation, diagnose
from tests.support.databases import Database, MakeDatabase
from tests.support.projects import Project
from tests.support.rules import RULES, load, upcoming
from tests.support.sequences import (
    DEFAULT,
    bytes_of_sequences,
    entry,
    inspect,
    reset,
    standing,
)

UNCHANGED = ("ok", "unverified", "exhausted")


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_a_rule(database: Database, file: Path) -> None:
    answers = load(database, file)
    before = bytes_of_sequences(database)
    plan = inspect(DEFAULT)
    assert bytes_of_sequences(database) == before
    report = reset(DEFAULT)
    found = {e.sequence: (e.status.value, upcoming(database, e.sequence)) for e in report}
    assert {name: found[name] for name in answers} == answers
    for name, (status, number) in answers.items():
        assert entry(plan, name).next_after == number
        short = name if name in before else name.partition(".")[2]
        if status in UNCHANGED:
            assert bytes_of_sequences(database)[short] == before[short]
    assert not reset(DEFAULT).changed


def test_all_rules_through_the_command_and_the_hook(database: Database, project: Project) -> None:
    answers: dict[str, tuple[str, int]] = {}
    for file in RULES:
        answers |= load(database, file)
    project.settings(INSTALLED_APPS=["restorehooks", "django.contrib.contenttypes"])
    project.manage("migrate")
    assert {name: upcoming(database, name) for name in answers} == {
        name: number for name, (_, number) in answers.items()
    }
    done = project.manage("resetsequences", "--check", "-v2", check=False)
    for name, (status, _) in answers.items():
        now = status.replace("advanced", "ok")
        assert re.search(rf"^{re.escape(name)} +.* {now} ", done.stdout, re.MULTILINE), name


@pytest.fixture
def rules(database: Database) -> dict[str, str]:
    """Every situation, each in a schema of its own: sequences by name, with their statuses."""
    answers: dict[str, tuple[str, int]] = {}
    for file in RULES:
        answers |= load(database, file)
    return {name: status for name, (status, _) in answers.items()}


def test_all_rules_through_the_checks(rules: dict[str, str]) -> None:
    said = " ".join(str(each.msg) for each in sequences_are_ahead([DEFAULT]))
    warned = {name for name in rules if re.search(rf"\b{re.escape(name)}\b", said)}
    assert warned == {name for name, status in rules.items() if status == "advanced"}


CONSTRAINTS = """
    SELECT n.nspname || '.' || quote_ident(o.conname), o.conrelid::regclass::text
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE o.contype IN ('p', 'u') AND n.nspname !~ '^(pg_|information)' ORDER BY 1
"""


def test_all_rules_explained(database: Database, rules: dict[str, str]) -> None:
    found = set()
    for constraint, _ in database.execute(CONSTRAINTS):
        for each in diagnose(connections[DEFAULT], constraint):
            if each.sequence is not None:
                is_behind = each.situation is Situation.BEHIND
                assert is_behind == (rules[each.sequence.sequence] == "advanced"), constraint
                found.add(each.sequence.sequence)
    assert len(found) > 15


def notes_of_violation(statement: str) -> list[str] | None:
    """Return the notes of a statement's unique violation, None where it ends otherwise."""
    try:
        with connections[DEFAULT].cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError as error:
        is_duplicate = type(error.__cause__).__name__ == "UniqueViolation"  # of either driver
        return error.__notes__ if is_duplicate else None
    return None


@override_settings(RESTOREHOOKS={"REPAIR_ON_DUPLICATE": True})
def test_all_rules_healed(database: Database, rules: dict[str, str]) -> None:
    """No note says what is not so, and where a sequence is behind the second attempt works."""
    healed = 0
    for _, table in database.execute(CONSTRAINTS):
        insert = f"INSERT INTO {table} DEFAULT VALUES"
        notes = notes_of_violation(insert)
        if notes is not None:
            assert "No sequence is to blame" not in " ".join(notes)
            database.execute(insert)
            healed += 1
    assert healed > 4


COMMANDS = (
    ("check", "--deploy", "--database=default"),
    ("resetsequences", "--check", "--schema=stranger_index"),
    ("resetsequences", "--sql", "--by-name"),
    ("resetsequences", "--rewind", "--connections=2"),
    ("resetsequences", "--headroom=9"),
    ("resetsequences", "--from=env:SOURCE"),
    ("explainduplicate", "by_index_pkey"),
    ("explainduplicate", 'unique constraint "by_expression_pkey": Key (id)=(50) exists.'),
)


def test_nothing_of_a_stranger_was_called(
    database: Database, project: Project, make_database: MakeDatabase
) -> None:
    (file,) = [file for file in RULES if file.stem == "stranger_index"]
    source = make_database()
    for each in (source, database):
        load(each, file)
    project.settings(INSTALLED_APPS=["restorehooks", "django.contrib.contenttypes"])
    for arguments in COMMANDS:
        done = project.manage(*arguments, check=False, env={"SOURCE": source.url})
        assert "Traceback" not in done.stderr
        assert "stranger_index" in done.stdout + done.stderr
    project.manage("migrate")
    reset(DEFAULT)
    for each in (source, database):
        assert each.execute("SELECT count(*) FROM stranger_index.log") == [(0,)]


def test_the_hints(database: Database) -> None:
    for file in RULES:
        load(database, file)
    # A NULL in a list would be the word "NULL", and no number.
    database.execute(f"ALTER DATABASE {database.name} SET array_nulls = off")
    report = reset(DEFAULT)
    assert "is public" not in str([e.reason for e in report])
    assert entry(report, "function_default.invoice_no_seq").reason == (
        "the default of function_default.invoice.no is function_default.next_invoice_no(), not"
        " nextval"
    )
    assert entry(report, "dead_owner.jobs_id_seq").reason == (
        "dead_owner.jobs.id_old, which owns it, does not draw from it:"
        " ALTER SEQUENCE dead_owner.jobs_id_seq OWNED BY dead_owner.jobs.id"
    )
    assert entry(report, "leftovers.country_code_seq").reason == (
        "leftovers.country.code, which draws from it, is of type character varying, and its rows do"
        " not count; if none of them needs a number:"
        " ALTER TABLE leftovers.country ALTER code DROP DEFAULT;"
        " DROP SEQUENCE leftovers.country_code_seq"
    )
    database.execute(
        "CREATE TABLE kept (id serial);CREATE TABLE called (no text DEFAULT nextval('kept_id_seq'))"
    )
    assert entry(inspect(DEFAULT), "public.kept_id_seq").reason is None
    assert "NO MAXVALUE" in str(entry(report, "like_an_identity.copy_id_seq").reason)
    assert "stranger_index.f" in str(entry(report, "stranger_index.by_index_id_seq").reason)


def test_the_members_of_an_extension_whose_rows_are_dumped(database: Database) -> None:
    database.execute(
        "CREATE TABLE dumped (id serial PRIMARY KEY); INSERT INTO dumped VALUES (5);"
        "CREATE TABLE made (id serial PRIMARY KEY); INSERT INTO made VALUES (5);"
        "ALTER EXTENSION plpgsql ADD TABLE dumped; ALTER EXTENSION plpgsql ADD TABLE made;"
        "ALTER EXTENSION plpgsql ADD SEQUENCE dumped_id_seq;"
        "ALTER EXTENSION plpgsql ADD SEQUENCE made_id_seq;"
        "UPDATE pg_extension SET extconfig = ARRAY['dumped'::regclass::oid],"
        " extcondition = ARRAY[''] WHERE extname = 'plpgsql'"
    )
    report = reset(DEFAULT)
    assert [(e.sequence, e.next_after) for e in report] == [("public.dumped_id_seq", 6)]
    assert standing(database, "made_id_seq") == (1, False)


def test_an_unlogged_sequence_of_a_logged_table(database: Database) -> None:
    if database.server.version < 150000:
        pytest.skip("unlogged sequences came with PostgreSQL 15")
    database.execute(
        "CREATE TABLE t (id serial PRIMARY KEY); ALTER SEQUENCE t_id_seq SET UNLOGGED;"
        "INSERT INTO t SELECT generate_series(1, 5)"
    )
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after) == ("advanced", 6)


SENTINEL = "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 40);"


@pytest.mark.parametrize("row", [300_000_000, 2_147_483_646])
def test_a_single_far_row_is_named_and_no_hook_follows_it(database: Database, row: int) -> None:
    database.execute(f"{SENTINEL} INSERT INTO t VALUES ({row})")
    for moved in (True, False):
        (left,) = reset(DEFAULT, follows_lone_rows=False)
        assert (left.status.value, left.next_after, left.changed) == ("behind", 41, moved)
        assert f"the row numbered {row} stands alone, nothing else goes past 40" in str(left.reason)
        assert ("moved past the other rows" in str(left.reason)) == moved
    assert database.execute("INSERT INTO t DEFAULT VALUES RETURNING id") == [(41,)]
    (done,) = reset(DEFAULT)
    assert (done.status.value, done.next_after) == ("advanced", row + 1)


def test_many_far_rows_are_followed(database: Database) -> None:
    database.execute(f"{SENTINEL} INSERT INTO t VALUES (300000000), (300000001)")
    (done,) = reset(DEFAULT, follows_lone_rows=False)
    assert (done.status.value, done.next_after, done.reason) == ("advanced", 300000002, None)


def test_a_sentinel_at_the_end_of_the_range_is_named(database: Database) -> None:
    database.execute(f"{SENTINEL} INSERT INTO t VALUES (2147483647)")
    before = bytes_of_sequences(database)
    (plan,) = inspect(DEFAULT)
    assert bytes_of_sequences(database) == before
    (found,) = reset(DEFAULT)
    assert (plan.status.value, plan.next_after, plan.changed) == ("exhausted", 41, False)
    assert (found.status.value, found.next_after, found.changed) == ("exhausted", 41, True)
    assert str(found.reason).startswith(
        "moved past the other rows; the row numbered 2147483647 stands alone, nothing else goes"
        " past 40: it may need another number"
    )
    assert database.execute("INSERT INTO t DEFAULT VALUES RETURNING id") == [(41,)]


def test_several_rows_at_the_end_of_a_small_range(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id smallserial PRIMARY KEY);"
        "INSERT INTO t VALUES (1), (2), (3), (32765), (32766), (32767)"
    )
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after) == ("exhausted", 4)
    assert (
        "3 rows from 32765 on stand alone, nothing else goes past 3: they may need other numbers"
    ) in str(found.reason)


def test_a_range_that_is_full_up_to_its_end_is_left(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id smallserial PRIMARY KEY);"
        "INSERT INTO t SELECT generate_series(32700, 32767); SELECT setval('t_id_seq', 32750)"
    )
    before = bytes_of_sequences(database)
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after, found.changed) == ("exhausted", 32751, False)
    assert "alone" not in str(found.reason)
    assert bytes_of_sequences(database) == before


def test_a_small_column_is_used_up_and_a_larger_one_goes_on(database: Database) -> None:
    """They share a sequence: what the small one can take bounds it no more."""
    database.execute(
        "CREATE SEQUENCE s; CREATE TABLE small (id smallint PRIMARY KEY DEFAULT nextval('s'));"
        "CREATE TABLE large (id int PRIMARY KEY DEFAULT nextval('s'));"
        "INSERT INTO small VALUES (32767); INSERT INTO large VALUES (32768), (40000);"
        "SELECT setval('s', 32767)"
    )
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after, found.changed) == ("exhausted", 40001, True)
    assert "ALTER TABLE public.small ALTER COLUMN id TYPE bigint" in str(found.reason)
    assert database.execute("INSERT INTO large DEFAULT VALUES RETURNING id") == [(40001,)]


def test_migrate_does_not_follow_a_single_far_row(database: Database, project: Project) -> None:
    database.execute(f"{SENTINEL} INSERT INTO t VALUES (2147483646)")
    project.settings(INSTALLED_APPS=["restorehooks", "django.contrib.contenttypes"])
    done = project.manage("migrate")
    assert "the row numbered 2147483646 stands alone" in done.stdout
    assert upcoming(database, "t_id_seq") == 41


def test_what_cannot_be_verified_and_is_of_no_model_is_no_line_in_every_migrate(
    database: Database, project: Project
) -> None:
    (file,) = [file for file in RULES if file.stem == "function_default"]
    load(database, file)
    project.settings(INSTALLED_APPS=["restorehooks", "django.contrib.contenttypes"])
    assert "invoice" not in project.manage("migrate").stdout
    assert "next_invoice_no" in project.manage("migrate", "-v2").stdout
