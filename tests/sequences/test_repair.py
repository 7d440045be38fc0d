"""The whole story on a real database: what is told, what is moved, and what is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections, models, transaction
from psycopg import sql

from restorehooks import driver
from restorehooks.sequences.message import send
from tests.support.databases import Database, MakeDatabase
from tests.support.sequences import (
    DEFAULT,
    bytes_of_sequences,
    django_as,
    draw,
    entry,
    inspect,
    reset,
    standing,
    statuses,
)
from tests.support.servers import FAST, RunningServer, private_server

EXHAUSTED = {
    "smallserial": "CREATE TABLE t (id smallserial PRIMARY KEY); INSERT INTO t VALUES (32767)",
    "identity": "CREATE TABLE t (id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);"
    "INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (32767)",
    "integer sequence, bigint column": "CREATE TABLE t (id bigint PRIMARY KEY);"
    "CREATE SEQUENCE s AS integer OWNED BY t.id; ALTER TABLE t ALTER id SET DEFAULT nextval('s');"
    "INSERT INTO t VALUES (3000000000)",
    "MAXVALUE": "CREATE SEQUENCE s MAXVALUE 10;"
    "CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (10)",
    "MAXVALUE of an integer sequence": "CREATE SEQUENCE s AS integer MAXVALUE 10;"
    "CREATE TABLE t (id integer PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (10)",
    "MAXVALUE of an integer sequence, wide column": "CREATE SEQUENCE s AS integer MAXVALUE 10;"
    "CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (10)",
    "narrow column": "CREATE SEQUENCE s;"
    "CREATE TABLE t (id smallint PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (32767)",
    "numeric column": "CREATE SEQUENCE s;"
    "CREATE TABLE t (id numeric(4, 1) PRIMARY KEY DEFAULT nextval('s'));"
    "INSERT INTO t VALUES (999.5)",
    "real column": "CREATE SEQUENCE s;"
    "CREATE TABLE t (id real PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (16777216)",
    "counting down": "CREATE SEQUENCE s AS smallint INCREMENT -1;"
    "CREATE TABLE t (id smallint PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (-32768)",
    "MINVALUE, counting down": "CREATE SEQUENCE s INCREMENT -1 MINVALUE -10;"
    "CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (-10)",
    "two columns": "CREATE SEQUENCE s; CREATE TABLE t (id smallint DEFAULT nextval('s'),"
    "n numeric(2) DEFAULT nextval('s')); INSERT INTO t VALUES (99, 99)",
    "domain": "CREATE DOMAIN d AS smallint; CREATE SEQUENCE s;"
    "CREATE TABLE t (id d PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (32767)",
    "partitioned": "CREATE TABLE t (id smallserial, k int DEFAULT 1) PARTITION BY LIST (k);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); INSERT INTO t VALUES (32767)",
    "sequence used up, rows fewer": "CREATE TABLE t (id smallserial PRIMARY KEY);"
    "SELECT setval('t_id_seq', 32767); INSERT INTO t VALUES (5)",
}


@pytest.mark.parametrize("setup", EXHAUSTED.values(), ids=EXHAUSTED.keys())
def test_the_remedy_for_an_exhausted_sequence_mends_it(database: Database, setup: str) -> None:
    database.execute(setup)
    before = bytes_of_sequences(database)
    (found,) = reset(DEFAULT)
    assert found.status.value == "exhausted"
    assert bytes_of_sequences(database) == before
    remedies = str(found.reason).partition("; remedy: ")[2].split("; ")
    assert remedies
    for remedy in remedies:
        database.execute(remedy)
    (mended,) = reset(DEFAULT)
    assert mended.status.value in ("advanced", "ok")
    assert database.execute("INSERT INTO t DEFAULT VALUES RETURNING id::bigint") == [
        (mended.next_after,)
    ]


@pytest.mark.parametrize(("step", "top"), [("", 2**63 - 1), ("INCREMENT -1", -(2**63))])
def test_at_the_very_end_of_bigint_there_is_no_larger_type(
    database: Database, step: str, top: int
) -> None:
    database.execute(f"CREATE SEQUENCE s {step}")
    database.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s'));"
        f"INSERT INTO t VALUES ({top}); SELECT setval('s', {top})"
    )
    found = entry(reset(DEFAULT), "s")
    assert found.status.value == "exhausted"
    assert f"give the row numbered {top} another number" in str(found.reason)
    database.execute("UPDATE t SET id = sign(id) * 7")
    found = entry(reset(DEFAULT), "s")
    assert found.status.value == "exhausted"
    assert "no row is in the way of a rewind" in str(found.reason)
    database.execute(inspect(DEFAULT, rewind=True).as_sql())
    assert abs(draw(database, "s")) == 8
    database.execute(f"SELECT setval('s', {top})")
    found = entry(reset(DEFAULT, rewind=True), "s")
    assert (found.status.value, abs(found.next_after or 0)) == ("rewound", 8)
    assert abs(draw(database, "s")) == 8


def test_headroom_keeps_that_many_steps_clear_and_is_stable(database: Database) -> None:
    database.execute(
        "CREATE TABLE a (id serial); INSERT INTO a VALUES (5);"
        "CREATE SEQUENCE b_seq INCREMENT -10 START -3;"
        "CREATE TABLE b (id bigint DEFAULT nextval('b_seq')); INSERT INTO b VALUES (-57);"
        "CREATE TABLE empty (id serial);"
        "CREATE TABLE near (id serial); INSERT INTO near VALUES (5);"
        "SELECT setval('near_id_seq', 50)"
    )
    report = reset(DEFAULT, headroom=100)
    assert {e.sequence: e.next_after for e in report} == {
        "public.a_id_seq": 106,
        "public.b_seq": -1063,
        "public.empty_id_seq": 1,
        "public.near_id_seq": 106,
    }
    before = bytes_of_sequences(database)
    assert not reset(DEFAULT, headroom=100).changed
    assert not reset(DEFAULT).changed
    assert bytes_of_sequences(database) == before


def test_headroom_for_which_there_is_no_room(database: Database) -> None:
    database.execute("CREATE TABLE t (id smallserial); INSERT INTO t VALUES (32000)")
    found = entry(reset(DEFAULT, headroom=1000), "t_id_seq")
    assert found.status.value == "exhausted"
    assert "ask for less headroom than 1000" in str(found.reason)
    assert entry(reset(DEFAULT, headroom=700), "t_id_seq").next_after == 32701


@pytest.fixture(scope="module")
def quiet_server() -> Iterator[RunningServer]:
    """A server that gives transaction ids to its clients alone, not to autovacuum."""
    with private_server({**FAST, "autovacuum": "off"}) as server:
        yield server


@pytest.fixture
def quiet(quiet_server: RunningServer, make_database: MakeDatabase) -> Database:
    return make_database(alias=DEFAULT, on=quiet_server)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("tables", [3, 40])
def test_nothing_is_written_where_nothing_is_behind(
    quiet: Database, within: bool, tables: int
) -> None:
    quiet.execute(
        "CREATE TABLE t (id serial PRIMARY KEY);"
        "INSERT INTO t SELECT nextval('t_id_seq') FROM generate_series(1, 10);"
        "CREATE TABLE ahead (id serial PRIMARY KEY); SELECT setval('ahead_id_seq', 50);"
        "CREATE SEQUENCE cached CACHE 10;"
        "CREATE TABLE c (id bigint DEFAULT nextval('cached')); INSERT INTO c DEFAULT VALUES"
    )
    for number in range(tables):
        quiet.execute(f"CREATE TABLE e{number} (id serial)")
    before = bytes_of_sequences(quiet)
    connection = connections[DEFAULT]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot())"
        )
        ((_, unassigned),) = cursor.fetchall()
        if within:
            with transaction.atomic():
                report = reset(DEFAULT)
                cursor.execute("SELECT pg_current_xact_id_if_assigned()")
                assert cursor.fetchall() == [(None,)]
        else:
            report = reset(DEFAULT)
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())")
        assert cursor.fetchall() == [(unassigned,)], "a transaction id was used up"
    assert {e.status.value for e in report} == {"ok"}
    assert len(report) == tables + 3
    assert bytes_of_sequences(quiet) == before


def test_looking_writes_nothing_either_where_something_is_behind(
    quiet: Database,
) -> None:
    quiet.execute("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (5)")
    before = bytes_of_sequences(quiet)
    ((unassigned,),) = quiet.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())")
    inspect(DEFAULT)
    with transaction.atomic():
        inspect(DEFAULT, rewind=True, headroom=5)
    after = quiet.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())")
    assert after == [(unassigned,)]
    assert bytes_of_sequences(quiet) == before


def test_only_what_is_behind_is_touched(database: Database, behind: Callable[..., None]) -> None:
    behind("one")
    database.execute("CREATE TABLE fine (id serial); INSERT INTO fine DEFAULT VALUES")
    before = bytes_of_sequences(database)["fine_id_seq"]
    reset(DEFAULT)
    assert bytes_of_sequences(database)["fine_id_seq"] == before


FOR_ALL_SESSIONS = [
    "default_transaction_read_only = on",
    "statement_timeout = '250ms'",
    "lock_timeout = '10ms'",
    "idle_in_transaction_session_timeout = '250ms'",
    "search_path = ''",
    "row_security = on",
    "quote_all_identifiers = on",
    "default_transaction_isolation = 'serializable'",
]


@pytest.mark.psycopg3("psycopg2 knows no server-side binding")
def test_what_a_database_sets_for_all_sessions_does_not_matter(
    database: Database, behind: Callable[..., None]
) -> None:
    """Somebody holds the table for longer than these timeouts would bear."""
    behind("t")
    holders = [database.connect(autocommit=False) for _ in range(2)]
    timeouts = ["transaction_timeout = '250ms'"] if database.server.version >= 170000 else []
    for each in [*FOR_ALL_SESSIONS, *timeouts]:
        database.execute(f"ALTER DATABASE {database.name} SET {each}")
    options = {"server_side_binding": True, "prepare_threshold": 0}
    with django_as(database, OPTIONS=options) as alias:
        with held_for_a_while(holders[0], "t"):
            (done,) = reset(alias)
        assert (done.status.value, done.next_after) == ("advanced", 6)
        database.execute("SELECT setval('t_id_seq', 900)")
        with held_for_a_while(holders[1], "t"):
            (done,) = reset(alias, rewind=True)
        assert (done.status.value, done.next_after) == ("rewound", 6)


@contextmanager
def held_for_a_while(holder: psycopg.Connection[Any], table: str) -> Iterator[None]:
    """Lock a table now, and let it go after more than half a second."""
    holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    letting_go = threading.Timer(0.6, holder.close)
    letting_go.start()
    yield
    letting_go.join()


@pytest.mark.parametrize(
    "options",
    [
        *(
            pytest.param(each, marks=pytest.mark.psycopg3("psycopg2 knows no such option"))
            for each in (
                {"server_side_binding": True},
                {"prepare_threshold": 0},
                {"prepare_threshold": 2},
                {"server_side_binding": True, "prepare_threshold": 0},
                {"pool": True},
            )
        ),
        {"isolation_level": 2},
        {"isolation_level": 3},
        {"options": "-c search_path="},
        {"options": "-c search_path=elsewhere,pg_catalog"},
        {"options": "-c standard_conforming_strings=off -c escape_string_warning=off"},
        {"options": "-c lock_timeout=1ms -c default_transaction_deferrable=on"},
        {"client_encoding": "LATIN1"},
    ],
    ids=str,
)
def test_whatever_the_connection_is_set_to(
    database: Database, behind: Callable[..., None], options: dict[str, Any]
) -> None:
    if "strings=off" in options.get("options", "") and not database.server.backslashes_escape:
        pytest.skip("the server knows standard strings only")
    behind("t", '"back\\slash"')
    database.execute(
        "CREATE SEQUENCE s; CREATE TABLE u (id bigint DEFAULT nextval('public.s'::text::regclass));"
        "INSERT INTO u VALUES (5)"
    )
    with django_as(database, OPTIONS=options) as alias:
        for step in range(6):
            if step % 2:
                report = reset(alias)
            else:
                with transaction.atomic(using=alias):
                    with connections[alias].cursor() as cursor:  # what an import does
                        cursor.execute(
                            'LOCK TABLE public.t, public.u, public."back\\slash"'
                            " IN ROW EXCLUSIVE MODE"
                        )
                    report = reset(alias)
            assert len(report) == 3
            assert all(e.next_after == 6 + step * 20 for e in report), [*report]
            assert statuses(reset(alias)) == dict.fromkeys(statuses(report), "ok")
            for table in ("t", "u", '"back\\slash"'):
                database.execute(f"INSERT INTO {table} (id) SELECT max(id) + 20 FROM {table}")
        database.execute("SELECT setval('t_id_seq', 100000)")
        rewound = entry(reset(alias, rewind=True), "t_id_seq")
        assert (rewound.status.value, rewound.next_after) == ("rewound", 126)


@pytest.mark.psycopg3("psycopg2 prepares no statement")
def test_settings_of_the_database_that_would_be_in_the_way(database: Database) -> None:
    connection = connections[DEFAULT]
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '7s'; SET row_security = on")
        (shown,) = send(connection, ["SELECT current_setting('statement_timeout')"], 1)
        assert shown == [("0",)]
        with transaction.atomic():
            (shown,) = send(connection, ["SELECT current_setting('statement_timeout')"], 1)
            assert shown == [("7s",)], "a transaction of the caller's is the caller's"
        cursor.execute("SHOW search_path")
        assert cursor.fetchall() == [('"$user", public',)]
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchall() == [("7s",)]
        connection.connection.prepare_threshold = 3
        reset(DEFAULT)
        assert connection.connection.prepare_threshold == 3


def test_what_interrupts_a_repair_by_psycopg2_leaves_no_transaction_open(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler's exception, say: what the caller writes then would never be committed."""
    monkeypatch.setattr(driver, "name", "psycopg2")
    connection = connections[DEFAULT]

    def interrupt(execute: Callable[..., Any], statement: str, *rest: Any) -> Any:
        if "here" in statement:
            raise KeyboardInterrupt
        return execute(statement, *rest)

    with connection.execute_wrapper(interrupt), pytest.raises(KeyboardInterrupt):
        send(connection, ["SELECT 1", "SELECT 'here'"], 1)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept ()")
    connection.close()
    assert database.execute("SELECT to_regclass('public.kept') IS NOT NULL") == [(True,)]


