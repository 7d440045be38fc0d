"""``manage.py loaddata``: what Django does, and no sequence behind the rows it loaded."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import said, set_back, upcoming

MODELS = """
    class ByName(models.Manager):
        def get_by_natural_key(self, name):
            return self.get(name=name)

    class Customer(models.Model):
        name = models.CharField(max_length=20, unique=True)
        objects = ByName()

        def natural_key(self):
            return (self.name,)

    class Vip(Customer):
        class Meta:
            proxy = True

    class VeryVip(Vip):
        class Meta:
            proxy = True

    class Product(models.Model):
        title = models.CharField(max_length=20)

    class Book(Product):
        pages = models.IntegerField(default=0)

    class Order(models.Model):
        customer = models.ForeignKey(Customer, models.CASCADE, null=True)
        products = models.ManyToManyField(Product)

    class Shelf(models.Model):
        id = models.SmallAutoField(primary_key=True)
"""
APPS = ["django.contrib.auth", "django.contrib.contenttypes", "restorehooks", "shop"]


@pytest.fixture
def shop(project: Project) -> Project:
    """A migrated project with models of every kind."""
    project.app("shop", models=MODELS)
    project.settings(INSTALLED_APPS=APPS, MIGRATION_MODULES={"shop": None})
    project.manage("migrate", "--run-syncdb")
    return project


def row(model: str, pk: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"model": f"shop.{model}", **({} if pk is None else {"pk": pk}), "fields": fields}


def fixture(project: Project, name: str, *rows: dict[str, Any]) -> Path:
    return project.write(f"shop/fixtures/{name}.json", json.dumps(rows))


def django_only(project: Project) -> None:
    """Leave sequences to Django's own code."""
    project.settings(INSTALLED_APPS=APPS, RESTOREHOOKS={"LOADDATA": False})


def test_models_of_every_kind(shop: Project, database: Database) -> None:
    fixture(
        shop,
        "all",
        row("veryvip", 6, name="ann"),
        row("product", 3, title="pen"),
        row("product", 4, title="war"),
        row("book", 4, pages=9),
        row("order", 8, customer=["ann"], products=[3, 4]),
        row("order", 9, customer=["bob"], products=[]),
        row("customer", name="bob"),  # a forward reference, and no key of its own
    )
    done = shop.manage("loaddata", "all")
    assert done.stderr == ""
    moved, installed = done.stdout.splitlines()
    assert moved == (
        'In database "default", moved 3 of 4 sequences past their rows:'
        " public.shop_customer_id_seq to 7, public.shop_order_id_seq to 10,"
        " public.shop_product_id_seq to 5."
    )
    assert installed == "Installed 7 object(s) from 1 fixture(s)"
    created = shop.shell(
        """
        from shop.models import *
        order = Order.objects.create()
        order.products.add(Book.objects.create())
        print(Vip.objects.create(name="c").pk, order.pk, Product.objects.create().pk)
        """
    )
    assert created == "7 10 6\n"
    assert "moved" not in shop.manage("loaddata", "all").stdout


AUDITED = """
    class Entry(models.Model):
        name = models.CharField(max_length=20)

    class Item(models.Model):
        pass

    def log(sender, instance, **kwargs):
        Entry.objects.create(name=f"item {instance.pk}")

    models.signals.post_save.connect(log, sender=Item)
"""


def test_a_row_that_a_receiver_inserts_collides_with_none_of_the_fixture(
    project: Project, database: Database
) -> None:
    project.app("shop", models=AUDITED)
    project.settings(INSTALLED_APPS=APPS, MIGRATION_MODULES={"shop": None})
    project.manage("migrate", "--run-syncdb")
    log = [row("entry", number, name="old") for number in (1, 2)]
    fixture(project, "log_first", *log, row("item", 1), row("item", 2))
    done = project.manage("loaddata", "log_first")
    assert done.stdout.splitlines()[0] == (
        'In database "default", moved 2 of 2 sequences past their rows:'
        " public.shop_entry_id_seq to 5, public.shop_item_id_seq to 3."
    )
    entries = "SELECT id, name FROM shop_entry ORDER BY id"
    assert database.execute(entries) == [(1, "old"), (2, "old"), (3, "item 1"), (4, "item 2")]
    assert upcoming(database, "shop_entry") == 5

    empty = "TRUNCATE shop_entry, shop_item RESTART IDENTITY"
    database.execute(empty)
    more = row("entry", 5, name="old")
    fixture(project, "mixed", row("item", 1), row("entry", 2, name="old"), row("item", 2), more)
    fixture(project, "last", row("item", 3))
    project.manage("loaddata", "mixed", "last")
    drawn = [(1, "item 1"), (3, "item 2"), (6, "item 3")]
    assert database.execute(entries) == sorted([*drawn, (2, "old"), (5, "old")])

    django_only(project)
    database.execute(empty)
    assert "shop_entry_pkey" in project.manage("loaddata", "log_first", check=False).stderr


