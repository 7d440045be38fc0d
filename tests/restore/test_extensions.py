"""What extensions need of a restore: before, after, with how many jobs, and in which database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from restorehooks.restore import extension_registry as extensions
from restorehooks.restore.errors import TargetError
from restorehooks.restore.extension_registry import REGISTRY, Needs
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.signals import pre_load
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, dumped, neighbours


def restored(database: Database, dump: Path, **wishes: Any) -> RestoreReport:
    alone(database)
    return restore(Request(str(dump), **wishes), confirm=lambda question: True)


@pytest.fixture
def dump(make_database: MakeDatabase, tmp_path: Path) -> Path:
    source = make_database()
    if not source.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("the server has no citext")
    source.execute("CREATE EXTENSION citext; CREATE TABLE shop (x citext)")
    source.execute("INSERT INTO shop VALUES ('a')")
    return dumped(source, tmp_path / "d.dump")


def test_an_extension_of_one_database_is_never_put_beside_it(
    database: Database, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY, "citext", Needs(one_database=True))
    remedies = "restore with --in-place .* by --skip-superuser-only"
    with pytest.raises(TargetError, match=f'extension "citext", .* {remedies}'):
        restored(database, dump)
    assert restored(database, dump, in_place=True).restored
    assert database.execute("SELECT x FROM shop") == [("a",)]


def test_one_job_where_more_are_forbidden(
    database: Database, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY, "citext", Needs(one_job=True))
    report = restored(database, dump, jobs=4, dry_run=True)
    assert report.plan
    assert report.plan.jobs == 1
    assert any("loaded by one job" in note for note in report.notes)


def test_a_project_says_what_an_extension_needs(database: Database, dump: Path) -> None:
    with override_settings(RESTOREHOOKS={"EXTENSIONS": {"citext": {"one_job": True}}}):
        report = restored(database, dump, jobs=4, dry_run=True)
    assert report.plan
    assert report.plan.jobs == 1
    told = {"EXTENSIONS": {"citext": {"after": ["no_such_function"]}}}
    with override_settings(RESTOREHOOKS=told), pytest.raises(TargetError, match="no_such_function"):
        restored(database, dump)
    assert neighbours(database) == []


@pytest.mark.parametrize("schema", ["public", "ext"])
@pytest.mark.parametrize("form", ["plain", "custom"])
def test_an_extension_made_ready_is_where_the_dump_puts_it(
    make_database: MakeDatabase, database: Database, tmp_path: Path, form: str, schema: str
) -> None:
    source = make_database()
    if not source.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"):
        pytest.skip("the server has no pg_trgm")
    source.execute(
        f"CREATE SCHEMA IF NOT EXISTS {schema}; CREATE EXTENSION pg_trgm SCHEMA {schema};"
        f"CREATE VIEW near AS SELECT {schema}.similarity('a', 'a')"
    )
    dump = dumped(source, tmp_path / "d", form=form)
    with override_settings(RESTOREHOOKS={"EXTENSIONS": {"pg_trgm": {"before": ["show_limit"]}}}):
        restored(database, dump)
    where = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_trgm'"
    assert database.execute(where) == [(schema,)]
    told = {"EXTENSIONS": {"pg_trgm": {"before": ["no_such_function"]}}}
    with override_settings(RESTOREHOOKS=told), pytest.raises(TargetError, match="no_such_function"):
        restored(database, dump)


def test_only_the_extensions_own_functions_are_called(database: Database) -> None:
    database.execute(
        "CREATE TABLE called (step text);"
        "CREATE FUNCTION own() RETURNS void LANGUAGE sql AS $$INSERT INTO called VALUES ('own')$$;"
        "ALTER EXTENSION plpgsql ADD FUNCTION own();"
        "CREATE SCHEMA evil; CREATE FUNCTION evil.own() RETURNS void LANGUAGE sql"
        "   AS $$INSERT INTO public.called VALUES ('evil')$$;"
    )
    needs = Needs(before=("own",), after=("own",))
    with pytest.MonkeyPatch.context() as patch, database.connect() as connection:
        patch.setitem(REGISTRY, "plpgsql", needs)
        connection.execute("SET search_path = evil, public")
        extensions.make_ready(connection, "plpgsql")
        extensions.make_ready(connection, "hstore")
        extensions.finish(connection, ["plpgsql"])
        assert database.execute("SELECT * FROM called") == [("own",), ("own",)]
        patch.setitem(REGISTRY, "hstore", Needs(after=("of_one_left_out",)))
        extensions.finish(connection, ["hstore"])
        patch.setitem(REGISTRY, "plpgsql", Needs(after=("other",)))
        with pytest.raises(TargetError, match=r'"plpgsql" has no function other\(\) here'):
            extensions.finish(connection, ["plpgsql"])


@pytest.mark.parametrize("flags", [(), ("--inserts",)])
def test_rows_in_a_table_of_an_extension_are_replaced_in_place(
    make_database: MakeDatabase, database: Database, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    made = (
        "CREATE TABLE srs (id int PRIMARY KEY); CREATE TABLE shop (id int);"
        "INSERT INTO srs VALUES (1); INSERT INTO shop VALUES (1);"
    )
    source = make_database()
    source.execute(made)
    database.execute(
        f"{made} INSERT INTO srs VALUES (2); ALTER EXTENSION plpgsql ADD TABLE srs;"
        "UPDATE pg_extension SET extconfig = ARRAY['srs'::regclass::oid], extcondition = ARRAY['']"
        " WHERE extname = 'plpgsql'"
    )
    dump = dumped(source, tmp_path / "d.sql", *flags, form="plain")
    text = re.sub(
        r"CREATE TABLE public.srs .*?;|ALTER TABLE[^;]*srs[^;]*;",
        "",
        dump.read_text(),
        flags=re.DOTALL,
    )
    created = "CREATE EXTENSION IF NOT EXISTS plpgsql;\n"
    dump.write_text(text.replace("CREATE TABLE", f"{created}CREATE TABLE", 1))
    report = restored(database, dump, in_place=True)
    assert report.left_out == []
    assert database.execute("SELECT id FROM srs") == [(1,)]
    assert database.execute("SELECT count(*) FROM shop") == [(1,)]


def test_pre_load_comes_before_the_first_statement(database: Database, dump: Path) -> None:
    seen: list[tuple[str, int]] = []

    def receive(using: str, target: str, **arguments: Any) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT current_database(), (SELECT count(*) FROM pg_tables "
                "WHERE schemaname = 'public')"
            )
            name, tables = cursor.fetchone()
            assert name == target
            seen.append((name, tables))
            cursor.execute("CREATE TABLE ready (x int)")

    pre_load.connect(receive)
    try:
        report = restored(database, dump)
    finally:
        pre_load.disconnect(receive)
    ((name, tables),) = seen
    assert name.startswith(f"{database.name}_restoring_")
    assert tables == 0
    assert database.execute("SELECT count(*) FROM ready") == [(0,)]
    assert [hook for hook in report.hooks if hook.startswith("pre_load: ")]


def test_a_receiver_that_fails_ends_it(database: Database, dump: Path) -> None:
    def receive(**arguments: Any) -> None:
        raise RuntimeError("no")

    pre_load.connect(receive)
    try:
        with pytest.raises(RuntimeError, match="no"):
            restored(database, dump)
    finally:
        pre_load.disconnect(receive)
    assert neighbours(database) == []
