"""``resetsequences --from``: the positions of another database's sequences are taken along."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

import pytest
from django.db import NotSupportedError, connections
from django.db.backends.postgresql.features import DatabaseFeatures

from restorehooks.management.positions import positions_at
from restorehooks.programs import embedded_folder
from restorehooks.sequences import repair
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import Limits
from restorehooks.sequences.source import read_source
from tests.support.databases import Database, MakeDatabase
from tests.support.projects import Project
from tests.support.sequences import (
    DEFAULT,
    bytes_of_sequences,
    draw,
    entry,
    standing,
    statuses,
)
from tests.support.servers import RunningServer

TABLE = "CREATE TABLE orders (id bigserial PRIMARY KEY);"


def taken_along(headroom: int = 0) -> Report:
    source = read_source(connections["other"], connections[DEFAULT], 2)
    return repair.reset(DEFAULT, headroom=headroom, source=source)


def test_past_the_sources_next_and_past_own_rows(
    database: Database, other_database: Database
) -> None:
    for each in (database, other_database):
        each.execute(
            "CREATE TABLE a (id bigserial PRIMARY KEY); CREATE TABLE b (id bigserial PRIMARY KEY);"
            "CREATE TABLE c (id bigserial PRIMARY KEY); CREATE TABLE d (id bigserial PRIMARY KEY)"
        )
    other_database.execute(
        "SELECT setval('a_id_seq', 900), setval('b_id_seq', 5), setval('c_id_seq', 5),"
        " setval('d_id_seq', 500, false)"
    )
    database.execute("INSERT INTO b VALUES (40); SELECT setval('c_id_seq', 2000)")
    before = bytes_of_sequences(other_database)
    report = taken_along()
    assert {e.sequence: (e.status.value, e.next_after) for e in report} == {
        "public.a_id_seq": ("advanced", 902),  # 901 is the source's own
        "public.b_id_seq": ("advanced", 41),
        "public.c_id_seq": ("ok", 2001),
        "public.d_id_seq": ("advanced", 501),
    }
    assert entry(report, "a_id_seq").reason == "the source has come to 901"
    assert draw(database, "a_id_seq") == 902
    assert bytes_of_sequences(other_database) == before
    assert not taken_along().changed


@pytest.mark.parametrize("name", ["a_new", "z_new"])
def test_a_column_that_owns_one_sequence_and_draws_from_another(
    database: Database, other_database: Database, name: str
) -> None:
    for each in (database, other_database):
        each.execute(
            f"{TABLE} CREATE SEQUENCE {name};"
            f"ALTER TABLE orders ALTER id SET DEFAULT nextval('{name}')"
        )
    other_database.execute(f"SELECT setval('{name}', 900)")
    assert statuses(taken_along()) == {name: "advanced", "orders_id_seq": "ok"}
    assert draw(database, name) == 902


def test_what_nobody_has_drawn_from(database: Database, other_database: Database) -> None:
    for each in (database, other_database):
        each.execute(TABLE)
    before = bytes_of_sequences(database)
    assert statuses(taken_along()) == {"orders_id_seq": "ok"}
    assert bytes_of_sequences(database) == before
    found = entry(taken_along(headroom=100), "orders_id_seq")
    assert (found.next_after, found.reason) == (101, "nobody has drawn from it at the source yet")


def test_headroom_and_steps(database: Database, other_database: Database) -> None:
    database.execute(TABLE + "ALTER SEQUENCE orders_id_seq INCREMENT 2 RESTART 2")  # even ones here
    other_database.execute(
        TABLE + "ALTER SEQUENCE orders_id_seq INCREMENT 2; SELECT setval('orders_id_seq', 901)"
    )
    assert entry(taken_along(), "orders_id_seq").next_after == 904
    assert entry(taken_along(headroom=100), "orders_id_seq").next_after == 1104


def test_counting_down_and_the_other_way(database: Database, other_database: Database) -> None:
    down = "CREATE SEQUENCE down INCREMENT -1; CREATE SEQUENCE turned"
    database.execute(down)
    other_database.execute(
        f"{down}; SELECT setval('down', -70); ALTER SEQUENCE turned INCREMENT -1 MINVALUE -9"
    )
    report = taken_along()
    assert entry(report, "down").next_after == -72
    assert "the source has no sequence of this name" in str(entry(report, "turned").reason)


def test_pairs_by_name_then_by_what_they_number(
    database: Database, other_database: Database
) -> None:
    other_database.execute(
        'CREATE TABLE "Orders" (id serial PRIMARY KEY); CREATE SEQUENCE tickets;'
        "CREATE TABLE loose (id int DEFAULT nextval('tickets'));"
        "CREATE SEQUENCE invoices; CREATE SEQUENCE gone;"
        """SELECT setval('"Orders_id_seq"', 50), setval('tickets', 60), setval('invoices', 70)"""
    )
    database.execute(
        'CREATE TABLE "Orders" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);'
        'ALTER SEQUENCE "Orders_id_seq" RENAME TO renamed;'
        "CREATE TABLE loose (id bigserial); CREATE SEQUENCE invoices; CREATE SEQUENCE new"
    )
    report = taken_along()
    assert {e.sequence.removeprefix("public."): e.next_after for e in report} == {
        "renamed": 52,
        "loose_id_seq": 62,
        "invoices": 72,
        "new": 1,
    }
    assert report.only_at_source == ("public.gone",)
    assert str(entry(report, "new").reason).endswith(
        "the source has no sequence of this name, and none that numbers the same columns"
    )


def test_what_only_a_name_leads_to_is_moved_by_the_source_alone(
    database: Database, other_database: Database
) -> None:
    table = "CREATE TABLE t (id bigint PRIMARY KEY); CREATE SEQUENCE t_id_seq;"
    database.execute(f"{table} INSERT INTO t VALUES (5000)")
    other_database.execute(f"{table} SELECT setval('t_id_seq', 70)")
    found = entry(taken_along(), "t_id_seq")
    assert (found.status.value, found.next_after) == ("advanced", 72)


def test_a_sequence_that_is_planted_at_the_source_uses_none_up(
    database: Database, other_database: Database
) -> None:
    """Whoever may create things there can name one as one of ours is named, and set it far on."""
    tables = "CREATE TABLE a (id serial PRIMARY KEY);"
    database.execute(f"{tables} CREATE SCHEMA new; CREATE TABLE new.b (id serial PRIMARY KEY)")
    mallory = other_database.role("mallory")
    other_database.execute(
        f"{tables} SELECT setval('a_id_seq', 40); ALTER SEQUENCE a_id_seq RENAME TO renamed;"
        f"GRANT CREATE ON SCHEMA public TO {mallory}; CREATE SCHEMA new AUTHORIZATION {mallory}"
    )
    with other_database.connect(user=mallory) as connection:
        connection.execute(
            "CREATE SEQUENCE a_id_seq; CREATE TABLE new.b (id serial PRIMARY KEY);"
            "SELECT setval('a_id_seq', 2147483000), setval('new.b_id_seq', 2147483000)"
        )
    report = taken_along()
    assert entry(report, "a_id_seq").next_after == 42
    planted = entry(report, "new.b_id_seq")
    assert (planted.status.value, planted.next_after) == ("unverified", 1)
    assert f"belongs to {mallory} there, has come to 2147483001" in str(planted.reason)
    other_database.execute("SELECT setval('new.b_id_seq', 5000)")
    assert entry(taken_along(), "new.b_id_seq").next_after == 5002
    other_database.execute("SELECT setval('new.b_id_seq', 2147483000)")
    database.execute(f"ALTER TABLE new.b OWNER TO {mallory}")
    assert entry(taken_along(), "new.b_id_seq").next_after == 2147483002
    database.execute("ALTER TABLE new.b OWNER TO CURRENT_USER")


def test_a_table_whose_owner_may_not_draw_leads_to_no_sequence_of_the_source(
    database: Database, other_database: Database
) -> None:
    """A default may draw from any sequence, the far one of somebody trusted included."""
    database.execute("CREATE SCHEMA new; CREATE TABLE new.b (id serial PRIMARY KEY)")
    mallory = other_database.role("mallory")
    other_database.execute(
        f"CREATE SEQUENCE far; SELECT setval('far', 2147483000);"
        f"CREATE SCHEMA new AUTHORIZATION {mallory}"
    )
    with other_database.connect(user=mallory) as connection:
        connection.execute("CREATE TABLE new.b (id int DEFAULT nextval('public.far'))")
    assert entry(taken_along(), "new.b_id_seq").next_after == 1
    other_database.execute(f"GRANT USAGE ON SEQUENCE far TO {mallory}")
    assert entry(taken_along(), "new.b_id_seq").next_after == 2147483002


def test_a_sequence_that_is_locked_at_the_source_is_said_and_the_others_are_taken(
    database: Database, other_database: Database
) -> None:
    for each in (database, other_database):
        each.execute(f"{TABLE} CREATE SEQUENCE held")
    other_database.execute("SELECT setval('orders_id_seq', 900)")
    with other_database.connect() as connection, connection.transaction():
        connection.execute("ALTER SEQUENCE held RENAME TO hidden")
        source = read_source(connections["other"], connections[DEFAULT], 0.1)
    report = repair.reset(DEFAULT, source=source)
    assert entry(report, "orders_id_seq").next_after == 902
    assert "public.held of the source, or it is locked" in str(entry(report, "held").reason)


def test_what_a_database_sets_for_its_sessions_changes_no_number(
    database: Database, other_database: Database
) -> None:
    for each in (database, other_database):
        each.execute("CREATE SEQUENCE s; CREATE TABLE t (id float8 DEFAULT nextval('s'))")
        for setting in ("extra_float_digits = -15", "quote_all_identifiers = on"):
            each.execute(f"ALTER DATABASE {each.name} SET {setting}")
        each.execute(f"ALTER DATABASE {each.name} SET DateStyle = German")
        each.disconnect()
    database.execute("INSERT INTO t VALUES (1234567)")
    other_database.execute("SELECT setval('s', 5000000)")
    source = read_source(connections["other"], connections[DEFAULT], 2)
    ignored = repair.reset(DEFAULT, limits=Limits(ignore={"public.s": "so it is"}))
    assert entry(ignored, "s").reason == "left alone: so it is"
    assert entry(repair.reset(DEFAULT), "s").next_after == 1234568
    assert entry(repair.reset(DEFAULT, source=source), "s").next_after == 5000002


def test_no_room_for_the_sources_next(database: Database, other_database: Database) -> None:
    database.execute("CREATE TABLE orders (id serial PRIMARY KEY)")
    other_database.execute(TABLE + "SELECT setval('orders_id_seq', 3000000000)")
    found = entry(taken_along(), "orders_id_seq")
    assert found.status.value == "exhausted"
    assert str(found.reason).startswith("the source has come to 3000000001; the next number")
    assert found.makes_room[0].endswith("ALTER COLUMN id TYPE bigint")
    assert standing(database, "orders_id_seq") == (1, False)


def test_a_source_that_may_not_be_read(
    database: Database, other_database: Database, project: Project
) -> None:
    for each in (database, other_database):
        each.execute(f"{TABLE} CREATE TABLE open (id serial PRIMARY KEY)")
    role = other_database.role("reader", password="hunter2")
    other_database.execute(
        f"GRANT SELECT ON open_id_seq TO {role}; SELECT setval('open_id_seq', 8)"
    )
    url = other_database.server.url(other_database.name, user=role, password="hunter2")
    env = {"THERE": url, "WRONG": url.replace("/test_", "/no_")}
    done = project.manage("resetsequences", "--from", "env:THERE", check=False, env=env)
    assert standing(database, "open_id_seq") == (9, True)
    assert "no SELECT privilege on sequence public.orders_id_seq of the source" in done.stdout
    wrong = project.manage("resetsequences", "--from", "env:WRONG", check=False, env=env)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("CommandError: The source cannot be read: ")
    assert "hunter2" not in done.stdout + done.stderr + wrong.stderr


@pytest.mark.psycopg3("psycopg2 sends statements one by one")
def test_the_source_reads_everything_in_one_message_that_may_write_nothing(
    database: Database, other_database: Database
) -> None:
    other_database.execute(TABLE)
    sent: list[str] = []

    def note(execute, statement, params, many, context):  # type: ignore[no-untyped-def]
        sent.append(str(statement))
        return execute(statement, params, many, context)

    with connections["other"].execute_wrapper(note):
        read_source(connections["other"], connections[DEFAULT], 2)
    assert len(sent) == 1
    assert sent[0].startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")


@pytest.mark.parametrize("arguments", [["--from", "other"], ["--check", "--from", "other"]])
def test_the_command_takes_an_alias(
    project: Project, database: Database, other_database: Database, arguments: list[str]
) -> None:
    for each in (database, other_database):
        each.execute(TABLE)
    other_database.execute("SELECT setval('orders_id_seq', 900); CREATE SEQUENCE gone")
    done = project.manage("resetsequences", *arguments, "--headroom", "100", check=False)
    looks = "--check" in arguments
    assert done.returncode == (1 if looks else 0)
    assert standing(database, "orders_id_seq") == ((1, False) if looks else (1001, True))
    assert "the source has come to 901" in done.stdout
    assert 'No sequence of database "default" stands for public.gone of the source.' in done.stderr


def test_the_source_may_be_older_than_django_takes(
    database: Database, other_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 14 is for Django 6.1: a cutover leaves such a server."""
    connections[DEFAULT].ensure_connection()
    for each in (database, other_database):
        each.execute(TABLE)
    monkeypatch.setattr(DatabaseFeatures, "minimum_database_version", (99,))
    monkeypatch.setattr("django.db.backends.base.base.RAN_DB_VERSION_CHECK", {DEFAULT})
    with (
        closing(connections["other"].copy()) as refused,
        pytest.raises(NotSupportedError, match="99 or later"),
    ):
        refused.ensure_connection()
    assert positions_at("other", DEFAULT, 2)


