"""A healthy cluster of each kind stays healthy: every command, beside inserts on every node.

Two databases stand for two nodes that have each other's rows, as replication or Citus would bring
them; the streaming standby, PgBouncer and pgpool-II are real. Logical replication itself is in
test_cutover.py, pglogical in test_pglogical.py, and a real Citus in test_citus_cluster.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections

from restorehooks.sequences import repair
from tests.support import ROOT
from tests.support.citus import distribute, make_node, on_worker
from tests.support.databases import Database, MakeDatabase, new_database, pointed
from tests.support.poolers import pooled
from tests.support.projects import MANAGE, Project
from tests.support.sequences import DEFAULT, next_of, statuses
from tests.support.servers import FAST, RunningServer, private_server, reachable_folder
from tests.support.shown import require_shown
from tests.support.standbys import caught_up, standby_of
from tests.support.writers import Node, assert_only_drawn, shake

PAGE = ROOT / "docs" / "howto" / "replicas.md"
BILLION = 1_000_000_000
IDS = "auth_group_id_seq"


@pytest.fixture(scope="module")
def migrated(server: RunningServer) -> Iterator[str]:
    """The name of a database with Django's tables, whose group ids are bigint."""
    with new_database(server, None, DEFAULT, "template1") as database:
        call_command("migrate", verbosity=0)
        connections[DEFAULT].close()
        database.execute(
            "ALTER TABLE auth_group ALTER id TYPE bigint;"
            f"ALTER SEQUENCE {IDS} AS bigint MAXVALUE 9223372036854775807"
        )
        database.disconnect()
        yield database.name


def by_range(database: Database, number: int) -> None:
    first = number * BILLION + 1
    database.execute(
        f"ALTER SEQUENCE {IDS} MINVALUE {first} MAXVALUE {first + BILLION - 1}"
        f" START {first} RESTART"
    )


def by_step(database: Database, number: int) -> None:
    database.execute(f"ALTER SEQUENCE {IDS} INCREMENT 2 START {number + 1} RESTART")


def by_snowflake(database: Database, number: int) -> None:
    """The node is in the number, as pgEdge's and Mastodon's have it."""
    made = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint << 22"
    database.execute(
        f"ALTER TABLE auth_group ALTER id DROP IDENTITY; CREATE SEQUENCE {IDS} OWNED BY"
        f" auth_group.id; ALTER TABLE auth_group ALTER id SET DEFAULT ({made})"
        f" | ({number}::bigint << 12) | (nextval('{IDS}') & 4095)"
    )


def by_citus(database: Database, number: int) -> None:
    make_node(database, number)
    if number:
        on_worker(database, IDS)
    distribute(database, "auth_group")


def numbers_of(node: int, number_of: Callable[[int], int]) -> Callable[[int], bool]:
    return lambda given: number_of(given) == node


