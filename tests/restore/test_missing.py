"""What a dump lacks is said before it takes anything's place, and what a load lost ends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from restorehooks.restore.dump.identify import identify
from restorehooks.restore.errors import DeclinedError, RestoreError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.script.survey import survey
from restorehooks.restore.script.tables import Tables
from restorehooks.restore.server.existing import require_tables
from restorehooks.signals import pre_load
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import OBJECTS, alone, contents, dumped, neighbours, plain

SHOP = (
    "CREATE SCHEMA crm; CREATE TABLE a (id int PRIMARY KEY, b int); CREATE INDEX a_b ON a (b);"
    'CREATE TABLE "odd; name" (id int REFERENCES a); CREATE TABLE crm.a (id int);'
)


@pytest.fixture
def shop(make_database: MakeDatabase) -> Database:
    """A database that is dumped: three tables without a row, two of them of one name."""
    shop = make_database()
    shop.execute(SHOP)
    return shop


def said_before(file: Path) -> tuple[str, str]:
    """Return the lines of a dry run, and the question before a restore that is declined."""
    questions: list[str] = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    report = restore(Request(str(file), dry_run=True))
    with pytest.raises(DeclinedError):
        restore(Request(str(file)), confirm=no)
    return "\n".join(report.lines()), questions[0]


def without(text: str, *pieces: str) -> str:
    for piece in pieces:
        text, count = re.subn(piece, "", text)
        assert count
    return text


TAIL = "\n--\n-- PostgreSQL database dump complete"
CHANGES: list[tuple[Callable[[str], str], str | None]] = [
    (lambda text: text, None),
    (lambda text: without(text, r"CREATE TABLE crm.a \([^;]*;", "ALTER TABLE crm.a [^;]*;"), '"a"'),
    (lambda text: text.replace(TAIL, f'DROP TABLE public."odd; name";{TAIL}'), '"odd; name"'),
    (
        lambda text: text.replace(TAIL, f"DROP TABLE IF EXISTS crm.a, public.a CASCADE;{TAIL}"),
        '"a"',
    ),
    (lambda text: text.replace(TAIL, f"DROP SCHEMA crm CASCADE;{TAIL}"), '"a"'),
    (lambda text: text.replace(TAIL, f"ALTER TABLE crm.a RENAME TO other;{TAIL}"), None),
    (lambda text: text.replace(TAIL, f"ALTER TABLE crm.a SET SCHEMA pg_temp;{TAIL}"), None),
    (lambda text: text.replace(TAIL, f"DROP TABLE crm.a; CREATE TABLE crm.a ();{TAIL}"), None),
    (lambda text: text.replace(TAIL, f"CREATE TEMP TABLE x (); DROP TABLE x;{TAIL}"), None),
]


def test_tables_that_a_plain_dump_names_and_does_not_leave_are_said_before(
    live: Database, shop: Database, tmp_path: Path
) -> None:
    file = plain(shop, tmp_path / "d.sql", "--schema-only")
    text = file.read_text()
    for number, (change, missing) in enumerate(CHANGES):
        file.write_text(change(text))
        said = survey(identify(file)).tables.missing()
        assert (said is None) == (missing is None), (number, said)
        assert f": {missing} will be MISSING" in (said or "") or not missing
        if number in (1, 2):
            for each in said_before(file):
                assert said
                assert said in each


def test_what_a_statement_of_the_dump_took_away_is_no_success(
    live: Database, shop: Database, tmp_path: Path
) -> None:
    file = plain(shop, tmp_path / "d.sql")
    taken = "DO $$ BEGIN EXECUTE 'DROP TABLE crm.a'; END $$;"
    file.write_text(file.read_text().replace(TAIL, f"{taken}{TAIL}"))
    before = contents(live)
    for in_place in (False, True):
        alone(live)
        with pytest.raises(RestoreError, match=r'names 3 tables, and .* lacks 1 of them: "a"'):
            restore(Request(str(file), in_place=in_place), confirm=lambda question: True)
        assert (contents(live), neighbours(live)) == (before, [])


def test_a_dump_that_drops_a_table_behind_its_rows_says_so_at_the_latest_after_it(
    live: Database, shop: Database, tmp_path: Path
) -> None:
    shop.execute("INSERT INTO a VALUES (1, 2)")
    file = plain(shop, tmp_path / "d.sql")
    file.write_text(file.read_text().replace(TAIL, f"DROP TABLE crm.a;{TAIL}"))
    assert "MISSING" in "\n".join(restore(Request(str(file), dry_run=True)).lines())
    report = restore(Request(str(file)), confirm=lambda question: True)
    assert [note for note in report.notes if '"a" will be MISSING' in note]
    assert not [note for note in report.notes if "NO ROWS" in note]


FORMS = [
    ("custom", []),
    ("directory", ["--inserts", "--compress=0"]),
    ("plain", []),
]


@pytest.mark.parametrize(("form", "flags"), FORMS)
def test_empty_tables_are_no_rows(
    live: Database, shop: Database, tmp_path: Path, form: str, flags: list[str]
) -> None:
    for said in said_before(dumped(shop, tmp_path / "none", *flags, form=form)):
        assert "NO ROWS" in said
        assert "no indexes" not in said
    shop.execute('INSERT INTO a VALUES (1); INSERT INTO "odd; name" VALUES (1)')
    for said in said_before(dumped(shop, tmp_path / "one", *flags, form=form)):
        assert "NO ROWS" not in said
    shop.execute('DROP SCHEMA crm CASCADE; DROP TABLE a, "odd; name"')
    if form == "custom":
        for said in said_before(dumped(shop, tmp_path / "nothing", *flags, form=form)):
            assert "NO ROWS" in said
    assert "NO ROWS" not in contents(live)


FAMILIES = """
INSERT INTO a VALUES (1);
CREATE TABLE events (at int) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (2);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (2) TO (3);
"""


@pytest.mark.parametrize("form", ["custom", "directory"])
def test_tables_whose_rows_the_dump_leaves_out_are_named(
    live: Database, shop: Database, tmp_path: Path, form: str
) -> None:
    shop.execute(FAMILIES)
    for said in said_before(dumped(shop, tmp_path / "whole", form=form)):
        assert "holds no rows of" not in said
    excluded = [f"--exclude-table-data={table}" for table in ("crm.a", "events_1")]
    for said in said_before(dumped(shop, tmp_path / "some", *excluded, form=form)):
        assert 'holds no rows of "crm.a", "public.events_1"' in said
        assert "NO ROWS" not in said
    for said in said_before(dumped(shop, tmp_path / "none", "--schema-only", form=form)):
        assert "holds no rows of" not in said


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_large_objects_are_rows_enough(
    live: Database, shop: Database, tmp_path: Path, form: str
) -> None:
    shop.execute("SELECT lo_from_bytea(0, 'x')")
    for said in said_before(dumped(shop, tmp_path / "lo", form=form)):
        assert "NO ROWS" not in said


@contextmanager
def taking(what: str, after: str) -> Iterator[None]:
    """Let the restored database lose something by itself after a command, as nobody would see."""

    def receiver(target: str, using: str, **_: Any) -> None:
        from django.db import connections

        with connections[using].cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION take() RETURNS event_trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN {what}; END $$;"
                "CREATE EVENT TRIGGER take ON ddl_command_end"
                f" WHEN TAG IN ('{after}') EXECUTE FUNCTION take()"
            )

    pre_load.connect(receiver)
    try:
        yield
    finally:
        pre_load.disconnect(receiver)


@pytest.mark.parametrize(
    ("what", "after", "said"),
    [
        ("DROP INDEX IF EXISTS public.a_b", "CREATE INDEX", "index public.a_b"),
        (
            "ALTER TABLE IF EXISTS public.a DROP CONSTRAINT a_pkey",
            "CREATE INDEX",
            "constraint public.a",
        ),
        ("DROP TABLE IF EXISTS crm.a", "CREATE INDEX", "table crm.a"),
        ("PERFORM lo_unlink(4242)", "CREATE INDEX", "names 1 large objects and .* has 0"),
    ],
)
def test_what_exists_is_compared_with_the_contents(
    live: Database, make_database: MakeDatabase, tmp_path: Path, what: str, after: str, said: str
) -> None:
    source = make_database()
    source.execute(f'{SHOP} DROP TABLE "odd; name"; SELECT lo_create(4242)')
    file = dumped(source, tmp_path / "d")
    before = contents(live)
    alone(live)
    with taking(what, after), pytest.raises(RestoreError, match=said):
        restore(Request(str(file), jobs=1), confirm=lambda question: True)
    assert (contents(live), neighbours(live)) == (before, [])


def test_names_are_those_that_the_server_keeps(database: Database, tmp_path: Path) -> None:
    """Each table's name, however a statement writes it, is the one in the catalogue."""
    long = "x" * 70
    statements = [
        "CREATE TABLE Plain (x int)",
        'CREATE UNLOGGED TABLE "Quo""ted; (" ()',
        f"CREATE TABLE IF NOT EXISTS public.{long} (x int)",
        "create table\npublic . spaced(x int)",
        "CREATE TABLE made AS SELECT 1 AS x",
        "CREATE TABLE \u00c4rger (x int)",
        "CREATE TABLE typed PARTITION OF parted DEFAULT",
    ]
    database.execute("CREATE TABLE parted (x int) PARTITION BY LIST (x)")
    tables = Tables()
    for statement in statements:
        database.execute(statement)
        tables.statement(statement.encode())
    found = database.execute("SELECT relname FROM pg_class WHERE oid >= 16384 AND relkind = 'r'")
    assert sorted(tables.left) == sorted(name for (name,) in found)
    assert tables.missing() is None


