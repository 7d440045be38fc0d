"""Many schemas: patterns for them, and tables of one that draw from another one's sequences."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from restorehooks.sequences import catalog
from restorehooks.sequences.message import send
from restorehooks.sequences.sending import Rows
from tests.support import ROOT
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import DEFAULT, inspect, next_of, reset
from tests.support.shown import require_shown

NAMES = ["tenant_a", "tenant_b", "Tenant_C", "other", "odd*name"]


@pytest.fixture
def schemas(database: Database) -> Database:
    """Schemas with an order numbered 7 each, which no sequence knows."""
    for name in NAMES:
        database.execute(
            f'CREATE SCHEMA "{name}" CREATE TABLE orders (id serial PRIMARY KEY);'
            f'INSERT INTO "{name}".orders VALUES (7)'
        )
    return database


def repaired(database: Database) -> list[str]:
    return [name for name in NAMES if next_of(database, f'"{name}".orders_id_seq') == 8]


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        (["tenant_*"], ["tenant_a", "tenant_b"]),
        (["[Tt]enant_?", "other"], ["tenant_a", "tenant_b", "Tenant_C", "other"]),
        (["odd*name"], ["odd*name"]),
        (["*"], NAMES),
    ],
)
def test_patterns(schemas: Database, patterns: list[str], meant: list[str]) -> None:
    call_command("resetsequences", schema=patterns, verbosity=0)
    assert repaired(schemas) == meant


def test_a_schema_that_somebody_calls_as_a_pattern_hides_nothing(schemas: Database) -> None:
    schemas.execute('CREATE SCHEMA "tenant_*"')
    call_command("resetsequences", schema=["tenant_*"], verbosity=0)
    assert repaired(schemas) == ["tenant_a", "tenant_b"]


PAGE = ROOT / "docs" / "howto" / "tenants.md"
TABLE = "CREATE TABLE orders (id serial PRIMARY KEY)"


def test_the_page_shows_what_is_printed(database: Database, project: Project) -> None:
    for name in ("tenant_acme", "tenant_beta", "other"):
        database.execute(f"CREATE SCHEMA {name} {TABLE}; INSERT INTO {name}.orders VALUES (7)")
    database.execute(
        f"CREATE SCHEMA source {TABLE}; CREATE SCHEMA clone;"
        "CREATE TABLE clone.orders (LIKE source.orders INCLUDING ALL)"
    )
    require_shown(project, PAGE, "tenants")
    require_shown(project, PAGE, "clone")


def test_a_pattern_that_fits_nothing(schemas: Database) -> None:
    for n in range(30):
        schemas.execute(f"CREATE SCHEMA s{n}")
    with pytest.raises(CommandError) as caught:
        call_command("resetsequences", schema=["tenant_*", "nobody_*"])
    assert str(caught.value).startswith('Database "default" has no schema "nobody_*"; it has: ')
    assert str(caught.value).endswith(" and 16 more.")
    assert repaired(schemas) == []


@pytest.mark.parametrize("path", ["tenant_a, pg_catalog, pg_temp", "information_schema, tenant_a"])
def test_a_path_that_names_the_server_s_own_schemas_too(schemas: Database, path: str) -> None:
    with connections[DEFAULT].cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE t (id serial); SET search_path = {path}")
    call_command("resetsequences")
    assert repaired(schemas) == ["tenant_a"]


def test_a_clone_that_draws_from_its_source(database: Database) -> None:
    tables = [f"t{n}" for n in range(4)]
    for table in tables:
        database.execute(
            f"CREATE SCHEMA IF NOT EXISTS src; CREATE TABLE src.{table} (id serial PRIMARY KEY);"
            f"CREATE SCHEMA IF NOT EXISTS clone;"
            f"CREATE TABLE clone.{table} (LIKE src.{table} INCLUDING ALL)"
        )
    database.execute("INSERT INTO clone.t0 VALUES (70)")
    said = (
        'Schema "clone" draws from sequences of schema "src": clone.t0.id from src.t0_id_seq,'
        " clone.t1.id from src.t1_id_seq, clone.t2.id from src.t2_id_seq and 1 more. If it was"
        " cloned, give its tables sequences of their own: dropping the other schema takes their"
        " defaults away."
    )
    assert reset(DEFAULT).notes == (said,)
    assert inspect(DEFAULT, schemas=["clone"]).notes == (said,)
    assert next_of(database, "src.t0_id_seq") == 71


def test_a_sequence_that_schemas_share_on_purpose_is_no_clones(database: Database) -> None:
    database.execute(
        "CREATE SEQUENCE shared; CREATE SCHEMA a; CREATE SCHEMA b;"
        "CREATE TABLE a.t (id int DEFAULT nextval('shared'));"
        "CREATE TABLE b.t (id int DEFAULT nextval('shared'));"
        "CREATE TABLE invoices (id int DEFAULT nextval('shared'))"
    )
    assert inspect(DEFAULT).notes == ()


def test_what_is_read_of_the_catalogue_does_not_grow_with_other_schemas(
    schemas: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counting(*args: Any, **kwargs: Any) -> list[Rows]:
        answers = send(*args, **kwargs)
        read.append(len(answers[0]))
        return answers

    monkeypatch.setattr(catalog, "send", counting)
    assert len(inspect(DEFAULT, schemas=["other"])) == 1
    assert read == [0, 1], "no odd default, and one sequence"
    schemas.execute(  # one that numbers a table there from elsewhere is read, too
        "CREATE SEQUENCE tenant_a.elsewhere; CREATE TABLE other.t"
        " (id int DEFAULT nextval('tenant_a.elsewhere'))"
    )
    assert len(inspect(DEFAULT, schemas=["other"])) == 2


@pytest.mark.parametrize("command", ["resetsequences", "migrate"])
def test_parallel_workers_do_no_harm(database: Database, command: str) -> None:
    database.execute("CREATE TABLE shelf (id serial PRIMARY KEY); INSERT INTO shelf VALUES (4)")
    name = "debug_parallel_query" if database.server.version >= 160000 else "force_parallel_mode"
    database.execute(f"ALTER DATABASE {database.name} SET {name} = on")
    connections.close_all()
    call_command(command, verbosity=0)
    assert next_of(database, "shelf_id_seq") == 5
