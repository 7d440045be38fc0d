"""The benchmarks' own machinery: who runs, who died, and what the tables then say."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import report, sequences
from benchmarks.competition import Competitor, Contest, Died, Fact, Result, compete
from benchmarks.latency import distance
from benchmarks.targets import Target
from tests.support.servers import RunningServer


def contest(**seconds: list[float]) -> Contest:
    results = [Result(name, f"run {name}", times) for name, times in seconds.items()]
    return Contest("sequences", {"tables": 5}, results)


@pytest.fixture
def bench_server(server: RunningServer) -> Any:
    """The tests' server, as far as the benchmarks know one."""
    if not server.bindir:
        pytest.skip("takes a server with its programs at hand")
    names: list[str] = []

    def create_database(name: str) -> None:
        names.append(name)
        server.execute(f"CREATE DATABASE {name}")

    yield SimpleNamespace(
        bindir=server.bindir,
        socket_dir=server.params["host"],
        port=server.params["port"],
        create_database=create_database,
        connect=lambda name: server.connect(dbname=name),
        url=server.url,
    )
    for name in names:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_every_way_to_reset_sequences_is_run_and_checked(bench_server: Any) -> None:
    name = f"bench_{os.getpid()}"
    sequences.make_database(bench_server, name, 12)
    url = bench_server.url(name)
    states = [*sequences.STATES]
    found = list(sequences._run(bench_server, name, url, 12, sequences.SOCKET, 1, states))
    assert [each.circumstances["sequences"] for each in found] == states
    for each in found:
        assert len(each.results) == 8
        assert [result.died for result in each.results] == [None] * 8
        assert {len(result.seconds) for result in each.results} == {1}


def test_a_distance_takes_its_time(server: RunningServer) -> None:
    socket = f"{server.params['host']}/.s.PGSQL.{server.params['port']}"
    with (
        distance(socket, 0.05) as port,
        server.connect(host="127.0.0.1", port=port) as connection,
    ):
        found = connection.execute("SELECT clock_timestamp()").fetchone()
        again = connection.execute("SELECT clock_timestamp()").fetchone()
    assert (again[0] - found[0]).total_seconds() >= 0.05  # type: ignore[index]


def test_who_dies_is_told_and_does_not_run_again() -> None:
    tries: list[int] = []

    def dies() -> None:
        tries.append(1)
        raise Died("out of shared memory")

    def wrong() -> None:
        raise Died("left 3 sequences behind")

    field = [
        Competitor("restorehooks", "ours", lambda: 1.0),
        Competitor("mortal", "its", dies),
        Competitor("wrong", "its", lambda: 0.1, check=wrong),
    ]
    found = compete("sequences", {"tables": 5}, field, 3)
    assert [(r.name, r.seconds, r.died) for r in found.results] == [
        ("restorehooks", [1.0] * 3, None),
        ("mortal", [], "out of shared memory"),
        ("wrong", [], "left 3 sequences behind"),
    ]
    assert tries == [1]
    assert found.ratio("mortal", "restorehooks") is None
    assert "- mortal: `out of shared memory` (5 tables)" in report.excerpt([found], [], {})


def test_what_is_aimed_at_is_reached_or_missed_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def target(**bounds: Any) -> Target:
        return Target("it", "sequences", {"tables": 5}, "peer", "ours", **bounds)

    found = contest(ours=[1.0, 2.0, 1.0], peer=[3.0, 4.0, 9.0])
    targets = [target(least=3), target(least=4, why="that is why"), target(most=3.5)]
    monkeypatch.setattr(report, "TARGETS", targets)
    fact = Fact("restores", "memory", "under 100 MB", "60 MB", True)
    *_, first, second, third, last = report.aims([found], [fact]).splitlines()
    assert first == "| it | at least 3 | 3.0 (2.00 to 9.0) | reached |"
    assert second == "| it | at least 4 | 3.0 (2.00 to 9.0) | missed: that is why |"
    assert third.endswith("| reached |")
    assert last == "| memory | under 100 MB | 60 MB | reached |"


@pytest.mark.parametrize(
    ("slower", "rounds", "even"),
    [
        (10, 20, True),
        (14, 20, True),
        (15, 20, False),
        (20, 20, False),
        (5, 20, False),
        (1, 1, True),
    ],
)
def test_two_are_even_where_neither_wins_too_often(slower: int, rounds: int, even: bool) -> None:
    times = [1.1] * slower + [0.9] * (rounds - slower)
    found = contest(one=times, other=[1.0] * rounds)
    assert found.is_even("one", "other") is even
