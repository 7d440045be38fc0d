"""How a restore shows how far it is: labels, what is being built, and honest estimates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections
from django.db.models.signals import pre_migrate

from restorehooks.management import progress as shown
from restorehooks.management.progress import Lines, OnTerminal, TimeLeft
from restorehooks.restore import beside, hook_files
from restorehooks.restore import progress as reporting
from restorehooks.restore.progress import Building, Progress, Reporter
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server import building as looking
from restorehooks.restore.server.address import Connection
from restorehooks.restore.server.building import building
from restorehooks.restore.server.swap import swap
from restorehooks.signals import post_restore
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import dumped


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
    assert left.elapsed() == "1:07:07 so far"


def test_a_log_gets_a_line_every_half_minute_with_labels(clock: list[float]) -> None:
    stream = StringIO()
    lines = Lines(stream)
    lines.step("loading")
    indexes = [Building("index", "event_payload_idx", 40, 42), Building("index", "other", 3)]
    rows = Building("rows of", "event", 75, rows=1_234_567)
    done = Progress(34, 60, 3 << 20, 3 << 20, 2, 26, [*indexes, rows])
    for _ in range(61):
        lines.progress(done)
        clock[0] += 1
    said = [line.partition(" ")[2] for line in stream.getvalue().splitlines()]
    so_far = (
        "34 of 60 entries, 3 MB of 3 MB read, index 3 of 26: event_payload_idx, 42 %, 0:40,"
        " index 4 of 26: other, 0:03, rows of event, 1,234,567 so far, 1:15"
    )
    assert said == [
        "loading",
        f"still loading, 0:30 so far, {so_far}, time left unknown",
        f"still loading, 1:00 so far, {so_far}, time left unknown",
    ]


def test_a_log_says_that_a_step_of_no_known_length_goes_on(clock: list[float]) -> None:
    stream = StringIO()
    lines = Lines(stream)
    lines.step("running migrate")
    for _ in range(31):
        lines.tick()
        clock[0] += 1
    said = [line.partition(" ")[2] for line in stream.getvalue().splitlines()]
    assert said == ["running migrate", "still running migrate, 0:30 so far, time left unknown"]


def test_a_name_on_a_terminal_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    OnTerminal().step('restoring into "a:bomb:b" on db:warning:5432')
    assert capsys.readouterr().err == 'restoring into "a:bomb:b" on db:warning:5432\n'


def test_the_clock_on_a_terminal_goes_on_when_all_is_read(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    bar = OnTerminal()
    done = Progress(34, 60, 100, 100)
    bar.progress(done)
    clock[0] += 75
    bar.progress(done)
    assert "1:15 so far, time left unknown" in bar.bar.tasks[0].fields["said"]
    assert not bar.bar.finished
    bar.close()


@pytest.mark.parametrize("columns", [80, 120])
def test_what_is_built_leaves_room_for_both_bars(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    bar = OnTerminal()
    name = "event_payload_with_a_long_name_idx"
    bar.progress(Progress(34, 60, 100, 100, 13, 26, [Building("index", name, 42, 50)]))
    with bar.console.capture() as capture:
        bar.console.print(bar.bar.get_renderable())
    bar.close()
    rows, built = capture.get().splitlines()
    assert "34 of 60 entries" in rows
    assert "indexes and keys" in built
    assert f"index 14 of 26: {name}" in built
    assert min(line.count("\u2501") for line in (rows, built)) >= 4


def test_a_terminal_has_a_bar_for_what_is_built(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    bar = OnTerminal()
    bar.step("loading")
    done = Progress(34, 60, 100, 100, 13, 26, [Building("index", "event_payload_idx", 42, 50)])
    bar.progress(done)
    clock[0] += 10
    bar.tick(done.building)
    rows, built = bar.bar.tasks
    assert (rows.description, round(rows.completed, 3)) == ("entries", 0.783)
    assert (built.description, built.completed) == ("indexes and keys", 13.5 / 26)
    assert built.fields["said"] == (
        "index 14 of 26: event_payload_idx, 50 %, 0:42, 0:10 so far, about 0:09 left"
    )
    bar.step("running migrate")
    clock[0] += 5
    bar.tick()
    (working,) = bar.bar.tasks
    assert (working.description, working.total) == ("working", None)
    assert working.fields["said"] == "0:05 so far, time left unknown"
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
        'CREATE INDEX "by id" ON t USING btree (id)': ("index", '"by id"'),
        'ALTER TABLE ONLY "o.dd"\n    ADD CONSTRAINT odd_pkey PRIMARY KEY (id)': (
            "constraint",
            "odd_pkey",
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
        assert (said[0].kind, said[0].name) == expected


class Listening(Reporter):
    """Takes down which steps it was told to be at work, and how far."""

    def __init__(self) -> None:
        self.now = ""
        self.ticked: set[str] = set()
        self.counted: list[Progress] = []
        self.shown: list[Progress] = []
        self.came = threading.Event()

    def step(self, text: str) -> None:
        self.now = text
        self.came.clear()

    def progress(self, progress: Progress) -> None:
        self.shown.append(progress)
        self.counted.append(replace(progress))

    def tick(self, building: Sequence[Building] = ()) -> None:
        self.ticked.add(self.now.partition(" into")[0])
        self.came.set()


def _waiting_first(reporter: Listening, then: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Go on once the reporter has been told that time goes by."""
    assert reporter.came.wait(60)
    return then(*args, **kw)


