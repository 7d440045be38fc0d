"""A size of 0 proves a table empty only where its rows are in its own file."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from restorehooks.sequences.glance import all_fine
from restorehooks.sequences.reading import SMALL
from tests.support.databases import Database
from tests.support.sequences import DEFAULT, entry, inspect, reset

OTHER_METHOD = (
    "CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler;"
    "SET default_table_access_method = other"
)
DISTRIBUTED = (
    "SET allow_system_table_mods = on;"
    "CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass)"
)
"""What Citus keeps the names of its distributed tables in; their rows are in other tables."""
LISTED = "INSERT INTO pg_dist_partition VALUES ('shell')"


def is_read(table: str, run: Callable[[], object]) -> bool:
    """Whether a run reads a table's numbers."""
    with CaptureQueriesContext(connections[DEFAULT]) as sent:
        run()
    return any(re.search(rf"FROM public\.{table}\b", query["sql"]) for query in sent)


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""], ids=["indexed", "not indexed"])
@pytest.mark.parametrize(
    ("before", "after", "proves"),
    [
        ("SELECT 1", "SELECT 1", True),
        (OTHER_METHOD, "RESET default_table_access_method", False),
        (DISTRIBUTED, LISTED, False),
    ],
    ids=["heap", "another access method", "a distributed table"],
)
def test_what_a_size_of_0_proves(
    database: Database, before: str, after: str, proves: bool, key: str
) -> None:
    database.execute(f"{before}; CREATE TABLE shell (id serial {key}); {after}")
    database.execute(
        f"DO $$ BEGIN FOR n IN 1..{SMALL} LOOP"
        " EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY)', n); END LOOP; END $$"
    )
    assert is_read("shell", lambda: inspect(DEFAULT)) is not proves
    assert entry(inspect(DEFAULT), "shell_id_seq").status.value == "ok"

    in_hook = entry(inspect(DEFAULT, scan_limit=2**20), "shell_id_seq")
    assert in_hook.status.value == ("ok" if key or proves else "unverified")
    assert ("in a table of unknown size" in str(in_hook.reason)) == (not key and not proves)


def test_a_table_of_another_access_method_is_read_by_a_glance(database: Database) -> None:
    database.execute(f"{OTHER_METHOD}; CREATE TABLE t (id serial PRIMARY KEY)")
    database.execute("INSERT INTO t VALUES (1); SELECT nextval('t_id_seq')")
    assert is_read("t", lambda: all_fine(connections[DEFAULT], []))
    assert all_fine(connections[DEFAULT], [])
    database.execute("INSERT INTO t VALUES (5)")
    assert not all_fine(connections[DEFAULT], [])
    assert entry(reset(DEFAULT), "t_id_seq").next_after == 6


def test_a_glance_knows_nothing_of_distributed_tables(database: Database) -> None:
    database.execute(f"{DISTRIBUTED}; CREATE TABLE t (id serial PRIMARY KEY)")
    database.execute("INSERT INTO t DEFAULT VALUES")
    assert not all_fine(connections[DEFAULT], [])


FOREIGN = (
    "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER away FOREIGN DATA WRAPPER nowhere;"
    "CREATE SEQUENCE s"
)


def test_a_foreign_table_is_not_read(database: Database) -> None:
    database.execute(f"{FOREIGN}; CREATE FOREIGN TABLE f (id int DEFAULT nextval('s')) SERVER away")
    assert not all_fine(connections[DEFAULT], [])
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after) == ("unverified", 1)
    assert found.reason == "public.f.id has rows in a foreign table"


def test_a_table_with_a_foreign_partition_is_not_read(database: Database) -> None:
    database.execute(
        f"{FOREIGN}; CREATE TABLE p (id int DEFAULT nextval('s'), k int) PARTITION BY LIST (k);"
        "CREATE TABLE here PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (7, 1);"
        "CREATE FOREIGN TABLE there PARTITION OF p FOR VALUES IN (2) SERVER away"
    )
    assert not all_fine(connections[DEFAULT], [])
    (found,) = reset(DEFAULT)
    assert (found.status.value, found.next_after) == ("unverified", 1)
    assert found.reason == "public.p.id has rows in a foreign table"
