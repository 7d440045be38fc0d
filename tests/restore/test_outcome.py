"""What is said of the live database is so: lost at COMMIT, interrupted right after it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from restorehooks.restore.errors import OutcomeUnknownError
from restorehooks.restore.server import lost_commit
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.lock import RestoreLock
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, dumped
from tests.support.projects import Project
from tests.support.proxies import at_commit, proxy
from tests.support.servers import RunningServer

YES = "--no-input"
UNTOUCHED = "The live database is as it was."


@pytest.fixture
def new(make_database: MakeDatabase, tmp_path: Path) -> Path:
    """A dump of one table with one row, "new"."""
    other = make_database()
    other.execute("CREATE TABLE t AS SELECT 'new' AS v")
    return dumped(other, tmp_path / "new.dump")


@pytest.fixture
def old(make_server: Callable[..., RunningServer]) -> Iterator[Database]:
    """A live database on a server that may be stopped, with one table and one row, "old"."""
    server = make_server()
    server.execute("CREATE DATABASE shop")
    database = Database(server, "shop", None, [])
    database.execute("CREATE TABLE t AS SELECT 'old' AS v")
    alone(database)
    yield database
    database.disconnect()


def started(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Start restoredb; what it says comes out of stdout."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "restoredb", *arguments, YES, "--no-analyze"],
        cwd=project.folder,
        env=project.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("how", [[], ["--in-place"]], ids=["beside", "in place"])
@pytest.mark.parametrize("committed", [True, False])
def test_the_server_is_asked_again_for_as_long_as_it_takes_to_come_back(
    project: Project, old: Database, new: Path, how: list[str], committed: bool
) -> None:
    server = old.server.process
    assert server
    sent, lost = threading.Event(), threading.Event()

    def lose() -> None:
        server.stop("immediate")
        lost.set()

    def commit(data: bytes, state: dict[str, object]) -> bytes | None:
        state["signed"] = state.get("signed") or sign in data
        if state["signed"] and b"COMMIT" in data and not sent.is_set():
            sent.set()
            if not committed:
                lose()
                return None
        return data

    # The server has carried it out, and the client does not know.
    def answer(data: bytes, state: dict[str, object]) -> bytes | None:
        if committed and sent.is_set() and not lost.is_set() and b"COMMIT\0" in data:
            lose()
            return None
        return data

    sign = b"pg_current_xact_id" if how else b" RENAME TO "
    with proxy(old, ours=commit, theirs=answer) as opened:
        project.settings(DATABASES={"default": opened.settings(old)})
        process = started(project, str(new), *how)
        assert lost.wait(60), process.communicate()[0]
        time.sleep(1)  # longer than one try takes
        server.start()
        said = process.communicate()[0]
    assert old.execute("SELECT v FROM t") == [("new" if committed else "old",)]
    outcome = (process.returncode, said.splitlines()[-1].endswith(UNTOUCHED))
    assert outcome == ((0, False) if committed else (1, True)), said


def test_a_server_that_stays_away_leaves_the_outcome_unknown(
    project: Project, old: Database, new: Path
) -> None:
    assert old.server.process
    stop = old.server.process.stop
    with proxy(old, ours=at_commit(b"pg_current_xact_id", lambda: stop("immediate"))) as opened:
        project.settings(DATABASES={"default": opened.settings(old)})
        # The command itself, with less patience.
        project.write(
            "hasty.py",
            """
            import manage, sys
            from django.core.management import execute_from_command_line
            from restorehooks.restore.server import lost_commit
            lost_commit.SECONDS_TO_READ_BACK = 1.0
            execute_from_command_line(sys.argv)
            """,
        )
        done = project.run(
            [sys.executable, "hasty.py", "restoredb", str(new), YES, "--in-place"], check=False
        )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "not known" in last
    assert UNTOUCHED not in last


def test_a_number_of_another_timeline_says_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_commit, "SECONDS_TO_READ_BACK", 0.1)
    with RestoreLock(Address.of("default")) as lock:
        with database.connect() as connection, connection.transaction():
            number, timeline = connection.execute(lost_commit.NUMBER).fetchone() or ("", "")
            # In progress: neither yes nor no.
            with pytest.raises(OutcomeUnknownError):
                lost_commit.was_committed(lock, number, timeline)
        assert lost_commit.was_committed(lock, number, timeline)
        with pytest.raises(OutcomeUnknownError):
            lost_commit.was_committed(lock, number, "000000FF")


@pytest.mark.parametrize("how", [[], ["--in-place"]], ids=["beside", "in place"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_signal_while_the_commit_is_under_way(
    project: Project, database: Database, new: Path, how: list[str], lost: bool
) -> None:
    """It is held back until the server's answer is known, and where that is lost, asked for."""
    database.execute("CREATE TABLE t AS SELECT 'old' AS v")
    alone(database)
    running: list[subprocess.Popen[str]] = []
    sent, signed = threading.Event(), b"pg_current_xact_id" if how else b" RENAME TO "

    def signalled() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            running[0].send_signal(number)
            time.sleep(0.1)

    def commit(data: bytes, state: dict[str, object]) -> bytes:
        state["signed"] = state.get("signed") or signed in data
        if state["signed"] and b"COMMIT" in data and not sent.is_set():
            sent.set()
            state["committing"] = True
            if not lost:
                signalled()
        return data

    def answer(data: bytes, state: dict[str, object]) -> bytes | None:
        if lost and state.pop("committing", False):
            signalled()
            return None
        return data

    with proxy(database, ours=commit, theirs=answer) as opened:
        project.settings(DATABASES={"default": opened.settings(database)})
        running.append(started(project, str(new), *how))
        said = running[0].communicate()[0]
    assert sent.is_set(), said
    assert database.execute("SELECT v FROM t") == [("new",)]
    # In place the hooks and ANALYZE come after the commit, and it is they that are interrupted.
    expected = (1, "Restored, but not finished. ") if how else (0, 'Restored "')
    assert (running[0].returncode, said.splitlines()[-1].startswith(expected[1])) == (
        expected[0],
        True,
    ), said
    assert UNTOUCHED not in said


@pytest.fixture
def watched(database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with database.connect() as connection:
        yield connection


@pytest.mark.parametrize("delay", [0, 0.002, 0.01, 0.03])
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_an_interrupt_after_the_commit_never_says_untouched(
    project: Project,
    database: Database,
    new: Path,
    watched: psycopg.Connection[tuple[object, ...]],
    delay: float,
    how: str,
) -> None:
    database.execute("CREATE TABLE t AS SELECT 'old' AS v")
    process = started(project, str(new), "--in-place")
    # Blocked by the restore until the very moment of its commit.
    while process.poll() is None:
        try:
            if watched.execute("SELECT v FROM t").fetchone() == ("new",):
                break
        except psycopg.Error:
            pass
    time.sleep(delay)
    if process.poll() is None:
        process.send_signal(getattr(signal, how))
    said = process.communicate()[0]
    assert watched.execute("SELECT v FROM t").fetchone() == ("new",)
    assert UNTOUCHED not in said
    assert process.returncode in (0, 1), said
    assert "Restored" in said.splitlines()[-1]
