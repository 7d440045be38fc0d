"""``manage.py test``: fixtures, TransactionTestCase, and where Django leaves sequences itself."""

from __future__ import annotations

import pytest

from tests.support.databases import Database
from tests.support.projects import Project

APPS = ["restorehooks", "django.contrib.auth", "django.contrib.contenttypes", "shop"]
MODELS = """
    class Order(models.Model):
        pass

    class Rush(Order):
        class Meta:
            proxy = True
"""
RUSHES = """
    [{"model": "shop.rush", "pk": 6, "fields": {}}, {"model": "shop.rush", "pk": 7, "fields": {}}]
"""
INITIAL_DATA = """
    from django.db import migrations

    def load(apps, schema_editor):
        apps.get_model("shop", "Order").objects.create(pk=1)

    class Migration(migrations.Migration):
        dependencies = [("shop", "0001_initial")]
        operations = [migrations.RunPython(load)]
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A project whose migrations load a row, and a fixture of a proxy model."""
    project.app("shop", models=MODELS)
    project.settings(INSTALLED_APPS=APPS)
    project.manage("makemigrations", "shop")
    project.write("shop/migrations/0002_load.py", INITIAL_DATA)
    project.write("shop/fixtures/rushes.json", RUSHES)
    return project


HEADER = """\
from django.contrib.auth.models import *
from django.contrib.contenttypes.models import ContentType
from django.test import *
from shop.models import *
"""


def run_tests(project: Project, database: Database, text: str) -> str:
    """Run a test module through the real command and return its report."""
    file = project.write("shop/tests.py", text)
    file.write_text(HEADER + file.read_text())
    try:
        return project.manage("test", "shop", "-v1").stderr
    finally:
        database.server.execute(f'DROP DATABASE IF EXISTS "test_{database.name}" WITH (FORCE)')


FIXTURES = """
    class A(TestCase):
        fixtures = ["rushes"]

        def test_a(self):
            self.assertGreater(Order.objects.create().pk, 7)

        def test_b(self):
            self.assertGreater(Order.objects.create().pk, 7)
            Order.objects.create()

    class B(TransactionTestCase):
        fixtures = ["rushes"]

        def test_a(self):
            self.assertGreater(Order.objects.create().pk, 7)

        def test_b(self):
            self.assertGreater(Order.objects.create().pk, 7)
            Permission.objects.create(
                name="x", codename="x", content_type=ContentType.objects.first())
            ContentType.objects.create(app_label="x", model="x")

    class C(TransactionTestCase):
        fixtures = ["rushes"]
        reset_sequences = True

        def test_a(self):
            self.assertEqual(Order.objects.create().pk, 8)

        def test_b(self):
            self.assertEqual(Order.objects.create().pk, 8)
            self.assertEqual(Group.objects.create(name="x").pk, 1)

    class D(TransactionTestCase):
        fixtures = ["rushes"]
        available_apps = ["shop"]

        def test_a(self):
            self.assertGreater(Order.objects.create().pk, 7)
"""


def test_fixtures(shop: Project, database: Database) -> None:
    assert "\nOK\n" in run_tests(shop, database, FIXTURES)


def test_serialized_rollback(shop: Project, database: Database) -> None:
    report = run_tests(
        shop,
        database,
        """
        class A(TransactionTestCase):
            serialized_rollback = True

            def check(self):
                self.assertEqual(Order.objects.count(), 1)
                Order.objects.create()
                ContentType.objects.create(app_label="x", model="x")

            test_a = test_b = test_c = check
        """,
    )
    assert "\nOK\n" in report


RELOADED = """
    from restorehooks import reset_sequences

    class A(TransactionTestCase):
        serialized_rollback = True
        reset_sequences = True

        {set_up}

        def check(self):
            self.assertEqual(Order.objects.create().pk, 2)

        test_a = test_b = check
"""


def test_serialized_rollback_with_reset_sequences(shop: Project, database: Database) -> None:
    """Django saves the rows again and sends no signal then: not covered, and this is the remedy."""
    with pytest.raises(AssertionError, match="shop_order_pkey"):
        run_tests(shop, database, RELOADED.format(set_up=""))
    remedy = "setUp = lambda self: reset_sequences() and None"
    assert "\nOK\n" in run_tests(shop, database, RELOADED.format(set_up=remedy))
