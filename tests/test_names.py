"""Names in our SQL mean what they mean in pg_catalog, whatever others have put into public.

One test reads every statement of the source. The other one plants functions and operators for all
that these statements use, and runs every command as a superuser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.admin.site import SETTINGS
from tests.support import statements
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import dumped
from tests.support.projects import MANAGE, Project
from tests.support.servers import RunningServer
from tests.support.shadows import calls, plant
from tests.support.statements import Open

OWN_PATH = {
    "restorehooks.restore.extension_registry",
    "restorehooks.restore.jobs",
    "restorehooks.restore.load",
    "restorehooks.restore.load_statements",
    "restorehooks.restore.needs",
    "restorehooks.restore.restore",
    "restorehooks.restore.room",
    "restorehooks.restore.server",
}
"""Modules whose statements run under a search_path of our own: Address.connect, own_names.

Their operators and types need no schema; their functions have one all the same.
"""
OWN_MESSAGES = {
    "restorehooks.duplicates",
    "restorehooks.sequences",
}
"""Packages that set the search_path in the very message that a statement is sent in."""


def _belongs(module: str, to: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in to)


def _open() -> Iterator[tuple[str, Open]]:
    for each in statements.statements():
        if _belongs(each.module, OWN_MESSAGES):
            continue
        for name in statements.open_names(statements.parsed(each.text)):
            if name.kind == "function" or not _belongs(each.module, OWN_PATH):
                yield f"{each.module}:{each.line}", name


def test_every_name_in_a_statement_has_its_schema() -> None:
    assert [f"{where}: {name.kind} {name.name}" for where, name in _open()] == []


def test_the_reader_sees_what_it_has_to() -> None:
    seen = [each.text for each in statements.statements()]
    assert len(seen) > 80
    text = "SELECT unnest(%s::oid[]) FROM t WHERE a >= {} AND b IN (%s) AND c = ANY(%s)"
    names = {f"{one.kind} {one.name}" for one in statements.open_names(statements.parsed(text))}
    assert names == {"function unnest", "type oid", "operator >=", "operator ="}
    text = (
        "SELECT pg_catalog.unnest(%s::pg_catalog.oid[]) WHERE a OPERATOR(pg_catalog.>=) 1::bigint"
    )
    assert [*statements.open_names(statements.parsed(text))] == []


EVERYTHING = """
import contextlib, io, os
from django.core.management import call_command
from django.test import Client
from django.contrib.auth.models import User

def run(*arguments, **options):
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            call_command(*arguments, stdout=out, **options)
    except (Exception, SystemExit) as error:
        print(arguments, type(error).__name__, str(error)[:300])

run("migrate")
run("check", databases=["default"], deploy=True)
run("resetsequences")
run("resetsequences", check=True)
run("explainduplicate", "shop_order_pkey")
run("dumpdb", os.environ["DUMP"] + ".new")
client = Client()
client.force_login(User.objects.create_superuser("root"))
answer = client.get("/admin/restorehooks/sequence/", follow=True)
print("admin", answer.status_code, "shop_order_id_seq" in answer.content.decode())
run("restoredb", os.environ["DUMP"], dry_run=True)
run("restoredb", os.environ["DUMP"], "--no-input")
run("restoredb", "--undo", "--no-input")
run("restoredb", os.environ["DUMP"], "--in-place", "--table=thing", "--no-input")
run("restoredb", os.environ["DUMP"], "--in-place", "--no-input")
"""


URLS = """
    from django.contrib import admin
    from django.urls import path
    urlpatterns = [path("admin/", admin.site.urls)]
"""


def _project(folder: Path, database: Database) -> Project:
    made = Project(folder, database.server, {"default": database.settings})
    made.write("manage.py", MANAGE)
    made.write("urls.py", URLS)
    made.app("shop", "class Order(models.Model):\n    name = models.CharField(max_length=9)\n")
    middleware = [each for each in SETTINGS["MIDDLEWARE"] if not each.startswith("urls.")]
    made.settings(**{**SETTINGS, "MIDDLEWARE": middleware, "DATABASE_ROUTERS": []})
    made.manage("makemigrations", "shop")
    return made


def _plant(database: Database) -> None:
    names = {
        name
        for each in statements.statements()
        for name in statements.used(statements.parsed(each.text))
    }
    plant(
        database,
        {one.name for one in names if one.kind == "function"},
        {one.name for one in names if one.kind == "operator" and re.fullmatch(r"\W+", one.name)},
    )


def test_no_command_calls_what_a_stranger_has_made(
    make_server: Callable[..., RunningServer],
    make_database: MakeDatabase,
    tmp_path: Path,
) -> None:
    server = make_server()
    database = make_database(alias="default", on=server)
    project = _project(tmp_path / "project", database)
    database.execute("CREATE TABLE thing (id serial PRIMARY KEY); INSERT INTO thing VALUES (5)")
    dump = dumped(database, tmp_path / "x.dump")
    database.disconnect()
    _plant(database)
    database.execute("SELECT * FROM unnest('{1}'::oid[]) one WHERE one >= 1")
    database.disconnect()
    assert [call.name for call in calls(server)] == ["unnest(oid[])", ">=(oid, integer)"]
    assert project.shell(EVERYTHING, {"DUMP": str(dump)}).splitlines() == ["admin 200 True"]
    assert calls(server)[2:] == []