def test_what_djangos_own_does_when_ours_is_switched_off(shop: Project, database: Database) -> None:
    fixture(shop, "proxy", row("vip", 6, name="ann"))
    fixture(shop, "low", row("product", 1, title="pen"))
    database.execute("SELECT setval('shop_product_id_seq', 900)")
    assert "rewound" not in shop.manage("loaddata", "low", "proxy").stdout
    assert upcoming(database, "shop_product") == 901
    assert upcoming(database, "shop_customer") == 7

    django_only(shop)
    set_back(database, "shop_customer")
    assert "moved" not in shop.manage("loaddata", "low", "proxy").stdout
    assert upcoming(database, "shop_product") == 2
    assert upcoming(database, "shop_customer") == 1


def test_a_sequence_without_room_is_told_and_the_load_stands(
    shop: Project, database: Database
) -> None:
    fixture(shop, "full", row("shelf", 32767), row("product", 7, title="pen"))
    done = shop.manage("loaddata", "full", "-v0")
    assert done.stdout == ""
    assert done.stderr == (
        'In database "default", sequence public.shop_shelf_id_seq is exhausted: the next number'
        " would be 32768, past 32767; remedy: ALTER SEQUENCE public.shop_shelf_id_seq AS bigint;"
        " ALTER TABLE public.shop_shelf ALTER COLUMN id TYPE bigint.\n"
    )
    assert upcoming(database, "shop_product") == 8

    fixture(shop, "below", row("product", -5, title="odd"))
    assert shop.manage("loaddata", "below").stderr == ""
    django_only(shop)
    database.execute("DELETE FROM shop_product")
    assert "out of bounds" in shop.manage("loaddata", "below", check=False).stderr


def test_a_sequence_that_cannot_be_moved_is_told_and_the_load_stands(
    shop: Project, database: Database
) -> None:
    fixture(shop, "pen", row("product", 7, title="pen"))
    role = database.role("loader")
    database.execute(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
    database.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}")
    shop.databases["default"] |= {"USER": role}
    shop.settings(INSTALLED_APPS=APPS)
    done = shop.manage("loaddata", "pen")
    assert "public.shop_product_id_seq is failed: no UPDATE privilege" in done.stderr
    assert "Installed 1 object(s)" in done.stdout

    database.execute("UPDATE shop_product SET id = 1")
    shop.settings(INSTALLED_APPS=APPS, RESTOREHOOKS={"LOCK_TIMEOUT": -1})
    done = shop.manage("loaddata", "pen", "--skip-checks")
    assert done.stderr == (
        'The sequences of database "default" were not checked:'
        " RESTOREHOOKS['LOCK_TIMEOUT'] must be a number of seconds above 0, up to 24 days,"
        " not -1.\n"
    )
    assert database.execute("SELECT count(*) FROM shop_product") == [(2,)]

    shop.settings(INSTALLED_APPS=APPS, RESTOREHOOKS={"LOADDATA": "no"})
    assert "RESTOREHOOKS['LOADDATA']" in shop.manage("loaddata", "pen", "--skip-checks").stderr


def test_a_fixture_that_fails_loads_nothing(shop: Project, database: Database) -> None:
    fixture(shop, "twice", row("customer", 5, name="ann"), row("customer", 6, name="ann"))
    failed = shop.manage("loaddata", "twice", check=False)
    assert failed.returncode == 1
    assert "Could not load shop.Customer(pk=6)" in failed.stderr
    assert database.execute("SELECT count(*) FROM shop_customer") == [(0,)]
    assert upcoming(database, "shop_customer") == 1

    fixture(shop, "dangling", row("product", 4, title="pen"), row("order", 5, customer=77))
    failed = shop.manage("loaddata", "dangling", check=False)
    assert failed.returncode == 1
    assert database.execute("SELECT count(*) FROM shop_product") == [(0,)]

    missing = shop.manage("loaddata", "nowhere", check=False)
    assert missing.returncode == 1
    assert missing.stderr == "CommandError: No fixture named 'nowhere' found.\n"


def test_where_fixtures_come_from(shop: Project, database: Database) -> None:
    text = json.dumps([row("order", 21)])
    (shop.folder / "orders.json.gz").write_bytes(gzip.compress(text.encode()))
    fixture(shop, "pens", row("product", 31, title="pen"))
    with zipfile.ZipFile(shop.folder / "shelves.json.zip", "w") as file:
        file.writestr("shelves.json", json.dumps([row("shelf", 41)]))
    done = shop.manage("loaddata", "orders", "pens.json", "shelves.json.zip")
    assert "Installed 3 object(s) from 3 fixture(s)" in done.stdout
    assert upcoming(database, "shop_order") == 22
    assert upcoming(database, "shop_product") == 32
    assert upcoming(database, "shop_shelf") == 42

    rows = json.dumps([row("vip", 51, name="ann"), row("order", 52), row("product", 53)])
    piped = shop.manage(
        "loaddata", "--format=json", "-", "--exclude=shop.Order", "-e", "auth", stdin=rows
    )
    assert "Installed 2 object(s) (of 3) from 1 fixture(s)" in piped.stdout
    assert upcoming(database, "shop_customer") == 52
    assert upcoming(database, "shop_order") == 22
    assert upcoming(database, "shop_product") == 54

    set_back(database, "shop_product")
    assert "Installed 1 object" in shop.manage("loaddata", "--app", "shop", "pens").stdout
    assert upcoming(database, "shop_product") == 54


