"""A real Citus cluster: ``RESTOREHOOKS_CITUS_URL`` is the URL of a coordinator's superuser.

The tests make and drop a schema of their own in that database, on all of its nodes. They are
skipped where there is none; tests/sequences/test_citus.py simulates the same on every run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections

from restorehooks.database_url import settings_of
from restorehooks.sequences.report import Report
from tests.support.citus import WORKER
from tests.support.databases import pointed
from tests.support.sequences import DEFAULT, entry, inspect, reset

URL = os.environ.get("RESTOREHOOKS_CITUS_URL", "")
SCHEMA = "restorehooks_tests"
ORDERS = f"{SCHEMA}.orders"
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
def worker(coordinator: Run) -> Iterator[Run]:
    """The first worker."""
    rows = coordinator(
        "SELECT nodename, nodeport, groupid FROM pg_dist_node"
        " WHERE isactive AND noderole = 'primary' AND groupid > 0 ORDER BY groupid"
    )
    host, port, group = rows[0]
    assert group == 1, "these tests reckon with a worker of group 1"
    with psycopg.connect(URL, host=host, port=port, autocommit=True) as connection:
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
