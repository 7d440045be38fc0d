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

``things``
    that database with a table ``thing`` of no model, whose sequence is behind its rows.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import django
import pytest

from tests.support.databases import Database, MakeDatabase, new_database
from tests.support.projects import MANAGE, Project
from tests.support.servers import FAST, RunningServer, private_server, running_elsewhere

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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write down what was skipped, so that it can be run where it is not: RESTOREHOOKS_SKIPPED."""
    if file := os.environ.get("RESTOREHOOKS_SKIPPED"):
        skipped = {report.nodeid for report in terminalreporter.stats.get("skipped", [])}
        Path(file).write_text("".join(f"{name}\n" for name in sorted(skipped)))


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a pseudo-terminal; the second is what a program is given."""
    try:
        ends = os.openpty()
    except OSError as problem:
        pytest.skip(f"this machine has no pseudo-terminals: {problem}")
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """The server of the whole test run."""
    if url := os.environ.get("RESTOREHOOKS_TEST_URL"):
        yield running_elsewhere(url)
        return
    with private_server(FAST) as running:
        yield running


@pytest.fixture
def make_server() -> Iterator[Callable[..., RunningServer]]:
    """Return a function that starts a private server: ``make_server(options, bindir=None)``."""
    with ExitStack() as stack:

        def make(
            options: Mapping[str, str] | None = None, bindir: Path | None = None
        ) -> RunningServer:
            return stack.enter_context(private_server({**FAST, **(options or {})}, bindir))

        yield make


@pytest.fixture
def make_database(server: RunningServer) -> Iterator[MakeDatabase]:
    """Return a function that creates a database for this test, on ``server`` unless told."""
    with ExitStack() as stack:

        def make(
            name: str | None = None,
            alias: str | None = None,
            template: str = "template1",
            on: RunningServer | None = None,
        ) -> Database:
            return stack.enter_context(new_database(on or server, name, alias, template))

        yield make


@pytest.fixture
def database(make_database: MakeDatabase) -> Database:
    """A fresh, empty database: Django's alias ``default``."""
    return make_database(alias="default")


@pytest.fixture
def things(database: Database) -> Database:
    """A table of no model, whose sequence stands at 1 before the rows 1 and 42."""
    database.execute(
        "CREATE TABLE thing (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text);"
        "INSERT INTO thing VALUES (1, 'a'), (2, 'b'), (42, 'c')"
    )
    return database


@pytest.fixture
def other_database(make_database: MakeDatabase) -> Database:
    """A second fresh, empty database: Django's alias ``other``."""
    return make_database(alias="other")


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
