"""What of a live database counts as data, and so where a dump goes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connections
from psycopg import sql

from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
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
    "made",
    [
        "CREATE TYPE pair AS (a int)",
        "CREATE TYPE later",
        "CREATE TABLE t (id int)",
        "CREATE SCHEMA own",
        "SELECT lo_create(99)",  # a number that its user has chosen
        "CREATE CAST (date AS macaddr) WITH INOUT",
        "CREATE CONVERSION own FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        "CREATE FOREIGN DATA WRAPPER own",
        "CREATE OPERATOR FAMILY own USING btree",
        "CREATE TEXT SEARCH CONFIGURATION own (COPY = english)",
        "CREATE TEXT SEARCH DICTIONARY own (TEMPLATE = simple)",
    ],
)
def test_everything_else_is(database: Database, made: str) -> None:
    database.execute(made)
    with Address.of("default").connect("postgres") as connection:
        assert list(read_live(Address.of("default"), connection).objects.values()) == [1]


OF_AN_EXTENSION = """
    CREATE TABLE job (id int); INSERT INTO job VALUES (1);
    ALTER EXTENSION plpgsql ADD TABLE job;
    UPDATE pg_extension SET extconfig = ARRAY['job'::regclass::oid], extcondition = ARRAY['']
    WHERE extname = 'plpgsql';
"""


@pytest.mark.parametrize("hidden", ["closed to the role", "by row-level security"])
def test_what_the_role_cannot_see_is_not_taken_for_nothing(
    database: Database, backup: Path, hidden: str
) -> None:
    """An extension's table that holds rows of users: they would be lost without a question."""
    user, name = database.role("restores", "LOGIN CREATEDB"), sql.Identifier(database.name)
    database.execute(OF_AN_EXTENSION)
    if "row" in hidden:
        database.execute("ALTER TABLE job ENABLE ROW LEVEL SECURITY; GRANT SELECT ON job TO PUBLIC")
    owned = "ALTER DATABASE {} OWNER TO "
    database.execute(sql.SQL(owned + "{}").format(name, sql.Identifier(user)))
    database.disconnect()
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return True

    settings = connections["default"].settings_dict
    before, settings["USER"] = settings["USER"], user
    try:
        previous = restore(Request(str(backup), analyze=False), confirm=ask).previous
    finally:
        connections["default"].close()
        settings["USER"] = before
    assert previous
    assert "filled extension table" in asked[0]
    for one in (database.name, previous):
        database.server.execute(
            sql.SQL(owned + "CURRENT_USER").format(sql.Identifier(one)),
        )
        with database.connect(dbname=one) as connection:
            connection.execute(
                sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(user))
            )
