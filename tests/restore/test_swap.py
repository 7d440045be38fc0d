"""Two renames in one transaction: what comes over, what is named, who is told so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from restorehooks.restore.errors import TargetError
from restorehooks.restore.server import kept_databases, sides
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.live import Live, read_live
from restorehooks.restore.server.lock import RestoreLock
from restorehooks.restore.server.obstacles import obstacles, read_rights
from restorehooks.restore.server.sessions import unendable
from restorehooks.restore.server.swap import swap, swap_back
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone
from tests.support.servers import RunningServer


def swapped(
    address: Address,
    fill: str | Callable[[str], sql.Composed] = "CREATE TABLE new (id int)",
    **how: Any,
) -> str:
    with RestoreLock(address) as lock:
        live = read_live(address, lock.connection)
        made = sides.create_side(lock, live, "a test")
        with address.connect(made[0]) as inside:
            inside.execute("RESET search_path")
            inside.execute(fill.encode() if isinstance(fill, str) else fill(made[0]))
        return swap(lock, live, made, by="a test", **how).previous or ""


def properties(server: RunningServer, name: str) -> Any:
    return server.execute(
        """
        SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype,
               dattablespace, datconnlimit, array(SELECT unnest(datacl)::text ORDER BY 1),
               shobj_description(oid, 'pg_database'),
               array(SELECT setrole::text || setconfig::text FROM pg_db_role_setting s
                     WHERE setdatabase = d.oid ORDER BY 1),
               to_jsonb(d) -> 'datlocprovider', to_jsonb(d) -> 'datlocale'
        FROM pg_database d WHERE datname = %s
        """,
        name,
    )


def adorn(database: Database) -> str:
    owner = database.role("owner", "LOGIN CREATEDB")
    reader = database.role("reader")
    database.execute(
        sql.SQL(
            """
            ALTER DATABASE {name} OWNER TO {owner};
            ALTER DATABASE {name} SET search_path TO app, "Odd, ""one", public;
            ALTER DATABASE {name} SET statement_timeout TO '30s';
            ALTER DATABASE {name} SET "my.setting" TO 'it''s, "so"';
            ALTER ROLE {owner} IN DATABASE {name} SET work_mem TO '7MB';
            ALTER DATABASE {name} CONNECTION LIMIT 17;
            COMMENT ON DATABASE {name} IS 'Ours; don''t touch';
            REVOKE ALL ON DATABASE {name} FROM PUBLIC;
            GRANT CONNECT ON DATABASE {name} TO {reader} WITH GRANT OPTION;
            """
        ).format(
            name=sql.Identifier(database.name),
            owner=sql.Identifier(owner),
            reader=sql.Identifier(reader),
        )
    )
    database.disconnect()
    return owner


def test_everything_an_owner_may_set_comes_over(database: Database) -> None:
    adorn(database)
    before = properties(database.server, database.name)
    swapped(Address.of("default"))
    assert properties(database.server, database.name) == before
    assert database.execute("SELECT relname FROM pg_class WHERE relname = 'new'") == [("new",)]


@pytest.mark.parametrize("change", ["ALLOW_CONNECTIONS false", "RESET work_mem"])
def test_what_is_taken_away_meanwhile_does_not_come_back(database: Database, change: str) -> None:
    name = sql.Identifier(database.name)
    database.execute(sql.SQL("ALTER DATABASE {} SET work_mem TO '7MB'").format(name))
    alone(database)

    def take_away(side: str) -> sql.Composed:
        return sql.SQL("ALTER DATABASE {} SET work_mem TO '7MB'; ALTER DATABASE {} {}").format(
            sql.Identifier(side), name, sql.SQL(change)
        )

    previous = swapped(Address.of("default"), take_away)
    query = """
        SELECT datallowconn, array(SELECT unnest(setconfig) FROM pg_db_role_setting
                                   WHERE setdatabase = d.oid)
        FROM pg_database d WHERE datname = ANY(%s)
    """
    first, second = database.server.execute(query, [database.name, previous])
    assert first == second
    for each in (database.name, previous):
        opened = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(each))
        database.server.execute(opened)


def test_the_previous_database_says_when_and_comes_back_with_undo(database: Database) -> None:
    adorn(database)
    database.execute("CREATE TABLE old (id int)")
    database.disconnect()
    before = properties(database.server, database.name)
    address = Address.of("default")
    previous = swapped(address)
    assert previous.startswith(f"{database.name}_before_20")
    with RestoreLock(address) as lock:
        live = read_live(address, lock.connection)
        (back,) = kept_databases.kept(lock.connection, database.name, "previous")
        assert (back.name, back.marker.live) == (previous, database.name)
        replaced = swap_back(lock, live, back, by="a test").previous
    assert database.execute("SELECT to_regclass('public.old') IS NOT NULL") == [(True,)]
    database.disconnect()
    assert properties(database.server, database.name) == before
    # And back once more: an undo can be undone.
    with RestoreLock(address) as lock:
        (back,) = kept_databases.kept(lock.connection, database.name, "previous")
        assert back.name == replaced
        swap_back(lock, read_live(address, lock.connection), back, by="a test")
    assert database.execute("SELECT to_regclass('public.new') IS NOT NULL") == [(True,)]
    database.disconnect()
    assert properties(database.server, database.name) == before


def test_what_the_role_cannot_carry_over_is_named_and_has_to_be_accepted(
    database: Database,
) -> None:
    owner = adorn(database)
    name = sql.Identifier(database.name)
    other = database.role("other")
    database.execute(
        sql.SQL("ALTER ROLE {} IN DATABASE {} SET work_mem TO '9MB'").format(
            sql.Identifier(other), name
        )
    )
    database.execute(sql.SQL("ALTER DATABASE {} SET log_statement TO 'all'").format(name))
    alone(database)
    before = properties(database.server, database.name)
    from django.db import connections

    connections.settings["default"]["USER"] = owner
    address = Address.of("default")
    with RestoreLock(address) as lock:
        live = read_live(address, lock.connection)
        rights = read_rights(lock.connection, live)
        assert (rights.superuser, rights.lacking) == (False, ())
        found = obstacles(lock.connection, live)
        assert [one.kind for one in found] == ["lost"] * 3
        # A parameter nobody has defined yet might be a superuser's own.
        for one, what in zip(found, ("my.setting", "log_statement", other), strict=True):
            assert what in str(one)
    with pytest.raises(TargetError, match=r"my\.setting"):
        swapped(address)
    assert properties(database.server, database.name) == before
    assert swapped(address, accept_lost=True)


def test_slots_prepared_transactions_and_foreign_sessions_are_named(
    make_server: Callable[..., RunningServer], make_database: MakeDatabase
) -> None:
    server = make_server({"wal_level": "logical", "max_prepared_transactions": "5"})
    database = make_database(on=server, alias="default")
    owner = database.role("owner", "LOGIN CREATEDB")
    name = sql.Identifier(database.name)
    database.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(owner)))
    database.execute("SELECT pg_create_logical_replication_slot('a_slot', 'test_decoding')")
    database.execute("BEGIN; CREATE TABLE p (i int); PREPARE TRANSACTION 'open one'")
    from django.db import connections

    connections.settings["default"]["USER"] = owner
    address = Address.of("default")
    with RestoreLock(address) as lock:
        found = obstacles(lock.connection, read_live(address, lock.connection))
        in_the_way = unendable(lock.connection, [database.name])
    assert 'the prepared transaction "open one"' in in_the_way  # nobody is disconnected for nothing
    said = [(one.kind, str(one)) for one in found]
    assert [kind for kind, _ in said] == ["lost", "refused", "lost"]
    assert "a_slot" in said[0][1]
    assert "open one" in said[1][1]
    assert "postgres" in said[2][1]  # our own superuser's session
    database.execute("ROLLBACK PREPARED 'open one'")
    database.execute("SELECT pg_drop_replication_slot('a_slot')")


def test_a_role_without_the_rights_is_told_which(database: Database) -> None:
    nobody = database.role("nobody")
    from django.db import connections

    connections.settings["default"]["USER"] = nobody
    address = Address.of("default")
    with RestoreLock(address) as lock:
        rights = read_rights(lock.connection, read_live(address, lock.connection))
    assert not rights.superuser
    assert [("CREATEDB" in str(one), "own" in str(one)) for one in rights.lacking] == [
        (True, False),
        (False, True),
    ]


def test_two_at_once_the_second_is_told(database: Database) -> None:
    address = Address.of("default")
    with RestoreLock(address):
        with pytest.raises(TargetError, match="Another restore"):
            RestoreLock(address)
        # Also from another maintenance database: advisory locks are per database.
        with pytest.raises(TargetError, match="Another restore"):
            RestoreLock(address, "template1")
    for _ in range(20):  # one after the other is no two at once
        RestoreLock(address).close()


def test_a_leftover_is_what_has_a_marker_or_was_never_entered(database: Database) -> None:
    address = Address.of("default")
    with RestoreLock(address) as lock:
        live = read_live(address, lock.connection)
        marked, _ = sides.create_side(lock, live, "a test")
        unmarked, somebodys, filled = (
            f"{database.name}_restoring_20260102_03040{number}" for number in (5, 6, 7)
        )
        others = f"{database.name}_two_restoring_20260102_030405"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS {}")
        # Killed between CREATE DATABASE and the marker; one that others may have filled or have
        # closed since; and one of another database, whose restore may have begun right now.
        for name, entered in (
            (unmarked, "false"),
            (somebodys, "true"),
            (filled, "true"),
            (others, "false"),
        ):
            lock.connection.execute(create.format(sql.Identifier(name), sql.SQL(entered)))
        with database.server.connect(dbname=filled) as inside:
            inside.execute("CREATE TABLE precious AS SELECT 1 AS id")
        lock.connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(filled))
        )
        found = kept_databases.kept(lock.connection, live.name, "side")
        assert {one.name for one in found} == {marked, unmarked}
        unbelieved = kept_databases.unbelieved(lock.connection, live.name, found)
        assert sorted(unbelieved) == [somebodys, filled]


def test_names_of_63_bytes_and_of_odd_letters(make_database: MakeDatabase) -> None:
    name = 'ü"; DROP DATABASE postgres; -- \\ %s ' + "é" * 10
    assert len(name.encode()) < 63
    long = make_database(name=name + "x" * (63 - len(name.encode())), alias="default")
    address = Address.of("default")
    assert address.name == long.name
    previous = swapped(address)
    assert len(previous.encode()) <= 63
    assert long.execute("SELECT to_regclass('public.new') IS NOT NULL") == [(True,)]
    with RestoreLock(address) as lock:
        (found,) = kept_databases.kept(lock.connection, long.name, "previous")
        sides.drop(lock, found.name)


def test_clients_that_reconnect_all_the_time_do_not_prevent_it(database: Database) -> None:
    database.execute("CREATE TABLE t (id serial PRIMARY KEY)")
    database.disconnect()
    stop = threading.Event()
    wrong: list[BaseException] = []

    def client() -> None:
        while not stop.is_set():
            try:
                with database.connect() as connection:
                    while not stop.is_set():
                        connection.execute("INSERT INTO t DEFAULT VALUES")
                        time.sleep(0.005)
            except psycopg.OperationalError:  # noqa: PERF203 - put off by the swap
                time.sleep(0.002)
            except psycopg.Error as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            swapped(Address.of("default"), "CREATE TABLE t (id serial PRIMARY KEY)")
            time.sleep(0.1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert database.execute("SELECT count(*) > 0 FROM t") == [(True,)]


def test_a_database_that_was_replaced_meanwhile_is_left_alone(database: Database) -> None:
    address = Address.of("default")
    with RestoreLock(address) as lock:
        live = read_live(address, lock.connection)
        made = sides.create_side(lock, live, "a test")
        stale = Live(live.name, 1, live.owner, properties=live.properties)
        with pytest.raises(TargetError, match="replaced by somebody else"):
            swap(lock, stale, made, by="a test")
        assert {database.name, made[0]} <= set(sides.names(lock.connection))


def test_a_missing_database_gets_its_name_in_one_rename(make_database: MakeDatabase) -> None:
    database = make_database(alias="default")
    database.server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(database.name)))
    assert swapped(Address.of("default")) == ""
    assert database.execute("SELECT to_regclass('public.new') IS NOT NULL") == [(True,)]
    assert database.server.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        database.name,
    ) == [(None,)]
