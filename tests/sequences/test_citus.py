"""Nodes of a Citus cluster, simulated: each one's sequences stay among the node's own numbers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connections

from restorehooks.duplicates.key import parse_key
from restorehooks.duplicates.rows import rows_with
from restorehooks.duplicates.target import find_targets
from restorehooks.sequences import repair
from restorehooks.sequences.reading import read
from restorehooks.sequences.statements import decide_and_move
from tests.support.citus import (
    WORKER,
    distribute,
    in_cluster,
    make_node,
    on_worker,
    refuse_propagated_ddl,
    used_up_on_worker,
)
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import (
    DEFAULT,
    django_as,
    draw,
    entry,
    inspect,
    reset,
    standing,
    statuses,
)
from tests.support.strangers import mallory_in


@pytest.fixture
def coordinator(database: Database) -> Database:
    """A coordinator with a distributed table: rows 1 to 5 are its own, one is the worker's."""
    make_node(database, 0)
    database.execute(
        "CREATE TABLE orders (id bigserial PRIMARY KEY);"
        f"INSERT INTO orders SELECT generate_series(1, 5); INSERT INTO orders VALUES ({WORKER + 1})"
    )
    distribute(database, "orders")
    return database


@pytest.fixture
def worker(database: Database) -> Database:
    """The first worker: rows of the coordinator's, of its own and of the next worker's."""
    make_node(database, 1)
    database.execute(
        "CREATE TABLE orders (id bigserial PRIMARY KEY); INSERT INTO orders"
        f" VALUES (1), (2), ({WORKER + 1}), ({WORKER + 2}), ({2 * WORKER + 1}), ({2 * WORKER + 2})"
    )
    on_worker(database, "orders_id_seq")
    distribute(database, "orders")
    return database


def test_a_coordinator_stays_below_the_workers(coordinator: Database) -> None:
    coordinator.execute("SELECT setval('orders_id_seq', 5)")
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after, found.extreme) == ("ok", 6, 5)
    assert found.limit == WORKER - 1
    coordinator.execute("SELECT setval('orders_id_seq', 2)")
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after) == ("advanced", 6)
    assert draw(coordinator, "orders_id_seq") == 6


def test_a_coordinator_with_rows_of_workers_alone(coordinator: Database) -> None:
    coordinator.execute("DELETE FROM orders WHERE id < 6")
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after, found.extreme) == ("ok", 1, None)


