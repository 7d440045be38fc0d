"""Streaming standbys of the tests' own servers."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restorehooks.embedded import Server
from tests.support.servers import FAST, RunningServer


@contextmanager
def standby_of(primary: Server, folder: Path) -> Iterator[Server]:
    """Run a hot standby of the primary, in a folder; skip where the programs make none."""
    if not (primary.bindir / "pg_basebackup").exists():
        pytest.skip("these programs have no pg_basebackup")
    cluster = folder / "pg" / "cluster"
    cluster.parent.mkdir()
    (cluster.parent / "users").touch()
    command = [str(primary.bindir / "pg_basebackup"), f"--host={primary.socket_dir}"]
    command += [f"--port={primary.port}", "--username=postgres", f"--pgdata={cluster}"]
    command += ["--checkpoint=fast", "--write-recovery-conf", "--no-sync"]
    subprocess.run(command, check=True)
    owner = (primary.data / "cluster").stat()
    for file in (cluster, *cluster.rglob("*")):
        os.chown(file, owner.st_uid, owner.st_gid)
    open_to_all(primary)  # the standby runs as another account
    with Server(cluster.parent, primary.bindir, FAST) as standby:
        open_to_all(standby)
        yield standby


def open_to_all(server: Server) -> None:
    """Let every account reach a server's socket, which is its own account's alone."""
    (server.socket_dir / f".s.PGSQL.{server.port}").chmod(0o777)
    for folder in (server.socket_dir, *server.socket_dir.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)


def flushed(server: RunningServer) -> str:
    """Let the server write its log down, and return how far that is.

    It commits asynchronously in tests, and what is not written is sent to nobody.
    """
    with server.connect() as connection:
        connection.execute("SET synchronous_commit = local")
        written = connection.execute("SELECT pg_logical_emit_message(true, '', '')::text")
        ((position,),) = written.fetchall()
    return str(position)


def caught_up(primary: RunningServer, standby: RunningServer) -> None:
    """Wait until the standby shows what the primary has done so far."""
    end, deadline = flushed(primary), time.monotonic() + 30
    while standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", end) != [(True,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
