"""Columns that the database does not know a sequence to number, and what a project leaves alone."""

from __future__ import annotations

import json

import pytest
from django.db import IntegrityError, connections
from django.test import override_settings

from restorehooks import reset_sequences, retry_after_repair
from restorehooks.checks import sequences_are_ahead
from restorehooks.duplicates.diagnosis import Situation, diagnose
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import (
    DEFAULT,
    bytes_of_sequences,
    draw,
    entry,
    inspect,
    next_of,
    reset,
    statuses,
)

CLIENT_DRAWS = (
    "CREATE SEQUENCE tokenowner_seq; CREATE TABLE tokenowner (id integer PRIMARY KEY, name text);"
    "INSERT INTO tokenowner SELECT generate_series(1, 150);"
    "CREATE SEQUENCE ab_user_id_seq; CREATE TABLE ab_user (id integer PRIMARY KEY);"
    "CREATE SEQUENCE hibernate_sequence; CREATE TABLE hibernate (id integer PRIMARY KEY);"
    "INSERT INTO hibernate VALUES (9)"
)


def test_a_sequence_that_the_client_draws_from_is_reported_by_its_name(database: Database) -> None:
    database.execute(CLIENT_DRAWS)
    before = bytes_of_sequences(database)
    report = reset(DEFAULT)
    assert bytes_of_sequences(database) == before
    assert statuses(report) == {
        "ab_user_id_seq": "ok",
        "hibernate_sequence": "ok",
        "tokenowner_seq": "unverified",
    }
    assert entry(report, "hibernate_sequence").columns == ()
    assert entry(report, "tokenowner_seq").reason == (
        "numbers no column that the database knows of; by its name it numbers"
        " public.tokenowner.id, where it is behind (its rows end at 150); if so, repair it with"
        " --by-name"
    )
    assert len(reset(DEFAULT, names="ignored").having()) == 0
    assert entry(reset(DEFAULT, names="repaired"), "tokenowner_seq").next_after == 151
    assert draw(database, "tokenowner_seq") == 151


@pytest.mark.parametrize("sequence", ["tokenowner_seq", "public.tokenowner_seq"])
def test_what_the_project_lists_counts_like_any_other(database: Database, sequence: str) -> None:
    database.execute(CLIENT_DRAWS)
    links = {"public.tokenowner.id": sequence, "public.no.such": "none", "..": "a.b.c.d"}
    for names in ("ignored", "reported"):
        found = entry(inspect(DEFAULT, names=names, links=links), "tokenowner_seq")
        assert (found.status.value, found.columns) == ("behind", ("public.tokenowner.id",))
    reset(DEFAULT, links=links)
    assert draw(database, "tokenowner_seq") == 151


def test_what_is_known_and_accepted_is_left_alone(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id serial); INSERT INTO t VALUES (5);"
        "CREATE TABLE u (id bigint DEFAULT nextval('t_id_seq')); INSERT INTO u VALUES (500);"
        "CREATE TABLE legacy_1 (id serial); INSERT INTO legacy_1 VALUES (5)"
    )
    ignore = {"public.legacy_*": "read only", "public.u.id": "numbered elsewhere"}
    report = reset(DEFAULT, ignore=ignore)
    assert statuses(report) == {"legacy_1_id_seq": "ok", "t_id_seq": "advanced"}
    assert entry(report, "legacy_1_id_seq").reason == "left alone: read only"
    assert next_of(database, "t_id_seq") == 6
    assert next_of(database, "legacy_1_id_seq") == 1
    assert reset(DEFAULT, ignore={"public.t.id": "x", "public.u.id": "y"}).changed[0].sequence == (
        "public.legacy_1_id_seq"
    )


