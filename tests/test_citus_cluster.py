"""A real Citus cluster: ``RESTOREHOOKS_CITUS_URL`` is the URL of a coordinator's superuser.

The tests make and drop a schema of their own in that database, on all of its nodes. They are
skipped where there is none; tests/sequences/test_citus.py simulates the same on every run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections

from restorehooks.database_url import settings_of
from restorehooks.management.positions import positions_at
from restorehooks.sequences.report import Report
from tests.support.citus import WORKER
from tests.support.databases import Database, pointed
from tests.support.sequences import DEFAULT, entry, inspect, reset, statuses

URL = os.environ.get("RESTOREHOOKS_CITUS_URL", "")
SCHEMA = "restorehooks_tests"
ORDERS = f"{SCHEMA}.orders"
OURS = f"seqrelid::regclass::text LIKE '{SCHEMA}.%'"
pytestmark = pytest.mark.skipif(not URL, reason="RESTOREHOOKS_CITUS_URL names no cluster")
Run = Callable[[str], list[tuple[Any, ...]]]


def run_at(connection: psycopg.Connection[Any]) -> Run:
    def run(statement: str) -> list[tuple[Any, ...]]:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def coordinator() -> Iterator[Run]:
    """The coordinator, Django's default alias, with a distributed table of its own."""
    with psycopg.connect(URL, autocommit=True) as connection, pointed(DEFAULT, at(URL)):
        run = run_at(connection)
        run(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        run(f"CREATE SCHEMA {SCHEMA}")
        run(f"CREATE TABLE {ORDERS} (id bigserial PRIMARY KEY, name text)")
        run(f"CREATE TABLE {SCHEMA}.small (id serial PRIMARY KEY)")
        run(f"SELECT create_distributed_table('{ORDERS}', 'id')")
        run(f"SELECT create_distributed_table('{SCHEMA}.small', 'id')")
        yield run
        run(f"DROP SCHEMA {SCHEMA} CASCADE")


@pytest.fixture
def worker_url(coordinator: Run) -> str:
    """The URL of the first worker."""
    rows = coordinator(
        "SELECT nodename, nodeport, groupid FROM pg_dist_node"
        " WHERE isactive AND noderole = 'primary' AND groupid > 0 ORDER BY groupid"
    )
    host, port, group = rows[0]
    assert group == 1, "these tests reckon with a worker of group 1"
    parts = urlsplit(URL)
    credentials, at_sign, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}{at_sign}{host}:{port}").geturl()


@pytest.fixture
def worker(worker_url: str) -> Iterator[Run]:
    """The first worker."""
    with psycopg.connect(worker_url, autocommit=True) as connection:
        yield run_at(connection)


def at(url: str) -> dict[str, Any]:
    return {**connections.settings[DEFAULT], **settings_of(url, "RESTOREHOOKS_CITUS_URL")}


def ours() -> Report:
    return reset(DEFAULT, schemas=[SCHEMA])


def insert(run: Run) -> int:
    ((number,),) = run(f"INSERT INTO {ORDERS} (name) VALUES ('new') RETURNING id")
    return int(number)


def test_each_node_keeps_to_its_own_numbers(coordinator: Run, worker: Run) -> None:
    assert (insert(coordinator), insert(worker)) == (1, WORKER + 1)
    found = entry(ours(), f"{ORDERS}_id_seq")
    assert (found.status.value, found.next_after, found.extreme) == ("ok", 2, 1)
    coordinator(f"INSERT INTO {ORDERS} VALUES (2), (5), ({WORKER + 2})")
    call_command("resetsequences", "--every-node", "--schema", SCHEMA, verbosity=0)
    assert (insert(coordinator), insert(worker)) == (6, WORKER + 3)


def test_a_large_gap_is_closed_on_each_node(coordinator: Run, worker: Run) -> None:
    far = 3_000_000
    coordinator(f"INSERT INTO {ORDERS} VALUES ({far - 1}), ({far})")
    coordinator(f"INSERT INTO {ORDERS} VALUES ({WORKER + far - 1}), ({WORKER + far})")
    call_command("resetsequences", "--every-node", "--schema", SCHEMA, verbosity=0)
    assert (insert(coordinator), insert(worker)) == (far + 1, WORKER + far + 1)


def test_more_tables_than_are_read_outright(coordinator: Run) -> None:
    for n in range(25):
        coordinator(f"CREATE TABLE {SCHEMA}.t{n} (id bigserial PRIMARY KEY)")
        coordinator(f"SELECT create_distributed_table('{SCHEMA}.t{n}', 'id', shard_count := 2)")
    coordinator(f"INSERT INTO {SCHEMA}.t24 VALUES (1), (2)")
    assert entry(inspect(DEFAULT, schemas=[SCHEMA]), f"{SCHEMA}.t24_id_seq").next_after == 3


def test_a_violation_of_a_shard(coordinator: Run) -> None:
    coordinator(f"INSERT INTO {ORDERS} VALUES (1)")
    with connections[DEFAULT].cursor() as cursor, pytest.raises(IntegrityError) as caught:
        cursor.execute(f"INSERT INTO {ORDERS} (name) VALUES ('new')")
    (note,) = caught.value.__notes__
    assert "orders_pkey" in note
    assert "orders_pkey_1" not in note
    assert '""' not in note