@pytest.mark.parametrize(
    ("how", "number_of"),
    [
        (by_range, lambda given: (given - 1) // BILLION),
        (by_step, lambda given: (given - 1) % 2),
        (by_snowflake, lambda given: given >> 12 & 1023),
        (by_citus, lambda given: given >> 48),
    ],
    ids=["ranges", "odd and even", "snowflake", "citus"],
)
def test_two_nodes_with_all_rows(
    migrated: str,
    make_database: MakeDatabase,
    tmp_path: Path,
    how: Callable[[Database, int], None],
    number_of: Callable[[int], int],
) -> None:
    nodes = []
    for number, alias in enumerate(("default", "other")):
        database = make_database(alias=alias, template=migrated)
        how(database, number)
        nodes.append(Node(alias, database.connect, numbers_of(number, number_of)))
    shake(nodes, tmp_path)
    for node in nodes:
        if how in (by_range, by_citus):
            assert_only_drawn(node)


@pytest.mark.parametrize("mode", ["transaction", "pgpool"])
def test_behind_a_pooler(
    migrated: str, make_database: MakeDatabase, tmp_path: Path, mode: str
) -> None:
    database = make_database(alias=DEFAULT, template=migrated)
    with pooled(database, mode, size=2) as pooler:
        node = Node(DEFAULT, lambda: pooler.connect(database.name), lambda _: True)
        shake([node], tmp_path)
        assert pooler.left_behind(database.name) == []
    assert_only_drawn(node)


def test_tenants(migrated: str, make_database: MakeDatabase, tmp_path: Path) -> None:
    """Each in a schema of its own: a command moves no sequence of another one."""
    database = make_database(template=migrated)
    database.execute("ALTER SCHEMA public RENAME TO a")
    with ExitStack() as stack:
        nodes = []
        for alias, schema in (("default", "a"), ("other", "b")):
            options = f"-c search_path={schema}"
            settings = {**database.settings, "OPTIONS": {"options": options}}
            stack.enter_context(pointed(alias, settings))
            if schema == "b":
                database.execute("CREATE SCHEMA b")
                call_command("migrate", database=alias, verbosity=0)
            nodes.append(Node(alias, partial(database.connect, options=options), lambda _: True))
        shake(nodes, tmp_path, exchange=False)
    for node in nodes:
        assert_only_drawn(node)


@pytest.fixture(scope="module")
def replicated() -> Iterator[tuple[RunningServer, RunningServer]]:
    """A primary and its streaming standby."""
    with (
        private_server({**FAST, "wal_level": "replica", "max_wal_senders": "4"}) as primary,
        reachable_folder() as folder,
    ):
        assert primary.process
        with standby_of(primary.process, folder) as standby:
            params = {**primary.params, "host": str(standby.socket_dir), "port": standby.port}
            yield primary, RunningServer(params, primary.version, standby)


BALANCED = """
backend_flag0 = 'ALWAYS_PRIMARY'
backend_weight0 = 0
backend_hostname1 = '{host}'
backend_port1 = {port}
backend_weight1 = 1
load_balance_mode = on
"""


Replicated = tuple[RunningServer, RunningServer]


def test_a_streaming_standby(replicated: Replicated, tmp_path: Path) -> None:
    """The standby is looked at and left alone, and is not what a repair through pgpool reads."""
    primary, standby = replicated
    with new_database(primary, None, DEFAULT, "template1") as d:
        call_command("migrate", verbosity=0)
        connections[DEFAULT].close()
        with pointed("replica", standby.settings(d.name)):
            node = Node(DEFAULT, d.connect, lambda _: True)
            shake([node], tmp_path)
            assert_only_drawn(node)
            last = node.given[-1] + 1

            # The standby shows it further than it is, and so would pgpool.
            d.execute(f"SELECT setval('{IDS}', {last}); SELECT nextval('{IDS}')")
            d.execute(f"INSERT INTO auth_group VALUES ({last + 9}, 'late')")
            caught_up(primary, standby)
            assert statuses(repair.inspect("replica"))[IDS] == "unverified"
        with pooled(d, "pgpool", more=BALANCED.format(**standby.params)) as pooler:
            with pooler.connect(d.name) as connection:
                ((shown,),) = connection.execute(f"SELECT last_value FROM {IDS}").fetchall()
            assert shown > last + 9
            call_command("resetsequences", verbosity=0)
        assert next_of(d, IDS) == last + 10


def test_the_page_shows_what_a_standby_says(
    replicated: Replicated, make_database: MakeDatabase, tmp_path: Path
) -> None:
    primary, standby = replicated
    database = make_database(on=primary)
    aliases = {"default": database.settings, "replica": standby.settings(database.name)}
    project = Project(tmp_path, primary, aliases)
    project.write("manage.py", MANAGE)
    project.settings()
    database.execute(
        "CREATE TABLE shop_order (id serial PRIMARY KEY);"
        "INSERT INTO shop_order SELECT generate_series(1, 250)"
    )
    for number, stands in enumerate((33, 260)):
        database.execute("SELECT setval('shop_order_id_seq', %s)", stands)
        caught_up(primary, standby)
        require_shown(project, PAGE, "replicas", number=number)