LATE = """
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_catalog.pg_sleep(0.3); RETURN NULL; END';
CREATE TABLE t (id serial PRIMARY KEY);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION late();
"""


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_in_place_too_what_is_built_is_counted_and_the_commit_goes_on(
    database: Database,
    make_database: MakeDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    monkeypatch.setattr(reporting, "SECONDS_A_BEAT", 0.01)
    source = make_database()
    source.execute(LATE)
    file = dumped(source, tmp_path / "dump", form=form)
    reporter = Listening()

    def adds_a_row(**kwargs: object) -> None:
        connections["default"].cursor().execute("INSERT INTO t DEFAULT VALUES")

    post_restore.connect(adds_a_row)
    try:
        restore(Request(str(file), in_place=True), reporter=reporter)
    finally:
        post_restore.disconnect(adds_a_row)
    assert "committing" in reporter.ticked
    assert {(each.builds, each.builds_total) for each in reporter.shown} >= {(1, 1)}


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_every_long_step_says_that_it_goes_on(
    database: Database,
    make_database: MakeDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    """Each step here waits until the reporter has been told that time goes by."""
    monkeypatch.setattr(reporting, "SECONDS_A_BEAT", 0.01)
    monkeypatch.setattr(hook_files, "SECONDS_A_BEAT", 0.01)
    source = make_database()
    source.execute("CREATE TABLE t (id serial PRIMARY KEY); CREATE INDEX i ON t (id)")
    file = dumped(source, tmp_path / "dump", form=form)
    reporter = Listening()
    monkeypatch.setattr(beside, "swap", partial(_waiting_first, reporter, swap))
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "a.sql").write_text("SELECT pg_sleep(0.1)")
    (hooks / "b.sh").write_text("sleep 0.1")
    waits = partial(_waiting_first, reporter, lambda **kwargs: None)
    for signal in (pre_migrate, post_restore):
        signal.connect(waits)
    try:
        restore(Request(str(file), migrate=True, hooks_dir=hooks), reporter=reporter)
    finally:
        for signal in (pre_migrate, post_restore):
            signal.disconnect(waits)
    assert {
        "running migrate",
        "sending post_restore to the project's receivers",
        "running the hook a.sql",
        "running the hook b.sh",
        f'putting it in the place of "{database.name}"',
    } <= reporter.ticked
    tables = [each for each in reporter.counted if each.unit == "tables"]
    assert tables[-1].entries == tables[-1].entries_total
    built = [(each.builds, each.builds_total) for each in reporter.shown if each.builds_total]
    assert set(built) == {(2, 2)}


def test_no_name_takes_for_ever_to_read() -> None:
    for kind in ("INDEX", "UNIQUE INDEX"):
        name = '""' * 30
        assert looking._what(f"CREATE {kind} {name} ON t (a)") == ("index", name)
        assert looking._what(f"CREATE {kind} {name}\nON t (a)") is None
