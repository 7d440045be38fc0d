"""A real PgBouncer, pgpool-II or odyssey before the tests' server.

The first two are Debian's pgbouncer and pgpool2. odyssey is in the tests of whoever has it in PATH.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from tests.support.databases import Database, pointed
from tests.support.servers import reachable_folder

PGBOUNCER = """
[databases]
* = host={host} port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 50
ignore_startup_parameters = extra_float_digits,options
admin_users = postgres
"""
PGPOOL = """
backend_clustering_mode = 'streaming_replication'
listen_addresses = '127.0.0.1'
port = {port}
pcp_listen_addresses = ''
socket_dir = '{folder}'
unix_socket_directories = '{folder}'
pcp_socket_dir = '{folder}'
pid_file_name = '{folder}/pid'
logdir = '{folder}'
backend_hostname0 = '{host}'
backend_port0 = {server_port}
num_init_children = {size}
memory_cache_enabled = off
relcache_size = 64
sr_check_period = 0
"""
ODYSSEY = """
daemonize no
log_format "%p %l %m\\n"
log_to_stdout yes
pid_file "{folder}/pid"
locks_dir "{folder}"
unix_socket_dir "{host}"
unix_socket_mode "0700"
workers 1
enable_online_restart no
listen {{
    host "127.0.0.1"
    port {port}
    tls "disable"
}}
storage "server" {{
    type "remote"
    port {server_port}
}}
database default {{
    user default {{
        authentication "none"
        storage "server"
        storage_user "{user}"
        pool "transaction"
        pool_size {size}
        pool_discard no
    }}
}}
"""
# PgBouncer gives every client these, whatever the one before has set.
CARRIED = ["application_name", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone",
           "standard_conforming_strings", "extra_float_digits"]  # fmt: skip
LEFT = (
    "SELECT name || ' = ' || setting FROM pg_settings WHERE source = 'session' AND name <> ALL(%s)"
    " AND name !~ '^transaction_(read_only|isolation|deferrable)'"  # begun anew each time
    " UNION ALL SELECT locktype || ' ' || mode FROM pg_locks"
    " WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
)


@dataclass
class Pooler:
    """A pooler on localhost, which leads to every database of one server as its superuser."""

    port: int

    def settings(self, database: Database, **overrides: Any) -> dict[str, Any]:
        """Return what stands in Django's DATABASES for the database behind it."""
        place = {"HOST": "127.0.0.1", "PORT": str(self.port)}
        return {**database.settings, **place, **overrides}

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """Return a new autocommitting connection through it."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            dbname=database,
            user="postgres",
            autocommit=True,
            prepare_threshold=None,
        )

    def left_behind(self, *databases: str) -> list[str]:
        """Return the settings and advisory locks that its sessions in these databases keep."""
        connections.close_all()
        found = []
        for name in databases:
            with self.connect(name) as connection:
                found += [text for (text,) in connection.execute(LEFT, [CARRIED])]
        return found


@contextmanager
def pooled(
    database: Database, mode: str = "transaction", size: int = 1, more: str = ""
) -> Iterator[Pooler]:
    """Let Django's alias ``default`` lead through a pooler while the block runs.

    ``mode`` is one of PgBouncer's, "pgpool" or "odyssey", which is in transaction mode; ``more``
    are further lines for the file of pgpool or PgBouncer.

    ``size`` is the number of sessions that it keeps in a database: with 1 every transaction is in
    the same session of the server. Each of pgpool's processes keeps the sessions of its own
    clients for the next ones. Where the program is not there, the test is skipped.
    """
    if mode == "pgpool":
        started = _running(database, mode, PGPOOL + more, "-n", "-f", size=8)
    elif mode == "odyssey":
        started = _running(database, mode, ODYSSEY, size=size)
    else:
        started = _running(database, "pgbouncer", PGBOUNCER + more, mode=mode, size=size)
    with started as pooler, pointed("default", pooler.settings(database)):
        yield pooler


@contextmanager
def _running(
    database: Database, name: str, configuration: str, *options: str, **values: Any
) -> Iterator[Pooler]:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if not (program := shutil.which(name, path=path)):
        pytest.skip(f"no {name} here")
    params = database.server.params
    if not str(params["host"]).startswith("/"):
        pytest.skip(f"the server under test is not one of ours: {name} would need its password")
    account = _account(Path(params["host"]))
    with reachable_folder() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        file = folder / "configuration"
        file.write_text(
            configuration.format(
                host=params["host"], server_port=params["port"], user=params["user"],
                port=port, folder=folder, **values,
            )
        )  # fmt: skip
        if account:
            os.chown(folder, account["user"], account["group"])
        free.close()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, *options, file], stdout=log, stderr=log, **account)
        try:
            _wait(process, port, folder / "log")
            yield Pooler(port)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it end the processes that it has started, too."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _account(sockets: Path) -> dict[str, Any]:
    """Return what runs it as who owns the server's socket: it does not run as root."""
    if os.geteuid() != 0:
        return {}
    owner = next(sockets.glob(".s.PGSQL.*[0-9]")).stat()
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"the pooler did not start: {log.read_text()}")