def test_repairs_beside_inserts_on_every_node(coordinator: Run, worker: Run) -> None:
    done = threading.Event()

    def keep_inserting(run: Run) -> None:
        while not done.is_set():
            insert(run)

    threads = [threading.Thread(target=keep_inserting, args=[run]) for run in (coordinator, worker)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            call_command("resetsequences", "--every-node", "--schema", SCHEMA, verbosity=0)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    ((all_rows, own),) = coordinator(
        f"SELECT count(*), count(*) FILTER (WHERE id < {WORKER}) FROM {ORDERS}"
    )
    assert 0 < own < all_rows
    assert insert(coordinator) == own + 1


MORE_TABLES = (
    f"CREATE TABLE {SCHEMA}.listed (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
    f"CREATE TABLE {SCHEMA}.states (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
    f"CREATE TABLE {SCHEMA}.local (id bigserial PRIMARY KEY)",
    f"CREATE SEQUENCE {SCHEMA}.gone",
)


def add_more_tables(run: Run) -> None:
    """Add a distributed, a reference and a local table, and put all sequences past their rows."""
    for statement in MORE_TABLES:
        run(statement)
    run(f"SELECT create_distributed_table('{SCHEMA}.listed', 'id')")
    run(f"SELECT create_reference_table('{SCHEMA}.states')")
    run(f"SELECT setval(seqrelid, 900) FROM pg_sequence WHERE {OURS}")


@pytest.fixture
def plain(other_database: Database) -> Database:
    """A single server with the same tables; two of them have rows."""
    other_database.execute(
        f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {ORDERS} (id bigserial PRIMARY KEY, name text);"
        f"CREATE TABLE {SCHEMA}.small (id serial PRIMARY KEY); {';'.join(MORE_TABLES[:-1])};"
        f"INSERT INTO {ORDERS} VALUES (1), (2); INSERT INTO {SCHEMA}.local VALUES (2000)"
    )
    return other_database


def test_a_single_server_takes_the_place_of_the_coordinator(
    coordinator: Run, worker: Run, plain: Database
) -> None:
    add_more_tables(coordinator)
    assert insert(worker) == WORKER + 1
    source = positions_at(URL, "other", 2)
    report = reset("other", source=source)
    assert {each.sequence.removeprefix(f"{SCHEMA}."): each.next_after for each in report} == {
        "orders_id_seq": 902,
        "small_id_seq": 902,
        "listed_id_seq": 902,
        "states_id_seq": 902,
        "local_id_seq": 2001,
    }
    assert f"{SCHEMA}.gone" in (report.only_at_source or ())
    assert not reset("other", source=source).changed


def test_a_single_server_takes_no_workers_range(
    coordinator: Run, worker: Run, worker_url: str, plain: Database
) -> None:
    add_more_tables(coordinator)
    insert(worker)
    report = reset("other", source=positions_at(worker_url, "other", 2))
    found = {each.sequence.removeprefix(f"{SCHEMA}."): each for each in report}
    assert {name: (each.status.value, each.next_after) for name, each in found.items()} == {
        "orders_id_seq": ("unverified", 3),
        "small_id_seq": ("unverified", 1),
        "listed_id_seq": ("unverified", 1),
        "states_id_seq": ("unverified", 1),
        "local_id_seq": ("advanced", 2001),
    }
    assert "take the coordinator" in str(found["states_id_seq"].reason)
    insert(worker)
    plain.execute(f"INSERT INTO {ORDERS} VALUES ({WORKER + 1})")
    report = reset("other", source=positions_at(worker_url, "other", 2))
    assert entry(report, f"{ORDERS}_id_seq").next_after == WORKER + 4


def test_a_cluster_takes_the_place_of_a_single_server(
    coordinator: Run, worker: Run, plain: Database
) -> None:
    add_more_tables(coordinator)
    plain.execute(f"SELECT setval(seqrelid, 1000) FROM pg_sequence WHERE {OURS}")
    insert(worker)
    report = reset(DEFAULT, schemas=[SCHEMA], source=positions_at("other", DEFAULT, 2))
    moved = {each.sequence.removeprefix(f"{SCHEMA}."): each.next_after for each in report}
    assert moved.pop("gone") == 901
    assert set(moved.values()) == {1002}
    assert len(moved) == 5
    assert (insert(coordinator), insert(worker)) == (1002, WORKER + 2)


def test_a_worker_leaves_to_the_coordinator_what_it_cannot_number(
    coordinator: Run, worker_url: str
) -> None:
    add_more_tables(coordinator)
    coordinator(f"CREATE SEQUENCE {SCHEMA}.dropped AS int")
    coordinator(f"CREATE TABLE {SCHEMA}.loose (id int, n int DEFAULT nextval('{SCHEMA}.dropped'))")
    coordinator(f"SELECT create_distributed_table('{SCHEMA}.loose', 'id')")
    coordinator(f"ALTER TABLE {SCHEMA}.loose ALTER n DROP DEFAULT")
    with pointed(DEFAULT, at(worker_url)):
        report = reset(DEFAULT, schemas=[SCHEMA], rewind=True)
    assert set(statuses(report).values()) == {"ok"}
    assert "the coordinator makes" in str(entry(report, f"{SCHEMA}.states_id_seq").reason)
