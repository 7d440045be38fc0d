"""Packages that write rows with ids of their own: what they leave behind, and what mends it.

The real ones; ``nox -s compat`` installs them. docs/compatibility.md has the table.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import said, set_back, upcoming

CONTRIB = ["django.contrib.auth", "django.contrib.contenttypes"]


def made(project: Project, models: str, *apps: str, package: str, **settings: Any) -> Project:
    """Return the project with an app "shop" and its tables, or skip where a package is missing."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    project.app("shop", models)
    project.settings(INSTALLED_APPS=[*CONTRIB, *apps, "restorehooks", "shop"], **settings)
    return project


def migrated(project: Project, make: str = "makemigrations") -> None:
    project.manage(make, "shop")
    project.manage("migrate")


PLACES = """
    class Place(models.Model):
        name = models.CharField(max_length=9)

    class Shop(Place):
        pass
"""
IMPORT = """
    from import_export import resources
    from tablib import Dataset
    from restorehooks import reset_sequences_after
    from shop.models import Place, Shop

    class Places(resources.ModelResource):
        class Meta:
            model = {model}
            fields = ("id", "name")

    rows = Dataset(({pk}, "new"), headers=["id", "name"])
    {prefix}: result = Places().import_data(rows, raise_errors=True)
    print(result.totals["new"])
"""


def test_django_import_export(project: Project, database: Database) -> None:
    made(project, PLACES, "import_export", package="import_export")
    migrated(project)

    # Its own reset takes the sequence back to the rows, whatever has been drawn.
    database.execute("SELECT setval('shop_place_id_seq', 900)")
    project.shell(IMPORT.format(prefix="if True", model="Place", pk=7))
    assert upcoming(database, "shop_place") == 8

    # It resets the model's own table alone: a child's parent is left behind.
    project.shell(IMPORT.format(prefix="if True", model="Shop", pk=40))
    assert upcoming(database, "shop_place") == 8
    project.shell(IMPORT.format(prefix="with reset_sequences_after(Shop)", model="Shop", pk=50))
    assert upcoming(database, "shop_place") == 51


EVENTS = """
    from psqlextra.models import PostgresModel, PostgresPartitionedModel
    from psqlextra.types import PostgresPartitioningMethod

    class Order(PostgresModel):
        name = models.CharField(max_length=9)

    class Event(PostgresPartitionedModel):
        number = models.BigIntegerField()
        at = models.IntegerField()
        pk = models.CompositePrimaryKey("number", "at")

        class PartitioningMeta:
            method = PostgresPartitioningMethod.RANGE
            key = ["at"]
"""


def test_django_postgres_extra(project: Project, database: Database) -> None:
    """A partitioned model can have no automatic field: its sequence is made by SQL."""
    databases = {"default": {**database.settings, "ENGINE": "psqlextra.backend"}}
    made(project, EVENTS, "psqlextra", package="psqlextra", DATABASES=databases)
    database.execute("CREATE EXTENSION IF NOT EXISTS hstore")
    migrated(project, "pgmakemigrations")
    database.execute(
        "CREATE SEQUENCE numbers OWNED BY shop_event.number;"
        "ALTER TABLE shop_event ALTER number SET DEFAULT nextval('numbers')"
    )
    project.shell(
        """
        from django.db import connection
        from shop.models import Event, Order
        with connection.schema_editor() as editor:
            for n in range(2):
                editor.add_range_partition(Event, f"p{n}", n * 10, n * 10 + 10)
        Event.objects.bulk_insert([dict(number=n, at=n) for n in range(1, 15)])
        Order.objects.bulk_insert([dict(id=n, name="") for n in range(1, 6)])
        """
    )
    assert (upcoming(database, "shop_event", "number"), upcoming(database, "shop_order")) == (1, 1)
    project.manage("migrate")
    assert upcoming(database, "shop_event", "number") == 15
    assert upcoming(database, "shop_order") == 6
    assert database.execute("INSERT INTO shop_event (at) VALUES (3) RETURNING number") == [(15,)]


ORDERS = """
    class Order(models.Model):
        name = models.CharField(max_length=9)
"""


def test_django_pgbulk(project: Project, database: Database) -> None:
    made(project, ORDERS, package="pgbulk")
    migrated(project)
    copied = project.shell(
        """
        import pgbulk
        from shop.models import Order
        pgbulk.copy(Order, [Order(id=70, name="copied")])
        print(*Order.objects.values_list("id", flat=True))
        """
    )
    assert copied == "1\n", "copy sends no ids, upsert does"
    database.execute("TRUNCATE shop_order RESTART IDENTITY")
    project.shell(
        """
        import pgbulk
        from restorehooks import reset_sequences_after
        from shop.models import Order
        with reset_sequences_after(Order) as after:
            pgbulk.copy(Order, [Order(id=70, name="copied")], ["id", "name"])
            pgbulk.upsert(Order, [Order(id=71, name="new")], ["id"], ["name"])
        """
    )
    assert database.execute("SELECT id FROM shop_order ORDER BY 1") == [(1,), (71,)]
    assert upcoming(database, "shop_order") == 72


HISTORY = """
    from simple_history.models import HistoricalRecords

    class Order(models.Model):
        name = models.CharField(max_length=9)
        history = HistoricalRecords()
"""


