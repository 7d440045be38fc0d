"""``resetsequences --from`` a node of a Citus cluster, simulated."""

from __future__ import annotations

import pytest
from django.db import connections

from restorehooks.sequences import repair
from restorehooks.sequences.report import Report
from restorehooks.sequences.source import read_source
from tests.support.citus import (
    WORKER,
    distribute,
    in_cluster,
    make_node,
    on_worker,
    used_up_on_worker,
)
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import DEFAULT, bytes_of_sequences, entry, standing, statuses

TABLES = """
CREATE TABLE orders (id bigserial PRIMARY KEY);
CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE TABLE small (id serial PRIMARY KEY);
CREATE TABLE tiny (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE SEQUENCE shared;
CREATE SEQUENCE short AS int;
CREATE TABLE local (id bigserial PRIMARY KEY);
"""
OF_CLUSTER = ["orders", "items", "small", "tiny"]
COPIES = ["orders_id_seq", "items_id_seq", "small_id_seq", "tiny_id_seq", "shared", "short"]


@pytest.fixture
def coordinator(other_database: Database) -> Database:
    """The coordinator as the source: all sequences are past their rows."""
    other_database.execute(TABLES)
    make_node(other_database, 0)
    distribute(other_database, *OF_CLUSTER)
    in_cluster(other_database, "orders_id_seq", "small_id_seq", "shared", "short")
    other_database.execute(f"INSERT INTO orders VALUES (5), ({WORKER + 5})")
    other_database.execute(
        "SELECT setval(s, 100) FROM unnest(%s::regclass[] || '{local_id_seq}') s", COPIES
    )
    return other_database


@pytest.fixture
def worker(other_database: Database) -> Database:
    """The first worker as the source: 11 was the last of its range that it drew."""
    make_worker(other_database)
    other_database.execute(
        f"SELECT setval(s, {WORKER + 11}) FROM unnest(%s::regclass[]) s",
        ["orders_id_seq", "items_id_seq", "shared"],
    )
    return other_database


def make_worker(database: Database) -> None:
    database.execute(TABLES)
    make_node(database, 1)
    distribute(database, *OF_CLUSTER)
    in_cluster(database, "orders_id_seq", "small_id_seq", "shared", "short")
    for sequence in ("orders_id_seq", "items_id_seq", "shared"):
        on_worker(database, sequence)
    database.execute(
        "ALTER TABLE small ALTER id SET DEFAULT pg_catalog.worker_nextval('small_id_seq')"
    )
    used_up_on_worker(database, "small_id_seq", "tiny_id_seq", "short")
    database.execute("SELECT setval('local_id_seq', 100)")


def taken_along() -> Report:
    source = read_source(connections["other"], connections[DEFAULT], 2)
    return repair.reset(DEFAULT, source=source)


def test_the_coordinators_positions_are_taken_along(
    database: Database, coordinator: Database
) -> None:
    database.execute(TABLES)
    before = bytes_of_sequences(coordinator)
    report = taken_along()
    assert {each.next_after for each in report} == {102}
    assert len(report) == 7
    assert bytes_of_sequences(coordinator) == before


def test_a_workers_range_is_not_taken_over(database: Database, worker: Database) -> None:
    database.execute(TABLES + "INSERT INTO orders VALUES (7)")
    report = taken_along()
    assert statuses(report) == {**dict.fromkeys(COPIES, "unverified"), "local_id_seq": "advanced"}
    assert {entry(report, each).next_after for each in COPIES} == {1, 8}
    assert (entry(report, "orders_id_seq").next_after, standing(database, "orders_id_seq")) == (
        8,
        (7, True),
    )
    assert entry(report, "short").reason == (
        "the source is a worker of a Citus cluster: its public.short does not show where the"
        " coordinator's stands; take the coordinator as the source"
    )
    assert entry(report, "local_id_seq").next_after == 102
    assert report.only_at_source == ()


def test_a_server_that_is_in_a_workers_range_passes_what_the_worker_has_drawn(
    database: Database, worker: Database
) -> None:
    """Its rows have led it there: what the worker drew and no row has would come again."""
    database.execute(TABLES + f"INSERT INTO orders VALUES (7), ({WORKER + 5})")
    database.execute(f"SELECT setval('shared', {WORKER + 2})")
    report = taken_along()
    for sequence in ("orders_id_seq", "shared"):
        found = entry(report, sequence)
        assert (found.status.value, found.next_after) == ("advanced", WORKER + 13)
    assert entry(report, "items_id_seq").status.value == "unverified"


def test_the_command_says_so(database: Database, worker: Database, project: Project) -> None:
    database.execute(TABLES)
    done = project.manage("resetsequences", "--from", "other", check=False)
    assert "take the coordinator as the source" in done.stdout
    assert "6 unverified" in done.stdout


def test_a_coordinator_takes_nothing_from_a_worker(database: Database, worker: Database) -> None:
    database.execute(TABLES)
    make_node(database, 0)
    distribute(database, *OF_CLUSTER)
    report = taken_along()
    assert statuses(report) == {**dict.fromkeys(COPIES, "unverified"), "local_id_seq": "advanced"}
    assert {entry(report, each).next_after for each in COPIES} == {1}


def test_the_same_worker_of_a_new_cluster(database: Database, worker: Database) -> None:
    make_worker(database)
    report = taken_along()
    for sequence in ("orders_id_seq", "items_id_seq", "shared"):
        found = entry(report, sequence)
        assert (found.status.value, found.next_after) == ("advanced", WORKER + 13)
    for sequence in ("small_id_seq", "tiny_id_seq"):
        assert entry(report, sequence).reason == "left alone: the coordinator makes its numbers"
