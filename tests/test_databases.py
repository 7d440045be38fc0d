"""Several aliases with a router, a connection pool, schemas and search paths."""

from __future__ import annotations

import pytest

from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import said, set_back, upcoming

DJANGO = ["django.contrib.auth", "django.contrib.contenttypes"]
ROUTER = """
    class Router:
        def db_for_read(self, model, **hints):
            return "other" if model._meta.app_label == "stats" else None

        db_for_write = db_for_read

        def allow_migrate(self, db, app_label, **hints):
            return (app_label == "stats") == (db == "other")
"""
ORDER = "class Order(models.Model):\n    pass\n"


def test_two_aliases_with_a_router(
    project: Project, database: Database, other_database: Database
) -> None:
    project.app("shop", models=ORDER)
    project.app("stats", models="class Hit(models.Model):\n    pass\n")
    project.write("routing.py", ROUTER)
    project.settings(
        INSTALLED_APPS=["restorehooks", *DJANGO, "shop", "stats"],
        DATABASE_ROUTERS=["routing.Router"],
        MIGRATION_MODULES={"shop": None, "stats": None},
    )
    project.manage("migrate", "--run-syncdb")
    project.manage("migrate", "--run-syncdb", "--database", "other")
    database.execute("CREATE TABLE stats_hit (id serial)")  # a relic that the router rules out
    for each, table in (
        (database, "stats_hit"),
        (database, "shop_order"),
        (other_database, "stats_hit"),
    ):
        each.execute(f"INSERT INTO {table} (id) VALUES (7)")

    (line,) = said(project.manage("migrate", "--database", "other").stdout)
    assert line == (
        'restorehooks: In database "other", moved 1 of 2 sequences past their rows:'
        " public.stats_hit_id_seq to 8."
    )
    assert upcoming(database, "shop_order") == 1
    assert len(said(project.manage("migrate", "-v2").stdout)) == 2
    assert upcoming(database, "shop_order") == 8
    assert upcoming(database, "stats_hit") == 1
    assert said(project.manage("flush", "--no-input", "--database", "other").stdout) == []

    other_database.execute("INSERT INTO stats_hit (id) VALUES (7)")
    set_back(database, "shop_order")
    printed = project.shell(
        """
        from shop.models import Order
        from stats.models import Hit
        from restorehooks import reset_sequences, reset_sequences_after
        print([(e.sequence, e.next_after) for e in reset_sequences(Hit).changed])
        try:
            reset_sequences(Order, "stats")
        except ValueError as error:
            print(error)
        print(reset_sequences(Order, "stats", using="default").database)
        with reset_sequences_after("stats.hit") as after:
            Hit.objects.create(pk=20)
        print(after.report.database, Hit.objects.create().pk, Order.objects.create().pk)
        """
    )
    assert printed.splitlines() == [
        "[('public.stats_hit_id_seq', 8)]",
        "These models are written to default, other: say which with using=",
        "default",
        "other 21 8",
    ]
    assert upcoming(database, "stats_hit") == 8  # asked for by name, with using


