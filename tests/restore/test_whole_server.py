"""Files that pg_dumpall made: one database out of them, and what they hold beside databases."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from restorehooks.restore.dump.identify import identify
from restorehooks.restore.errors import DumpError, UsageError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.script.survey import survey
from tests.support.databases import Database
from tests.support.dumps import alone, as_sql, dumped, fill, program
from tests.support.projects import Project

YES = "--no-input"
OTHER = 'the "other" one'


@pytest.fixture(scope="module")
def shop(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with every kind of object, beside another whose name is hard to write."""
    server = request.getfixturevalue("server")
    database, other = (Database(server, name, None, []) for name in ("dumpall_shop", OTHER))
    for one in (database, other):
        server.execute('CREATE DATABASE "{}"'.format(one.name.replace('"', '""')))
    fill(database)
    owner = database.role("owner", "LOGIN PASSWORD 'hunter2'")
    database.execute(
        "CREATE TABLE lines (x text); INSERT INTO lines VALUES "
        "('-- PostgreSQL database dump complete'), (E'\\\\connect other');"
        f"ALTER TABLE lines OWNER TO {owner};"
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$\n"
        "SELECT '\n-- PostgreSQL database dump\n\\connect other\n' $$;"
    )
    other.execute("CREATE TABLE other (id int); INSERT INTO other VALUES (1)")
    yield database
    for one in (database, other):
        one.disconnect()
        server.execute('DROP DATABASE "{}" WITH (FORCE)'.format(one.name.replace('"', '""')))
    for role in database.roles:
        server.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture(scope="module")
def everything(shop: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dumped_server(shop, tmp_path_factory.mktemp("all") / "all.sql")


def dumped_server(database: Database, to: Path, *flags: str) -> Path:
    params = database.server.params
    subprocess.run(
        [program(database, "pg_dumpall"), "-h", params["host"], "-p", str(params["port"]),
         "-U", params["user"], "-f", str(to), *flags],
        check=True,
    )  # fmt: skip
    return to


def restored(database: Database, dump: Path, **wishes: object) -> list[str]:
    alone(database)
    request = Request(str(dump), **wishes)  # type: ignore[arg-type]
    return restore(request, confirm=lambda question: True).notes


def test_one_database_is_restored_alone(
    shop: Database, everything: Path, database: Database, tmp_path: Path
) -> None:
    restored(database, everything, from_database=shop.name)
    assert as_sql(database, tmp_path) == as_sql(shop, tmp_path)


@pytest.mark.parametrize("flags", [("--clean",), ("--clean", "--if-exists"), ("--inserts",)])
def test_whatever_the_options_and_the_name(
    shop: Database, database: Database, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    dump = dumped_server(shop, tmp_path / "all.sql", *flags)
    packed = tmp_path / "all.sql.gz"
    packed.write_bytes(gzip.compress(dump.read_bytes()))
    restored(database, packed, from_database=OTHER)
    assert database.execute("SELECT id FROM other") == [(1,)]


def test_an_old_pg_dumpall_that_creates_all_databases_first(
    shop: Database, database: Database, tmp_path: Path
) -> None:
    def alone_in(name: str) -> str:
        source = Database(shop.server, name, None, [])
        part = dumped(source, tmp_path / "part.sql", form="plain").read_text()
        return f"\\connect {name}\n\nSET default_transaction_read_only = off;\n\n{part}\n"

    text = (
        "--\n-- PostgreSQL database cluster dump\n--\n\nSET client_encoding = 'UTF8';\n"
        f"CREATE ROLE gone;\nCREATE DATABASE {shop.name} WITH TEMPLATE = template0;\n\n"
        f"{alone_in('template1')}{alone_in(shop.name)}"
        "--\n-- PostgreSQL database cluster dump complete\n--\n\n"
    )
    dump = tmp_path / "all.sql"
    dump.write_text(text)
    notes = restored(database, dump, from_database=shop.name)
    assert as_sql(database, tmp_path) == as_sql(shop, tmp_path)
    assert any('the roles "gone" are in the dump and not on the server' in note for note in notes)


def test_the_databases_in_it_are_listed(
    shop: Database, everything: Path, database: Database, tmp_path: Path
) -> None:
    for name in (None, "nowhere"):
        with pytest.raises(DumpError) as caught:
            restored(database, everything, from_database=name)
        for there in (f'"{shop.name}"', f'"{OTHER}"', "--from-database"):
            assert there in str(caught.value)
    content = everything.read_bytes()
    cut = tmp_path / "cut.sql"
    cut.write_bytes(content[: content.index(b"lines (x)")])
    with pytest.raises(DumpError, match=f'it has no whole "{shop.name}"; it was cut off'):
        restored(database, cut, from_database=shop.name)


def test_an_error_names_the_line_of_the_file(
    shop: Database, everything: Path, database: Database, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.sql"
    text = everything.read_text().replace("CREATE TABLE public.lines", "CREATE TABLE oops.lines")
    wrong.write_text(text)
    line = text[: text.index("CREATE TABLE oops.lines")].count("\n") + 1
    with pytest.raises(Exception, match=f"line {line} of the dump"):
        restored(database, wrong, from_database=shop.name)


def test_another_database_than_the_one_dumped_is_not_taken(
    shop: Database, database: Database, tmp_path: Path
) -> None:
    dump = dumped(shop, tmp_path / "d.sql", "--create", form="plain")
    with pytest.raises(UsageError, match=f'a dump of one database of "{shop.name}"'):
        restored(database, dump, from_database="other")


def test_what_would_be_created_is_shown_without_passwords(
    shop: Database, everything: Path, project: Project
) -> None:
    done = project.manage("restoredb", str(everything), "--show-globals")
    (role,) = shop.roles
    assert f"CREATE ROLE {role};" in done.stdout.splitlines()
    assert "PASSWORD '...'" in done.stdout
    assert "SCRAM" not in done.stdout
    assert "CREATE TABLE" not in done.stdout


def test_no_text_takes_for_ever_to_look_for_passwords(tmp_path: Path) -> None:
    path = tmp_path / "all.sql"
    text = " ".join(f"PASSWORD $a{number}$" for number in range(100_000))
    path.write_text(f"-- PostgreSQL database cluster dump\nCOMMENT ON ROLE r IS '{text}';\n")
    found = survey(identify(path, whole_server=True))
    assert found.globals_ == ["COMMENT ON ROLE r IS 'PASSWORD '...';"]