def test_the_settings_through_the_command_and_the_hook(
    database: Database, project: Project
) -> None:
    database.execute(f"{CLIENT_DRAWS}; CREATE TABLE old (id serial); INSERT INTO old VALUES (5)")
    apps = ["restorehooks", "django.contrib.contenttypes"]
    project.settings(
        INSTALLED_APPS=apps, RESTOREHOOKS={"IGNORE": {"public.old_*": "kept as it is"}}
    )
    project.manage("migrate")
    assert next_of(database, "old_id_seq") == 1
    assert next_of(database, "tokenowner_seq") == 1
    done = project.manage("resetsequences", "--check", "-v2")
    assert "left alone: kept as it is" in done.stdout
    assert "kept as it is" not in project.manage("resetsequences", "--check").stdout

    links = {"public.tokenowner.id": "tokenowner_seq"}
    project.settings(INSTALLED_APPS=apps, RESTOREHOOKS={"LINKS": links})
    project.manage("migrate")
    assert next_of(database, "tokenowner_seq") == 151

    database.execute("SELECT setval('tokenowner_seq', 1, false)")
    project.settings(INSTALLED_APPS=apps)
    report = json.loads(project.manage("resetsequences", "--format=json").stdout)
    (found,) = [
        s for s in report["databases"][0]["sequences"] if s["sequence"] == "public.tokenowner_seq"
    ]
    assert found["status"] == "unverified"
    project.manage("resetsequences", "--by-name")
    assert next_of(database, "tokenowner_seq") == 151


def test_no_name_leads_to_a_table_whose_owner_may_not_draw(database: Database) -> None:
    mallory = database.role("mallory")
    database.execute(f"CREATE SEQUENCE ticket_id_seq; GRANT CREATE ON SCHEMA public TO {mallory}")
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE TABLE ticket (id bigint PRIMARY KEY)")
        connection.execute("INSERT INTO ticket VALUES (2147483646), (2147483645)")
    assert entry(reset(DEFAULT, names="repaired"), "ticket_id_seq").columns == ()
    assert draw(database, "ticket_id_seq") == 1
    database.execute(f"GRANT USAGE ON SEQUENCE ticket_id_seq TO {mallory}")
    assert entry(reset(DEFAULT, names="repaired"), "ticket_id_seq").next_after == 2147483647


FAR = "CREATE TABLE far (id serial PRIMARY KEY); INSERT INTO far VALUES (1), (2), (300000000)"


def violated(table: str) -> str:
    """Insert a row without a number, and return the notes of the violation."""
    with connections[DEFAULT].cursor() as cursor, pytest.raises(IntegrityError) as caught:
        cursor.execute(f"INSERT INTO {table} DEFAULT VALUES")
    return " ".join(getattr(caught.value, "__notes__", []))


@override_settings(
    RESTOREHOOKS={
        "IGNORE": {"public.old_*": "kept as it is"},
        "LINKS": {"public.tokenowner.id": "tokenowner_seq"},
        "REPAIR_ON_DUPLICATE": True,
    }
)
def test_healing_explanations_checks_and_functions_know_what_the_project_says(
    database: Database,
) -> None:
    database.execute(
        f"{CLIENT_DRAWS}; CREATE TABLE old (id serial PRIMARY KEY);"
        f"INSERT INTO old SELECT generate_series(1, 5); {FAR}"
    )
    said = " ".join(str(each.msg) for each in sequences_are_ahead([DEFAULT]))
    assert "tokenowner_seq would" in said
    assert "old_id_seq" not in said

    assert "moved" not in violated("old")
    assert next_of(database, "old_id_seq") == 2
    (found,) = diagnose(connections[DEFAULT], "old_pkey")
    assert found.sentences == (
        "Whether sequence public.old_id_seq is behind was not looked at: left alone: kept as it is."
    )
    (found,) = diagnose(connections[DEFAULT], "tokenowner_pkey")
    assert found.situation is Situation.BEHIND

    # Nobody has asked for a jump to where a single row stands.
    assert "public.far_id_seq has been moved on to 3" in violated("far")
    database.execute("SELECT setval('far_id_seq', 1, false)")

    @retry_after_repair()
    def work() -> None:
        with connections[DEFAULT].cursor() as cursor:
            cursor.execute("INSERT INTO far DEFAULT VALUES")

    work()
    assert next_of(database, "far_id_seq") == 4
    assert [e.sequence for e in reset_sequences().changed] == [
        "public.far_id_seq",
        "public.tokenowner_seq",
    ]
