"""Several connections in one run: the same result as with one, and one where no other is to be had.

Whatever is odd is made odd on a real server. What a test adds is that somebody waits: the caller's
connection for a helper's, so that the helper is certain to take part.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg import sql

from restorehooks.sequences import other_connections
from tests.support.databases import Database
from tests.support.poolers import pooled
from tests.support.sequences import (
    CASES,
    DEFAULT,
    django_as,
    draw,
    inspect,
    reset,
    statuses,
)

PATIENCE = 20
"""Seconds until a test that waits for somebody fails."""
TABLES = [f"t{number:02}" for number in range(20)]
ALL_ADVANCED = dict.fromkeys([f"{table}_id_seq" for table in TABLES], "advanced")
WAITS_FOR_A_LOCK = "SELECT pid FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
READS_ROWS = "ORDER BY id DESC LIMIT 1"


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a helper be worth it for a few tables, and a load be three or so of them."""
    monkeypatch.setattr(other_connections, "MANY", 0)
    monkeypatch.setattr(other_connections, "LOCKS", 20)


@pytest.fixture
def tables(database: Database, behind: Callable[..., None]) -> Database:
    behind(*TABLES)
    return database


class Helping:
    """The connections that a run opens beside the caller's, and what it sends over them."""

    def __init__(self) -> None:
        self.connections: list[BaseDatabaseWrapper] = []
        self.sent: list[str] = []
        self.errors: list[BaseException | None] = []
        self.has_read = threading.Event()
        self.before: Callable[[BaseDatabaseWrapper], None] = lambda connection: None

    def connected(self, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        if connection is not connections[DEFAULT]:
            self.connections.append(connection)
            connection.execute_wrappers.append(self.execute)

    def execute(self, execute: Any, statement: str, params: Any, many: Any, context: Any) -> Any:
        if READS_ROWS in statement:
            self.before(context["connection"])
            self.has_read.set()
        self.sent.append(statement)
        try:
            return execute(statement, params, many, context)
        except Error as error:
            self.errors.append(error.__cause__)
            raise

    def wait(self, execute: Any, statement: str, *rest: Any) -> Any:
        if READS_ROWS in statement:
            assert self.has_read.wait(PATIENCE)
        return execute(statement, *rest)


@contextmanager
def watched(*, waiting: bool = False) -> Iterator[Helping]:
    """Yield what helpers do in the block; with ``waiting`` the caller waits for one to read."""
    connections[DEFAULT].ensure_connection()
    helping = Helping()
    connection_created.connect(helping.connected)
    try:
        with ExitStack() as stack:
            if waiting:
                stack.enter_context(connections[DEFAULT].execute_wrapper(helping.wait))
            yield helping
    finally:
        connection_created.disconnect(helping.connected)
    assert [t for t in threading.enumerate() if t.name == "restorehooks"] == []
    assert [c for c in helping.connections if c.connection is not None] == []


@contextmanager
def taking_part() -> Iterator[Helping]:
    """Yield what helpers do, and see to it that one reads."""
    with watched(waiting=True) as helping:
        yield helping
    assert helping.has_read.is_set()


def others_in(database: Database) -> int:
    """Return how many sessions of somebody else's there are, once those that end have ended."""
    connections[DEFAULT].close()
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    until = time.monotonic() + PATIENCE
    while (found := database.execute(query)[0][0]) and time.monotonic() < until:
        time.sleep(0.01)
    return int(found)


def test_every_case_ends_as_with_one_connection(database: Database) -> None:
    database.execute(CASES.read_text())
    alone = inspect(DEFAULT)
    with taking_part():
        assert inspect(DEFAULT, connections=2).entries == alone.entries
    with taking_part():
        done = reset(DEFAULT, connections=3)
    assert [(e.sequence, e.next_after) for e in done] == [(e.sequence, e.next_after) for e in alone]
    assert not reset(DEFAULT).changed


def test_moves_are_shared_out_too(tables: Database) -> None:
    tables.execute("".join(f"INSERT INTO {t} (id) VALUES (5000);" for t in TABLES[::2]))
    with taking_part() as helping:
        assert statuses(reset(DEFAULT, connections=2)) == ALL_ADVANCED
    assert [draw(tables, f"{table}_id_seq") for table in TABLES[:2]] == [5001, 6]
    assert others_in(tables) == 0
    assert len(helping.connections) == 1


@pytest.mark.parametrize("raw", [False, True], ids=["atomic", "a raw BEGIN"])
def test_a_transaction_of_the_callers_has_its_connection_alone(tables: Database, raw: bool) -> None:
    with watched() as helping, connections[DEFAULT].cursor() as cursor, ExitStack() as stack:
        if raw:
            cursor.execute("BEGIN")
            stack.callback(cursor.execute, "ROLLBACK")
        else:
            stack.enter_context(transaction.atomic())
        cursor.execute("INSERT INTO t07 (id) VALUES (50)")
        found = {e.sequence: e.next_after for e in reset(DEFAULT, connections=4)}
    assert found["public.t07_id_seq"] == 51
    assert helping.connections == []


def filled(database: Database, free: int) -> list[psycopg.Connection[Any]]:
    """Open connections until so many are free besides the caller's."""
    connections[DEFAULT].ensure_connection()
    query = other_connections.FREE
    taken = []
    while database.execute(query)[0][0] > free:
        taken.append(database.connect())
    return taken


@pytest.mark.parametrize(("free", "number"), [(0, 0), (3, 0), (4, 1)])
def test_a_server_that_is_nearly_used_up(
    tables: Database, monkeypatch: pytest.MonkeyPatch, free: int, number: int
) -> None:
    """The limit is the database's, which stands for the server's: both are in one query."""
    with tables.connect(), watched() as helping, connections[DEFAULT].cursor() as cursor:
        limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
            sql.Identifier(tables.name), sql.Literal(3 + free)
        )
        cursor.execute(limit.as_string())
        tables.execute("SELECT 1")
        assert statuses(reset(DEFAULT, connections=9)) == ALL_ADVANCED
    assert len(helping.connections) == number
    assert others_in(tables) == 0


