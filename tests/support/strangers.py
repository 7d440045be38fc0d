"""A role without rights, who plants functions that write down who called them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

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
    CREATE TABLE m.t (id serial PRIMARY KEY)
        WITH (autovacuum_enabled = off);  -- it would call her functions, too
    INSERT INTO m.t VALUES (50);
"""


def mallory_in(database: Database) -> str:
    """Return a role that has a table ``m.t`` of its own, and functions that tell."""
    role = database.role("mallory")
    with database.connect() as connection:
        connection.execute(sql.SQL(NOTED).format(*[sql.Identifier(role)] * 2))
    return role


@contextmanager
def once(database: Database, role: str, condition: str, before: str, then: str) -> Iterator[None]:
    """Run a role's statements ``before``; ``then`` run others as soon as a query has a row."""
    is_ready, is_over = Event(), Event()

    def hold() -> None:
        with (
            database.connect(user=role, autocommit=False) as connection,
            database.connect() as watching,
        ):
            try:
                connection.execute(before)
            finally:
                is_ready.set()
            while not (watching.execute(condition).fetchall() or is_over.wait(0.002)):
                pass
            connection.execute(then)
        database.execute("DELETE FROM m.log WHERE who = %s", role)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        is_ready.wait()
        try:
            yield
        finally:
            is_over.set()
            holding.result()
