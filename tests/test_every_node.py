"""``resetsequences --every-node``: two servers that take each other for nodes of one cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from jsonschema import validate

from tests.support import ROOT
from tests.support.citus import WORKER, distribute, make_node, on_worker
from tests.support.databases import Database, MakeDatabase
from tests.support.projects import Project
from tests.support.sequences import standing
from tests.support.servers import FAST, RunningServer, private_server
from tests.support.shown import require_shown

PAGE = ROOT / "docs" / "howto" / "clusters.md"
SCHEMA = json.loads((ROOT / "restorehooks" / "schemas" / "report.json").read_text())
ROWS = f"INSERT INTO orders VALUES (1), (2), ({WORKER + 1}), ({WORKER + 2})"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[RunningServer]:
    with private_server(FAST) as server:
        yield server


@pytest.fixture
def nodes(
    database: Database, make_database: MakeDatabase, elsewhere: RunningServer
) -> tuple[Database, Database]:
    """A coordinator and a worker, with a database of the same name and the same rows."""
    both = database, make_database(database.name, on=elsewhere)
    for group, node in enumerate(both):
        make_node(node, group)
        node.execute(f"CREATE TABLE orders (id bigserial PRIMARY KEY); {ROWS}")
        if group:
            on_worker(node, "orders_id_seq")
        distribute(node, "orders")
        for number, each in enumerate(both):
            node.execute(
                "INSERT INTO pg_dist_node (groupid, nodename, nodeport) VALUES (%s, %s, %s)",
                number,
                each.server.params["host"],
                each.server.params["port"],
            )
    return both


def test_each_node_is_repaired_in_its_own_range(
    nodes: tuple[Database, Database], project: Project
) -> None:
    coordinator, worker = nodes
    looked = project.manage("resetsequences", "--every-node", "--check", check=False)
    assert looked.returncode == 1
    place = f"{worker.server.params['host']}:{worker.server.params['port']}"
    require_shown(
        project, PAGE, "clusters", readable=lambda said: said.replace(place, "worker-1:5432")
    )
    assert standing(coordinator, "orders_id_seq") == (2, True)
    assert standing(worker, "orders_id_seq") == (WORKER + 2, True)
    again = json.loads(project.manage("resetsequences", "--every-node", "--json").stdout)
    validate(again, SCHEMA)
    assert [each.get("node") for each in again["databases"]] == [None, place]
    assert {each["summary"]["ok"] for each in again["databases"]} == {1}


def test_a_node_that_does_not_answer_stops_no_other(
    nodes: tuple[Database, Database], project: Project
) -> None:
    coordinator, worker = nodes
    coordinator.execute(
        "INSERT INTO pg_dist_node (groupid, nodename, nodeport, isactive, noderole) VALUES"
        " (2, '/nowhere', 1, true, 'primary'), (3, '/off', 1, false, 'primary'),"
        " (4, '/standby', 1, true, 'secondary')"
    )
    coordinator.execute(
        "INSERT INTO pg_dist_node (groupid, nodename, nodeport)"
        " SELECT 5, nodename, nodeport FROM pg_dist_node WHERE groupid = 1"
    )
    done = project.manage("resetsequences", "--every-node", check=False)
    assert done.returncode == 1
    assert standing(worker, "orders_id_seq") == (WORKER + 2, True)
    assert 'Node /nowhere:1 of database "default" cannot be asked: ' in done.stderr
    assert "is not the node of group 5 of the cluster" in done.stderr
    assert "/off" not in done.stderr
    assert "/standby" not in done.stderr
    failed = json.loads(
        project.manage("resetsequences", "--every-node", "--json", check=False).stdout
    )
    validate(failed, SCHEMA)
    assert failed["failed"][0]["node"] == "/nowhere:1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], 'Database "default" is no node of a Citus cluster.'),
        (["--sql"], "Give --every-node or --sql, not both: --sql is for one node."),
        (["--from", "x"], "Give --every-node or --from, not both: --from is for one node."),
    ],
)
def test_wrong_usage(project: Project, arguments: list[str], said: str) -> None:
    done = project.manage("resetsequences", "--every-node", *arguments, check=False)
    assert (done.returncode, done.stderr) == (2, f"CommandError: {said}\n")
