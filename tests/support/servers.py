"""PostgreSQL servers to test on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from restorehooks.embedded import Server, server_folder
from tests.support import ROOT

FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "60",
    "max_locks_per_transaction": "64",
    "shared_buffers": "64MB",
}
"""The server's options in tests: no care for a power failure, everything else as usual."""


@dataclass
class RunningServer:
    """A server to test on: where it answers (libpq's keywords), and its process if it is ours."""

    params: dict[str, Any]
    version: int
    process: Server | None = None

    @property
    def backslashes_escape(self) -> bool:
        """Whether a backslash can be made to escape in an ordinary string: no more from 19 on."""
        return self.version < 190000

    @property
    def bindir(self) -> Path | None:
        """The programs of the server's own version, None for a server that is not ours."""
        return self.process.bindir if self.process else None

    def connect(self, **params: Any) -> psycopg.Connection[Any]:
        """Return a new autocommitting connection, to the database postgres unless told."""
        return psycopg.connect(
            **{**self.params, "dbname": "postgres", "autocommit": True, **params}
        )

    def execute(self, query: str | sql.SQL | sql.Composed, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement in the database postgres and return its rows."""
        with self.connect() as connection:
            return rows(connection, query, values)

    def url(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """Return a URL for DATABASE_URL, as libpq and django-environ read it."""
        user = user or self.params["user"]
        password = password or self.params.get("password")
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        place = urlencode(
            {"host": self.params["host"], "port": self.params["port"]}, quote_via=quote
        )
        return f"postgresql://{login}@/{quote(database, safe='')}?{place}"

    def settings(self, database: str, **overrides: Any) -> dict[str, Any]:
        """Return what stands for ``database`` in Django's DATABASES."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": self.params["user"],
            "PASSWORD": self.params.get("password", ""),
            "HOST": self.params["host"],
            "PORT": str(self.params["port"]),
            **overrides,
        }


def rows(
    connection: psycopg.Connection[Any],
    query: str | sql.SQL | sql.Composed,
    values: tuple[Any, ...],
) -> list[tuple[Any, ...]]:
    cursor = connection.execute(query, values or None)
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []


def environment(server: RunningServer, **variables: str) -> dict[str, str]:
    """Return the environment for a real process that uses ``server``."""
    bindir = {"PG_BINDIR": str(server.bindir)} if server.bindir else {}
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**kept, **bindir, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **variables}


@contextmanager
def private_server(
    options: Mapping[str, str], bindir: Path | None = None
) -> Iterator[RunningServer]:
    """Run a server of one's own while the block runs, and remove its folder afterwards."""
    with (
        reachable_folder() as folder,
        Server(folder / "pg", bindir or server_folder(), options) as process,
    ):
        params = {"host": str(process.socket_dir), "port": process.port, "user": "postgres"}
        yield RunningServer(params, process.version, process)


def packaged(extension: str) -> Path | None:
    """Return the folder of the newest server programs for which Debian has this extension."""
    found = Path("/usr/share/postgresql").glob(f"*/extension/{extension}.control")
    majors = sorted((int(path.parents[1].name) for path in found), reverse=True)
    folders = (Path(f"/usr/lib/postgresql/{major}/bin") for major in majors)
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


def running_elsewhere(url: str) -> RunningServer:
    """Return the server that a URL names."""
    params: dict[str, Any] = {"host": "localhost", "port": 5432, "user": "postgres"}
    params |= {**conninfo_to_dict(url), "dbname": "postgres"}
    with psycopg.connect(**params) as connection:
        return RunningServer(params, connection.info.server_version)


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Yield a new folder for a server, which root's server reaches as another user.

    pytest's own folders are closed to other users.
    """
    with tempfile.TemporaryDirectory(prefix="restorehooks-tests-", dir=_in_memory()) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def _in_memory() -> str | None:
    """Return the folder for files in memory, None where there is none or too little room.

    Root's server runs programs from its folder, which containers often forbid there.
    """
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK):
        return None
    its = os.statvfs(memory)
    is_roomy = its.f_bavail * its.f_frsize > 4 << 30
    return memory if is_roomy and not its.f_flag & os.ST_NOEXEC else None
