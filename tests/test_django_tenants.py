"""Schema tenants, with the real package: what notes, checks, commands and imports say there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support import ROOT
from tests.support.databases import Database, new_database
from tests.support.projects import MANAGE, Project
from tests.support.sequences import next_of
from tests.support.servers import RunningServer
from tests.support.shown import require_shown

pytest.importorskip("django_tenants", reason="django-tenants is not installed")

TENANTS = """
    from django_tenants.models import DomainMixin, TenantMixin

    class Client(TenantMixin):
        auto_create_schema = True

    class Domain(DomainMixin):
        pass
"""
SHARED = ["django_tenants", "customers", "django.contrib.contenttypes", "restorehooks"]
SEED = """
    from customers.models import Client
    for name in ("public", "acme", "beta"):
        Client.objects.create(schema_name=name)
"""


@pytest.fixture(scope="module")
def tenants(
    tmp_path_factory: pytest.TempPathFactory, server: RunningServer
) -> Iterator[tuple[Project, Database]]:
    with new_database(server, None, None, "template1") as database:
        engine = {"ENGINE": "django_tenants.postgresql_backend"}
        databases = {"default": {**database.settings, **engine}}
        project = Project(tmp_path_factory.mktemp("tenants"), server, databases)
        project.write("manage.py", MANAGE)
        project.app("customers", TENANTS)
        project.app(
            "shop", "class Order(models.Model):\n    name = models.CharField(max_length=9)\n"
        )
        project.settings(
            INSTALLED_APPS=[*SHARED, "shop"],
            SHARED_APPS=SHARED,
            TENANT_APPS=["shop"],
            TENANT_MODEL="customers.Client",
            TENANT_DOMAIN_MODEL="customers.Domain",
            DATABASE_ROUTERS=["django_tenants.routers.TenantSyncRouter"],
        )
        project.manage("makemigrations", "customers", "shop")
        project.manage("migrate_schemas", "--shared")
        project.shell(SEED)
        yield project, database


@pytest.fixture
def behind(tenants: tuple[Project, Database]) -> tuple[Project, Database]:
    """The project, with orders 1 to 7 in both tenants that no sequence knows."""
    project, database = tenants
    for schema in ("acme", "beta"):
        database.execute(
            f"TRUNCATE {schema}.shop_order RESTART IDENTITY;"
            f"INSERT INTO {schema}.shop_order SELECT n, '' FROM generate_series(1, 7) n"
        )
    return project, database


def nexts(database: Database) -> list[int]:
    return [next_of(database, f"{schema}.shop_order_id_seq") for schema in ("acme", "beta")]


def test_the_command_in_a_note_works_as_printed(behind: tuple[Project, Database]) -> None:
    project, database = behind
    note = project.shell(
        """
        from django.db import IntegrityError
        from django_tenants.utils import schema_context
        from shop.models import Order
        with schema_context("beta"):
            try:
                Order.objects.create()
            except IntegrityError as error:
                print(*error.__notes__)
        """
    )
    command = note.rpartition("This mends it: python manage.py ")[2].split()
    assert command == ["resetsequences", "--schema", "beta", "shop.Order"]
    done = project.manage(*command)
    assert done.stdout.endswith('Database "default": 1 sequence: 1 advanced.\n')
    assert nexts(database) == [1, 8]


def test_checks_see_every_tenant(behind: tuple[Project, Database]) -> None:
    project, _ = behind
    done = project.manage("check", "--deploy", "--tag", "database", "--database", "default")
    assert re.findall(r"sequence (\S+) would", done.stderr) == [
        "acme.shop_order_id_seq",
        "beta.shop_order_id_seq",
    ]


def test_one_explanation_for_all_schemas(behind: tuple[Project, Database]) -> None:
    project, database = behind
    database.execute("SELECT setval('acme.shop_order_id_seq', 7)")
    for n in range(3):
        database.execute(
            f"CREATE SCHEMA t{n}; CREATE TABLE t{n}.shop_order (id serial PRIMARY KEY)"
        )
    try:
        text = project.manage("explainduplicate", "shop_order_pkey").stdout
    finally:
        for n in range(3):
            database.execute(f"DROP SCHEMA t{n} CASCADE")
    assert text.splitlines()[0] == (
        'Database "default": shop_order_pkey in 5 schemas: 1 with a sequence behind, 4 with no'
        " sequence behind."
    )
    assert text.count(" is on id of ") == 1
    command = text.rpartition("$ python manage.py ")[2].split()
    project.manage(*command)
    assert nexts(database) == [8, 8]


@pytest.mark.parametrize("labels", [[], ["shop.Order"]])
def test_in_every_tenant_and_without_one(
    behind: tuple[Project, Database], labels: list[str]
) -> None:
    project, database = behind
    project.manage("all_tenants_command", "resetsequences", *labels)
    assert nexts(database) == [8, 8]
    database.execute("SELECT setval('acme.shop_order_id_seq', 1)")
    project.manage("tenant_command", "resetsequences", "--schema=beta", *labels)
    assert nexts(database) == [2, 8]
    project.manage("resetsequences", *labels)
    assert nexts(database) == [8, 8]


def test_an_import_after_which_nothing_was_read_says_so(behind: tuple[Project, Database]) -> None:
    project, database = behind
    said = project.shell(
        """
        import logging, sys
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        from django_tenants.utils import schema_context
        from restorehooks import reset_sequences_after
        from shop.models import Order
        with reset_sequences_after(Order) as after:
            with schema_context("acme"):
                Order.objects.bulk_create([Order(id=20)])
        print(after.report.sentence(), after.report.is_fine)
        with schema_context("acme"), reset_sequences_after(Order) as after:
            pass
        print(after.report.is_fine)
        """
    ).splitlines()
    assert said == [
        "No sequence was checked in database default: there is none for shop.Order (search_path is"
        " public)",
        'Database "default": 0 sequences; none numbers a table of shop.Order there. False',
        "True",
    ]
    assert nexts(database) == [21, 1]


@pytest.mark.parametrize("executor", ["standard", "multiprocessing"])
def test_migrate_schemas_looks_at_each_schema_and_names_it(
    behind: tuple[Project, Database], executor: str
) -> None:
    project, database = behind
    only_one = project.manage("migrate_schemas", "--schema=beta", f"--executor={executor}")
    assert nexts(database) == [1, 8]
    assert "beta.shop_order_id_seq to 8" in only_one.stdout
    every = project.manage("migrate_schemas", f"--executor={executor}")
    assert nexts(database) == [8, 8]
    assert re.findall(r"past their rows: (\S+) to 8", every.stdout) == ["acme.shop_order_id_seq"]
    again = project.manage("migrate_schemas", f"--executor={executor}")
    assert "restorehooks" not in again.stdout


def test_a_new_tenant_a_clone_and_a_fixture(behind: tuple[Project, Database]) -> None:
    project, database = behind
    database.execute("SELECT setval('acme.shop_order_id_seq', 900)")
    project.shell(
        """
        from customers.models import Client
        Client.objects.create(schema_name="fresh")
        """
    )
    order = {"model": "shop.order", "pk": 40, "fields": {"name": "forty"}}
    project.write("orders.json", json.dumps([order]))
    names = ["--schema_name=copy", "--domain-domain=copy.test", "--domain-is_primary=True"]
    project.manage(
        "clone_tenant", "--clone_from=acme", "--clone_tenant_fields=no", *names,
        "--domain-tenant_id=0",
    )  # fmt: skip
    try:
        project.manage("tenant_command", "loaddata", "--schema=fresh", "orders.json")
        wanted = {"fresh": 41, "copy": 901, "acme": 901, "beta": 1}
        found = {name: next_of(database, f"{name}.shop_order_id_seq") for name in wanted}
        assert found == wanted
        done = project.manage("resetsequences", "--check", "--schema", "c*", "--schema", "f*")
        assert done.stderr == ""
        # The clone of a sequence that was restarted, and not used since, begins at its start.
        database.execute("ALTER TABLE beta.shop_order ALTER id RESTART WITH 8")
        database.execute("SELECT public.clone_schema('beta', 'restarted', 'DATA')")
        assert next_of(database, "restarted.shop_order_id_seq") == 1
        project.manage("resetsequences", "--schema", "restarted")
        assert next_of(database, "restarted.shop_order_id_seq") == 8
        database.execute(
            "ALTER TABLE copy.shop_order ALTER id DROP IDENTITY,"
            " ALTER id SET DEFAULT nextval('acme.shop_order_id_seq')"
        )
        said = project.manage("resetsequences", "--dry-run", "--schema", "copy").stderr
    finally:
        project.shell(
            """
            from customers.models import Client
            Client.objects.filter(schema_name__in=["fresh", "copy"]).delete()
            """
        )
        database.execute("DROP SCHEMA IF EXISTS fresh, copy, restarted CASCADE")
    assert said.startswith(
        'Database "default": Schema "copy" draws from sequences of schema "acme":'
        " copy.shop_order.id from acme.shop_order_id_seq."
    )


def test_the_page_shows_what_migrate_schemas_prints(behind: tuple[Project, Database]) -> None:
    project, _ = behind
    require_shown(project, ROOT / "docs" / "howto" / "tenants.md", "migrate_schemas")
