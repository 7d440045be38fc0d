"""Imports by django-import-export, of proxies and of children of multi-table inheritance.

After an import it resets the sequence of its own model's table in Django's way: those of a proxy's
table and of a parent's stay behind.
"""

from __future__ import annotations

import pytest

from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import upcoming

pytest.importorskip("import_export", reason="django-import-export is not installed")

MODELS = """
    class Customer(models.Model):
        name = models.CharField(max_length=20)

    class Vip(Customer):
        class Meta:
            proxy = True

    class Product(models.Model):
        name = models.CharField(max_length=20)

    class Book(Product):
        pages = models.IntegerField(default=0)
"""
IMPORT = """
from django.db import IntegrityError, transaction
from import_export.resources import modelresource_factory
from tablib import Dataset
from restorehooks import reset_sequences_after
from shop.models import Book, Customer, Product, Vip

def load(model, number):
    rows = Dataset((number, "imported"), headers=["id", "name"])
    modelresource_factory(model)().import_data(rows, raise_errors=True)

def create(model):
    try:
        with transaction.atomic():
            print(model.__name__, model.objects.create(name="new").pk)
    except IntegrityError as error:
        print(model.__name__, "fails")
"""
ALONE = "load(Vip, 1); create(Customer); load(Book, 1); create(Product)"
WITH_US = """
with reset_sequences_after(Vip, Book):
    load(Vip, 5)
    load(Book, 7)
create(Customer)
create(Product)
create(Book)
try:
    with reset_sequences_after(Book), transaction.atomic():
        load(Book, 20)
        raise KeyError("the import fails")
except KeyError:
    create(Book)
"""


def test_proxies_and_children(project: Project, database: Database) -> None:
    project.app("shop", models=MODELS)
    project.settings(
        INSTALLED_APPS=["restorehooks", "import_export", "shop"], MIGRATION_MODULES={"shop": None}
    )
    project.manage("migrate", "--run-syncdb", "-v0")
    alone = project.shell(IMPORT + ALONE).splitlines()
    assert alone == ["Customer fails", "Product fails"]
    with_us = project.shell(IMPORT + WITH_US).splitlines()
    assert with_us == ["Customer 6", "Product 8", "Book 9", "Book 10"]
    assert (upcoming(database, "shop_customer"), upcoming(database, "shop_product")) == (7, 11)
