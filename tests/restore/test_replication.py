"""A restore of what other servers have a part in: a Citus cluster, replication by extensions."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from restorehooks.restore.server.address import Address
from restorehooks.restore.server.live import Live, read_live
from restorehooks.restore.server.replication import read_ties
from tests.support.citus import distribute, make_node
from tests.support.databases import Database
from tests.support.dumps import alone, contents, dumped

NODES = "INSERT INTO pg_dist_node (groupid, nodename, nodeport) VALUES (0, 'c', 1), (1, 'w', 2)"
PGLOGICAL = """
CREATE SCHEMA pglogical;
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    VALUES (99998, 'pglogical', 10, 'pglogical'::regnamespace, false, '2.4.8');
RESET allow_system_table_mods;
CREATE TABLE pglogical.node (node_id oid PRIMARY KEY, node_name name);
CREATE TABLE pglogical.subscription (sub_id oid PRIMARY KEY, sub_name name);
ALTER EXTENSION pglogical ADD TABLE pglogical.node;
ALTER EXTENSION pglogical ADD TABLE pglogical.subscription;
INSERT INTO pglogical.node VALUES (1, 'here');
INSERT INTO pglogical.subscription VALUES (2, 'from_there');
"""


@pytest.fixture
def cluster(live: Database) -> Database:
    """A live coordinator with another node and a distributed table."""
    make_node(live, 0)
    live.execute(NODES)
    distribute(live, "precious")
    alone(live)
    return live


@pytest.mark.parametrize("options", [[], ["--in-place"], ["--dry-run"]])
def test_a_live_coordinator_is_not_replaced(
    cluster: Database, backup: Path, options: list[str]
) -> None:
    before = contents(cluster)
    with pytest.raises(CommandError) as caught:
        call_command("restoredb", str(backup), "--no-input", *options)
    said = str(caught.value)
    assert "is the coordinator of a Citus cluster (1 other node, 1 table of Citus)" in said
    assert "--data-only; then run resetsequences --every-node." in said
    assert contents(cluster) == before


def test_nor_is_a_worker(cluster: Database, backup: Path) -> None:
    cluster.execute("UPDATE pg_dist_local_group SET groupid = 1")
    with pytest.raises(CommandError, match="is a worker of a Citus cluster"):
        call_command("restoredb", str(backup), "--no-input")


def test_rows_come_into_a_prepared_coordinator(cluster: Database, tmp_path: Path) -> None:
    dump = dumped(cluster, tmp_path / "rows.dump", "--data-only", "--table=precious")
    cluster.execute("TRUNCATE precious RESTART IDENTITY")
    call_command("restoredb", str(dump), "--data-only", "--no-input")
    assert cluster.execute("SELECT count(*), max(id) FROM precious") == [(300, 300)]
    assert cluster.execute("SELECT nextval('precious_id_seq')") == [(301,)]


def test_the_extension_alone_is_no_cluster(live: Database, backup: Path) -> None:
    make_node(live, 0)
    alone(live)
    call_command("restoredb", str(backup), "--no-input", verbosity=0)
    live.disconnect()
    assert live.execute("SELECT count(*) FROM customer") != [(0,)]


def test_a_swap_that_loses_pglogicals_nodes_is_agreed_to(
    live: Database, backup: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.execute(PGLOGICAL)
    alone(live)
    with pytest.raises(CommandError) as caught:
        call_command("restoredb", str(backup), "--no-input")
    said = str(caught.value)
    assert 'the pglogical node "here" would stay with the old database' in said
    assert 'the pglogical subscription "from_there" would stay with the old database' in said
    call_command("restoredb", str(backup), "--no-input", "--accept-lost-settings", verbosity=0)


def test_an_extension_whose_parts_have_no_names_here(database: Database) -> None:
    database.execute(
        PGLOGICAL.replace("pglogical", "londiste")
        .replace("node_name", "n")
        .replace("sub_name", "n")
    )
    address = Address.of("default")
    ties = read_ties(address, read_live(address, None))
    assert ties.replicates == ("replication of the extension londiste",)
    assert read_ties(address, Live(address.name)).replicates == ()


def test_a_strangers_schema_of_that_name_is_not_read(database: Database) -> None:
    database.execute(
        "CREATE SCHEMA pglogical CREATE VIEW node AS SELECT 1 / 0 AS node_name;"
        "CREATE TABLE pglogical.subscription (sub_name text)"
    )
    address = Address.of("default")
    assert read_ties(address, read_live(address, None)).replicates == ()


def test_a_table_that_an_extensions_owner_has_added_is_not_read(live: Database) -> None:
    """Its indexes may call a function of the owner's."""
    role = live.role("stranger")
    live.execute(PGLOGICAL)
    live.execute(
        f"""
        ALTER EXTENSION pglogical DROP TABLE pglogical.node; DROP TABLE pglogical.node;
        GRANT ALL ON SCHEMA pglogical TO {role};
        SET ROLE {role};
        CREATE FUNCTION pglogical.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN ASSERT current_user = '{role}', 'called by another'; RETURN true; END $$;
        CREATE TABLE pglogical.node (node_name name);
        CREATE INDEX ON pglogical.node (node_name) WHERE pglogical.f(1);
        RESET ROLE;
        ALTER EXTENSION pglogical ADD TABLE pglogical.node
        """
    )
    address = Address.of("default")
    ties = read_ties(address, read_live(address, None))
    assert ties.replicates == ('pglogical subscription "from_there"',)
