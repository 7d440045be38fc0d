"""The real PostgreSQL that every test runs against, and real Django projects to try it in.

``server``
    one server for the whole run: ``RESTOREHOOKS_TEST_URL`` (a superuser's URL) if it is set, else
    one of our own from the programs in ``PG_BINDIR``, on the machine, or of the embedded wheel.
    ``DATABASE_URL`` and libpq's variables are ignored. ``server.version`` is 150019 for 15.19.
``database``, ``other_database``
    a fresh, empty database for this test, known to Django in this process as the alias
    ``default`` or ``other``::

        def test_it(database):
            database.execute("CREATE TABLE t (id serial, x text)")
            assert database.execute("SELECT count(*) FROM t WHERE x = %s", "a") == [(0,)]
            with database.connect() as connection: ...          # psycopg, autocommit
            limited = database.role("limited", "LOGIN")         # dropped with the test
            with database.connect(user=limited) as connection: ...

``make_database``
    more of them: ``make_database(name=None, alias=None, template="template1", on=server)``.
``make_server``
    private servers that a test may stop, crash, or give other options::

        server = make_server({"max_locks_per_transaction": "10"})
        server.process.stop("immediate")

``project``
    a Django project in files of its own, run in real processes (``project.write`` any file,
    ``project.run`` any command, ``project.environ`` for a Popen)::

        def test_it(project, database):
            project.app("shop", models="class Order(models.Model): pass")
            project.settings(INSTALLED_APPS=["restorehooks", "shop"])
            project.manage("makemigrations", "shop")
            project.manage("migrate")
            done = project.manage("resetsequences", "--check", check=False)
            assert done.returncode == 1
            assert project.shell("from shop.models import Order; print(Order.objects.create().pk)")
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import cache_from_source
from itertools import count
from pathlib import Path
from pprint import pformat
from typing import Any
from urllib.parse import quote, urlencode

import django
import psycopg
import pytest
from django.db import connections
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from restorehooks.embedded import Server, server_folder

for _name in [*os.environ]:
    # The developer's own databases are none of the tests' business.
    if _name == "DATABASE_URL" or (_name.startswith("PG") and _name != "PG_BINDIR"):
        del os.environ[_name]
# Every process that a test starts would otherwise compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell lets what it runs in the background ignore Ctrl-C, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

ROOT = Path(__file__).parent.parent
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "60",
    "max_locks_per_transaction": "64",
    "shared_buffers": "64MB",
}
"""The server's options in tests: no care for a power failure, everything else as usual."""
_numbers = count(1)


def _roomy_and_fast() -> str | None:
    """Return where a test's server may have its folder: in memory, where there is enough.

    Root's server runs programs from its folder, which containers often forbid there.
    """
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK):
        return None
    its = os.statvfs(memory)
    is_roomy = its.f_bavail * its.f_frsize > 4 << 30
    return memory if is_roomy and not its.f_flag & os.ST_NOEXEC else None


@dataclass
class RunningServer:
    """A server to test on: where it answers (libpq's keywords), and its process if it is ours."""

    params: dict[str, Any]
    version: int
    process: Server | None = None

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
            return _rows(connection, query, values)

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


@dataclass
class Database:
    """A database of one test's own."""

    server: RunningServer
    name: str
    alias: str | None
    roles: list[str]
    _connection: psycopg.Connection[Any] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The superuser's URL."""
        return self.server.url(self.name)

    @property
    def environ(self) -> dict[str, str]:
        """The environment for a process that is to find this database by DATABASE_URL."""
        return environment(self.server, DATABASE_URL=self.url)

    @property
    def settings(self) -> dict[str, Any]:
        """What stands for it in Django's DATABASES."""
        return self.server.settings(self.name)

    def execute(self, query: str | sql.SQL | sql.Composed, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the superuser, outside Django and of its own, and return the rows.

        Without ``values`` it may be several statements, and a % is a %.
        """
        if self._connection is None or self._connection.closed:
            self._connection = self.connect()
        return _rows(self._connection, query, values)

    def connect(self, **params: Any) -> psycopg.Connection[Any]:
        """Return a new autocommitting connection; the caller closes it."""
        return self.server.connect(**{"dbname": self.name, **params})

    def role(self, prefix: str, attributes: str = "LOGIN", password: str | None = None) -> str:
        """Create a role that is dropped with the test, and return its name.

        Over the socket of our own server nobody is asked for a password. Elsewhere a role has the
        superuser's unless told, so that ``connect(user=...)`` is enough.
        """
        password = password or self.server.params.get("password")
        name = f"{prefix}_{os.getpid()}_{next(_numbers)}"
        query = sql.SQL("CREATE ROLE {} " + attributes).format(sql.Identifier(name))
        if password is not None:
            query += sql.SQL(" PASSWORD {}").format(sql.Literal(password))
        self.server.execute(query)
        self.roles.append(name)
        return name

    def disconnect(self) -> None:
        """Close the connection that :meth:`execute` uses, so that the database can be renamed."""
        if self._connection is not None:
            self._connection.close()


def _rows(
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


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """The server of the whole test run."""
    with ExitStack() as stack:
        if url := os.environ.get("RESTOREHOOKS_TEST_URL"):
            running = _running_elsewhere(url)
        else:
            running = _private_server(stack, FAST)
        yield running


def _private_server(
    stack: ExitStack, options: Mapping[str, str], bindir: Path | None = None
) -> RunningServer:
    folder = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="restorehooks-tests-", dir=_roomy_and_fast())
    )
    Path(folder).chmod(0o711)  # root's server runs as another user, who has to get through
    server = Server(Path(folder) / "pg", bindir or server_folder(), options)
    process = stack.enter_context(server)
    params = {"host": str(process.socket_dir), "port": process.port, "user": "postgres"}
    return RunningServer(params, process.version, process)


def _running_elsewhere(url: str) -> RunningServer:
    params: dict[str, Any] = {"host": "localhost", "port": 5432, "user": "postgres"}
    params |= {**conninfo_to_dict(url), "dbname": "postgres"}
    with psycopg.connect(**params) as connection:
        return RunningServer(params, connection.info.server_version)


@pytest.fixture
def make_server() -> Iterator[Callable[..., RunningServer]]:
    """Return a function that starts a private server: ``make_server(options, bindir=None)``."""
    with ExitStack() as stack:

        def make(
            options: Mapping[str, str] | None = None, bindir: Path | None = None
        ) -> RunningServer:
            return _private_server(stack, {**FAST, **(options or {})}, bindir)

        yield make


@pytest.fixture
def make_database(server: RunningServer) -> Iterator[Callable[..., Database]]:
    """Return a function that creates a database for this test, on ``server`` unless told."""
    with ExitStack() as stack:

        def make(
            name: str | None = None,
            alias: str | None = None,
            template: str = "template1",
            on: RunningServer | None = None,
        ) -> Database:
            name = name or f"test_{os.getpid()}_{next(_numbers)}"
            database = Database(on or server, name, alias, [])
            stack.callback(_drop_roles, database)
            stack.callback(_drop_database, database)
            database.server.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            if alias:
                stack.callback(_point, alias, connections.settings.get(alias))
                _point(alias, database.settings)
            return database

        yield make


def _point(alias: str, settings: dict[str, Any] | None) -> None:
    """Let Django's ``alias`` mean something else from now on, or nothing."""
    if alias in connections.settings:
        connection = connections[alias]
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()
        del connections[alias]
        del connections.settings[alias]
    if settings is not None:
        connections.settings[alias] = settings
        connections.configure_settings(connections.settings)


def _drop_database(database: Database) -> None:
    database.disconnect()
    database.server.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name))
    )


