"""A project with numbers of every other kind: second numbers, prefixes, functions, triggers.

What is said of each, what ``migrate`` repairs, and what it leaves as it is.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import next_of

MODELS = """
    from django.db.models.expressions import RawSQL

    class SerialField(models.BigIntegerField):  # a number beside the key
        db_returning = True

        def db_type(self, connection):
            return "bigserial"

        def pre_save(self, obj, add):
            value = getattr(obj, self.attname)
            return RawSQL("DEFAULT", ()) if value is None else value

    class Case(models.Model):
        number = SerialField(unique=True, editable=False)

    class Plain(models.Model):  # its table has a column that the model does not know
        name = models.CharField(max_length=10, default="x")

    class Bill(models.Model):
        no = models.CharField(
            primary_key=True, max_length=20,
            db_default=RawSQL("'INV' || lpad(nextval('shop_bill_no')::text, 6, '0')", []),
        )

    class Invoice(models.Model):
        no = models.BigIntegerField(
            primary_key=True, db_default=models.Func(function="next_invoice_no")
        )

    class Legacy(models.Model):  # a trigger draws from a sequence that nobody owns
        name = models.CharField(max_length=20, default="x")

        class Meta:
            managed = False
            db_table = "legacy"
"""
BEFORE = """
    CREATE SEQUENCE shop_bill_no; CREATE SEQUENCE invoice_no_seq;
    CREATE FUNCTION next_invoice_no() RETURNS bigint LANGUAGE sql
        AS $$ SELECT 2026 * 1000000::bigint + nextval('invoice_no_seq') $$;
    CREATE TABLE legacy (id bigint PRIMARY KEY, name varchar(20)); CREATE SEQUENCE legacy_s;
    CREATE FUNCTION legacy_bi() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF new.id IS NULL THEN new.id := nextval('legacy_s'); END IF; RETURN new; END $$;
    CREATE TRIGGER legacy_bi BEFORE INSERT ON legacy FOR EACH ROW EXECUTE FUNCTION legacy_bi();
"""
ROWS = """
    ALTER SEQUENCE invoice_no_seq OWNED BY shop_invoice.no;
    INSERT INTO shop_invoice SELECT next_invoice_no() FROM generate_series(1, 5);
    INSERT INTO shop_case (number) SELECT generate_series(1, 30);
    ALTER TABLE shop_plain ADD legacy_no serial UNIQUE;
    INSERT INTO shop_plain (name) SELECT 'x' FROM generate_series(1, 20);
    SELECT setval('shop_plain_legacy_no_seq', 1, false);
    INSERT INTO shop_bill SELECT 'INV' || lpad(g::text, 6, '0') FROM generate_series(1, 30) g;
    INSERT INTO legacy SELECT g, 'x' FROM generate_series(1, 30) g;
"""
INSERT = """
from shop.models import *
for model in (Case, Plain, Bill, Invoice, Legacy):
    try:
        print(model.__name__, model.objects.create().pk)
    except Exception as error:
        print(model.__name__, *[note.removeprefix("restorehooks: ") for note in error.__notes__])
"""
UNSURE = "Either a sequence is behind or the data really are duplicated"


@pytest.fixture
def shop(project: Project, database: Database) -> Project:
    database.execute(BEFORE)
    project.app("shop", models=MODELS)
    settings(project)
    project.manage("migrate", "--run-syncdb", "-v0")
    database.execute(ROWS)
    return project


def settings(project: Project, **more: Any) -> None:
    apps = ["restorehooks", "shop"]
    project.settings(INSTALLED_APPS=apps, MIGRATION_MODULES={"shop": None}, **more)


def inserted(project: Project) -> dict[str, str]:
    lines = project.shell(INSERT).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def test_numbers_of_other_kinds(shop: Project, database: Database) -> None:
    said = inserted(shop)
    assert said["Invoice"] == "2026000006"
    for model, constraint in [
        ("Case", "shop_case_number_key"),
        ("Plain", "shop_plain_legacy_no_key"),
        ("Bill", "shop_bill_pkey"),
    ]:
        assert said[model].startswith(UNSURE)
        assert said[model].endswith(f"python manage.py explainduplicate {constraint}")
    assert "No sequence is to blame" not in said["Legacy"]

    done = shop.manage("explainduplicate", "shop_plain_legacy_no_key")
    assert "shop_plain_legacy_no_seq" in done.stdout
    done = shop.manage("resetsequences", "shop.Legacy", check=False)
    assert "No sequence numbers shop.Legacy.id" in done.stderr

    for number in (7, 8):
        shop.manage("migrate", "--run-syncdb")
        said = inserted(shop)
        assert said["Invoice"] == f"202600000{number}", "healthy: nothing moves it"
        assert (said["Case"], said["Plain"]) == (f"{25 + number}", f"{15 + number}")
        assert said["Bill"].startswith(UNSURE)
    done = shop.manage("resetsequences", "-v2", check=False)
    assert "shop_invoice.no is public.next_invoice_no(), not nextval" in done.stdout

    settings(shop, RESTOREHOOKS={"LINKS": {"shop.Legacy.id": "legacy_s"}})
    shop.manage("migrate", "--run-syncdb")
    assert next_of(database, "legacy_s") == 31
    assert inserted(shop)["Legacy"] == "31"
