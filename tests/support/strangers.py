"""A role without rights, who plants functions that write down who called them."""

from __future__ import annotations

from psycopg import sql

from tests.support.databases import Database

NOTED = """
    CREATE SCHEMA m; CREATE TABLE m.log (who name, session name);
    GRANT INSERT ON m.log TO PUBLIC; GRANT ALL ON SCHEMA m TO {};
    SET ROLE {};
    CREATE FUNCTION m.note() RETURNS void LANGUAGE sql VOLATILE AS
        $$ INSERT INTO m.log VALUES (current_user, session_user) $$;
    CREATE FUNCTION m.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN true; END $$;
    CREATE TABLE m.t (id serial PRIMARY KEY);
    INSERT INTO m.t VALUES (50);
"""


def mallory_in(database: Database) -> str:
    """Return a role that has a table ``m.t`` of its own, and functions that tell."""
    role = database.role("mallory")
    with database.connect() as connection:
        connection.execute(sql.SQL(NOTED).format(*[sql.Identifier(role)] * 2))
    return role
