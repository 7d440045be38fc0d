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


@pytest.fixture
def routed(project: Project, database: Database, other_database: Database) -> Project:
    """A project whose router sends one app to another database; a row 7 is in every table."""
    project.app("shop", models=ORDER)
    project.app("stats", models="class Hit(models.Model):\n    pass\n")
    project.write("routing.py", ROUTER)
    project.settings(
        INSTALLED_APPS=["restorehooks", *DJANGO, "shop", "stats"],
        DATABASE_ROUTERS=["routing.Router"],
        MIGRATION_MODULES={"shop": None, "stats": None},
    )
    project.shell(
        """
        from django.core.management import call_command
        for alias in ("default", "other"):
            call_command("migrate", run_syncdb=True, database=alias, verbosity=0)
        """
    )
    database.execute("CREATE TABLE stats_hit (id serial)")  # a relic that the router rules out
    for each, table in (
        (database, "stats_hit"),
        (database, "shop_order"),
        (other_database, "stats_hit"),
    ):
        each.execute(f"INSERT INTO {table} (id) VALUES (7)")
    return project


def test_hooks_keep_to_their_alias(routed: Project, database: Database) -> None:
    (line,) = said(routed.manage("migrate", "--database", "other").stdout)
    assert line == (
        'restorehooks: In database "other", moved 1 of 2 sequences past their rows:'
        " public.stats_hit_id_seq to 8."
    )
    assert upcoming(database, "shop_order") == 1
    assert len(said(routed.manage("migrate", "-v2").stdout)) == 2
    assert upcoming(database, "shop_order") == 8
    assert upcoming(database, "stats_hit") == 8, "no model's here, and behind its rows all the same"
    assert said(routed.manage("flush", "--no-input", "--database", "other").stdout) == []


def test_models_are_repaired_where_the_router_writes_them(
    routed: Project, database: Database
) -> None:
    printed = routed.shell(
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


TABLES = ("other.whole", '"Mixed".trick', 'other."foreign"')


@pytest.fixture
def schemas(project: Project, database: Database) -> Project:
    """A project whose tables are in several schemas, with a row 7 in each."""
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
    project.settings(INSTALLED_APPS=["restorehooks", "shop"], MIGRATION_MODULES={"shop": None})
    project.manage("migrate", "--run-syncdb")
    database.execute('CREATE TABLE other."foreign" (id serial)')
    for table in TABLES:
        database.execute(f"INSERT INTO {table} (id) VALUES (7)")
    return project


def next_numbers(database: Database) -> list[int]:
    return [upcoming(database, table) for table in TABLES]


def test_hooks_find_tables_in_other_schemas(schemas: Project, database: Database) -> None:
    (line,) = said(schemas.manage("migrate").stdout)
    assert "moved 3 of 3 sequences" in line
    assert next_numbers(database) == [8, 8, 8]
    create = (
        "from shop.models import *; print(Whole.objects.create().pk, Trick.objects.create().pk)"
    )
    assert schemas.shell(create) == "8 8\n"
    set_back(database, *TABLES)
    schemas.write(
        "shop/fixtures/some.json",
        '[{"model": "shop.whole", "pk": 30, "fields": {}},'
        ' {"model": "shop.trick", "pk": 40, "fields": {}}]',
    )
    schemas.manage("loaddata", "some")
    assert next_numbers(database) == [31, 41, 1]


def test_a_model_or_a_schema_alone(schemas: Project, database: Database) -> None:
    schemas.manage("resetsequences", "shop.Trick")
    assert next_numbers(database) == [1, 8, 1]
    schemas.manage("resetsequences", "--schema", "other")
    assert next_numbers(database) == [8, 8, 8]


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


@pytest.fixture
def tenants(project: Project, database: Database) -> Project:
    """A project with the same table in two schemas, each behind its row 7."""
    database.execute("CREATE SCHEMA tenant")
    project.app("shop", models=ORDER)
    for schema in ("public", "tenant"):
        project.databases["default"]["OPTIONS"] = {"options": f"-c search_path={schema}"}
        project.settings(INSTALLED_APPS=["restorehooks", "shop"], MIGRATION_MODULES={"shop": None})
        project.manage("migrate", "--run-syncdb")
        database.execute(f"INSERT INTO {schema}.shop_order (id) VALUES (7)")
    return project


def tenant_numbers(database: Database) -> tuple[int, int]:
    return upcoming(database, "public.shop_order"), upcoming(database, "tenant.shop_order")


def test_a_search_path_by_an_option(tenants: Project, database: Database) -> None:
    (line,) = said(tenants.manage("migrate").stdout)
    assert "tenant.shop_order_id_seq to 8" in line
    assert tenant_numbers(database) == (1, 8)
    set_back(database, "tenant.shop_order")
    tenants.manage("resetsequences", "shop")
    assert tenant_numbers(database) == (1, 8)


def test_a_search_path_by_a_signal(tenants: Project, database: Database) -> None:
    del tenants.databases["default"]["OPTIONS"]
    tenants.write("shop/apps.py", BY_SIGNAL)
    tenants.settings(
        INSTALLED_APPS=["restorehooks", "shop.apps.Config"], MIGRATION_MODULES={"shop": None}
    )
    assert len(said(tenants.manage("migrate").stdout)) == 1
    assert tenant_numbers(database) == (1, 8)


def test_a_search_path_of_the_session(tenants: Project, database: Database) -> None:
    del tenants.databases["default"]["OPTIONS"]
    tenants.settings(INSTALLED_APPS=["restorehooks", "shop"], MIGRATION_MODULES={"shop": None})
    tenants.write("shop/fixtures/one.json", '[{"model": "shop.order", "pk": 9, "fields": {}}]')
    tenants.shell(
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
    assert tenant_numbers(database) == (1, 10)
    tenants.manage("resetsequences")
    assert tenant_numbers(database) == (8, 10)


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
