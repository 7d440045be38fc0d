"""Streaming standbys of the tests' own servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restorehooks.embedded import Server
from tests.support.servers import FAST


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
    with Server(cluster.parent, primary.bindir, FAST) as standby:
        yield standby
