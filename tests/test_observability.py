"""Repairs can be counted: one signal and one kind of record, whatever ran the repair."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction
from django.test import override_settings

from restorehooks import reset_sequences, reset_sequences_after
from restorehooks.signals import sequences_repaired
from tests.support.databases import Database
from tests.support.projects import Project

SHOP = "class Order(models.Model): pass"
APP = """
    from django.apps import AppConfig

    class ShopConfig(AppConfig):
        name = "shop"

        def ready(self):
            import json, logging, sys
            from restorehooks.signals import sequences_repaired

            def count(sender, using, report, trigger, **kwargs):
                moved = [entry.sequence for entry in report.changed]
                print("counted", json.dumps([using, trigger, moved]))
                raise RuntimeError("a receiver that fails")

            sequences_repaired.connect(count, weak=False)
"""
ORDERS = [{"model": "shop.order", "pk": 42, "fields": {}}]


@pytest.fixture
def shop(project: Project) -> Project:
    """A migrated project whose receiver prints what it is told, and then fails."""
    project.app("shop", models=SHOP)
    project.write("shop/apps.py", APP)
    project.write("shop/fixtures/orders.json", json.dumps(ORDERS))
    settings(project)
    project.manage("makemigrations", "shop")
    project.manage("migrate")
    return project


def settings(project: Project, **more: Any) -> None:
    project.settings(INSTALLED_APPS=["restorehooks", "shop"], **more)


def counted(output: str) -> list[Any]:
    return [json.loads(told) for told in re.findall(r"counted (\[.*\])", output)]


def by(trigger: str) -> list[list[object]]:
    return [["default", trigger, ["public.shop_order_id_seq"]]]


def behind(database: Database, row: int) -> None:
    database.execute("INSERT INTO shop_order VALUES (%s)", row)


IMPORT = """
    from django.db import migrations
    from restorehooks.operations import ResetSequences

    class Migration(migrations.Migration):
        dependencies = [("shop", "0001_initial")]
        operations = [
            migrations.RunSQL("INSERT INTO shop_order VALUES (90)", ""),
            ResetSequences("Order"),
        ]
"""


def test_a_receiver_that_fails_stops_nothing(shop: Project) -> None:
    """Django logs what it raised."""
    console = {"handlers": {"console": {"class": "logging.StreamHandler"}}}
    loggers = {"django.dispatch": {"handlers": ["console"]}}
    settings(shop, LOGGING={"version": 1, **console, "loggers": loggers})
    done = shop.manage("loaddata", "orders")
    assert counted(done.stdout) == by("loaddata")
    assert "Installed 1 object(s)" in done.stdout
    assert "a receiver that fails" in done.stderr


def test_each_repair_of_a_migration_is_told_once(shop: Project, database: Database) -> None:
    behind(database, 50)
    done = shop.manage("migrate")
    assert counted(done.stdout) == by("pre_migrate")
    assert "No migrations to apply" in done.stdout

    behind(database, 60)
    settings(shop, RESTOREHOOKS={"PRE_MIGRATE": False})
    assert counted(shop.manage("migrate").stdout) == by("post_migrate")

    shop.write("shop/migrations/0002_import.py", IMPORT)
    assert counted(shop.manage("migrate").stdout) == by("ResetSequences")


def test_each_repair_that_is_asked_for_is_told_once(shop: Project, database: Database) -> None:
    behind(database, 70)
    for options in ("--check", "--dry-run", "--sql"):
        assert counted(shop.manage("resetsequences", options, check=False).stdout) == []
    assert counted(shop.manage("resetsequences").stdout) == by("resetsequences")
    assert counted(shop.manage("resetsequences").stdout) == []

    behind(database, 80)
    out = shop.shell("from restorehooks import reset_sequences; reset_sequences('shop')")
    assert counted(out) == by("reset_sequences")


def test_a_repair_after_a_duplicate_is_told_once(shop: Project, database: Database) -> None:
    database.execute("INSERT INTO shop_order VALUES (1), (2)")
    settings(shop, RESTOREHOOKS={"REPAIR_ON_DUPLICATE": True})
    done = shop.manage(
        "shell", "-c", "from shop.models import *; Order.objects.create()", check=False
    )
    assert counted(done.stdout) == by("duplicate")
    assert "IntegrityError" in done.stderr


def test_records_for_a_log_in_json(shop: Project, database: Database) -> None:
    """What a project's own formatter makes of them, from migrate in a process of its own."""
    shop.write(
        "logs.py",
        """
        import json, logging

        class Format(logging.Formatter):
            def format(self, record):
                names = ("database", "trigger", "sequence", "status", "next_before", "next_after")
                found = {name: getattr(record, name, None) for name in names}
                return json.dumps({"level": record.levelname, **found})
        """,
    )
    settings(
        shop,
        LOGGING={
            "version": 1,
            "formatters": {"json": {"()": "logs.Format"}},
            "handlers": {
                "file": {"class": "logging.FileHandler", "filename": "log", "formatter": "json"}
            },
            "loggers": {"restorehooks": {"handlers": ["file"], "level": "INFO"}},
        },
    )
    behind(database, 42)
    shop.manage("migrate")
    (record,) = map(json.loads, (shop.folder / "log").read_text().splitlines())
    assert record == {
        "level": "INFO",
        "database": "default",
        "trigger": "pre_migrate",
        "sequence": "public.shop_order_id_seq",
        "status": "advanced",
        "next_before": 1,
        "next_after": 43,
    }