def test_a_default_is_understood_however_the_server_quotes_names(database: Database) -> None:
    database.execute(
        "CREATE SEQUENCE s; CREATE TABLE u (id bigint DEFAULT nextval('public.s'::text::regclass));"
        "INSERT INTO u VALUES (5)"
    )
    options = {"options": "-c quote_all_identifiers=on"}
    with django_as(database, OPTIONS=options) as alias:
        (found,) = reset(alias)
    assert (found.sequence, found.next_after) == ("public.s", 6)


def test_with_query_logging(database: Database, behind: Callable[..., None]) -> None:
    behind("t")
    connection = connections[DEFAULT]
    connection.force_debug_cursor = True
    with transaction.atomic():
        assert statuses(reset(DEFAULT)) == {"t_id_seq": "advanced"}
    assert connection.queries_log


def test_without_autocommit(database: Database, behind: Callable[..., None]) -> None:
    behind("t", "u")
    with django_as(database, AUTOCOMMIT=False) as alias:
        connection = connections[alias]
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO t (id) VALUES (20)")
        report = reset(alias)
        assert (entry(report, "t_id_seq").next_after, entry(report, "u_id_seq").next_after) == (
            21,
            6,
        )
        connection.rollback()
        connection.close()
    assert draw(database, "t_id_seq") == 21