def test_a_connection_pool(project: Project, database: Database) -> None:
    pytest.importorskip("psycopg_pool")
    project.databases["default"]["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 3}}
    project.app("shop", models=ORDER)
    project.settings(INSTALLED_APPS=["restorehooks", "shop"], MIGRATION_MODULES={"shop": None})
    project.manage("migrate", "--run-syncdb")
    project.write("shop/fixtures/orders.json", '[{"model": "shop.order", "pk": 4, "fields": {}}]')
    assert "moved 1 of 1" in project.manage("loaddata", "orders").stdout
    set_back(database, "shop_order")
    assert len(said(project.manage("migrate").stdout)) == 1
    assert upcoming(database, "shop_order") == 5
    set_back(database, "shop_order")
    assert "1 advanced" in project.manage("resetsequences").stdout
    assert said(project.manage("flush", "--no-input").stdout) == []
    printed = project.shell(
        """
        from concurrent.futures import ThreadPoolExecutor
        from django.db import connection
        from restorehooks import reset_sequences_after
        from shop.models import Order

        def work(number):
            try:
                with reset_sequences_after(Order):
                    Order.objects.create(pk=1000 * number)
                return Order.objects.create().pk
            finally:
                connection.close()

        with ThreadPoolExecutor(3) as threads:
            numbers = list(threads.map(work, range(1, 7)))
        print(len(set(numbers)), Order.objects.count())
        connection.close()
        connection.close_pool()
        """
    )
    assert printed == "6 12\n"


def test_tables_in_other_schemas(project: Project, database: Database) -> None:
    database.execute('CREATE SCHEMA other; CREATE SCHEMA "Mixed"')
    project.app(
        "shop",
        models=r"""
        class Whole(models.Model):
            class Meta:
                db_table = '"other"."whole"'

        class Trick(models.Model):
            class Meta:
                db_table = 'Mixed"."trick'

        class Foreign(models.Model):
            class Meta:
                managed = False
                db_table = 'other"."foreign'
        """,
    )
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    project.manage("makemigrations", "shop")
    project.manage("migrate")
    database.execute('CREATE TABLE other."foreign" (id serial)')
    tables = ("other.whole", '"Mixed".trick', 'other."foreign"')
    for table in tables:
        database.execute(f"INSERT INTO {table} (id) VALUES (7)")
    (line,) = said(project.manage("migrate").stdout)
    assert "moved 3 of 4 sequences" in line
    assert [upcoming(database, table) for table in tables] == [8, 8, 8]
    create = (
        "from shop.models import *; print(Whole.objects.create().pk, Trick.objects.create().pk)"
    )
    assert project.shell(create) == "8 8\n"

    set_back(database, *tables)
    project.manage("resetsequences", "shop.Trick")
    assert [upcoming(database, table) for table in tables] == [1, 9, 1]
    project.manage("resetsequences", "--schema", "other")
    assert [upcoming(database, table) for table in tables] == [9, 9, 8]
    set_back(database, *tables)
    project.write(
        "shop/fixtures/some.json",
        '[{"model": "shop.whole", "pk": 30, "fields": {}},'
        ' {"model": "shop.trick", "pk": 40, "fields": {}}]',
    )
    project.manage("loaddata", "some")
    assert [upcoming(database, table) for table in tables] == [31, 41, 1]


BY_SIGNAL = """
    from django.apps import AppConfig
    from django.db.backends.signals import connection_created

    def choose(connection, **kwargs):
        with connection.cursor() as cursor:
            cursor.execute("SET search_path TO tenant")

    class Config(AppConfig):
        name = "shop"

        def ready(self):
            connection_created.connect(choose)
"""


def test_search_paths(project: Project, database: Database) -> None:
    database.execute("CREATE SCHEMA tenant")
    project.app("shop", models=ORDER)
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    project.manage("makemigrations", "shop")
    project.manage("migrate")
    project.databases["default"]["OPTIONS"] = {"options": "-c search_path=tenant"}
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    project.manage("migrate")

    def behind() -> None:
        for table in ("public.shop_order", "tenant.shop_order"):
            database.execute(f"TRUNCATE {table}; INSERT INTO {table} (id) VALUES (7)")
        set_back(database, "public.shop_order", "tenant.shop_order")

    def numbers() -> tuple[int, int]:
        return upcoming(database, "public.shop_order"), upcoming(database, "tenant.shop_order")

    behind()
    (line,) = said(project.manage("migrate").stdout)
    assert "tenant.shop_order_id_seq to 8" in line
    assert numbers() == (1, 8)
    behind()
    project.manage("resetsequences", "shop")
    assert numbers() == (1, 8)

    del project.databases["default"]["OPTIONS"]
    project.write("shop/apps.py", BY_SIGNAL)
    project.settings(INSTALLED_APPS=["restorehooks", "shop.apps.Config"])
    behind()
    assert len(said(project.manage("migrate").stdout)) == 1
    assert numbers() == (1, 8)

    behind()
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    (project.folder / "shop" / "apps.py").unlink()
    project.write("shop/fixtures/one.json", '[{"model": "shop.order", "pk": 9, "fields": {}}]')
    project.shell(
        """
        from django.core.management import call_command
        from django.db import connection
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SET search_path TO tenant")
        call_command("migrate", verbosity=0)
        from shop.models import Order
        assert Order.objects.create().pk == 8
        call_command("loaddata", "one", verbosity=0)
        """
    )
    assert numbers() == (1, 10)
    project.manage("resetsequences")
    assert numbers() == (8, 10)


def test_sqlite_beside_postgresql(project: Project, database: Database) -> None:
    lite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(project.folder / "lite")}
    project.databases["lite"] = lite
    project.settings()
    migrated = project.manage("migrate", "--database", "lite", "-v2")
    assert said(migrated.stdout) == []
    assert said(project.manage("flush", "--no-input", "--database", "lite", "-v2").stdout) == []
    project.manage("migrate")
    printed = project.shell(
        """
        from django.contrib.auth.models import Group
        from restorehooks import inspect_sequences, reset_sequences, reset_sequences_after
        print(len(reset_sequences(Group, using="lite")), len(inspect_sequences(using="lite")))
        with reset_sequences_after(Group, using="lite") as after:
            Group.objects.using("lite").create(pk=5, name="a")
        print(after.report.entries, Group.objects.using("lite").create(name="b").pk)
        """
    )
    assert printed == "0 0\n() 6\n"