def test_migrate_and_loaddata_on_a_coordinator(coordinator: Database, project: Project) -> None:
    project.app(
        "shop", "class Order(models.Model):\n    class Meta:\n        db_table = 'orders'\n"
    )
    project.settings(
        INSTALLED_APPS=["restorehooks", "django.contrib.contenttypes", "shop"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    project.write("more.json", '[{"model": "shop.order", "pk": 8, "fields": {}}]')
    project.manage("migrate")
    assert standing(coordinator, "orders_id_seq") == (5, True)
    project.manage("loaddata", "more.json")
    assert standing(coordinator, "orders_id_seq") == (8, True)
    project.manage("resetsequences", "--check")


def test_a_worker_keeps_to_its_own_range(worker: Database) -> None:
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after) == ("advanced", WORKER + 3)
    assert (found.extreme, found.limit) == (WORKER + 2, 2 * WORKER)
    assert draw(worker, "orders_id_seq") == WORKER + 3


def test_a_sequence_that_the_coordinator_draws_from_is_left_alone(database: Database) -> None:
    make_node(database, 1)
    database.execute(
        "CREATE TABLE owned (id serial PRIMARY KEY); INSERT INTO owned VALUES (7);"
        "CREATE TABLE loose (id int PRIMARY KEY); INSERT INTO loose VALUES (7);"
        "CREATE SEQUENCE shared AS int; CREATE SEQUENCE used_up AS int;"
        "ALTER TABLE owned ALTER id SET DEFAULT pg_catalog.worker_nextval('owned_id_seq');"
        "ALTER TABLE loose ALTER id SET DEFAULT pg_catalog.worker_nextval('shared');"
        "SELECT setval(s, 2147483647) FROM unnest(array['owned_id_seq', 'shared', 'used_up']) s"
    )
    distribute(database, "owned", "loose")
    report = reset(DEFAULT)
    assert statuses(report) == {"owned_id_seq": "ok", "shared": "ok", "used_up": "exhausted"}
    assert entry(report, "owned_id_seq").reason == ("left alone: the coordinator makes its numbers")


def test_an_identity_that_the_coordinator_numbers_is_left_alone(worker: Database) -> None:
    worker.execute(
        "CREATE TABLE small (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);"
        "CREATE TABLE own (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)"
    )
    distribute(worker, "small")
    used_up_on_worker(worker, "small_id_seq", "own_id_seq")
    before = standing(worker, "small_id_seq")
    report = reset(DEFAULT, rewind=True)
    assert entry(report, "small_id_seq").reason == "left alone: the coordinator makes its numbers"
    assert standing(worker, "small_id_seq") == before
    assert standing(worker, "own_id_seq") == (1, False)


def test_a_sequence_of_the_cluster_that_nothing_draws_from_is_left_alone(
    worker: Database,
) -> None:
    worker.execute("CREATE SEQUENCE left_over AS int")
    in_cluster(worker, "left_over")
    used_up_on_worker(worker, "left_over")
    assert entry(reset(DEFAULT, rewind=True), "left_over").reason == (
        "left alone: the coordinator makes its numbers"
    )


@pytest.mark.parametrize("tables", [1, 30])
def test_a_size_proves_nothing_of_a_distributed_table(coordinator: Database, tables: int) -> None:
    others = [f"t{n}" for n in range(tables)]
    for table in others:
        coordinator.execute(
            f"CREATE TABLE {table} (id bigserial PRIMARY KEY); INSERT INTO {table} VALUES (1), (2);"
            f"CREATE TABLE {table}_by_hand (id bigserial); INSERT INTO {table}_by_hand VALUES (1)"
        )
        distribute(coordinator, table, f"{table}_by_hand")
    assert coordinator.execute("SELECT pg_relation_size('t0'::regclass)") == [(0,)]
    outside = inspect(DEFAULT, scan_limit=1 << 30)
    assert entry(outside, "t0_by_hand_id_seq").reason == (
        "no index leads with public.t0_by_hand.id, in a table of unknown size"
    )
    report = reset(DEFAULT)
    assert set(statuses(report).values()) == {"advanced"}
    assert [draw(coordinator, f"{table}_id_seq") for table in others] == [3] * tables
    assert draw(coordinator, "t0_by_hand_id_seq") == 2


def test_a_table_that_is_not_distributed_has_all_numbers(coordinator: Database) -> None:
    coordinator.execute(
        "CREATE TABLE local (id bigserial PRIMARY KEY);"
        f"INSERT INTO local VALUES ({WORKER + 5}), ({WORKER + 6})"
    )
    found = entry(reset(DEFAULT), "local_id_seq")
    assert (found.status.value, found.next_after) == ("advanced", WORKER + 7)


def test_a_coordinator_that_was_moved_among_a_workers_numbers(
    coordinator: Database, project: Project
) -> None:
    coordinator.execute(f"SELECT setval('orders_id_seq', {WORKER + 1})")
    (found,) = reset(DEFAULT)
    assert found.status.value == "exhausted"
    assert found.reason == (
        f"the next number would be {WORKER + 2}, past {WORKER - 1}, the last one of this node's"
        " own; remedy: no row of its own is in the way of a rewind (--rewind)"
    )
    assert found.makes_room == ()
    done = project.manage("resetsequences", "--rewind")
    assert "1 rewound" in done.stdout
    assert standing(coordinator, "orders_id_seq") == (6, False)


def test_a_row_at_the_end_of_a_workers_range(worker: Database) -> None:
    worker.execute(f"INSERT INTO orders VALUES ({2 * WORKER})")
    (found,) = reset(DEFAULT)
    assert found.status.value == "exhausted"
    assert str(found.reason).endswith(
        f"remedy: give the row numbered {2 * WORKER} another number, then rewind"
    )


@pytest.mark.parametrize("rows", [2_000, 3_000_000])
def test_a_large_gap_is_closed_on_one_node_alone(worker: Database, rows: int) -> None:
    worker.execute(f"INSERT INTO orders VALUES ({WORKER + rows - 1}), ({WORKER + rows})")
    refuse_propagated_ddl(worker)
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after) == ("advanced", WORKER + rows + 1)
    with connections[DEFAULT].cursor() as cursor:
        cursor.execute("SELECT current_setting('citus.enable_ddl_propagation', true)")
        assert cursor.fetchone() != ("off",)