def test_a_whole_server_that_is_nearly_used_up(tables: Database) -> None:
    with ExitStack() as stack, watched() as helping:
        for connection in filled(tables, free=other_connections.SHARE - 1):
            stack.enter_context(connection)
        assert statuses(reset(DEFAULT, connections=9)) == ALL_ADVANCED
    assert helping.connections == []


def test_a_role_with_a_connection_limit(tables: Database) -> None:
    role = tables.role("few", "LOGIN CONNECTION LIMIT 4")
    for kind in ("TABLES", "SEQUENCES"):
        statement = f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {{}}"
        tables.execute(sql.SQL(statement).format(sql.Identifier(role)))
    with django_as(tables, USER=role), watched() as helping:
        assert statuses(reset(DEFAULT, connections=9)) == ALL_ADVANCED
        assert helping.connections == []


def test_a_connection_that_is_refused(tables: Database) -> None:
    connections[DEFAULT].ensure_connection()
    other = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    name = sql.Identifier(tables.name)
    with watched() as helping:
        tables.server.execute(other.format(name, sql.SQL("false")))
        try:
            assert statuses(reset(DEFAULT, connections=2)) == ALL_ADVANCED
        finally:
            tables.server.execute(other.format(name, sql.SQL("true")))
    assert helping.connections == []


def test_a_session_that_has_become_another_role(tables: Database) -> None:
    """A new session would be the superuser again, and see what this one may not."""
    role = tables.role("other", "NOLOGIN")
    tables.execute(sql.SQL("GRANT SELECT, USAGE ON t01_id_seq TO {}").format(sql.Identifier(role)))
    with watched() as helping, connections[DEFAULT].cursor() as cursor:
        cursor.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)).as_string())
        found = set(statuses(reset(DEFAULT, connections=2)).values())
        cursor.execute("RESET ROLE")
    assert found == {"unverified"}
    assert not [each for each in helping.sent if READS_ROWS in each]
    assert draw(tables, "t01_id_seq") == 1


def test_a_helper_that_is_lost(tables: Database) -> None:
    def end(connection: BaseDatabaseWrapper) -> None:
        pid = connection.connection.info.backend_pid
        with tables.connect() as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    with taking_part() as helping:
        helping.before = end
        assert statuses(reset(DEFAULT, connections=2)) == ALL_ADVANCED
    assert len(helping.connections) == 1


def test_a_locked_table_costs_only_itself(tables: Database) -> None:
    with tables.connect(autocommit=False) as other:
        other.execute("LOCK TABLE t01 IN ACCESS EXCLUSIVE MODE; LOCK TABLE t18 IN SHARE MODE")
        with taking_part():
            report = reset(DEFAULT, connections=2, lock_timeout=0.3)
        other.rollback()
    assert statuses(report) == {**ALL_ADVANCED, "t01_id_seq": "failed"}


def test_a_mistake_of_ours_is_raised_where_the_caller_is(tables: Database) -> None:
    def fail(connection: BaseDatabaseWrapper) -> None:
        helping.has_read.set()
        raise RuntimeError("no such thing")

    with watched(waiting=True) as helping:
        helping.before = fail
        with pytest.raises(RuntimeError, match="no such thing"):
            reset(DEFAULT, connections=2)


def test_ctrl_c_ends_all_connections(tables: Database) -> None:
    """The helper waits for a lock, far longer than the test does, when Ctrl-C comes."""

    def interrupt(execute: Any, statement: str, *rest: Any) -> Any:
        if READS_ROWS in statement:
            assert helping.has_read.wait(PATIENCE)
            (helper,) = helping.connections
            pid = helper.connection.info.backend_pid
            until = time.monotonic() + PATIENCE
            while not tables.execute(WAITS_FOR_A_LOCK, pid):
                assert time.monotonic() < until
                time.sleep(0.01)
            signal.raise_signal(signal.SIGINT)
        return execute(statement, *rest)

    with tables.connect(autocommit=False) as other:
        other.execute("".join(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;" for table in TABLES))
        with (
            watched() as helping,
            connections[DEFAULT].execute_wrapper(interrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            reset(DEFAULT, connections=2, lock_timeout=8 * PATIENCE)
        other.rollback()
    assert [type(error) for error in helping.errors] == [psycopg.errors.QueryCanceled]
    assert others_in(tables) == 0
    assert set(statuses(reset(DEFAULT)).values()) == {"advanced"}


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_pooler_with_few_connections(tables: Database, mode: str, size: int) -> None:
    with pooled(tables, mode, size) as pooler, watched():
        assert statuses(reset(DEFAULT, connections=4)) == ALL_ADVANCED
        assert pooler.left_behind(tables.name) == []


def test_djangos_own_pool_has_no_other_connection_to_give(tables: Database) -> None:
    pytest.importorskip("psycopg_pool")
    options = {**tables.settings.get("OPTIONS", {}), "pool": {"min_size": 1, "max_size": 1}}
    with django_as(tables, OPTIONS=options):
        try:
            with watched():
                assert statuses(reset(DEFAULT, connections=3)) == ALL_ADVANCED
        finally:
            connections[DEFAULT].close()
            connections[DEFAULT].close_pool()  # type: ignore[attr-defined]
