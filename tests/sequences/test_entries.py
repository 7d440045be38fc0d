"""Entries of IGNORE and LINKS that name nothing: a check and the command name them."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.databases import Database
from tests.support.projects import Project

MODELS = """
    class Order(models.Model):
        number = models.IntegerField(null=True)
"""
RIGHT = {
    "IGNORE": {
        "public.old_id_seq": "by its sequence",
        "public.old?.id": "by a pattern of columns",
        "public.country.code": "of a column that is no number any more",
        "public.by_name.id": "of a column that only a name leads to",
    },
    "LINKS": {
        "shop.Order.number": "order_numbers",
        'public."Odd".id': '"Odd numbers"',
    },
}
WRONG = {
    "IGNORE": {"public.odl_*": "misspelt", **RIGHT["IGNORE"]},
    "LINKS": {
        "shop.Order.nubmer": "order_numbers",
        "shop.Ordre.number": "order_numbers",
        "public.t.id": "orders",
        "a..b": "a b",
    },
}
LINKS = 'RESTOREHOOKS["LINKS"] names'
SAID = [
    f'{LINKS} "shop.Order.nubmer", and there is no such column in database "default".',
    f'{LINKS} "shop.Ordre.number", and there is no such column in database "default".',
    f'{LINKS} "orders", and there is no such sequence in database "default".',
    f'{LINKS} "a..b", and there is no such column in database "default".',
    f'{LINKS} "a b", and there is no such sequence in database "default".',
    'RESTOREHOOKS["IGNORE"] names "public.odl_*", and there is no such sequence, nor a column that'
    ' one numbers, in database "default".',
]
TABLES = """
    CREATE TABLE old (id serial); CREATE TABLE old2 (id serial); CREATE TABLE t (id int);
    CREATE TABLE country (code serial); ALTER TABLE country ALTER code TYPE varchar(3);
    CREATE TABLE by_name (id int PRIMARY KEY); CREATE SEQUENCE by_name_seq;
    CREATE SEQUENCE order_numbers; CREATE SEQUENCE "Odd numbers"; CREATE TABLE "Odd" (id int);
"""
MODULES: dict[str, Any] = {
    "MIGRATION_MODULES": {"shop": None},
    "INSTALLED_APPS": ["restorehooks", "shop"],
}
CHECK = ("check", "--deploy", "--tag", "database", "--database", "default")


def test_the_check_and_the_command_name_them(project: Project, database: Database) -> None:
    database.execute(TABLES)
    project.app("shop", models=MODELS)
    project.settings(**MODULES, RESTOREHOOKS=RIGHT)
    project.manage("migrate", "--run-syncdb", "-v0")
    assert "no issues" in project.manage(*CHECK).stdout
    assert project.manage("resetsequences").stderr == ""

    project.settings(**MODULES, RESTOREHOOKS=WRONG)
    said = project.manage(*CHECK).stderr
    assert sorted(re.findall(r"W006\) (.*)", said)) == sorted(SAID)
    assert "HINT: Correct the name as resetsequences -v2 shows it, or remove the entry." in said

    done = project.manage("resetsequences", "--check", "--format=json", check=False)
    assert sorted(done.stderr.splitlines()) == sorted(SAID)
    assert json.loads(done.stdout)["exit_code"] == 0
    # What is asked about a part of the database says nothing of the rest.
    assert project.manage("resetsequences", "--check", "shop").stderr == ""
    said = project.manage("resetsequences", "--check", "shop", "-v2").stderr
    assert sorted(said.splitlines()) == sorted(SAID)


def test_what_is_in_another_database_is_not_said_to_be_nowhere(
    project: Project, database: Database, other_database: Database
) -> None:
    other_database.execute("CREATE TABLE old (id serial)")
    entries = {"public.old_*": "of the other", "public.none": "of none"}
    project.settings(INSTALLED_APPS=["restorehooks"], RESTOREHOOKS={"IGNORE": entries})
    assert project.manage("resetsequences").stderr == ""
    (said,) = project.manage("resetsequences", "--all-databases").stderr.splitlines()
    assert '"public.none"' in said
    assert said.endswith('in databases "default", "other".')
    both = (*CHECK, "--database", "other")
    assert len(re.findall("W006", project.manage(*both).stderr)) == 1


def test_a_database_that_cannot_be_asked(project: Project) -> None:
    project.databases["default"]["NAME"] = "no_such_database"
    project.settings(INSTALLED_APPS=["restorehooks"], RESTOREHOOKS=WRONG)
    done = project.manage(*CHECK, check=False)
    assert "W005" in done.stderr
    assert "W006" not in done.stderr
    assert "Traceback" not in done.stderr