def test_a_printed_repair_keeps_to_the_range(coordinator: Database) -> None:
    refuse_propagated_ddl(coordinator)
    coordinator.execute(inspect(DEFAULT).as_sql())
    assert standing(coordinator, "orders_id_seq") == (6, False)


@pytest.mark.psycopg3("the test itself writes statements with psycopg 3")
@pytest.mark.parametrize(("node", "upcoming"), [("coordinator", 6), ("worker", WORKER + 3)])
def test_a_migrations_sql_keeps_to_the_range(
    request: pytest.FixtureRequest, node: str, upcoming: int
) -> None:
    database = request.getfixturevalue(node)
    refuse_propagated_ddl(database)
    database.execute(decide_and_move('"orders"', "id"))
    assert draw(database, "orders_id_seq") == upcoming


def test_a_role_that_owns_nothing_of_citus(coordinator: Database) -> None:
    role = coordinator.role("clerk")
    coordinator.execute(
        f"GRANT ALL ON orders, orders_id_seq TO {role}; GRANT USAGE ON SCHEMA public TO {role}"
    )
    with django_as(coordinator, USER=role):
        (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after) == ("advanced", 6)


def test_another_roles_rows_on_other_nodes_are_not_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can give a shard an index on the worker, which the coordinator's catalogue lacks."""
    mallory = mallory_in(database)
    make_node(database, 0)
    (target,) = find_targets(connections[DEFAULT], "t_pkey")

    def explained() -> tuple[str, ...] | None:
        return rows_with(connections[DEFAULT], target, parse_key("Key (id)=(50)"))

    assert explained() is not None

    def read_later(*args: Any, **kwargs: Any) -> Any:
        distribute(database, "m.t")
        return read(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(repair, "read", read_later)
        assert entry(reset(DEFAULT), "m.t_id_seq").status.value == "failed"
    found = entry(reset(DEFAULT), "m.t_id_seq")
    assert found.status.value == "unverified"
    assert "m.t has its rows on other nodes, where reading it may call" in str(found.reason)
    assert explained() is None
    with django_as(database, USER=mallory):
        assert entry(reset(DEFAULT), "m.t_id_seq").next_after == 51


def test_repairs_beside_inserts_on_every_node(coordinator: Database) -> None:
    """The worker's inserts come through a sequence of its range, into the same table."""
    coordinator.execute("SELECT setval('orders_id_seq', 5)")
    first = WORKER + 2
    coordinator.execute(f"CREATE SEQUENCE of_worker MINVALUE {first} MAXVALUE {2 * WORKER + 1}")
    done = threading.Event()

    def insert(sequence: str) -> None:
        with coordinator.connect() as connection:
            while not done.is_set():
                connection.execute(f"INSERT INTO orders VALUES (nextval('{sequence}'))")

    threads = [threading.Thread(target=insert, args=[s]) for s in ("orders_id_seq", "of_worker")]
    for thread in threads:
        thread.start()
    try:
        found = [entry(reset(DEFAULT), "orders_id_seq") for _ in range(20)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert {each.status.value for each in found} == {"ok"}
    ((own, workers, last),) = coordinator.execute(
        f"SELECT count(*) FILTER (WHERE id < {WORKER}), count(*) FILTER (WHERE id > {WORKER}),"
        " (SELECT last_value FROM orders_id_seq) FROM orders"
    )
    assert own == last
    assert workers > 1
