"""The system checks that look at the database, through ``manage.py check`` and ``migrate``."""

from __future__ import annotations

import re
from typing import Any

import django
import pytest

from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import set_back, upcoming

MODELS = """
    class Order(models.Model):
        pass

    class Visit(models.Model):
        id = models.AutoField(primary_key=True)
"""
CHECK = ("check", "--deploy", "--database", "default")


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with a bigint key and an integer one, and the tables for them."""
    project.app("shop", models=MODELS)
    settings(project)
    project.manage("migrate", "--run-syncdb", "-v0")
    return project


def settings(project: Project, **more: Any) -> None:
    modules = {"MIGRATION_MODULES": {"shop": None}}
    project.settings(**{"INSTALLED_APPS": ["restorehooks", "shop"], **modules, **more})


def warnings(project: Project, *arguments: str) -> list[str]:
    """Return what our own checks say, hints included."""
    done = project.manage(*(arguments or CHECK), check=False)
    found = re.findall(r"^\?: \((restorehooks\.[^\n]+)(?:\n\s+HINT: ([^\n]+))?", done.stderr, re.M)
    assert "Traceback" not in done.stderr
    return [" | ".join(filter(None, parts)) for parts in found]


def test_all_well(shop: Project) -> None:
    assert warnings(shop) == []


def test_a_sequence_behind_is_found_before_it_hurts(shop: Project, database: Database) -> None:
    database.execute("INSERT INTO shop_order VALUES (1), (41)")
    said = [
        'restorehooks.W003) In database "default", sequence public.shop_order_id_seq would hand'
        " out 1 next, but its rows have reached 41: the next insert may fail. | Run migrate, or:"
        " python manage.py resetsequences"
    ]
    assert warnings(shop) == said
    done = shop.manage(*CHECK, "--fail-level", "WARNING", "--tag", "database", check=False)
    assert done.returncode == 1
    assert upcoming(database, "shop_order") == 1

    assert warnings(shop, "check") == []
    assert warnings(shop, "check", "--deploy") == []
    assert warnings(shop, "check", "--database", "default") == []
    assert warnings(shop, "migrate") == []
    assert warnings(shop) == []


def test_of_a_row_that_migrate_does_not_follow_it_says_so(
    shop: Project, database: Database
) -> None:
    database.execute("INSERT INTO shop_order VALUES (2000000000000000000)")
    assert [said.partition(" | ")[2] for said in warnings(shop)] == [
        "The row numbered 2000000000000000000 stands alone, nothing else goes past 1: it may need"
        " another number; to follow it, run resetsequences: python manage.py resetsequences"
    ]


def test_every_schema_is_looked_at_and_many_are_grouped(shop: Project, database: Database) -> None:
    """As schema tenants have them; migrate repairs tables of no model too."""

    def tenant(name: str, tables: int) -> None:
        database.execute(f'CREATE SCHEMA "{name}"')
        for n in range(tables):
            table = f'"{name}".t{n}'
            database.execute(f"CREATE TABLE {table} (id serial); INSERT INTO {table} VALUES (7)")

    tenant("acme", 3)
    assert sorted(re.findall(r"acme\.t\d", " ".join(warnings(shop)))) == [
        "acme.t0",
        "acme.t1",
        "acme.t2",
    ]
    tenant("Odd one", 8)
    assert sorted(warnings(shop)) == [
        'restorehooks.W003) In schema "Odd one" of database "default", the rows have passed 8'
        ' sequences: "Odd one".t0_id_seq, "Odd one".t1_id_seq, "Odd one".t2_id_seq, "Odd'
        ' one".t3_id_seq, "Odd one".t4_id_seq and 3 more: the next inserts may fail. | Run: python'
        " manage.py resetsequences --schema 'Odd one'",
        'restorehooks.W003) In schema "acme" of database "default", the rows have passed 3'
        " sequences: acme.t0_id_seq, acme.t1_id_seq, acme.t2_id_seq: the next inserts may fail. |"
        " Run: python manage.py resetsequences --schema acme",
    ]
    shop.manage("resetsequences", "--schema", "Odd one")
    assert len(warnings(shop)) == 3


def test_where_many_are_nearly_full_each_schema_gets_one_warning(
    shop: Project, database: Database
) -> None:
    for schema in ("acme", "beta"):
        database.execute(f"CREATE SCHEMA {schema}")
        for n in range(6):
            database.execute(
                f"CREATE TABLE {schema}.t{n} (id serial PRIMARY KEY);"
                f"SELECT setval('{schema}.t{n}_id_seq', {2_000_000_000 + n})"
            )
    said = [line for line in warnings(shop) if "W004" in line]
    assert len(said) == 2
    assert said[0].startswith(
        'restorehooks.W004) In schema "acme" of database "default", sequences are nearly used up:'
        " acme.t0_id_seq (93.13%), acme.t1_id_seq (93.13%), "
    )
    assert "and 1 more. | ALTER TABLE acme.t0 ALTER COLUMN id TYPE bigint" in said[0]


def test_a_bound_of_the_sequence_alone_is_no_matter_of_fields(
    shop: Project, database: Database
) -> None:
    database.execute("ALTER SEQUENCE shop_visit_id_seq MAXVALUE 1000")
    database.execute("SELECT setval('shop_visit_id_seq', 1000)")
    (said,) = warnings(shop)
    assert said.endswith("| ALTER SEQUENCE public.shop_visit_id_seq NO MAXVALUE")
    database.execute(said.partition(" | ")[2])
    assert warnings(shop) == []


def test_every_schema_is_checked_whoever_has_made_its_tables(
    shop: Project, database: Database
) -> None:
    database.execute(
        "CREATE SCHEMA acme; CREATE TABLE acme.legacy (id serial);"
        "INSERT INTO acme.legacy VALUES (7); CREATE TABLE fine (id serial)"
    )
    (said,) = warnings(shop)
    assert "sequence acme.legacy_id_seq would hand out 1 next" in said
    shop.manage("migrate")
    assert warnings(shop) == []


def test_a_sequence_nearly_used_up(shop: Project, database: Database) -> None:
    database.execute("SELECT setval('shop_visit_id_seq', 1800000000)")
    (said,) = warnings(shop)
    assert said == (
        'restorehooks.W004) In database "default", 83.82% of the numbers of sequence'
        " public.shop_visit_id_seq are used up; the last one is 2147483647. |"
        " ALTER TABLE public.shop_visit ALTER COLUMN id TYPE bigint; ALTER SEQUENCE"
        " public.shop_visit_id_seq AS bigint (or make the fields BigAutoField and migrate)"
    )
    settings(shop, RESTOREHOOKS={"MAX_USED_PERCENT": 90})
    assert warnings(shop) == []

    settings(shop)
    for command in said.partition(" | ")[2].partition(" (or")[0].split(";"):
        database.execute(command)
    assert warnings(shop) == []


def test_big_auto_field_makes_room_too(project: Project, database: Database) -> None:
    project.app("shop", models=MODELS)
    settings(project, MIGRATION_MODULES={})
    project.manage("makemigrations", "shop")
    project.manage("migrate")
    database.execute("SELECT setval('shop_visit_id_seq', 2147483647)")
    assert len(warnings(project)) == 1
    project.app("shop", models=MODELS.replace("models.AutoField", "models.BigAutoField"))
    project.manage("makemigrations", "shop")
    project.manage("migrate")
    assert warnings(project) == []
    assert project.shell("from shop.models import *; print(Visit.objects.create().pk)") == (
        "2147483648\n"
    )


def test_a_bigint_used_up_has_no_larger_type(shop: Project, database: Database) -> None:
    database.execute("SELECT setval('shop_order_id_seq', 9200000000000000000)")
    (said,) = warnings(shop)
    assert said.endswith("| No type is larger than bigint.")


def test_a_database_that_cannot_be_reached(shop: Project, database: Database) -> None:
    databases = {
        "default": database.settings,
        "far": {**database.settings, "NAME": "no_such_database"},
    }
    settings(shop, DATABASES=databases)
    (said,) = warnings(shop, "check", "--deploy", "--database", "default", "--database", "far")
    assert said.startswith(
        'restorehooks.W005) The sequences of database "far" could not be read: connection'
    )
    assert 'database "no_such_database" does not exist' in said


def test_a_locked_table_is_said_and_the_others_are_looked_at(
    shop: Project, database: Database
) -> None:
    database.execute("INSERT INTO shop_order VALUES (41); INSERT INTO shop_visit VALUES (41)")
    settings(shop, RESTOREHOOKS={"LOCK_TIMEOUT": 0.2})
    with database.connect(autocommit=False) as connection:
        connection.execute("LOCK TABLE shop_visit")
        behind, locked = sorted(warnings(shop))
        connection.rollback()
    assert "W003" in behind
    assert "shop_order_id_seq" in behind
    assert "W005" in locked
    assert "shop_visit" in locked


def test_another_alias(shop: Project, other_database: Database, database: Database) -> None:
    databases = {"default": database.settings, "other": other_database.settings}
    settings(shop, DATABASES=databases)
    shop.manage("migrate", "--database", "other", "--run-syncdb", "-v0")
    other_database.execute("INSERT INTO shop_order VALUES (41)")
    assert warnings(shop) == []
    (said,) = warnings(shop, "check", "--deploy", "--database", "other")
    assert said.endswith("python manage.py resetsequences --database other")
    every = ["check", "--deploy", "--tag", "database"]
    assert warnings(shop, *every) == ([said] if django.VERSION >= (6, 1) else [])


def test_other_engines_and_wrong_settings(shop: Project, database: Database) -> None:
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    settings(shop, DATABASES={"default": sqlite})
    assert warnings(shop) == []
    settings(shop, RESTOREHOOKS={"MAX_USED_PERCENT": 120, "LOCK_TIMEOUT": "long"})
    said = warnings(shop)
    assert [each.partition(")")[0] for each in said[:2]] == ["restorehooks.E001"] * 2
    assert "must be a number above 0, up to 100, not 120" in said[1] + said[0]


def test_migrations_own_table_is_looked_at(project: Project, database: Database) -> None:
    settings(project, INSTALLED_APPS=["django.contrib.contenttypes", "restorehooks"])
    project.manage("migrate", "-v0")
    set_back(database, "django_migrations")
    (said,) = warnings(project)
    assert "django_migrations_id_seq" in said