def test_renames_of_many_tables_take_no_time() -> None:
    """Of some kilobytes compressed: all names were copied for each one, in half an hour."""
    tables = Tables()
    for number in range(20_000):
        tables.statement(b"CREATE TABLE a.t%d ()" % number)
    tables.statement(b"CREATE TABLE b.other ()")
    for _ in range(10_000):
        tables.statement(b"ALTER TABLE a.t1 RENAME TO t1")
        tables.statement(b"ALTER SCHEMA a RENAME TO b")
        tables.statement(b"ALTER SCHEMA b RENAME TO a")
        tables.statement(b"DROP SCHEMA c")
    assert tables.makes(b"a.other", "utf-8")
    assert not tables.makes(b"b.other", "utf-8")
    tables.statement(b"ALTER TABLE a.t1 SET SCHEMA c")
    assert sorted(tables.left)[:2] == ["other", "t0"]
    assert len(tables.left) == 20_001
    assert tables.missing() is None
    tables.statement(b"DROP SCHEMA a")
    assert tables.left == ["t1"]


def test_every_kind_of_object_is_there_afterwards(
    live: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    source = make_database()
    source.execute(
        "CREATE FUNCTION dropped() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"
    )
    source.execute(OBJECTS)
    found = survey(identify(plain(source, tmp_path / "d.sql")))
    assert found.tables.missing() is None
    assert len(found.tables.left) == 9
    for form in ("custom", "plain"):
        file = dumped(source, tmp_path / form, form=form)
        alone(live)
        assert restore(Request(str(file)), confirm=lambda question: True).restored
    with pytest.raises(psycopg.errors.UndefinedTable):
        live.execute("SELECT FROM precious")


def test_a_name_that_is_longer_in_utf8_than_on_the_server_is_there(database: Database) -> None:
    server, made, name = database.server, f"latin1_{database.name}", "\u00e9" * 60
    create = f"CREATE DATABASE \"{made}\" TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
    server.execute(create)
    try:
        with server.connect(dbname=made, client_encoding="UTF8") as there:
            there.execute(f'CREATE TABLE "{name}" ()'.encode())
            tables = Tables()
            tables.statement(f'CREATE TABLE "{name}" ('.encode())
            require_tables(there, tables.left)
            with pytest.raises(RestoreError, match="lacks 1 of them"):
                require_tables(there, [*tables.left, "other"])
    finally:
        server.execute(f'DROP DATABASE "{made}" WITH (FORCE)')
