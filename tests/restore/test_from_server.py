"""SOURCE is another database: dumped from there, read only, and restored here."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from restorehooks import programs
from restorehooks.programs import Program
from restorehooks.restore import processes
from restorehooks.restore.archive import commands
from restorehooks.restore.dump.contents import read_contents
from restorehooks.restore.dump.identify import identify
from restorehooks.restore.errors import (
    AddressError,
    BusyError,
    DumpError,
    PoolerError,
    ProgramError,
    TargetError,
    UsageError,
)
from restorehooks.restore.progress import Reporter
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server import sides
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.lock import RestoreLock
from restorehooks.signals import post_restore
from tests.support import ROOT
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import SHOP, alone, contents, neighbours
from tests.support.poolers import pooled
from tests.support.reports import valid

PASSWORD = "s3cret-pa:ss"


@pytest.fixture
def production(make_database: MakeDatabase) -> Iterator[Database]:
    """Another database, the alias "production", with the shop of which copies are made."""
    database = make_database(alias="production")
    database.execute(SHOP)
    yield database
    database.disconnect()


@pytest.fixture
def reader(production: Database) -> str:
    """A role that may read all of it, and whose password is needed elsewhere."""
    role = production.role("reader", password=PASSWORD)
    production.execute(f"GRANT pg_read_all_data TO {role}")
    return role


class Steps(Reporter):
    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)


def copied(database: Database, source: str, **wishes: Any) -> tuple[RestoreReport, list[str]]:
    """Restore from there; return the report, and the steps that were told of."""
    told = Steps()
    alone(database)
    report = restore(Request(source, **wishes), confirm=lambda question: True, reporter=told)
    return report, told.steps


def test_a_copy_is_made_and_scrubbed_and_the_source_is_as_it_was(
    live: Database, production: Database, reader: str, tmp_path: Path
) -> None:
    production.execute("SELECT setval('purchase_id_seq', 1, false)")  # as it may be found
    before = contents(production)
    (tmp_path / "spool").mkdir()

    def scrub(using: str, **_: Any) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute("UPDATE customer SET email = 'nobody'")

    post_restore.connect(scrub)
    try:
        url = production.server.url(production.name, user=reader)
        report, steps = copied(live, url, jobs=2, spool_dir=tmp_path / "spool")
    finally:
        post_restore.disconnect(scrub)
    params = production.server.params
    source = f'"{production.name}" on {params["host"]}:{params["port"]} as "{reader}"'
    assert steps[0].startswith(f"dumping {source}, with pg_dump ")
    assert steps[0].endswith(" and 2 jobs")
    assert steps[1].startswith(f'restoring {source} (directory dump, of "{production.name}"')
    assert report.as_json()["dump"]["source"] == source
    assert report.kept[0].marker.by.startswith(source)
    assert live.execute("SELECT DISTINCT email FROM customer") == [("nobody",)]
    assert live.execute("INSERT INTO purchase (customer_id) VALUES (1) RETURNING id") == [(5001,)]
    assert contents(production) == before
    assert list((tmp_path / "spool").iterdir()) == []


def test_as_many_connections_dump_as_the_source_lets_in(
    live: Database, production: Database, reader: str
) -> None:
    production.disconnect()
    production.server.execute(f"ALTER DATABASE {production.name} CONNECTION LIMIT 3")
    _, steps = copied(live, production.server.url(production.name, user=reader))
    assert "jobs" not in steps[0]
    assert live.execute("SELECT count(*) FROM customer") != [(0,)]


@pytest.mark.parametrize("source", ["alias:production", "env:PRODUCTION"])
def test_an_alias_and_a_variable_and_no_password_in_any_argument(
    live: Database,
    production: Database,
    reader: str,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    before = contents(live)
    url = production.server.url(production.name, user=reader, password=PASSWORD)
    monkeypatch.setenv("PRODUCTION", url)
    connections["production"].settings_dict.update(USER=reader, PASSWORD=PASSWORD)
    started: list[tuple[list[str], dict[str, str]]] = []

    def running(argv: list[str], environment: Any, *rest: Any) -> Any:
        started.append((argv, dict(environment)))
        return processes.running(argv, environment, *rest)

    monkeypatch.setattr(commands, "running", running)
    report, _ = copied(live, source, dry_run=True)
    (argv, environment), *_others = started
    assert "pg_dump" in argv[0]
    assert not any(PASSWORD in word for one, _ in started for word in one)
    assert environment["PGPASSWORD"] == PASSWORD
    assert environment["PGOPTIONS"] == "-c default_transaction_read_only=on"
    assert (report.restored, contents(live), neighbours(live)) == (False, before, [])
    assert report.plan
    assert next(report.plan.lines()).startswith(f'dump      "{production.name}" on ')


def test_of_a_table_alone_no_other_rows_are_fetched(
    database: Database, production: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.execute('CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."c""d" (i int)')
    production.execute("""INSERT INTO "a.b"."c""d" VALUES (1); SELECT lo_create(1000)""")
    fetched: list[str] = []

    def written(program: Program, to: Path, **options: Any) -> None:
        write(program, to, **options)
        entries = read_contents(identify(to))
        fetched.extend(one.tag for one in entries if one.kind in ("TABLE DATA", "BLOBS"))

    write = commands.write
    monkeypatch.setattr(commands, "write", written)
    report, _ = copied(database, "alias:production", tables=("customer",))
    assert report.restored
    assert fetched == ["customer"]
    assert database.execute("SELECT count(*) FROM customer") == [(500,)]
    assert database.execute("SELECT to_regclass('purchase')") == [(None,)]
    fetched.clear()
    report, _ = copied(database, "alias:production", schemas=("a.b",), in_place=True)
    assert (report.restored, fetched) == (True, ['c"d'])
    with pytest.raises(UsageError, match='"nothing"'):
        copied(database, "alias:production", tables=("nothing",), in_place=True)


def test_a_password_in_the_arguments_is_refused_and_not_repeated(
    database: Database, production: Database, reader: str
) -> None:
    url = production.server.url(production.name, user=reader, password=PASSWORD)
    with pytest.raises(UsageError, match=r"holds a password, .* env:NAME") as caught:
        copied(database, url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "host=x dbname=shop password=s3cret",
        "postgresql:/joe:s3cret@x/shop",
        "postgresql+psycopg://joe:s3cret@x/shop",
        "'postgresql://joe:s3cret@x/shop'",
        "POSTGRES://joe:s3cret@x/shop",
        "jdbc:postgresql://x/shop?user=joe&password=s3cret",
        "host=x password=my s3cret",
        "Server=x;Password=s3cret",
        "//joe:s3cret@x/shop",
    ],
)
def test_no_address_is_taken_for_a_file_and_repeated(database: Database, address: str) -> None:
    with pytest.raises(UsageError, match=r"^SOURCE is no URL") as caught:
        copied(database, address)
    assert "s3cret" not in str(caught.value)
    for written in (address, "postgresql://joe:s3cret@x/shop"):
        with pytest.raises(CommandError, match=r"^FILE is the address of a database"):
            call_command("dumpdb", written)


@pytest.mark.parametrize("name", ["alias:default", "url", "another role's"])
def test_the_database_itself_is_refused(live: Database, name: str) -> None:
    before = contents(live)
    user = live.role("other") if name.startswith("another") else None
    source = name if name.startswith("alias") else live.server.url(live.name, user=user)
    with pytest.raises(TargetError, match=f'SOURCE is "{live.name}" on .* itself'):
        copied(live, source)
    assert contents(live) == before


@pytest.mark.parametrize(
    ("source", "error", "why"),
    [
        ("alias:nowhere", AddressError, 'no alias "nowhere"'),
        ("env:NOT_SET_ANYWHERE", UsageError, 'There is no variable "NOT_SET_ANYWHERE"'),
        ("postgresql://somebody@localhost/", UsageError, "SOURCE is no URL of the form"),
        ("postgresql://joe:s%FF@localhost/x", UsageError, "SOURCE is no URL of the form"),
        ("postgresql://somebody@localhost/x?nonsense=1", UsageError, "SOURCE is no URL"),
    ],
)
def test_what_names_no_database(database: Database, source: str, error: type, why: str) -> None:
    with pytest.raises(error, match=why):
        copied(database, source)


def test_into_a_database_that_is_missing(database: Database, production: Database) -> None:
    alone(database)
    with RestoreLock(Address.of("default")) as lock:
        sides.drop(lock, database.name)
    report, _ = copied(database, "alias:production")
    assert (report.restored, report.previous) == (True, None)
    assert database.execute("SELECT count(*) FROM customer") == [(500,)]


def test_a_restore_that_runs_is_told_of_before_anything_is_dumped(
    live: Database, production: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "write", lambda *words, **options: pytest.fail("dumped"))
    with RestoreLock(Address.of("default")), pytest.raises(BusyError, match="Another restore"):
        copied(live, "alias:production")


def test_a_server_newer_than_any_pg_dump(
    live: Database, production: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(live)
    major = live.server.version // 10000
    older = Program("pg_dump", Path("/usr/bin/pg_dump"), major - 1, f"{major - 1}.0")
    monkeypatch.setattr(programs, "programs", lambda name: iter([older]))
    with pytest.raises(ProgramError, match=f"pg_dump {major} or newer is needed; found: "):
        copied(live, "alias:production")
    monkeypatch.undo()
    assert contents(live) == before


def test_through_a_pooler_it_asks_for_the_server_itself(
    live: Database, production: Database
) -> None:
    with pooled(production) as pooler:
        url = f"postgresql://postgres@127.0.0.1:{pooler.port}/{production.name}"
        with pytest.raises(PoolerError, match="the server's own address as SOURCE"):
            copied(live, url)


def test_a_source_that_is_lost_on_the_way_changes_nothing(
    live: Database, production: Database, tmp_path: Path
) -> None:
    before = contents(live)
    (tmp_path / "spool").mkdir()
    ended = threading.Event()

    def lose() -> None:
        """End pg_dump's sessions as soon as it waits for a table."""
        query = """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'pg_dump' AND wait_event_type = 'Lock'
        """
        while not ended.wait(0.05) and not production.server.execute(query):
            pass

    with production.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE customer IN ACCESS EXCLUSIVE MODE")
        losing = threading.Thread(target=lose)
        losing.start()
        with pytest.raises(ProgramError, match=r"pg_dump: .*terminat"):
            copied(live, "alias:production", spool_dir=tmp_path / "spool")
        ended.set()
        losing.join()
    assert list((tmp_path / "spool").iterdir()) == []
    assert (contents(live), neighbours(live)) == (before, [])


def test_the_room_is_watched_while_the_dump_comes(
    live: Database, production: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(live)
    (tmp_path / "spool").mkdir()
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with production.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE customer IN ACCESS EXCLUSIVE MODE")  # so it takes a while
        with pytest.raises(DumpError, match=r"spool .*1000 bytes free.*--spool-dir"):
            copied(live, "alias:production", spool_dir=tmp_path / "spool")
    monkeypatch.undo()
    assert list((tmp_path / "spool").iterdir()) == []
    assert (contents(live), neighbours(live)) == (before, [])


def test_without_a_django_project(live: Database, production: Database, tmp_path: Path) -> None:
    alone(live)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "restorehooks", "restoredb", production.url),
            *("--no-input", "--json"),
        ],
        cwd=tmp_path,
        env=live.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f'dumping "{production.name}" on ' in done.stderr.splitlines()[0]
    assert valid(done.stdout, "restoredb")["dump"]["database"] == production.name
    assert live.execute("SELECT count(*) FROM customer") == [(500,)]