def test_rows_of_the_callers_own_transaction_count(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("t")
    with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
        cursor.execute("INSERT INTO t (id) VALUES (70)")
        assert entry(reset(DEFAULT), "t_id_seq").next_after == 71
        cursor.execute("INSERT INTO t DEFAULT VALUES RETURNING id")
        assert cursor.fetchall() == [(71,)]


def test_a_table_and_a_sequence_as_young_as_the_transaction(database: Database) -> None:
    with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
        cursor.execute("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (9)")
        cursor.execute("SET search_path = public")
        assert entry(reset(DEFAULT), "t_id_seq").next_after == 10
    assert draw(database, "t_id_seq") == 10
    with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
        cursor.execute("TRUNCATE t RESTART IDENTITY")
        cursor.execute("INSERT INTO t VALUES (30)")
        assert entry(reset(DEFAULT), "t_id_seq").next_after == 31
    assert draw(database, "t_id_seq") == 31


def test_a_move_that_a_rollback_would_take_back_says_so(database: Database) -> None:
    database.execute("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (9)")
    for rewrite in (
        "TRUNCATE t RESTART IDENTITY",
        "ALTER SEQUENCE t_id_seq INCREMENT 2",
        "ALTER TABLE t ALTER id TYPE bigint; ALTER SEQUENCE t_id_seq AS bigint",
    ):
        with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
            with transaction.atomic():
                cursor.execute(rewrite)
            cursor.execute("INSERT INTO t VALUES (30)")
            found = entry(reset(DEFAULT), "t_id_seq")
            assert found.status.value == "advanced"
            assert "a rollback takes the move back" in str(found.reason)
            transaction.set_rollback(True)
        assert standing(database, "t_id_seq") == (1, False)
    assert entry(reset(DEFAULT), "t_id_seq").reason is None


def test_a_truncation_that_is_rolled_back_brings_the_old_place_back(database: Database) -> None:
    database.execute("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (9)")
    reset(DEFAULT)
    with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
        cursor.execute("TRUNCATE t RESTART IDENTITY")
        cursor.execute("INSERT INTO t VALUES (3)")
        assert entry(reset(DEFAULT), "t_id_seq").next_after == 4
        transaction.set_rollback(True)
    assert draw(database, "t_id_seq") == 10


def test_what_is_moved_stays_moved_when_the_caller_rolls_back(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("t")
    with transaction.atomic():
        reset(DEFAULT)
        transaction.set_rollback(True)
    assert draw(database, "t_id_seq") == 6


def test_a_transaction_that_is_broken_already_is_not_used(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("t")
    with pytest.raises(Exception, match="transaction"), transaction.atomic():  # noqa: PT012
        transaction.set_rollback(True)
        connections[DEFAULT].needs_rollback = True
        reset(DEFAULT)
    assert statuses(reset(DEFAULT)) == {"t_id_seq": "advanced"}


@pytest.mark.parametrize("headroom", [-1, 1.5, "3"])
def test_headroom_is_a_whole_number(database: Database, headroom: Any) -> None:
    with pytest.raises(ValueError, match="headroom must be a whole number of at least 0, not"):
        reset(DEFAULT, headroom=headroom)


class TestModels:
    @pytest.fixture(autouse=True)
    def tables(self, database: Database) -> None:
        database.execute(
            "CREATE TABLE django_content_type (id serial PRIMARY KEY, app_label text, model text);"
            "CREATE TABLE auth_permission (id serial PRIMARY KEY);"
            "INSERT INTO django_content_type VALUES (5); INSERT INTO auth_permission VALUES (5);"
            "CREATE TABLE unrelated (id serial); INSERT INTO unrelated VALUES (5)"
        )

    def test_only_those_asked_for(self, database: Database) -> None:
        from django.contrib.auth.models import Permission, User

        report = reset(DEFAULT, [Permission, User])
        assert statuses(report) == {"auth_permission_id_seq": "advanced"}
        (found,) = report
        assert found.models == ("auth.Permission",)
        assert set(report.without_table) == {
            "auth.User",
            "auth.User_groups",
            "auth.User_user_permissions",
        }
        assert standing(database, "unrelated_id_seq") == (1, False)

    def test_everything_names_the_models_there_are(self) -> None:
        assert {e.sequence: e.models for e in reset(DEFAULT)} == {
            "public.auth_permission_id_seq": ("auth.Permission",),
            "public.django_content_type_id_seq": ("contenttypes.ContentType",),
            "public.unrelated_id_seq": (),
        }

    def test_no_models_mean_no_sequences(self) -> None:
        assert len(reset(DEFAULT, [])) == 0

    def test_a_model_of_a_schema_that_is_closed_or_missing(self, database: Database) -> None:
        from django.contrib.contenttypes.models import ContentType

        database.execute(
            "CREATE SCHEMA closed; CREATE TABLE closed.t (id serial PRIMARY KEY);"
            "INSERT INTO closed.t VALUES (5)"
        )
        role = database.role("limited")
        database.execute(
            sql.SQL(
                "GRANT ALL ON ALL TABLES IN SCHEMA public, closed TO {0};"
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA public, closed TO {0}"
            ).format(sql.Identifier(role))
        )

        def model(name: str, table: str) -> type[models.Model]:
            meta = type("Meta", (), {"app_label": "elsewhere", "db_table": table, "managed": False})
            return type(name, (models.Model,), {"Meta": meta, "__module__": __name__})

        from django.apps import apps

        try:
            closed = model("Closed", '"closed"."t"')
            missing = model("Missing", '"no such"."t"')
            odd = model("Odd", 'odd"name')
            with django_as(database, USER=role) as alias:
                report = reset(alias, [ContentType, closed, missing, odd])
        finally:
            del apps.all_models["elsewhere"]
            apps.clear_cache()
        assert statuses(report) == {
            "django_content_type_id_seq": "advanced",
            "closed.t_id_seq": "unverified",
        }
        assert set(report.without_table) == {"elsewhere.Missing", "elsewhere.Odd"}
        database.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
