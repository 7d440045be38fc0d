"""An archive's table of contents, read from the file: what pg_restore --list says, and more."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from psycopg import sql

from restorehooks import programs
from restorehooks.restore.dump.contents import read_contents
from restorehooks.restore.dump.identify import identify
from restorehooks.restore.errors import DumpError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, as_sql, dumped, fill
from tests.support.old_archives import rewrite
from tests.support.projects import Project

FORMATS = ["custom", "directory", "tar"]


def listed(archive: Path) -> dict[int, str]:
    """Return what pg_restore --list prints of each entry, by id."""
    program = max(programs.programs("pg_restore"), key=lambda one: one.major)
    text = subprocess.run(
        [program.path, "--list", archive], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"^(\d+); \d+ \d+ (.*)$", text, re.MULTILINE)
    return {int(number): rest for number, rest in found}


@pytest.mark.parametrize("form", FORMATS)
def test_it_holds_what_pg_restore_lists(database: Database, tmp_path: Path, form: str) -> None:
    fill(database)
    archive = dumped(database, tmp_path / "x", form=form)
    entries = read_contents(identify(archive))
    assert len(entries) > 20
    ours = {e.id: f"{e.kind} {e.schema or '-'} {e.tag} {e.owner}" for e in entries}
    assert ours == listed(archive)
    with_data = {entry.kind for entry in entries if entry.data_file}
    if form == "custom":
        assert not with_data
    else:
        assert "TABLE DATA" in with_data
        assert "TABLE" not in with_data


@pytest.mark.parametrize("version", [(1, 12), (1, 13)])
def test_an_archive_of_an_older_pg_dump(
    project: Project,
    database: Database,
    make_database: MakeDatabase,
    tmp_path: Path,
    version: tuple[int, int],
) -> None:
    source = make_database()
    fill(source)
    archive = rewrite(dumped(source, tmp_path / "x"), tmp_path / "old", version)
    assert (identify(archive).archive_version or ())[:2] == version
    ours = {
        e.id: f"{e.kind} {e.schema or '-'} {e.tag} {e.owner}"
        for e in read_contents(identify(archive))
    }
    assert ours == listed(archive)
    alone(database)
    project.manage("restoredb", str(archive), "--no-input")
    assert as_sql(database, tmp_path) == as_sql(source, tmp_path)


@pytest.mark.parametrize("options", [(), ("--in-place",)])
def test_an_archive_of_rows_with_object_ids(
    project: Project,
    database: Database,
    make_database: MakeDatabase,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    source = make_database()
    source.execute(
        "CREATE TABLE shop (row_number integer, id integer PRIMARY KEY, v text);"
        "INSERT INTO shop VALUES (16400, 1, E'one\\ttab'), (16401, 2, NULL)"
    )
    instead = {
        b"    row_number integer,\n": b"",
        b"(row_number, id, v) FROM": b"(id, v) WITH OIDS FROM",
    }
    archive = rewrite(dumped(source, tmp_path / "x"), tmp_path / "old", (1, 12), instead)
    alone(database)
    done = project.manage("restoredb", str(archive), "--no-input", *options)
    assert database.execute("SELECT * FROM shop ORDER BY 1") == [(1, "one\ttab"), (2, None)]
    assert "rows have none of their own since PostgreSQL 12" in done.stdout + done.stderr


def test_what_it_says_of_names_privileges_and_order(database: Database, tmp_path: Path) -> None:
    role = database.role("a role with spaces")
    database.execute(
        sql.SQL(
            'CREATE TABLE "two words" (id int PRIMARY KEY);'
            'ALTER TABLE "two words" OWNER TO {0};'
            'GRANT SELECT ON "two words" TO PUBLIC'
        ).format(sql.Identifier(role))
    )
    archive = dumped(database, tmp_path / "x")
    entries = {(entry.kind, entry.tag): entry for entry in read_contents(identify(archive))}
    table = entries["TABLE", "two words"]
    assert (table.schema, table.owner, table.definition) == ("public", role, "")
    key = entries["CONSTRAINT", "two words two words_pkey"]
    assert table.id in key.depends_on
    granted = entries["ACL", 'TABLE "two words"'].definition
    assert "GRANT" in granted
    assert "PUBLIC" in granted


@pytest.mark.parametrize(
    ("encoding", "name"), [("LATIN1", "tä"), ("WIN1251", "жук"), ("KOI8R", "жук"), ("EUC_JP", "表")]
)
def test_names_in_the_encoding_of_the_dump(
    database: Database, make_database: MakeDatabase, tmp_path: Path, encoding: str, name: str
) -> None:
    source = make_database()
    role = database.role(name)
    source.execute(
        f'CREATE TABLE "{name}" ("{name}" serial, x text); INSERT INTO "{name}" (x) VALUES (\'1\');'
        f'GRANT SELECT ON "{name}" TO "{role}"'
    )
    archive = dumped(source, tmp_path / "x", f"--encoding={encoding}")
    assert name in {entry.tag for entry in read_contents(identify(archive))}
    alone(database)
    restore(Request(str(archive)), confirm=lambda question: True)
    assert as_sql(database, tmp_path) == as_sql(source, tmp_path)
    source.execute(f'REVOKE ALL ON "{name}" FROM "{role}"')
    alone(database)


def test_a_cut_table_of_contents_is_one_sentence(database: Database, tmp_path: Path) -> None:
    fill(database)
    archive = dumped(database, tmp_path / "x")
    whole = archive.read_bytes()
    known = identify(archive)
    for size in (len(whole) // 40, 900, 400):
        archive.write_bytes(whole[:size])
        with pytest.raises(DumpError, match="was cut off in its table of contents"):
            read_contents(known)


def test_a_name_of_any_length_is_not_read(database: Database, tmp_path: Path) -> None:
    """A gzipped archive of 1 MB may hold one of a GB."""
    database.execute("CREATE TABLE shop (id int)")
    path = dumped(database, tmp_path / "dump", "--compress=0")
    content = path.read_bytes()
    name = b"\0\4\0\0\0shop\0\5\0\0\0TABLE"
    assert content.count(name) == 1
    long = b"\0\1\0\x10\0" + b"x" * ((1 << 20) + 1) + name[9:]
    path.write_bytes(content.replace(name, long))
    with pytest.raises(DumpError, match="is damaged in its table of contents"):
        read_contents(identify(path))


def test_a_role_whose_name_has_a_space_keeps_what_it_owns(
    project: Project, database: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    source = make_database()
    role = source.role("my role")
    source.execute(
        sql.SQL("CREATE TABLE t (id serial PRIMARY KEY); ALTER TABLE t OWNER TO {}").format(
            sql.Identifier(role)
        )
    )
    archive = dumped(source, tmp_path / "x")
    alone(database)
    done = project.manage("restoredb", str(archive), "--no-input", "--owner")
    assert "left out" not in done.stdout
    assert database.execute("SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [(role,)]
    database.execute("DROP TABLE t")
