"""What of a live database counts as data, and so where a dump goes by itself."""

from __future__ import annotations

import pytest

from restorehooks.restore.server.address import Address
from restorehooks.restore.server.live import read_live
from tests.support.databases import Database

MEMBERS = {
    "composite type": "CREATE TYPE pair AS (a int); ALTER EXTENSION plpgsql ADD TYPE pair",
    "enum": "CREATE TYPE kind AS ENUM ('a'); ALTER EXTENSION plpgsql ADD TYPE kind",
    "table": "CREATE TABLE t (id int); ALTER EXTENSION plpgsql ADD TABLE t",
    "event trigger": "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
    "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f();"
    "ALTER EXTENSION plpgsql ADD FUNCTION f(); ALTER EXTENSION plpgsql ADD EVENT TRIGGER e",
    "schema": "CREATE SCHEMA extensions; DROP EXTENSION plpgsql;"
    "CREATE EXTENSION plpgsql SCHEMA pg_catalog;"
    "UPDATE pg_extension SET extnamespace = 'extensions'::regnamespace",
}


@pytest.mark.parametrize("kind", MEMBERS)
def test_what_belongs_to_an_extension_is_no_data(database: Database, kind: str) -> None:
    database.execute(MEMBERS[kind])
    with Address.of("default").connect("postgres") as connection:
        assert read_live(Address.of("default"), connection).objects == {}


@pytest.mark.parametrize("name", ["citext", "tablefunc"])
def test_extensions_as_they_are(database: Database, name: str) -> None:
    if not database.execute("SELECT 1 FROM pg_available_extensions WHERE name = %s", name):
        pytest.skip(f"the server has no {name}")
    database.execute(f"CREATE SCHEMA own; CREATE EXTENSION {name} SCHEMA own")
    with Address.of("default").connect("postgres") as connection:
        assert read_live(Address.of("default"), connection).empty


@pytest.mark.parametrize(
    "made", ["CREATE TYPE pair AS (a int)", "CREATE TABLE t (id int)", "CREATE SCHEMA own"]
)
def test_everything_else_is(database: Database, made: str) -> None:
    database.execute(made)
    with Address.of("default").connect("postgres") as connection:
        assert list(read_live(Address.of("default"), connection).objects.values()) == [1]