def test_django_simple_history(project: Project, database: Database) -> None:
    made(project, HISTORY, "simple_history", package="simple_history")
    migrated(project)
    project.shell("from shop.models import Order; Order.objects.create(name='a').delete()")
    fixture = json.loads(project.manage("dumpdata", "shop").stdout)
    for row in fixture:
        row["pk"] += 40
    project.write("history.json", json.dumps(fixture))
    project.manage("loaddata", "history.json")
    assert upcoming(database, "shop_historicalorder", "history_id") == 43
    project.shell("from shop.models import Order; Order.objects.create(name='b')")


ANIMALS = """
    from polymorphic.models import PolymorphicModel

    class Animal(PolymorphicModel):
        name = models.CharField(max_length=9)

    class Dog(Animal):
        pass
"""


def test_django_polymorphic(project: Project, database: Database) -> None:
    made(project, ANIMALS, "polymorphic", package="polymorphic")
    migrated(project)
    ctype = project.shell(
        """
        from django.contrib.contenttypes.models import ContentType
        from shop.models import Dog
        print(ContentType.objects.get_for_model(Dog).pk)
        """
    )
    animal = {"name": "Rex", "polymorphic_ctype": int(ctype)}
    rows = [
        {"model": "shop.animal", "pk": 30, "fields": animal},
        {"model": "shop.dog", "pk": 30, "fields": {}},
    ]
    project.write("dogs.json", json.dumps(rows))
    project.manage("loaddata", "dogs.json")
    assert upcoming(database, "shop_animal") == 31
    assert project.shell("from shop.models import Dog; print(Dog.objects.create().pk)") == "31\n"


ORDERS = """
    class Order(models.Model):
        name = models.CharField(max_length=9)

    class Old(models.Model):
        id = models.IntegerField(primary_key=True)
"""
IMPORTED = """
    from django.db import migrations, models
    from restorehooks.operations import ResetSequences

    def write(apps, editor):
        apps.get_model("shop", "Order").objects.create(pk=70, name="imported")

    class Migration(migrations.Migration):
        dependencies = [("shop", "0001_initial")]
        operations = [
            migrations.RunPython(write, migrations.RunPython.noop),
            ResetSequences("Order"),
            migrations.AlterField("old", "id", models.AutoField(primary_key=True)),
        ]
"""
CAREFUL = {
    f"ZERO_DOWNTIME_MIGRATIONS_{name}": value
    for name, value in {
        "LOCK_TIMEOUT": "2s",
        "STATEMENT_TIMEOUT": "2s",
        "FLEXIBLE_STATEMENT_TIMEOUT": True,
        "RAISE_FOR_UNSAFE": True,
        "DEFERRED_SQL": True,
        "IDEMPOTENT_SQL": True,
    }.items()
}


def test_zero_downtime_migrations(project: Project, database: Database) -> None:
    """Its schema editor has no transactions, and takes each statement apart."""
    package = "django_zero_downtime_migrations"
    project.databases["default"]["ENGINE"] = f"{package}.backends.postgres"
    made(project, ORDERS, package=package, **CAREFUL)
    migrated(project)
    database.execute("INSERT INTO shop_old VALUES (40)")
    project.write("shop/migrations/0002_imported.py", IMPORTED)
    shown = project.manage("sqlmigrate", "shop", "0002").stdout

    (line,) = said(project.manage("migrate").stdout)
    assert line.endswith("public.shop_old_id_seq to 41.")
    assert upcoming(database, "shop_order") == 71
    set_back(database, "shop_order")
    database.execute(shown[shown.index("DO $restorehooks$") : shown.index("$restorehooks$;") + 15])
    assert upcoming(database, "shop_order") == 71

    set_back(database, "shop_order", "django_migrations")
    (line,) = said(project.manage("migrate").stdout)
    assert "moved 2 of 10 sequences" in line
    project.write("order.json", '[{"model": "shop.order", "pk": 90, "fields": {"name": "x"}}]')
    project.manage("loaddata", "order.json")
    assert upcoming(database, "shop_order") == 91


WAGTAIL = ["django.contrib.postgres", "wagtail.search", "wagtail", "taggit"]
ARTICLES = """
    from wagtail.models import Page

    class Article(Page):
        text = models.TextField(default="text")
"""


@pytest.mark.slow
def test_wagtail(project: Project, database: Database) -> None:
    """A page's row stands in a table of all pages, which a fixture fills with ids of its own."""
    made(
        project,
        ARTICLES,
        *WAGTAIL,
        package="wagtail",
        WAGTAIL_SITE_NAME="shop",
        STATIC_URL="/static/",
    )
    migrated(project)
    add = """
        from shop.models import Article
        from wagtail.models import Page
        root = Page.objects.get(depth=1)
        print(root.add_child(instance=Article(title="new", slug="new{n}")).pk)
    """
    project.shell(add.format(n=1))
    fixture = json.loads(project.manage("dumpdata", "shop", "wagtailcore.page").stdout)
    database.execute("TRUNCATE wagtailcore_page RESTART IDENTITY CASCADE")
    for row in fixture:
        row["pk"] += 40
    project.write("pages.json", json.dumps(fixture))
    project.manage("loaddata", "pages.json")
    last = max(row["pk"] for row in fixture)
    assert project.shell(add.format(n=2)) == f"{last + 1}\n"
