"""The migration operation ResetSequences, through migrate, sqlmigrate and squashmigrations."""

from __future__ import annotations

import pytest
from django.db.migrations.writer import OperationWriter

from restorehooks.operations import ResetSequences
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import set_back, upcoming

MODELS = """
    class Country(models.Model):
        pass

    class City(models.Model):
        pass

    class Capital(City):
        pass

    class Harbour(City):
        class Meta:
            proxy = True
"""
IMPORT = """
from django.db import migrations
from restorehooks.operations import ResetSequences


def load(apps, schema_editor):
    using = schema_editor.connection.alias
    for name in ("Country", "City"):
        model = apps.get_model("geo", name)
        model.objects.using(using).bulk_create([model(pk=pk) for pk in (1, 2, 9)])


def more(apps, schema_editor):
    using = schema_editor.connection.alias
    for name in ("Country", "City"):
        apps.get_model("geo", name).objects.using(using).create()


class Migration(migrations.Migration):
    atomic = {atomic}
    dependencies = [("geo", "0001_initial")]
    operations = [
        migrations.RunPython(load, migrations.RunPython.noop, elidable=False),
        {operation}
        migrations.RunPython(more, migrations.RunPython.noop),
    ]
"""
OFF = {"PRE_MIGRATE": False, "POST_MIGRATE": False}
OPERATION = 'ResetSequences("Country", "city"),'


@pytest.fixture
def geo(project: Project) -> Project:
    """A project with an app whose second migration writes explicit ids, and no other help."""
    project.app("geo", models=MODELS)
    project.settings(INSTALLED_APPS=["geo", "restorehooks"], RESTOREHOOKS=OFF)
    project.manage("makemigrations", "geo")
    write(project)
    return project


def write(project: Project, operation: str = OPERATION, *, atomic: bool = True) -> None:
    text = IMPORT.format(operation=operation, atomic=atomic)
    project.write("geo/migrations/0002_import.py", text)


@pytest.mark.parametrize("atomic", [True, False])
def test_migrate_and_back(geo: Project, database: Database, atomic: bool) -> None:
    write(geo, "", atomic=atomic)
    died = geo.manage("migrate", check=False)
    assert 'duplicate key value violates unique constraint "geo_country_pkey"' in died.stderr
    geo.manage("migrate", "geo", "zero")

    write(geo, atomic=atomic)
    plan = geo.manage("migrate", "--plan").stdout
    assert "    Reset sequences of Country, city\n" in plan
    geo.manage("migrate")
    assert upcoming(database, "geo_country") == upcoming(database, "geo_city") == 11
    geo.manage("migrate", "geo", "0001")
    assert upcoming(database, "geo_country") == 11
    assert "No changes detected" in geo.manage("makemigrations", "--check", "--dry-run").stdout


def test_sqlmigrate_mends_when_psql_runs_it(geo: Project, database: Database) -> None:
    geo.manage("migrate", "geo", "0001")
    write(geo, 'ResetSequences(["Country", "Capital"]), ResetSequences("Harbour"),')
    printed = geo.manage("sqlmigrate", "geo", "0002").stdout
    assert "-- Reset sequences of Country, Capital\n" in printed
    assert "-- Reset sequences of Harbour\n" in printed

    database.psql(printed)
    assert upcoming(database, "geo_country") == upcoming(database, "geo_city") == 1
    for table in ("geo_country", "geo_city"):
        database.execute(f"INSERT INTO {table} VALUES (1), (2), (9)")
    database.psql(printed)
    assert upcoming(database, "geo_country") == upcoming(database, "geo_city") == 10
    database.execute("INSERT INTO geo_country VALUES (12)")
    database.execute("SELECT setval('geo_city_id_seq', 12)")
    database.psql(printed)
    assert upcoming(database, "geo_country") == upcoming(database, "geo_city") == 13

    set_back(database, "geo_country", "geo_city", to=500)
    database.psql(printed)
    assert upcoming(database, "geo_country") == upcoming(database, "geo_city") == 500

    database.execute("ALTER SEQUENCE geo_country_id_seq INCREMENT 2 RESTART 3")
    database.psql(printed)
    assert database.execute("SELECT nextval('geo_country_id_seq')") == [(13,)]
    database.execute("ALTER TABLE geo_city ALTER id DROP IDENTITY")
    database.psql(printed)

    database.execute(  # a serial column, as before Django 4.1
        "CREATE SEQUENCE serial OWNED BY geo_city.id;"
        "ALTER TABLE geo_city ALTER id SET DEFAULT nextval('serial'::regclass)"
    )
    if database.server.version < 190000:
        database.execute(f"ALTER DATABASE {database.name} SET standard_conforming_strings = off")
    database.psql(printed)
    assert upcoming(database, "geo_city") == 10
    backwards = geo.manage("sqlmigrate", "geo", "0002", "--backwards").stdout
    assert "setval" not in backwards


def test_squashed(geo: Project, database: Database) -> None:
    geo.manage("squashmigrations", "geo", "0002", "--no-input")
    (squashed,) = (geo.folder / "geo" / "migrations").glob("*squashed*.py")
    text = squashed.read_text()
    assert "restorehooks.operations.ResetSequences(" in text
    assert "models=['Country', 'city']" in text
    # What Django asks of everybody who squashes a RunPython: move its function over.
    functions = IMPORT[IMPORT.index("def load") : IMPORT.index("class Migration")]
    text = text.replace("class Migration", f"{functions}class Migration")
    squashed.write_text(text.replace("geo.migrations.0002_import.", ""))
    geo.manage("migrate")
    assert upcoming(database, "geo_country") == 11


def test_sqlite_is_left_alone(geo: Project) -> None:
    geo.databases["default"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": "lite"}
    geo.settings(INSTALLED_APPS=["geo", "restorehooks"])
    geo.manage("migrate")
    assert "setval" not in geo.manage("sqlmigrate", "geo", "0002").stdout
    made = geo.shell("from geo.models import Country; print(Country.objects.create().pk)")
    assert made == "11\n"


def test_a_model_that_is_not_there(geo: Project) -> None:
    write(geo, 'ResetSequences("Contry"),')
    done = geo.manage("migrate", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("App 'geo' doesn't have a 'Contry' model.")


def test_how_it_is_written() -> None:
    operation = ResetSequences("Country", "City")
    text, imports = OperationWriter(operation, indentation=0).serialize()
    assert text == ("restorehooks.operations.ResetSequences(\n    models=['Country', 'City'],\n),")
    assert imports == {"import restorehooks.operations"}
    assert operation.migration_name_fragment == "reset_sequences_country_city"
    assert ResetSequences(["Country"], "City").models == operation.models
