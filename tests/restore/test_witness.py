"""One session holds the lock and is the witness: on the same server, all the way, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from restorehooks.restore.errors import LockLostError
from restorehooks.restore.server import pooler as pooler_module
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.live import read_live
from restorehooks.restore.server.lock import RestoreLock
from restorehooks.restore.server.pooler import DIRECT_URL
from restorehooks.restore.server.sides import create_side, drop
from restorehooks.restore.server.swap import swap
from restorehooks.signals import post_restore
from tests.support.databases import Database, MakeDatabase, pointed
from tests.support.dumps import alone, contents, neighbours
from tests.support.proxies import as_a_pooler, proxy
from tests.support.servers import RunningServer

LOCKS = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"


def restoredb(*arguments: str) -> str:
    said = StringIO()
    call_command("restoredb", *arguments, "--no-input", stdout=said, stderr=said)
    return said.getvalue()


@contextmanager
def received(what: Callable[[str], object]) -> Iterator[None]:
    """Call it with the alias when the restored data are there and not live yet."""

    def receiver(using: str, **_: Any) -> None:
        what(using)

    post_restore.connect(receiver)
    try:
        yield
    finally:
        post_restore.disconnect(receiver)


@pytest.mark.parametrize("how", [[], ["--in-place"]], ids=["beside", "in place"])
def test_a_lock_lost_in_mid_run_ends_the_run(live: Database, backup: Path, how: list[str]) -> None:
    before = contents(live)
    alone(live)

    def lose(using: str) -> None:
        live.server.execute(LOCKS)

    with received(lose), pytest.raises(CommandError, match=r"h[eo]lds? the lock"):
        restoredb(str(backup), *how)
    assert (contents(live), neighbours(live)) == (before, [])


def test_a_server_that_crashed_and_came_back_in_the_hooks_gets_nothing_swapped_in(
    make_server: Callable[..., RunningServer], make_database: MakeDatabase, backup: Path
) -> None:
    server = make_server()
    process = server.process
    assert process
    live = make_database(on=server, alias="default")
    live.execute("CREATE TABLE precious AS SELECT 1 AS id")
    alone(live)
    before = contents(live)

    def crash(using: str) -> None:
        connections[using].close()
        process.stop("immediate")
        process.start()

    with received(crash), pytest.raises(CommandError, match="lock"):
        restoredb(str(backup))
    assert contents(live) == before


def test_of_several_hosts_one_is_the_server_of_the_whole_run(
    make_server: Callable[..., RunningServer], make_database: MakeDatabase, backup: Path
) -> None:
    first, second = make_server(), make_server()
    live = make_database(name="shop", on=first)
    twin = make_database(name="shop", on=second)
    both = {key: f"{first.params[key]},{second.params[key]}" for key in ("host", "port")}
    settings = {**live.settings, "HOST": both["host"], "PORT": both["port"]}
    before = contents(twin)
    alone(twin)
    seen: list[str] = []

    def fail_over(using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT current_setting('unix_socket_directories')")
            seen.append(cursor.fetchone()[0].strip('"'))
        connections[using].close()
        assert first.process
        first.process.stop("immediate")

    with pointed("default", settings):
        with received(fail_over), pytest.raises(CommandError):
            restoredb(str(backup))
        assert first.process
        first.process.start()
        assert seen == [first.params["host"]]
        assert contents(twin) == before
        with RestoreLock(Address.of("default")) as lock, second.connect() as elsewhere:
            assert lock.address.parameters["host"] == first.params["host"]
            lock.require_here(lock.connection.cursor())
            with pytest.raises(LockLostError):
                lock.require_here(elsewhere.cursor())
            assert_nobody_is_disconnected_at(twin, lock)


def assert_nobody_is_disconnected_at(twin: Database, lock: RestoreLock) -> None:
    """Let the address lead to a twin on another server, as a proxy may, when a swap begins."""
    found = read_live(lock.address, lock.connection)
    made = create_side(lock, found, "a test")
    place = {key: twin.server.params[key] for key in ("host", "port")}
    lock.address = replace(lock.address, parameters={**lock.address.parameters, **place})
    with twin.connect() as inside:
        with pytest.raises(LockLostError):
            swap(lock, found, made, by="a test", seconds=0.5)
        assert inside.execute("SELECT 1").fetchone() == (1,)
    drop(lock, made[0])


def as_standby_of(primary: RunningServer, second: RunningServer) -> None:
    """Make a second server a standby that follows the first."""
    assert second.process
    second.process.stop("immediate")
    cluster = second.process.data / "cluster"
    owner = cluster.stat()
    shutil.rmtree(cluster)
    place = ["-h", primary.params["host"], "-p", str(primary.params["port"]), "-U", "postgres"]
    base = [str(second.process.bindir / "pg_basebackup"), "--write-recovery-conf", "-c", "fast"]
    subprocess.run([*base, "-D", str(cluster), *place], check=True, capture_output=True)
    for path in [cluster, *cluster.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)
    # Root's servers run as different users.
    sockets = Path(primary.params["host"])
    for folder in (sockets, sockets.parent):
        folder.chmod(0o711)
    (sockets / f".s.PGSQL.{primary.params['port']}").chmod(0o777)
    second.process.start()
    deadline = time.monotonic() + 30
    while primary.execute("SELECT state FROM pg_stat_replication") != [("streaming",)]:
        assert time.monotonic() < deadline, second.process.log.read_text()
        time.sleep(0.05)


def test_a_standby_is_named(make_server: Callable[..., RunningServer], backup: Path) -> None:
    server = make_server()
    server.execute("CREATE DATABASE shop")
    assert server.process
    server.process.stop()
    (server.process.data / "cluster" / "standby.signal").touch()
    server.process.start()
    with pointed("default", server.settings("shop")):
        for arguments in ([str(backup)], [str(backup), "--dry-run"], [str(backup), "--in-place"]):
            with pytest.raises(CommandError, match=r"is on a standby.* name the primary"):
                restoredb(*arguments)
        with pytest.raises(CommandError, match="is on a standby"):
            restoredb("--undo")
        assert "No previous database" in restoredb("--kept")


@pytest.mark.slow
def test_a_standby_promoted_in_mid_run_gets_nothing_put_in_place(
    make_server: Callable[..., RunningServer], backup: Path
) -> None:
    """With an address of both, the run gives up with the server that it began on."""
    primary, second = make_server(), make_server()
    assert primary.process
    primary.execute("CREATE DATABASE shop")
    with primary.connect(dbname="shop") as inside:
        inside.execute("CREATE TABLE precious AS SELECT generate_series(1, 300) AS id")
    as_standby_of(primary, second)
    both = {key: f"{primary.params[key]},{second.params[key]}" for key in ("host", "port")}
    settings = {
        **primary.settings("shop"),
        "HOST": both["host"],
        "PORT": both["port"],
        "OPTIONS": {"target_session_attrs": "read-write"},
    }
    caught_up = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"

    def fail_over(using: str) -> None:
        ((position,),) = primary.execute("SELECT pg_current_wal_insert_lsn()::text")
        while second.execute(caught_up, position) != [(True,)]:
            primary.execute("SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal()")
        connections[using].close()
        assert primary.process
        primary.process.stop("immediate")
        second.execute("SELECT pg_promote()")

    said = StringIO()
    with pointed("default", settings):
        with received(fail_over), pytest.raises(CommandError) as raised:
            call_command("restoredb", str(backup), "--no-input", stderr=said)
        assert "as it was" in str(raised.value)
        # What the new primary has of the run is named, and the next run drops it.
        (left,) = [
            name for (name,) in second.execute("SELECT datname FROM pg_database") if "_re" in name
        ]
        assert f'DROP DATABASE IF EXISTS "{left}"' in said.getvalue()
        with second.connect(dbname="shop") as inside:
            assert inside.execute("SELECT count(*) FROM precious").fetchone() == (300,)
        assert "Restored" in restoredb(str(backup))
    assert left not in [name for (name,) in second.execute("SELECT datname FROM pg_database")]
    with second.connect(dbname="shop") as inside:
        assert inside.execute("SELECT count(*) FROM purchase").fetchone() == (5000,)


def test_a_pooler_is_refused_before_anything_is_set_and_the_server_itself_is_not(
    live: Database, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooler_module, "SECONDS_TO_END", 0.2)
    sent: list[bytes] = []

    def note(data: bytes, state: dict[str, Any]) -> bytes:
        sent.append(data)
        return data

    with (  # pgagroal passes on the server's own process number
        proxy(live, ours=note, keeps_sessions=True) as pooler,
        pointed("default", pooler.settings(live)),
        pytest.raises(CommandError, match=DIRECT_URL),
    ):
        restoredb(str(backup))
    with (
        proxy(live, ours=note, theirs=as_a_pooler, keeps_sessions=True) as pooler,
        pointed("default", pooler.settings(live)),
    ):
        for arguments in ([str(backup)], [str(backup), "--dry-run"], ["--undo"]):
            with pytest.raises(CommandError, match=DIRECT_URL):
                restoredb(*arguments)
        everything = b"".join(sent)
        for setting in (b"set_config", b"SET ", b"advisory"):
            assert setting not in everything
        monkeypatch.setenv(DIRECT_URL, live.server.url("postgres"))
        with pytest.raises(CommandError, match=f'"{live.name}"'):
            restoredb(str(backup))
        with pytest.raises(CommandError, match="holds a password"):
            restoredb(str(backup), f"--direct={live.server.url(live.name, password='secret')}")
        # The option outranks the variable, which stays as it was.
        assert "Restored" in restoredb(str(backup), f"--direct={live.url}")
        assert os.environ[DIRECT_URL] == live.server.url("postgres")
        monkeypatch.setenv(DIRECT_URL, live.url)
        assert "as it was" in restoredb("--undo")
        monkeypatch.delenv(DIRECT_URL)
        file = tmp_path / "again.dump"
        without_name = live.url.replace(f"/{live.name}?", "/?")
        call_command("dumpdb", str(file), f"--direct={without_name}", stderr=StringIO())
        assert file.exists()
        assert DIRECT_URL not in os.environ
    assert live.execute("SELECT count(*) FROM precious") == [(300,)]


def test_a_proxy_that_gives_each_client_a_session_is_no_pooler(
    live: Database, backup: Path, tmp_path: Path
) -> None:
    """Neon's hides the number of the server's process, and has no other address."""
    with (
        proxy(live, theirs=as_a_pooler) as before,
        pointed("default", before.settings(live)),
    ):
        assert "Restored" in restoredb(str(backup))
        assert "as it was" in restoredb("--undo")
        call_command("dumpdb", str(tmp_path / "new.dump"), stdout=StringIO(), stderr=StringIO())
    assert live.execute("SELECT count(*) FROM precious") == [(300,)]


def test_the_lock_is_taken_or_the_run_does_not_begin(database: Database) -> None:
    address = Address.of("default")
    with RestoreLock(address) as lock:
        pid = lock.connection.info.backend_pid
        database.server.execute("SELECT pg_terminate_backend(%s)", pid)
        with pytest.raises(LockLostError):
            _ = lock.connection
        with RestoreLock(address), pytest.raises(Exception, match="Another restore"):
            lock.retaken()