def _drop_roles(database: Database) -> None:
    for role in reversed(database.roles):
        database.server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
def database(make_database: Callable[..., Database]) -> Database:
    """A fresh, empty database: Django's alias ``default``."""
    return make_database(alias="default")


@pytest.fixture
def other_database(make_database: Callable[..., Database]) -> Database:
    """A second fresh, empty database: Django's alias ``other``."""
    return make_database(alias="other")


@dataclass
class Project:
    """A Django project in files, run in processes of its own."""

    folder: Path
    server: RunningServer
    databases: dict[str, dict[str, Any]]

    def write(self, path: str, text: str) -> Path:
        """Write a file of the project; ``text`` may be indented as the test is."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
        # Python tells a new source by its size and its second, which may be the old ones.
        Path(cache_from_source(file)).unlink(missing_ok=True)
        return file

    def settings(self, extra: str = "", **overrides: Any) -> None:
        """Write the settings anew: Django's contrib apps and restorehooks, and ``overrides``.

        ``extra`` is Python text that goes at the end. DATABASES hold ``default``, and ``other``
        where the test uses ``other_database``.
        """
        values = {
            "SECRET_KEY": "tests",
            "USE_TZ": True,
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "INSTALLED_APPS": [
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "restorehooks",
            ],
            "DATABASES": self.databases,
            **overrides,
        }
        lines = [f"{name} = {pformat(value)}\n" for name, value in values.items()]
        self.write("settings.py", "".join(lines) + textwrap.dedent(extra))

    def app(
        self, label: str, models: str = "", migrations: Mapping[str, str] | None = None
    ) -> None:
        """Write an app; ``models`` follows ``from django.db import models``.

        ``migrations`` maps a name (``0001_initial``) to a whole file's text; an app without any
        has an empty migrations package, for ``makemigrations`` to fill.
        """
        self.write(f"{label}/__init__.py", "")
        self.write(f"{label}/models.py", "from django.db import models\n" + textwrap.dedent(models))
        self.write(f"{label}/migrations/__init__.py", "")
        for name, text in (migrations or {}).items():
            self.write(f"{label}/migrations/{name}.py", text)

    def manage(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py`` and wait; with ``check`` an exit code other than 0 fails the test."""
        return self.run([sys.executable, "manage.py", *arguments], check, stdin, env)

    def shell(self, code: str, env: Mapping[str, str] | None = None) -> str:
        """Run Python code with Django set up, and return what it printed."""
        setup = "import manage, django; django.setup()\n"
        return self.run([sys.executable, "-c", setup + textwrap.dedent(code)], env=env).stdout

    def run(
        self,
        command: list[str],
        check: bool = True,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run any command in the project's folder."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ | dict(env or {}),
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{command[1:]} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the project's processes, for a Popen of the test's own."""
        return environment(self.server, DJANGO_SETTINGS_MODULE="settings")


MANAGE = """
    import os, sys, warnings
    # What this package does is an error when it is worth a warning; other packages are not ours.
    warnings.filterwarnings("error", module=r"restorehooks(\\.|$)")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    if __name__ == "__main__":
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> Project:
    """A Django project on ``database``, and on ``other_database`` where the test uses that too."""
    databases = {"default": database.settings}
    if "other_database" in request.fixturenames:
        databases["other"] = request.getfixturevalue("other_database").settings
    made = Project(tmp_path / "project", database.server, databases)
    made.write("manage.py", MANAGE)
    made.settings()
    return made
