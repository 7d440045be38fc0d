"""The one report in its forms: lines for a hook, a table, JSON, and SQL for a DBA."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from restorehooks.sequences.report import Report
from restorehooks.sequences.verdict import Status
from tests.support.databases import Database
from tests.support.sequences import DEFAULT, django_as, entry, inspect, reset, standing


@pytest.fixture
def everything(database: Database) -> Database:
    """One sequence of every kind: behind, ahead, exhausted, unverified, numbering nothing."""
    database.execute(
        "CREATE TABLE behind (id serial PRIMARY KEY); INSERT INTO behind VALUES (5);"
        "CREATE TABLE ahead (id serial PRIMARY KEY); SELECT setval('ahead_id_seq', 50);"
        "CREATE TABLE full_up (id smallserial PRIMARY KEY); INSERT INTO full_up VALUES (32767);"
        'CREATE TABLE "Mixed [b]Case[/b]" (id serial); CREATE SEQUENCE alone;'
        "CREATE SEQUENCE s; CREATE TABLE odd (id bigint DEFAULT nextval('s') * 2)"
    )
    return database


def test_json_says_everything_and_is_json(everything: Database) -> None:
    found = json.loads(json.dumps(inspect(DEFAULT).as_dict()))
    assert found["database"] == DEFAULT
    by_name = {each["sequence"]: each for each in found["sequences"]}
    assert by_name["public.behind_id_seq"] == {
        "sequence": "public.behind_id_seq",
        "columns": ["public.behind.id"],
        "status": "behind",
        "next_before": 1,
        "next_after": 6,
        "extreme": 5,
        "limit": 2147483647,
        "used_percent": 0.0,
        "reason": None,
    }
    assert by_name['public."Mixed [b]Case[/b]_id_seq"']["columns"] == [
        'public."Mixed [b]Case[/b]".id'
    ]
    assert by_name["public.full_up_id_seq"]["status"] == "exhausted"
    assert found["summary"]["total"] == 6
    assert sum(found["summary"].values()) == 12


def test_the_table_names_every_sequence_as_it_is_called(everything: Database) -> None:
    report = inspect(DEFAULT)
    shown = report.as_table(list(report))
    for each in report:
        assert each.sequence in shown
        assert each.status.value in shown
    assert "\x1b" not in shown
    assert "\x1b[" in report.as_table(list(report), colour=True)


def test_what_a_hook_says_grows_with_verbosity(everything: Database) -> None:
    report = reset(DEFAULT)
    silent, usual = report.lines(0), report.lines(1)
    assert len(silent) == 1
    assert "public.full_up_id_seq is exhausted" in silent[0]
    assert any("moved 1 of 6 sequences past their rows" in line for line in usual)
    # What numbers no model's table and cannot be verified is no line in every migrate.
    assert not any("public.s is unverified" in line for line in usual)
    assert any("public.s is unverified" in line for line in report.lines(2))
    assert not any("\n" in line for line in usual)


def test_a_hook_has_nothing_to_say_where_nothing_was_wrong(database: Database) -> None:
    database.execute("CREATE TABLE t (id serial); INSERT INTO t DEFAULT VALUES")
    assert reset(DEFAULT).lines(1) == []
    assert reset(DEFAULT).lines(2) == ['Database "default": 1 sequence: 1 ok.']
    assert Report(DEFAULT).lines(1) == []


def test_the_sql_can_be_run_twice_and_only_once_does_anything(everything: Database) -> None:
    text = inspect(DEFAULT).as_sql()
    assert "-- exhausted: public.full_up_id_seq" in text
    assert "-- unverified: public.s" in text
    everything.execute(text)
    assert standing(everything, "behind_id_seq") == (6, False)
    everything.execute("SELECT setval('behind_id_seq', 700)")
    everything.execute(text)
    assert standing(everything, "behind_id_seq") == (700, True)
    assert standing(everything, "ahead_id_seq") == (50, True)


def test_the_sql_leaves_a_sequence_to_its_new_owner(database: Database) -> None:
    database.execute("CREATE SEQUENCE s; CREATE TABLE t (id int DEFAULT nextval('s'))")
    database.execute("INSERT INTO t VALUES (5)")
    text = inspect(DEFAULT).as_sql()
    owner = database.role("owner")
    database.execute(f"ALTER SEQUENCE s OWNER TO {owner}")
    database.execute(text)
    assert standing(database, "s") == (6, False)
    assert database.execute("SELECT sequenceowner FROM pg_sequences") == [(owner,)]


def test_the_sql_of_a_rewind_goes_back_unless_rows_have_come_since(everything: Database) -> None:
    everything.execute("INSERT INTO ahead VALUES (7)")
    text = inspect(DEFAULT, rewind=True).as_sql()
    everything.execute("INSERT INTO ahead VALUES (20)")
    everything.execute(text)
    assert standing(everything, "ahead_id_seq") == (50, True)
    everything.execute("DELETE FROM ahead WHERE id = 20")
    everything.execute(text)
    assert standing(everything, "ahead_id_seq") == (8, False)
    everything.execute(text)
    assert standing(everything, "ahead_id_seq") == (8, False)


def test_the_sql_of_a_cycle_and_of_the_ends_of_bigint(database: Database) -> None:
    database.execute(
        "CREATE SEQUENCE c MAXVALUE 10 CYCLE; SELECT setval('c', 10);"
        "CREATE TABLE t (id int DEFAULT nextval('c')); INSERT INTO t VALUES (5);"
        "CREATE TABLE u (id bigserial); INSERT INTO u VALUES (5);"
        f"SELECT setval('u_id_seq', {2**63 - 1})"
    )
    database.execute(inspect(DEFAULT, rewind=True).as_sql())
    report = inspect(DEFAULT)
    assert (entry(report, "c").next_before, entry(report, "u_id_seq").next_before) == (6, 6)


def test_two_runs_make_one_report_of_what_they_did_together(everything: Database) -> None:
    first = reset(DEFAULT)
    everything.execute("INSERT INTO ahead VALUES (90)")
    both = reset(DEFAULT).following(first)
    shown = {e.sequence: (e.status.value, e.next_before, e.next_after) for e in both.changed}
    assert shown == {
        "public.behind_id_seq": ("advanced", 1, 6),
        "public.ahead_id_seq": ("advanced", 51, 91),
    }
    assert both.summary()["exhausted"] == first.summary()["exhausted"] == 1


def test_what_a_hook_says_of_many_for_one_reason_is_one_line(database: Database) -> None:
    for n in range(30):
        database.execute(f"CREATE TABLE t{n} (id serial); INSERT INTO t{n} VALUES (5)")
    database.execute("CREATE TABLE small (id serial); INSERT INTO small VALUES (2147483647)")
    database.execute("CREATE TABLE other (id serial); INSERT INTO other VALUES (2147483647)")
    role = database.role("reader")
    database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    database.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}")
    database.execute(f"REVOKE ALL ON SEQUENCE t1_id_seq, t2_id_seq FROM {role}")
    with django_as(database, USER=role):
        *exhausted, failed, unverified = reset(DEFAULT).lines(2)
    assert len(exhausted) == 2  # each has a remedy of its own
    start = 'In database "default", sequence public.t'
    reason = "no UPDATE privilege: GRANT UPDATE ON SEQUENCE public.t0_id_seq to this role"
    assert failed.startswith(
        f"{start}0_id_seq is failed: {reason}; for the same reason so are public.t10_id_seq,"
        " public.t11_id_seq, "
    )
    assert failed.endswith(", public.t29_id_seq and 7 more.")
    assert unverified == (
        f"{start}1_id_seq is unverified: no SELECT privilege on sequence public.t1_id_seq; for the"
        " same reason so is public.t2_id_seq."
    )


def test_a_hook_names_the_project_s_own_sequences_first(database: Database) -> None:
    """Whoever makes many sequences cannot hide one of the project's behind "and 9 more"."""
    for number in range(30):
        database.execute(f"CREATE SEQUENCE s{number:02}")
    entries = [replace(e, status=Status.FAILED, reason="it is locked") for e in inspect(DEFAULT)]
    entries[-1] = replace(entries[-1], models=("shop.Order",))
    (line,) = Report(DEFAULT, tuple(entries)).lines(1)
    assert "sequence public.s29 is failed" in line
    assert line.endswith(" and 9 more.")
