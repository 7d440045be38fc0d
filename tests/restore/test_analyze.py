"""Statistics for all that was restored, several tables at once, and whatever comes in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from restorehooks.restore.server.address import Address
from restorehooks.restore.server.analyze import analyze
from tests.support.databases import Database
from tests.support.sequences import DEFAULT, django_as
from tests.support.servers import RunningServer

TABLES = """
    CREATE SCHEMA app;
    CREATE TABLE app.plain AS SELECT n AS id, n % 7 AS few FROM generate_series(1, 500) n;
    CREATE TABLE app."empty ""one" (id int);
    CREATE INDEX ON app.plain ((few * 2));
    CREATE MATERIALIZED VIEW app.sums AS SELECT few, sum(id) FROM app.plain GROUP BY 1;
    CREATE TABLE app.part (id int, at int) PARTITION BY RANGE (at);
    CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM (0) TO (5) PARTITION BY LIST (id);
    CREATE TABLE app.part_1_all PARTITION OF app.part_1 DEFAULT;
    CREATE TABLE app.part_2 PARTITION OF app.part DEFAULT;
    INSERT INTO app.part SELECT n, n % 10 FROM generate_series(1, 500) n;
    CREATE TABLE app.parent (id int); CREATE TABLE app.child () INHERITS (app.parent);
    INSERT INTO app.parent VALUES (1); INSERT INTO app.child VALUES (2), (3);
"""
KNOWN = "SELECT schemaname, tablename, attname, inherited FROM pg_stats ORDER BY 1, 2, 3, 4"


@pytest.mark.parametrize("jobs", [1, 3])
def test_as_much_is_known_as_after_plain_analyze(
    database: Database, make_database: Callable[..., Database], jobs: int
) -> None:
    other = make_database(alias="other")
    for each in (database, other):
        each.execute(TABLES)
    other.execute("ANALYZE")
    before = database.execute(KNOWN)
    analyze(Address.of(DEFAULT), database.name, jobs)
    assert len(database.execute(KNOWN)) > len(before) + 10
    assert database.execute(KNOWN) == other.execute(KNOWN)


def test_a_role_that_owns_some_of_the_tables(database: Database) -> None:
    role = database.role("limited")
    database.execute(
        "CREATE TABLE own AS SELECT 1 AS id; CREATE TABLE theirs AS SELECT 1 AS id;"
        " CREATE SCHEMA closed; CREATE TABLE closed.theirs AS SELECT 1 AS id"
    )
    database.execute(sql.SQL("ALTER TABLE own OWNER TO {}").format(sql.Identifier(role)))
    with django_as(database, USER=role):
        analyze(Address.of(DEFAULT), database.name, 2)
    known = database.execute(
        "SELECT tablename FROM pg_stats WHERE schemaname IN ('public', 'closed')"
    )
    assert known == [("own",)]


def test_what_fails_is_raised_and_ends_the_others(database: Database) -> None:
    database.execute(
        """
        CREATE FUNCTION fails(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
            $$BEGIN IF current_setting('my.trap', true) = 'on' THEN RAISE 'no luck'; END IF;
            RETURN $1; END$$;
        CREATE FUNCTION lasts(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
            $$BEGIN IF current_setting('my.trap', true) = 'on' THEN PERFORM pg_sleep(100); END IF;
            RETURN $1; END$$;
        CREATE TABLE short AS SELECT 1 AS id; CREATE INDEX ON short (fails(id));
        CREATE TABLE long AS SELECT 1 AS id FROM generate_series(1, 5000);
        CREATE INDEX ON long (lasts(id));
        """
    )
    name = sql.Identifier(database.name)
    database.execute(sql.SQL("ALTER DATABASE {} SET my.trap = 'on'").format(name))
    with pytest.raises(psycopg.Error, match="no luck"):
        analyze(Address.of(DEFAULT), database.name, 2)
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ANALYZE%%' AND datname = %s"
    deadline = time.monotonic() + 20
    while database.server.execute(query, database.name) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_autovacuum_makes_way_at_once(make_server: Callable[..., RunningServer]) -> None:
    """Were it not for us, it would after ``deadlock_timeout``: longer than a test may take."""
    options: dict[str, Any] = {
        "autovacuum_naptime": "1s",
        "autovacuum_vacuum_cost_delay": "100ms",
        "autovacuum_vacuum_cost_limit": "1",
        "deadlock_timeout": "1h",
    }
    database = Database(make_server(options), "postgres", DEFAULT, [])
    database.execute(
        "CREATE TABLE big AS SELECT n AS id, repeat('x', 500) AS text"
        " FROM generate_series(1, 20000) n; DELETE FROM big WHERE id % 2 = 0"
    )
    working = (
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
        " AND query LIKE 'autovacuum: VACUUM%%public.big%%'"
    )
    deadline = time.monotonic() + 60
    while not (found := database.execute(working)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with django_as(database, **database.settings):
        analyze(Address.of(DEFAULT), "postgres", 1)
    assert database.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'big'") == [(2,)]
    assert found[0] not in database.execute(working)
    database.disconnect()