def test_json_and_sql(project: Project, database: Database, other_database: Database) -> None:
    for each in (database, other_database):
        each.execute(TABLE)
    other_database.execute("SELECT setval('orders_id_seq', 900)")
    told = project.manage("resetsequences", "--dry-run", "--json", "--from", "other").stdout
    (found,) = json.loads(told)["databases"]
    assert found["sequences"][0]["next_after"] == 902
    assert found["only_at_source"] == []
    database.execute(project.manage("resetsequences", "--sql", "--from", "other").stdout)
    assert draw(database, "orders_id_seq") == 902


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "nowhere"], 'There is no database "nowhere" in DATABASES'),
        (["--from", "host=h password=hunter2"], "There is no such database in DATABASES"),
        (["--database", "postgresql://u:hunter2@h/d"], "There is no such database in DATABASES"),
        (["--from", "mysql://u:hunter2@h/d"], "--from names a database of mysql"),
        (["--from", "postgresql://u:hun/ter2@h"], "--from is not of the form postgresql://"),
        (["--from", "postgresql://u:hunter2@h/d"], "--from holds a password, which every user"),
        (["--from", "postgresql://u@h/d?sslpassword=hunter2"], "--from holds a password, which"),
        (["--from", "env:NOT_SET"], 'There is no variable "NOT_SET"'),
        (["--from", "other", "--rewind"], "Give --from or --rewind, not both"),
        (["--from", "other", "--all-databases"], "--from is the source of one database"),
        (["--from", "default"], "The source is database"),
    ],
)
def test_wrong_usage(
    project: Project, other_database: Database, arguments: list[str], said: str
) -> None:
    done = project.manage("resetsequences", *arguments, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"CommandError: {said}")
    assert "ter2" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_from_another_major(
    make_server: Callable[..., RunningServer], make_database: MakeDatabase, database: Database
) -> None:
    """Between the server of this run and the embedded one, where that is another version."""
    server = make_server(bindir=embedded_folder() or database.server.bindir)
    other = make_database(alias="other", on=server)
    for each in (database, other):
        each.execute(TABLE)
    other.execute("SELECT setval('orders_id_seq', 900)")
    assert statuses(taken_along()) == {"orders_id_seq": "advanced"}
    assert draw(database, "orders_id_seq") == 902


def test_whatever_form_a_time_has(database: Database, other_database: Database) -> None:
    for each in (database, other_database):
        each.execute(f"{TABLE} ALTER DATABASE \"{each.name}\" SET datestyle = 'German'")
    connections.close_all()
    other_database.execute("SELECT setval('orders_id_seq', 8)")
    taken_along()
    assert standing(database, "orders_id_seq") == (9, True)
