"""How a restore shows how far it is: labels, what is being built, and honest estimates."""

from __future__ import annotations

import threading
from functools import partial
from io import StringIO
from types import SimpleNamespace

import pytest

from restorehooks.management import progress as shown
from restorehooks.management.progress import Lines, OnTerminal, TimeLeft
from restorehooks.restore.progress import Progress
from restorehooks.restore.server import building as looking
from restorehooks.restore.server.address import Connection
from restorehooks.restore.server.building import building
from tests.support.databases import Database


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(shown, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_the_time_left_is_unknown_where_nothing_moves(clock: list[float]) -> None:
    left = TimeLeft()
    assert left.text(0.0) == "time left unknown"
    clock[0] += 10
    assert left.text(0.5) == "about 0:10 left"
    clock[0] += 16
    assert left.text(0.5) == "time left unknown"
    clock[0] += 1
    assert left.text(0.75) == "about 0:09 left"
    clock[0] += 4000
    assert left.elapsed() == "1:07:07"


def test_a_log_gets_a_line_every_half_minute_with_labels(clock: list[float]) -> None:
    stream = StringIO()
    lines = Lines(stream)
    lines.step("loading")
    building = ("index event_payload_idx (42 %, 0:40)",)
    done = Progress(34, 60, 3 << 20, 3 << 20, building)
    for _ in range(61):
        lines.progress(done)
        clock[0] += 1
    said = [line.partition(" ")[2] for line in stream.getvalue().splitlines()]
    assert said == [
        "loading",
        f"34/60 entries, 3 MB of 3 MB read, {building[0]}, time left unknown",
        f"34/60 entries, 3 MB of 3 MB read, {building[0]}, time left unknown",
    ]


def test_the_clock_on_a_terminal_goes_on_when_all_is_read(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    bar = OnTerminal()
    done = Progress(34, 60, 100, 100)
    bar.progress(done)
    clock[0] += 75
    bar.progress(done)
    assert bar._task is not None
    assert "1:15, time left unknown" in bar.bar.tasks[0].fields["said"]
    assert not bar.bar.finished
    bar.close()


def _itself(connection: Connection) -> Connection:
    return connection


def test_what_is_being_built_is_seen_in_the_server(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "SECONDS_BETWEEN_LOOKS", -1)
    monkeypatch.setattr(looking, "SECONDS_WORTH_SAYING", 0)
    database.execute('CREATE TABLE t (id int); CREATE TABLE "o.dd" (id int)')
    statements = {
        'CREATE INDEX "by id" ON t USING btree (id)': 'index "by id" (0:0',
        'ALTER TABLE ONLY "o.dd"\n    ADD CONSTRAINT odd_pkey PRIMARY KEY (id)': (
            "constraint odd_pkey (0:0"
        ),
    }
    for statement, expected in statements.items():
        with database.connect() as holder, database.connect() as builder:
            holder.execute('BEGIN; LOCK TABLE t, "o.dd"')
            thread = threading.Thread(target=builder.execute, args=(statement.encode(),))
            thread.start()
            with database.server.connect() as outside:
                now = building(partial(_itself, outside), database.name)
                while not (said := now()):
                    pass
            holder.execute("COMMIT")
            thread.join()
        assert said[0].startswith(expected), said