def test_dumpdata_of_the_whole_project_loads_again(shop: Project, database: Database) -> None:
    fixture(shop, "some", row("veryvip", 6, name="ann"), row("order", 8, customer=["ann"]))
    shop.manage("loaddata", "some")
    dump = shop.manage("dumpdata").stdout
    assert {each["model"] for each in json.loads(dump)} == {
        "auth.permission",
        "contenttypes.contenttype",
        "shop.customer",
        "shop.order",
    }
    (shop.folder / "whole.json").write_text(dump)
    # flush would number the content types anew, which the dump's permissions refer to.
    database.execute("TRUNCATE django_content_type, shop_customer RESTART IDENTITY CASCADE")
    shop.manage("loaddata", "whole")
    assert upcoming(database, "shop_customer") == 7
    assert upcoming(database, "shop_order") == 9
    shop.manage("resetsequences", "--check")


ROUTER = """
    class Router:
        def allow_migrate(self, db, app_label, model_name=None, **hints):
            if model_name == "shelf":
                return db == "other"
            return None
"""


def test_database_and_router(
    project: Project, database: Database, other_database: Database
) -> None:
    project.app("shop", models=MODELS)
    project.write("routing.py", ROUTER)
    project.settings(
        INSTALLED_APPS=APPS,
        DATABASE_ROUTERS=["routing.Router"],
        MIGRATION_MODULES={"shop": None},
    )
    project.manage("migrate", "--run-syncdb")
    project.manage("migrate", "--run-syncdb", "--database", "other")
    fixture(project, "two", row("shelf", 5), row("product", 6, title="pen"))
    done = project.manage("loaddata", "two")
    assert "Installed 1 object(s) (of 2)" in done.stdout
    assert upcoming(database, "shop_product") == 7
    assert upcoming(other_database, "shop_product") == 1
    assert upcoming(other_database, "shop_shelf") == 1

    done = project.manage("loaddata", "two", "--database", "other")
    assert 'In database "other", moved 2 of 2 sequences' in done.stdout
    assert upcoming(other_database, "shop_product") == 7
    assert upcoming(other_database, "shop_shelf") == 6
    wrong = project.manage("loaddata", "two", "--database", "nowhere", check=False)
    assert wrong.returncode != 0


SIGNAL = """
    from django.core.management import call_command
    from django.db import connections, transaction
    from restorehooks.signals import post_loaddata

    def listen(sender, using, models, report, **kwargs):
        names = sorted(model.__name__ for model in models)
        moved = [(entry.sequence, entry.next_after) for entry in report.changed]
        print(using, names, moved, type(models).__name__, connections[using].in_atomic_block)

    post_loaddata.connect(listen)
"""


def test_the_signal(shop: Project) -> None:
    fixture(shop, "some", row("vip", 6, name="ann"), row("product", 8, title="pen"))
    printed = shop.shell(
        f"""{SIGNAL}
    call_command("loaddata", "some", verbosity=0)
    call_command("loaddata", "some", verbosity=0)
    with transaction.atomic():
        call_command("loaddata", "some", verbosity=0)
    try:
        call_command("loaddata", "nowhere", verbosity=0)
    except Exception as error:
        print(error)
    """
    )
    moved = "[('public.shop_customer_id_seq', 7), ('public.shop_product_id_seq', 9)]"
    assert printed.splitlines() == [
        f"default ['Product', 'Vip'] {moved} frozenset False",
        "default ['Product', 'Vip'] [] frozenset False",
        "default ['Product', 'Vip'] [] frozenset True",
        "No fixture named 'nowhere' found.",
    ]


def test_sqlite_as_before(project: Project) -> None:
    project.databases["default"] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(project.folder / "db.sqlite3"),
    }
    project.app("shop", models=MODELS)
    project.settings(INSTALLED_APPS=APPS, MIGRATION_MODULES={"shop": None})
    assert said(project.manage("migrate", "--run-syncdb", "-v2").stdout) == []
    fixture(project, "some", row("vip", 6, name="ann"))
    printed = project.shell(
        f"""{SIGNAL}
    call_command("loaddata", "some", verbosity=2)
    from shop.models import Customer
    print(Customer.objects.create(name="bob").pk)
    """
    )
    assert printed.splitlines()[-2:] == ["default ['Vip'] [] frozenset False", "7"]
    flushed = project.manage("flush", "--no-input", "-v2")
    assert "sequences" not in flushed.stdout
