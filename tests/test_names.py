"""Names in our SQL mean what they mean in pg_catalog, whatever others have put into public.

One test reads every statement of the source. The other one plants functions and operators for all
that these statements use, and runs every command as a superuser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.admin.site import SETTINGS
from tests.support import statements
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import dumped
from tests.support.projects import MANAGE, Project
from tests.support.servers import RunningServer
from tests.support.shadows import calls, plant, plant_first
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
    assert names == {"function unnest", "type oid", "operator >=", "operator =", "relation t"}
    text = (
        "WITH w AS (SELECT pg_catalog.unnest(%s::pg_catalog.oid[]) FROM pg_catalog.pg_class)"
        " SELECT FROM w WHERE a OPERATOR(pg_catalog.>=) 1::bigint"
    )
    assert [*statements.open_names(statements.parsed(text))] == []


RUN = """
import contextlib, io, os, psycopg
from django.core.management import call_command

def run(*arguments, **options):
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            call_command(*arguments, stdout=out, **options)
    except (Exception, SystemExit) as error:
        print(arguments, type(error).__name__, str(error)[:300])
    return out.getvalue()
"""
OURS = """
run("resetsequences")
run("resetsequences", "--check", "--schema=public")
printed = run("resetsequences", "--sql", "--headroom=3")
run("resetsequences", "--by-name", "--rewind")
run("resetsequences", "--all-databases", "--headroom=100")
run("resetsequences", "--connections=3")
run("resetsequences", "shop", "auth.Group", "--dry-run")
run("resetsequences", "--from=env:OTHER")
run("explainduplicate", "thing_pkey")
run("explainduplicate", 'unique constraint "thing_pkey": Key (id)=(5) already exists.')
run("dumpdb", "storage:", "--keep=1")
run("restoredb", os.environ["DUMP"], dry_run=True)
run("restoredb", "--kept")
run("restoredb", "storage:")
with psycopg.connect(os.environ["URL"]) as direct:
    direct.execute(printed)
"""
"""What sends no statement of Django's own."""
EVERYTHING = f"""
{RUN}
from django.db import IntegrityError, connection
from django.test import Client
from django.contrib.auth.models import User
from restorehooks import reset_sequences_after
from shop.models import Order

run("migrate")
run("check", databases=["default"], deploy=True)
with reset_sequences_after(Order):
    Order.objects.create(pk=7)
    Order.objects.create(pk=8)
with connection.cursor() as cursor:
    cursor.execute("SELECT pg_catalog.setval('shop_order_id_seq', 7, false)")
try:
    Order.objects.create()
except IntegrityError as error:
    print("healed", "moved on to 9" in error.__notes__[-1])
run("loaddata", os.environ["FIXTURE"])
{OURS}
client = Client()
client.force_login(User.objects.create_superuser("root"))
answer = client.get("/admin/restorehooks/sequence/", follow=True)
print("admin", answer.status_code, "shop_order_id_seq" in answer.content.decode())
connection.close()
for dump, *wishes in [
    (os.environ["PLAIN"], "--owner", "--hooks-dir=hooks", "--migrate"),
    (os.environ["DUMP"], "--jobs=1", "--no-owner", "--privileges"),
]:
    run("restoredb", dump, "--no-input", *wishes)
    run("restoredb", "--undo", "--no-input")
run("restoredb", "env:OTHER", "--dry-run")
run("restoredb", "storage:", "--latest", "--dry-run")
run("restoredb", "--drop-previous", "--no-input")
run("restoredb", os.environ["DUMP"], "--in-place", "--table=thing", "--no-input")
with connection.cursor() as cursor:
    cursor.execute("DELETE FROM thing")
run("restoredb", os.environ["DUMP"], "--data-only", "--no-input")
run("restoredb", os.environ["DUMP"], "--in-place", "--no-input")
run("migrate")
"""


URLS = """
    from django.contrib import admin
    from django.urls import path
    urlpatterns = [path("admin/", admin.site.urls)]
"""


def _project(folder: Path, database: Database) -> Project:
    databases = {"default": database.settings, "other": database.server.settings("postgres")}
    made = Project(folder, database.server, databases)
    made.write("manage.py", MANAGE)
    made.write("urls.py", URLS)
    made.app("shop", "class Order(models.Model):\n    name = models.CharField(max_length=9)\n")
    middleware = [each for each in SETTINGS["MIDDLEWARE"] if not each.startswith("urls.")]
    made.write("hooks/1.sql", "SELECT pg_catalog.now()")
    others = {
        "RESTOREHOOKS": {"REPAIR_ON_DUPLICATE": True},
        "MIDDLEWARE": middleware,
        "DATABASE_ROUTERS": [],
        "STORAGES": {
            "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
            "dumps": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": str(folder / "dumps")},
            },
        },
    }
    made.settings(**{**SETTINGS, **others})
    made.manage("makemigrations", "shop")
    return made


def _used() -> dict[str, list[str]]:
    names = {name for each in statements.texts() for name in statements.mentioned(each.text)}
    return {
        f"{kind}s": sorted(one.name for one in names if one.kind == kind)
        for kind in ("function", "operator")
    }


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
    plant(database, _used())
    plain = dumped(database, tmp_path / "x.sql", "--inserts", form="plain")
    database.execute("SELECT array_agg(one) FROM unnest('{1}'::oid[]) one WHERE one >= 1")
    database.disconnect()
    seen = ["unnest(oid[])", ">=(oid, integer)", "array_agg(text, oid)"]
    assert [call.name for call in calls(server)] == seen
    fixture = project.write("late.json", '[{"model": "shop.order", "pk": 12, "fields": {}}]')
    environ = {
        "DUMP": str(dump),
        "PLAIN": str(plain),
        "FIXTURE": str(fixture),
        "URL": database.url,
        "OTHER": server.url("postgres"),
    }
    said = project.shell(EVERYTHING, environ).splitlines()
    assert said == ["healed True", "admin 200 True"]
    assert calls(server)[3:] == []

    _plant_first(database)
    assert {call.name for call in calls(server)[3:]} >= {f"{name}(first)" for name in FIRST}
    known = len(calls(server))
    assert project.shell(RUN + OURS, environ) == ""
    assert calls(server)[known:] == []


FIRST = ("pg_class", "oid", "set_config", "->>")


def _plant_first(database: Database) -> None:
    """Let a path find what is named like pg_catalog's own before that."""
    plant_first(database, _used())
    database.execute(
        f"ALTER DATABASE {database.name} SET search_path = public, pg_catalog;"
        "ALTER DATABASE postgres SET search_path = public, pg_catalog"
    )
    with database.connect() as connection:
        connection.execute(
            "SELECT 1::oid, set_config('a.b', '', false), JSON '[1]' ->> 0 FROM pg_class LIMIT 1"
        )