@pytest.fixture
def things(database: Database) -> Database:
    database.execute(
        "CREATE TABLE thing (id serial PRIMARY KEY, name text); INSERT INTO thing VALUES (1), (9);"
        "CREATE TABLE small (id serial PRIMARY KEY); INSERT INTO small VALUES (5);"
        "ALTER SEQUENCE small_id_seq MAXVALUE 5"
    )
    return database


@pytest.fixture
def reports() -> Iterator[list[Any]]:
    told: list[Any] = []

    def receive(**kwargs: Any) -> None:
        told.append(kwargs)

    sequences_repaired.connect(receive)
    yield told
    sequences_repaired.disconnect(receive)


def test_levels_and_what_a_record_carries(
    things: Database, reports: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "restorehooks")
    with reset_sequences_after():
        pass
    moved, used_up = caplog.records
    assert (moved.levelname, moved.getMessage()) == (
        "INFO",
        "Sequence public.thing_id_seq moved on to 10",
    )
    carried = {name: vars(moved)[name] for name in ("columns", "extreme", "models", "trigger")}
    assert carried == {
        "columns": ["public.thing.id"],
        "extreme": 9,
        "models": [],
        "trigger": "reset_sequences",
    }
    assert used_up.levelname == "WARNING"
    assert vars(used_up)["status"] == "exhausted"
    (told,) = reports
    assert (told["using"], told["trigger"]) == ("default", "reset_sequences")
    assert [entry.next_after for entry in told["report"].changed] == [10]

    reset_sequences()
    assert len(reports) == 1  # nothing was moved


def test_a_receiver_that_fails_leaves_the_caller_s_transaction_alone(things: Database) -> None:
    def receive(**kwargs: Any) -> None:
        raise RuntimeError("on purpose")

    sequences_repaired.connect(receive)
    try:
        with transaction.atomic():
            reset_sequences()
            with connections["default"].cursor() as cursor:
                cursor.execute("INSERT INTO thing (name) VALUES ('x') RETURNING id")
                assert cursor.fetchone() == (10,)
    finally:
        sequences_repaired.disconnect(receive)


def test_a_violation_s_record(things: Database, caplog: pytest.LogCaptureFixture) -> None:
    things.execute(
        "CREATE TABLE auth_group (id serial PRIMARY KEY, name text);"
        "INSERT INTO auth_group VALUES (1, 'a')"
    )
    from django.contrib.auth.models import Group

    with override_settings(RESTOREHOOKS={}), pytest.raises(IntegrityError):
        Group.objects.create(name="new")
    (record,) = caplog.records
    assert {name: vars(record)[name] for name in ("database", "table", "column", "constraint")} == {
        "database": "default",
        "table": "auth_group",
        "column": "id",
        "constraint": "auth_group_pkey",
    }
    assert vars(record)["model"] == "auth.Group"
    assert vars(record)["command"] == "python manage.py resetsequences auth.Group"
