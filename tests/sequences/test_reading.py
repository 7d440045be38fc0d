"""Where sequences stand, and how far their rows have come."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connections, transaction

from restorehooks.sequences.glance import all_fine
from tests.support.databases import Database
from tests.support.sequences import DEFAULT, draw, entry, inspect, reset, standing, statuses
from tests.support.servers import RunningServer


@contextmanager
def inserting(database: Database, statement: str) -> Iterator[None]:
    """Run a statement over and over, each in a transaction of its own, beside the block."""
    stop = threading.Event()

    def work() -> None:
        with database.connect() as connection:
            while not stop.is_set():
                connection.execute(statement)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("tables", [3, 60])
@pytest.mark.parametrize("within", [False, True])
def test_a_busy_table_is_never_called_behind(database: Database, tables: int, within: bool) -> None:
    for number in range(tables):
        database.execute(f"CREATE TABLE t{number} (id serial PRIMARY KEY)")
    columns = "; ".join(f"INSERT INTO t{number} DEFAULT VALUES" for number in (0, 1, 2, tables - 1))
    with inserting(database, columns):
        for _ in range(40):
            if within:
                with transaction.atomic():
                    report = inspect(DEFAULT)
            else:
                report = inspect(DEFAULT)
            assert set(statuses(report).values()) == {"ok"}


@pytest.mark.parametrize(
    ("type_", "rows", "next_id"),
    [
        ("numeric", "(10.5), (3)", 11),
        ("numeric", "('NaN'), (7)", 8),
        ("numeric", "('NaN')", 1),
        ("numeric", "('-0.5')", 1),
        ("numeric(12, 3)", "(99.999)", 100),
        ("numeric(30)", "(12345678901234567)", 12345678901234568),
        ("numeric(3, 0)", "(998)", 999),
        ("real", "(16777215)", 16777216),
        ("real", "(7.25), ('NaN'), ('Infinity'), ('-Infinity')", 8),
        ("double precision", "(9007199254740991)", 9007199254740992),
        ("double precision", "('Infinity'), (5)", 6),
    ],
)
def test_numbers_that_are_no_integers(
    database: Database, type_: str, rows: str, next_id: int
) -> None:
    database.execute(
        f"CREATE SEQUENCE s; CREATE TABLE t (id {type_} DEFAULT nextval('s'));"
        f"INSERT INTO t VALUES {rows}"
    )
    reset(DEFAULT)
    assert draw(database, "s") == next_id


def test_infinite_numerics_where_the_server_has_them(database: Database) -> None:
    database.execute(
        "CREATE SEQUENCE up; CREATE SEQUENCE down INCREMENT -1;"
        "CREATE TABLE t (a numeric DEFAULT nextval('up'), b numeric DEFAULT nextval('down'));"
        "INSERT INTO t VALUES (5.5, -5.5), ('Infinity', 'Infinity'), ('-Infinity', '-Infinity'),"
        " ('NaN', 'NaN')"
    )
    reset(DEFAULT)
    assert (draw(database, "up"), draw(database, "down")) == (6, -6)


@pytest.mark.parametrize(
    ("type_", "row", "limit"),
    [
        ("numeric(3, 0)", "999", 999),
        ("numeric(5, 2)", "999.99", 999),
        ("numeric(2, 2)", "0.99", 0),
        ("real", "16777216", 2**24),
        ("double precision", "9007199254740992", 2**53),
        ("double precision", "1e300", 2**53),
        ("smallint", "32767", 32767),
    ],
)
def test_a_column_that_can_take_no_larger_number(
    database: Database, type_: str, row: str, limit: int
) -> None:
    database.execute(
        f"CREATE SEQUENCE s; CREATE TABLE t (id {type_} DEFAULT nextval('s'));"
        f"INSERT INTO t VALUES ({row})"
    )
    found = entry(reset(DEFAULT), "s")
    assert (found.status.value, found.limit) == ("exhausted", limit)
    assert standing(database, "s") == (1, False)


def test_a_column_that_rounds_whole_numbers_is_not_judged(database: Database) -> None:
    if database.server.version < 150000:
        pytest.skip("negative scales came with PostgreSQL 15")
    database.execute(
        "CREATE SEQUENCE s; CREATE TABLE t (id numeric(5, -2) DEFAULT nextval('s'));"
        "INSERT INTO t VALUES (100)"
    )
    found = entry(reset(DEFAULT), "s")
    assert (found.status.value, found.reason) == (
        "unverified",
        "public.t.id rounds whole numbers",
    )


@pytest.mark.parametrize(
    ("sequence", "rows", "next_id"),
    [
        ("MINVALUE 1000 START 1000", "(1), (500)", 1000),
        ("MINVALUE 1000 START 1000", "(1500)", 1501),
        ("MINVALUE 5 INCREMENT 10", "(5), (15)", 25),
        ("INCREMENT 2 RESTART 1002", "(1001), (1003)", 1004),
        ("INCREMENT 50 START 7", "(7), (60)", 107),
        ("INCREMENT -5 START -3", "(-20)", -23),
        ("INCREMENT -1 MAXVALUE 100 START 100", "(50)", 49),
        ("", "(9223372036854775806)", 9223372036854775807),
        ("INCREMENT -1", "(-9223372036854775807)", -9223372036854775808),
        ("MINVALUE -100 START -100", "(-50)", -49),
        ("INCREMENT 9223372036854775806", "(1)", 9223372036854775807),
    ],
)
def test_bounds_steps_and_phases(
    database: Database, sequence: str, rows: str, next_id: int
) -> None:
    create, _, restart = sequence.partition("RESTART")
    database.execute(f"CREATE SEQUENCE s {create}")
    if restart:
        database.execute(f"ALTER SEQUENCE s RESTART {restart}")
    database.execute(f"CREATE TABLE t (id bigint DEFAULT nextval('s'));INSERT INTO t VALUES {rows}")
    reset(DEFAULT)
    assert draw(database, "s") == next_id


def test_a_cycle_that_starts_over_among_its_rows(database: Database) -> None:
    database.execute(
        "CREATE SEQUENCE s MAXVALUE 10 CYCLE; SELECT setval('s', 10);"
        "CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'));"
        "INSERT INTO t SELECT generate_series(1, 5)"
    )
    (plan,) = inspect(DEFAULT)
    assert (plan.status.value, plan.next_before, plan.next_after) == ("behind", 1, 6)
    (done,) = reset(DEFAULT)
    assert (done.status.value, done.next_after) == ("advanced", 6)
    assert draw(database, "s") == 6


def test_what_a_hook_leaves_unread(database: Database, behind: Callable[..., None]) -> None:
    behind("indexed")
    database.execute(
        "CREATE TABLE large (id serial, x text);"
        "INSERT INTO large (id, x) SELECT g, repeat('x', 1000) FROM generate_series(1, 100) g;"
        "CREATE TABLE small (id serial); INSERT INTO small VALUES (5);"
        "CREATE TABLE part (id serial, k int) PARTITION BY LIST (k);"
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);"
        "INSERT INTO part SELECT g, 1 FROM generate_series(1, 5000) g;"
        "CREATE TABLE second (k int, id serial, PRIMARY KEY (k, id));"
        "INSERT INTO second SELECT 1, g FROM generate_series(1, 5000) g;"
        "CREATE TABLE partly (id serial); CREATE INDEX ON partly (id) WHERE id > 7;"
        "INSERT INTO partly SELECT g FROM generate_series(1, 5000) g;"
        "CREATE TABLE hashed (id serial); CREATE INDEX ON hashed USING hash (id);"
        "INSERT INTO hashed SELECT g FROM generate_series(1, 5000) g"
    )
    with transaction.atomic():
        within = statuses(reset(DEFAULT, scan_limit=50_000))
    outside = reset(DEFAULT, scan_limit=50_000)
    assert within == {
        "indexed_id_seq": "advanced",
        "large_id_seq": "unverified",
        "small_id_seq": "advanced",
        "part_id_seq": "unverified",
        "second_id_seq": "unverified",
        "partly_id_seq": "unverified",
        "hashed_id_seq": "unverified",
    }
    assert statuses(outside) == {
        name: status.replace("advanced", "ok") for name, status in within.items()
    }
    assert entry(outside, "large_id_seq").reason == (
        "no index leads with public.large.id, in a table of 0 MiB"
    )
    assert standing(database, "large_id_seq") == (1, False)
    assert set(statuses(reset(DEFAULT)).values()) == {"ok", "advanced"}
    assert draw(database, "large_id_seq") == 101


def test_an_index_that_is_marked_invalid_is_not_relied_on(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id serial PRIMARY KEY, x text);"
        "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 100) g;"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_pkey'::regclass"
    )
    assert statuses(reset(DEFAULT, scan_limit=50_000)) == {"t_id_seq": "unverified"}
    assert entry(reset(DEFAULT), "t_id_seq").next_after == 101


def test_a_temporal_key_leads_to_no_last_number(database: Database) -> None:
    if database.server.version < 180000:
        pytest.skip("WITHOUT OVERLAPS is there from PostgreSQL 18 on")
    database.execute(
        "CREATE EXTENSION btree_gist;"
        "CREATE TABLE t (id serial, at int4range, x text, PRIMARY KEY (id, at WITHOUT OVERLAPS));"
        "INSERT INTO t SELECT g, '[1,9)', repeat('x', 1000) FROM generate_series(1, 100) g"
    )
    assert statuses(reset(DEFAULT, scan_limit=50_000)) == {"t_id_seq": "unverified"}
    assert entry(reset(DEFAULT), "t_id_seq").next_after == 101
    assert not all_fine(connections[DEFAULT], [])


@pytest.mark.parametrize("body", ["inner_one($1)", "$1::inner_one"])
def test_a_function_of_an_index_that_names_no_schema_is_said(database: Database, body: str) -> None:
    if database.server.version >= 170000:
        pytest.skip("from PostgreSQL 17 on such an index cannot be made")
    database.execute(
        "CREATE FUNCTION inner_one(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';"
        "CREATE DOMAIN inner_one AS text;"
        "CREATE FUNCTION outer_one(text) RETURNS text LANGUAGE sql IMMUTABLE AS"
        f" 'SELECT {body}';"
        "CREATE TABLE t (id serial PRIMARY KEY, x text); INSERT INTO t VALUES (50, 'a');"
        "CREATE INDEX ON t (outer_one(x))"
    )
    found = entry(reset(DEFAULT), "t_id_seq")
    assert found.status.value == "failed"
    assert re.search(r"inner_one.* does not exist, which an SQL function", str(found.reason))
    database.execute("ALTER FUNCTION outer_one SET search_path = public")
    assert entry(reset(DEFAULT), "t_id_seq").next_after == 51


def test_a_not_null_constraint_that_is_not_valid_promises_nothing(database: Database) -> None:
    if database.server.version < 180000:
        pytest.skip("NOT NULL NOT VALID is there from PostgreSQL 18 on")
    database.execute(
        "CREATE SEQUENCE s; CREATE TABLE t (id int DEFAULT nextval('s')); CREATE INDEX ON t (id);"
        "INSERT INTO t VALUES (50), (NULL); ALTER TABLE t ADD NOT NULL id NOT VALID"
    )
    assert entry(reset(DEFAULT), "s").next_after == 51


@pytest.mark.parametrize("tables", [1, 60])
def test_a_table_dropped_between_catalogue_and_reading(
    database: Database, behind: Callable[..., None], tables: int
) -> None:
    behind(*(f"t{number}" for number in range(tables)), "doomed")
    doomed = [True]

    def drop(execute, statement, params, many, context):  # type: ignore[no-untyped-def]
        result = execute(statement, params, many, context)
        if "sequence AS MATERIALIZED" in str(statement) and doomed:
            doomed.pop()
            database.execute("DROP TABLE doomed")
        return result

    with connections[DEFAULT].execute_wrapper(drop):
        report = reset(DEFAULT)
    found = entry(report, "doomed_id_seq")
    assert found.status.value == "failed"
    assert "doomed" in str(found.reason)
    assert "does not exist" in str(found.reason)
    others = {e.status.value for e in report if e is not found}
    assert others == {"advanced"}
    assert draw(database, "t0_id_seq") == 6


def test_a_damaged_index_costs_the_others_nothing(
    make_server: Callable[..., RunningServer], make_database: Callable[..., Database]
) -> None:
    server = make_server()
    database = make_database(alias=DEFAULT, on=server)
    for table in ("one", "broken", "two"):
        database.execute(
            f"CREATE TABLE {table} (id serial PRIMARY KEY);"
            f"INSERT INTO {table} SELECT generate_series(1, 5)"
        )
    ((path,),) = database.execute("SELECT pg_relation_filepath('broken_pkey')")
    database.disconnect()
    assert server.process is not None
    server.process.stop()
    file = server.process.data / "cluster" / path
    file.write_bytes(bytes(file.stat().st_size))
    server.process.start()
    report = reset(DEFAULT)
    assert statuses(report) == {
        "one_id_seq": "advanced",
        "broken_id_seq": "failed",
        "two_id_seq": "advanced",
    }
    assert "broken_pkey" in str(entry(report, "broken_id_seq").reason)
