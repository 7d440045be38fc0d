"""Whatever goes wrong, the live database is byte for byte as it was."""

from __future__ import annotations

import contextlib
import gzip
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command
from psycopg import sql

from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import SHOP, alone, contents, dumped, neighbours
from tests.support.projects import Project
from tests.support.servers import RunningServer

YES = "--no-input"
UNTOUCHED = "The live database is as it was."


@contextlib.contextmanager
def untouched(live: Database) -> Iterator[None]:
    """Compare all of the live database before and after, and look for what is left beside it."""
    before = contents(live)
    yield
    assert contents(live) == before
    assert neighbours(live) == []


def failed(project: Project, *arguments: str, code: int = 1) -> str:
    """Run restoredb, which has to fail in so many words, and return its last line."""
    done = project.manage("restoredb", *arguments, YES, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.endswith(UNTOUCHED), done.stderr
    return last


# --- Files that are no dump, or not all of one -------------------------------------------------


@pytest.mark.parametrize("how", ["file", "standard input", "dry run"])
def test_a_custom_archive_cut_in_its_rows_says_so(
    project: Project, live: Database, backup: Path, tmp_path: Path, how: str
) -> None:
    content = backup.read_bytes()
    cut = tmp_path / "cut.dump"
    cut.write_bytes(content[: len(content) * 6 // 10])
    arguments = [sys.executable, "manage.py", "restoredb", YES]
    arguments += ["-"] if how == "standard input" else [str(cut)]
    arguments += ["--dry-run"] if how == "dry run" else []
    named = "standard input" if how == "standard input" else str(cut)
    with untouched(live), cut.open("rb") as stream:
        done = subprocess.run(
            arguments,
            cwd=project.folder,
            env=project.environ,
            stdin=stream,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"Failed: {named} was cut off: copy or dump it again (pg_restore: could not read from input"
        f" file: end of file). {UNTOUCHED}"
    )


def test_a_role_that_does_not_exist_is_one_sentence(
    project: Project, live: Database, backup: Path
) -> None:
    settings = live.server.settings(live.name, USER="no-such-role")
    project.settings(DATABASES={"default": settings})
    place = f"{settings['HOST']}:{settings['PORT'] or 5432}"
    said = f'The role "no-such-role" does not exist on {place}: name one that does, or create it.'
    assert failed(project, str(backup)) == f"Failed: {said} {UNTOUCHED}"
    done = project.manage("dumpdb", "x.dump", check=False)
    assert (done.returncode, done.stderr) == (1, f"Failed: {said} No dump was written.\n")


def test_garbage_and_nothing(project: Project, live: Database, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.dump"
    with untouched(live):
        for text in (
            b"garbage",
            b"",
            b"\0" * 5000,
            b"PGDMP",
            b"PGDMP\1\xff\0\4\x08\1",
            b"\x1f\x8b",
        ):
            wrong.write_bytes(text)
            failed(project, str(wrong))
        failed(project, str(tmp_path / "missing.dump"))
        failed(project, str(tmp_path))  # a directory that is no dump


def test_an_archive_cut_at_ten_places(project: Project, live: Database, backup: Path) -> None:
    whole = backup.read_bytes()
    cut = backup.with_name("cut.dump")
    with untouched(live):
        for tenth in range(1, 10):
            cut.write_bytes(whole[: len(whole) * tenth // 10])
            failed(project, str(cut))
        cut.write_bytes(whole[:-1])
        failed(project, str(cut))


def test_an_archive_cut_loaded_in_parallel_too(
    project: Project, live: Database, backup: Path
) -> None:
    backup.write_bytes(backup.read_bytes()[:-40])
    with untouched(live):
        for jobs in ("1", "4"):
            failed(project, str(backup), f"--jobs={jobs}")


def test_a_directory_with_a_file_missing_or_cut(
    project: Project, live: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    shop = make_database()
    shop.execute(SHOP)
    dump = dumped(shop, tmp_path / "dir", form="directory")
    largest = max(dump.glob("*.gz"), key=lambda file: file.stat().st_size)
    whole = largest.read_bytes()
    with untouched(live):
        largest.write_bytes(whole[: len(whole) // 2])
        failed(project, str(dump))
        largest.unlink()
        failed(project, str(dump))


def test_a_tar_archive_cut_anywhere(
    project: Project, live: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    shop = make_database()
    shop.execute(SHOP)
    dump = dumped(shop, tmp_path / "shop.tar", form="tar")
    whole = dump.read_bytes()
    with untouched(live):
        for left in (len(whole) // 3, len(whole) * 2 // 3, len(whole.rstrip(b"\0")) - 1):
            dump.write_bytes(whole[:left])
            for mode in ([], ["--in-place"], ["--dry-run"]):
                assert "was cut off" in failed(project, str(dump), *mode)


def test_a_template_is_no_target(project: Project, live: Database, backup: Path) -> None:
    live.server.execute(f'ALTER DATABASE "{live.name}" IS_TEMPLATE true')
    with untouched(live):
        assert "is a template" in failed(project, str(backup))
    live.server.execute(f'ALTER DATABASE "{live.name}" IS_TEMPLATE false')


def test_a_plain_dump_cut_anywhere(
    project: Project, live: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    shop = make_database()
    shop.execute(SHOP)
    text = dumped(shop, tmp_path / "whole.sql", form="plain").read_bytes()
    in_copy = text.index(b"COPY public.purchase") + 5000
    at_a_statements_end = text.index(b";\n", text.index(b"ADD CONSTRAINT")) + 2
    before_the_trailer = text.index(b"-- PostgreSQL database dump complete")
    cut = tmp_path / "cut.sql"
    with untouched(live):
        for place in (in_copy, at_a_statements_end, before_the_trailer):
            cut.write_bytes(text[:place])
            failed(project, str(cut))
        packed = gzip.compress(text)
        cut.write_bytes(packed[: len(packed) // 2])
        failed(project, str(cut))


def test_a_dump_with_a_failing_statement(
    project: Project, live: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    shop = make_database()
    shop.execute(
        SHOP + "CREATE FUNCTION known(i int) RETURNS bool LANGUAGE sql "
        "AS 'SELECT EXISTS (SELECT FROM customer WHERE id = i)';"
        "ALTER TABLE purchase ADD CHECK (known(customer_id))"  # search_path is empty in a restore
    )
    with untouched(live):
        archive = dumped(shop, tmp_path / "failing.dump")
        for more in ([], ["--jobs=4"], ["--in-place"]):
            assert "customer" in failed(project, str(archive), *more)
        failed(project, str(dumped(shop, tmp_path / "failing.sql", form="plain")))


def test_half_way_into_an_empty_database_leaves_it_empty(
    project: Project, database: Database, backup: Path
) -> None:
    alone(database)
    backup.write_bytes(backup.read_bytes()[:-40])
    with untouched(database):
        failed(project, str(backup))
        failed(project, str(backup), "--in-place")


def test_a_dump_newer_than_anything_known(project: Project, live: Database, backup: Path) -> None:
    whole = bytearray(backup.read_bytes())
    whole[6] = 99  # the minor version of the archive's format
    backup.write_bytes(whole)
    with untouched(live):
        assert "1.99" in failed(project, str(backup))


# --- Hooks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("10.py", "raise ValueError('no such luck')", "no such luck"),
        ("10.py", "import sys; sys.exit(3)", "exited 3"),
        ("10.sh", "exit 3", "exited 3"),
        ("10.sql", "UPDATE customer SET email = 'x';\nSELECT 1/0;", "division by zero"),
        ("10.sql", "SELECT 1;\nSELEC 2;", "line 2"),
    ],
)
def test_a_failing_hook(
    project: Project, live: Database, backup: Path, tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / name).write_text(text)
    with untouched(live):
        last = failed(project, str(backup), f"--hooks-dir={tmp_path / 'hooks'}")
    assert name in last
    assert said in last


def test_a_receiver_that_raises(project: Project, live: Database, backup: Path) -> None:
    project.app("shop")
    project.write(
        "shop/apps.py",
        """
        from django.apps import AppConfig
        from django.db import connections
        from restorehooks.signals import post_restore

        def scrub(using, target, **kwargs):
            with connections[using].cursor() as cursor:
                cursor.execute("UPDATE customer SET email = 'x'")
            raise LookupError(f"no {target}")

        class Shop(AppConfig):
            name = "shop"
            def ready(self):
                post_restore.connect(scrub)
        """,
    )
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    with untouched(live):
        assert f"no {live.name}_restoring_" in failed(project, str(backup))


def test_a_hook_directory_that_is_not_there(project: Project, live: Database, backup: Path) -> None:
    with untouched(live):
        failed(project, str(backup), "--hooks-dir=nowhere")


# --- Roles and servers -------------------------------------------------------------------------


def test_a_role_without_ownership(project: Project, live: Database, backup: Path) -> None:
    other = live.role("other", "LOGIN CREATEDB")
    project.settings(DATABASES={"default": live.server.settings(live.name, USER=other)})
    with untouched(live):
        assert "does not own" in failed(project, str(backup))
        failed(project, str(backup), "--in-place")


def test_a_wrong_password(
    project: Project, backup: Path, make_server: Callable[..., RunningServer]
) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = make_server({"listen_addresses": "localhost", "port": str(port)})
    server.execute("CREATE ROLE app LOGIN CREATEDB PASSWORD 'right'")
    server.execute("CREATE DATABASE app OWNER app")
    place = {"HOST": "localhost", "PORT": str(port), "USER": "app"}
    project.settings(DATABASES={"default": server.settings("app", **place, PASSWORD="wrong")})
    assert "password" in failed(project, str(backup))
    project.settings(DATABASES={"default": server.settings("app", **place, PASSWORD="right")})
    done = project.manage("restoredb", str(backup), "--jobs=2")
    assert "right" not in done.stdout + done.stderr
    with server.connect(dbname="app") as connection:
        assert connection.execute("SELECT count(*) FROM customer").fetchone() == (500,)


def test_what_extensions_made_counts_as_empty_and_nothing_else_does(
    project: Project, database: Database, backup: Path
) -> None:
    try:
        database.execute("CREATE EXTENSION citext")
    except psycopg.Error:
        pytest.skip("this server has no contrib extensions")
    # As PostGIS does: a table with rows that belongs to the extension.
    database.execute(
        "CREATE TABLE spatial_ref_sys (srid int); INSERT INTO spatial_ref_sys SELECT 1"
    )
    alone(database)
    nobody = ["restoredb", str(backup)]
    done = subprocess.run(
        [sys.executable, "manage.py", *nobody],
        cwd=project.folder,
        env=project.environ,
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 2  # somebody has to be asked
    database.execute("ALTER EXTENSION citext ADD TABLE spatial_ref_sys")
    alone(database)
    project.manage(*nobody)
    assert database.execute("SELECT count(*) FROM purchase") == [(5000,)]


SLOW = (
    SHOP
    + """
CREATE FUNCTION pause(i int) RETURNS bool LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_sleep(0.002); RETURN true; END';
CREATE TABLE slow (id int CHECK (public.pause(id)));
INSERT INTO slow SELECT n FROM generate_series(1, 5) n;
ALTER TABLE slow DISABLE TRIGGER ALL;
"""
)


@pytest.fixture
def slow(make_database: MakeDatabase, tmp_path: Path) -> Path:
    """A dump that takes ten seconds to load."""
    shop = make_database()
    shop.execute(SLOW)
    shop.execute("SET check_function_bodies = off")
    shop.execute(
        "CREATE OR REPLACE FUNCTION pause(i int) RETURNS bool LANGUAGE sql AS 'SELECT true'"
    )
    shop.execute("INSERT INTO slow SELECT n FROM generate_series(1, 5000) n")
    shop.execute(
        SLOW[SLOW.index("CREATE FUNCTION pause") : SLOW.index("CREATE TABLE slow")].replace(
            "CREATE", "CREATE OR REPLACE", 1
        )
    )
    return dumped(shop, tmp_path / "slow.dump")


class Restoring:
    """A restoredb that runs, told to stop when it says something."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "restoredb", *arguments, YES],
            cwd=project.folder,
            env=project.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []

    def until(self, words: str) -> None:
        """Read what it says until the words come."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return
        raise AssertionError("".join(self.said))

    def ended(self) -> tuple[int, str]:
        """Wait for the end and return the exit code and the last line."""
        out, err = self.process.communicate(timeout=60)
        lines = [*self.said, *err.splitlines(), *out.splitlines()]
        return self.process.returncode, lines[-1] if lines else ""


def test_the_server_stopped_mid_load(
    project: Project,
    make_server: Callable[..., RunningServer],
    slow: Path,
) -> None:
    server = make_server()
    server.execute("CREATE DATABASE shop")
    live = Database(server, "shop", None, [])
    live.execute("CREATE TABLE precious AS SELECT 1 AS id")
    alone(live)
    project.settings(DATABASES={"default": live.settings})
    before = contents(live)
    run = Restoring(project, str(slow))
    run.until("loading into")
    time.sleep(1)
    assert server.process
    server.process.stop("immediate")
    code, last = run.ended()
    assert code == 1
    assert "Nothing was changed in the live database, but its server does not answer now" in last
    server.process.start()
    assert contents(live) == before
    # What could not be dropped is recognised and dropped by the next restore.
    assert len(neighbours(live)) == 1
    (left,) = neighbours(live)
    fresh = Restoring(project, str(slow))
    fresh.until(f'"{left}", left by a killed run, was dropped')
    fresh.process.send_signal(signal.SIGINT)
    assert fresh.ended()[0] == 130
    assert neighbours(live) == []


def test_the_disk_full(
    project: Project,
    make_server: Callable[..., RunningServer],
    make_database: MakeDatabase,
    tmp_path: Path,
) -> None:
    server = make_server()
    assert server.process
    place = server.process.data / "small"
    place.mkdir()
    owner = (server.process.data / "cluster").stat()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=14m,uid={owner.st_uid},gid={owner.st_gid},mode=0700",
         "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    try:
        shop = make_database()
        shop.execute(
            "CREATE TABLE big AS SELECT n, (SELECT string_agg(md5((n * m)::text), '') "
            "FROM generate_series(1, 30) m) FROM generate_series(1, 20000) n"
        )
        dump = dumped(shop, tmp_path / "big.dump")
        server.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(place)))
        server.execute("CREATE DATABASE shop TABLESPACE small")
        live = Database(server, "shop", None, [])
        live.execute("CREATE TABLE precious AS SELECT 1 AS id")
        alone(live)
        # A database that is not on disk yet needs room for that, and DROP DATABASE waits for it.
        server.execute("CHECKPOINT")
        project.settings(DATABASES={"default": live.settings})
        with untouched(live):
            assert "No space left" in failed(project, str(dump))
            assert "No space left" in failed(project, str(dump), "--in-place")
    finally:
        server.process.stop("immediate")
        subprocess.run(["umount", str(place)], check=True)


def test_a_side_database_that_cannot_be_dropped_is_named_with_the_command(
    make_server: Callable[..., RunningServer], make_database: MakeDatabase, tmp_path: Path
) -> None:
    """As on a full disk, where DROP DATABASE waits for a checkpoint that fails."""
    server = make_server({"max_prepared_transactions": "2"})
    live = make_database(on=server, alias="default")
    live.execute("CREATE TABLE precious AS SELECT 1 AS id")
    file = dumped(live, tmp_path / "d")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "1.sql").write_text(
        "BEGIN; CREATE TABLE held (); PREPARE TRANSACTION 'held'; SELECT 1 / 0"
    )
    before, said = contents(live), StringIO()
    alone(live)
    with pytest.raises(CommandError, match=r"division by zero.*as it was\."):
        call_command(
            "restoredb", str(file), f"--hooks-dir={tmp_path / 'hooks'}", "--no-input", stderr=said
        )
    assert contents(live) == before
    (left,) = neighbours(live)
    command = f'DROP DATABASE IF EXISTS "{left}" WITH (FORCE)'
    (note,) = [line for line in said.getvalue().splitlines() if "could not be dropped" in line]
    assert command in note
    with server.connect(dbname=left) as inside:
        inside.execute("ROLLBACK PREPARED 'held'")
    server.execute(command)
    assert neighbours(live) == []


def test_others_connected_and_reconnecting_all_the_time(
    project: Project, live: Database, backup: Path
) -> None:
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            with contextlib.suppress(psycopg.OperationalError), live.connect() as connection:
                while not stop.is_set():
                    connection.execute("SELECT 1")
                    time.sleep(0.01)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        before = contents(live)
        cut = backup.with_name("cut.dump")
        cut.write_bytes(backup.read_bytes()[:-40])
        failed(project, str(cut))
        assert (contents(live), neighbours(live)) == (before, [])
        project.manage("restoredb", str(backup), YES)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]


# --- Interrupted -------------------------------------------------------------------------------

STEPS = ("restoring", "loading into", "repairing", "hook 10.sh", "running ANALYZE", "in the place")


@pytest.fixture
def lingering(tmp_path: Path) -> str:
    """A hooks directory whose hook takes a while."""
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "10.sh").write_text("sleep 0.7\n")
    return f"--hooks-dir={tmp_path / 'hooks'}"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_ended_at_any_step(
    project: Project, live: Database, backup: Path, lingering: str, step: str, how: str
) -> None:
    before = contents(live)
    run = Restoring(project, str(backup), lingering)
    run.until(step)
    time.sleep(0.03)
    run.process.send_signal(getattr(signal, how))
    code, last = run.ended()
    restored = live.execute("SELECT to_regclass('customer') IS NOT NULL") == [(True,)]
    alone(live)
    if how == "SIGKILL":
        assert code == -signal.SIGKILL
    elif restored:
        assert (code, step) == (0, "in the place")
        assert last.startswith(f'Restored "{live.name}"')
    else:
        assert code == 130
        assert last == f"Interrupted. {UNTOUCHED}"
        assert neighbours(live) == []
    if restored:
        assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]
    else:
        assert contents(live) == before
    alone(live)
    # And the next one works, over whatever was left behind.
    project.manage("restoredb", str(backup), YES)
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]
    assert not [name for name in neighbours(live) if "_restoring_" in name]


def test_ended_while_the_side_database_is_created(
    project: Project, live: Database, backup: Path
) -> None:
    creating = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%'"
    with untouched(live), live.server.connect() as watcher:
        for delay in (0.0, 0.01, 0.03):
            run = Restoring(project, str(backup))
            run.until("restoring")
            while watcher.execute(creating).fetchone() == (0,):
                assert run.process.poll() is None
            time.sleep(delay)
            run.process.send_signal(signal.SIGINT)
            assert run.ended() == (130, f"Interrupted. {UNTOUCHED}")
            assert neighbours(live) == []


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ended_mid_load_ends_pg_restore_too(
    project: Project, live: Database, slow: Path, how: str, jobs: str
) -> None:
    before = contents(live)
    run = Restoring(project, str(slow), f"--jobs={jobs}")
    run.until("loading into")
    time.sleep(1)
    run.process.send_signal(getattr(signal, how))
    code, _ = run.ended()
    assert code == (-signal.SIGKILL if how == "SIGKILL" else 130)
    assert contents(live) == before
    deadline = time.monotonic() + 8
    while sessions := live.server.execute(
        "SELECT application_name, query FROM pg_stat_activity WHERE datname LIKE %s",
        f"{live.name}_restoring%",
    ):
        assert time.monotonic() < deadline, sessions
        time.sleep(0.1)


BUILDING = """--
-- PostgreSQL database dump
--
CREATE TABLE public.a (x int);
CREATE TABLE public.b (x int);
COPY public.a FROM stdin;
1
\\.
COPY public.b FROM stdin;
1
\\.
CREATE FUNCTION public.slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$BEGIN PERFORM pg_sleep(60); RETURN $1; END$$;
CREATE INDEX a_slow ON public.a USING btree (public.slow(x));
CREATE INDEX b_slow ON public.b USING btree (public.slow(x));
--
-- PostgreSQL database dump complete
--
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_ended_while_several_connections_load(
    project: Project, live: Database, tmp_path: Path, how: str
) -> None:
    dump = tmp_path / "building.sql"
    dump.write_text(BUILDING)
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE %s || '\\_restoring%%'"
        " AND query LIKE %s"
    )
    before = contents(live)
    run = Restoring(project, str(dump), "--jobs=2")
    run.until("loading into")
    while live.server.execute(sessions, live.name, "CREATE INDEX%") != [(2,)]:
        assert run.process.poll() is None
        time.sleep(0.02)
    run.process.send_signal(getattr(signal, how))
    code, last = run.ended()
    if how == "SIGTERM":
        assert (code, last) == (130, f"Interrupted. {UNTOUCHED}")
    deadline = time.monotonic() + 8
    while live.server.execute(sessions, live.name, "%") != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(neighbours(live)) == (how == "SIGKILL")
    assert contents(live) == before


def test_a_hook_that_hangs_is_ended_with_all_it_started(
    project: Project, live: Database, backup: Path, tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "10.sh").write_text("sleep 300 &\necho $! > pid\nsleep 300\n")
    with untouched(live):
        run = Restoring(project, str(backup), f"--hooks-dir={tmp_path / 'hooks'}")
        run.until("hook 10.sh")
        time.sleep(0.5)
        run.process.send_signal(signal.SIGINT)
        assert run.ended() == (130, f"Interrupted. {UNTOUCHED}")
    pid = int((project.folder / "pid").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_ended_mid_transaction_in_place(
    project: Project, live: Database, slow: Path, how: str
) -> None:
    with untouched(live):
        run = Restoring(project, str(slow), "--in-place")
        run.until("loading into")
        time.sleep(1)
        run.process.send_signal(getattr(signal, how))
        code, _ = run.ended()
        assert code == (130 if how == "SIGINT" else -signal.SIGKILL)
        alone(live)


def test_two_at_once_the_second_is_told(project: Project, live: Database, slow: Path) -> None:
    with untouched(live):
        first = Restoring(project, str(slow))
        first.until("loading into")
        assert "Another restore" in failed(project, str(slow))
        assert "Another restore" in failed(project, "--undo")
        first.process.send_signal(signal.SIGTERM)
        assert first.ended()[0] == 130
