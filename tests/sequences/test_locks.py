"""Never in the way: what is locked, for how long, and what happens behind the locks of others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connections, transaction

from restorehooks.sequences import repair
from restorehooks.sequences.advance import Postponed, advance
from restorehooks.sequences.catalog import read_catalog
from restorehooks.sequences.message import LockBudget
from restorehooks.sequences.report import Report
from restorehooks.sequences.statements import Move
from tests.support.databases import Database
from tests.support.locks import lock_waits
from tests.support.sequences import (
    DEFAULT,
    django_as,
    draw,
    entry,
    inspect,
    locks_of,
    reset,
    standing,
    statuses,
)

TIMEOUT = 0.4
"""Seconds, for the tests' own patience; what else a run takes is far less."""


@contextmanager
def begun() -> Iterator[None]:
    """A transaction that Django knows nothing of."""
    with connections[DEFAULT].cursor() as cursor:
        cursor.execute("BEGIN")
        yield
        cursor.execute("COMMIT")


@pytest.fixture(
    params=[None, transaction.atomic, begun],
    ids=["outside", "within a transaction", "within a raw transaction"],
)
def repaired(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Return a function that repairs; within a transaction, that transaction must survive it."""

    def repair(*, rewind: bool = False, headroom: int = 0) -> Report:
        def run() -> Report:
            return reset(DEFAULT, lock_timeout=TIMEOUT, rewind=rewind, headroom=headroom)

        if request.param is None:
            return run()
        with request.param(), connections[DEFAULT].cursor() as cursor:
            cursor.execute("CREATE TABLE own (id int)")
            report = run()
            cursor.execute("INSERT INTO own VALUES (1)")
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchall() == [("0",)]
        with connections[DEFAULT].cursor() as cursor:
            cursor.execute("SELECT * FROM own")
            assert cursor.fetchall() == [(1,)]
        return report

    return repair


@contextmanager
def holding(database: Database, *statements: str) -> Iterator[None]:
    """Keep a transaction with these statements open during the block."""
    with database.connect(autocommit=False) as connection:
        for statement in statements:
            connection.execute(statement)
        yield
        connection.rollback()


def backend() -> int:
    with connections[DEFAULT].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("tables", [3, 40])
def test_nothing_at_all_stays_locked_where_nothing_was_behind(
    database: Database, tables: int
) -> None:
    for number in range(tables):
        database.execute(f"CREATE TABLE t{number} (id serial PRIMARY KEY)")
        database.execute(f"INSERT INTO t{number} DEFAULT VALUES")
    database.execute("CREATE TABLE big (id serial); INSERT INTO big DEFAULT VALUES")
    with (
        transaction.atomic(),
        database.connect() as watcher,
        connections[DEFAULT].cursor() as cursor,
    ):
        cursor.execute("INSERT INTO t0 DEFAULT VALUES")
        pid = backend()
        before = locks_of(watcher, pid)
        assert before
        reset(DEFAULT, scan_limit=100)
        inspect(DEFAULT)
        assert locks_of(watcher, pid) == before


def test_only_sequences_that_were_set_stay_locked(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("t", "u")
    database.execute("CREATE TABLE fine (id serial)")
    database.execute("CREATE SEQUENCE s CACHE 9; ALTER TABLE u ALTER id SET DEFAULT nextval('s')")
    with transaction.atomic(), database.connect() as watcher:
        pid = backend()
        before = locks_of(watcher, pid)
        reset(DEFAULT)
        left = locks_of(watcher, pid) - before
    assert {mode for _, _, mode in left} <= {"RowExclusiveLock"}
    assert {name for _, name, _ in left} <= {"t_id_seq", "u_id_seq", "s"}


def test_somebody_who_holds_a_table_costs_the_timeout_and_is_told(
    database: Database, behind: Callable[..., None], repaired: Callable[..., Report]
) -> None:
    behind("one", "held", "two")
    lock = "LOCK TABLE held IN ACCESS EXCLUSIVE MODE"
    with holding(database, lock), lock_waits(database) as waits:
        report = repaired()
    assert statuses(report) == {
        "one_id_seq": "advanced",
        "held_id_seq": "failed",
        "two_id_seq": "advanced",
    }
    reason = entry(report, "held_id_seq").reason
    assert reason == "public.held.id: canceling statement due to lock timeout"
    assert TIMEOUT / 2 < waits.seconds < TIMEOUT + 1.5
    assert draw(database, "one_id_seq") == 6


def test_a_table_that_is_let_go_in_time_is_done(
    database: Database, behind: Callable[..., None], repaired: Callable[..., Report]
) -> None:
    behind("one", "held")
    with database.connect(autocommit=False) as connection:
        connection.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        timer = threading.Timer(TIMEOUT / 2, connection.rollback)
        timer.start()
        report = repaired()
        timer.join()
    assert set(statuses(report).values()) == {"advanced"}


@pytest.mark.slow
@pytest.mark.parametrize("others", [2, 60])
def test_twenty_tables_held_cost_little_more_than_one(
    database: Database,
    behind: Callable[..., None],
    repaired: Callable[..., Report],
    others: int,
) -> None:
    held = [f"held{number}" for number in range(20)]
    behind(*held, *(f"other{number}" for number in range(others)))
    lock = f"LOCK TABLE {', '.join(held)} IN ACCESS EXCLUSIVE MODE"
    with holding(database, lock), lock_waits(database) as waits:
        report = repaired()
    counts = report.summary()
    assert (counts["failed"], counts["advanced"]) == (20, others)
    assert TIMEOUT / 2 < waits.seconds < 20 * TIMEOUT - 2, "each took as long as one"


@pytest.mark.parametrize("last", [5_000, 2_000_000])
def test_a_sequence_that_gets_another_owner_meanwhile_is_not_given_back(
    database: Database, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    database.execute("CREATE SEQUENCE s; CREATE TABLE t (id int DEFAULT nextval('s'))")
    database.execute("CREATE SEQUENCE q; CREATE TABLE o (id int DEFAULT nextval('q'))")
    database.execute(f"INSERT INTO t VALUES ({last}); INSERT INTO o VALUES ({last})")
    owner = database.role("owner")

    def advance_later(*args, **kwargs):  # type: ignore[no-untyped-def]
        database.execute(f"ALTER SEQUENCE s OWNER TO {owner}")
        return advance(*args, **kwargs)

    monkeypatch.setattr(repair, "advance", advance_later)
    report = reset(DEFAULT, lock_timeout=TIMEOUT)
    assert entry(report, "q").next_after == last + 1
    found = entry(report, "s")
    if last > 1_000_000:
        assert "the owner of public.s is another one by now" in str(found.reason)
    else:
        assert found.next_after == last + 1
    query = "SELECT sequenceowner FROM pg_sequences WHERE sequencename = 's'"
    assert database.execute(query) == [(owner,)]


def test_an_open_change_of_a_sequence(
    database: Database, behind: Callable[..., None], repaired: Callable[..., Report]
) -> None:
    behind("one", "held", "two")
    with holding(database, "ALTER SEQUENCE held_id_seq CACHE 7"), lock_waits(database) as waits:
        report = repaired()
    assert statuses(report) == {
        "one_id_seq": "advanced",
        "held_id_seq": "failed",
        "two_id_seq": "advanced",
    }
    assert "public.held_id_seq" in str(entry(report, "held_id_seq").reason)
    assert "lock timeout" in str(entry(report, "held_id_seq").reason)
    assert waits.seconds < TIMEOUT + 1.5


def test_many_sequences_one_of_them_being_changed(
    database: Database, behind: Callable[..., None], repaired: Callable[..., Report]
) -> None:
    behind("held", *(f"t{number}" for number in range(40)))
    with holding(database, "ALTER SEQUENCE held_id_seq CACHE 7"):
        report = repaired()
    counts = report.summary()
    assert (counts["failed"], counts["advanced"]) == (1, 40)


def test_a_repair_of_the_same_sequence_that_hangs(
    database: Database, behind: Callable[..., None], repaired: Callable[..., Report]
) -> None:
    behind("one", "two")
    key = "0x72686F6B" if database.server.version >= 160000 else str(0x72686F6B)
    lock = (
        f"SELECT pg_advisory_xact_lock({key}::bigint << 32 | 'two_id_seq'::regclass::oid::bigint)"
    )
    with holding(database, lock):  # as anybody can
        report = repaired()
    assert statuses(report) == {"one_id_seq": "advanced", "two_id_seq": "advanced"}


def test_the_callers_own_statement_timeout(database: Database, behind: Callable[..., None]) -> None:
    behind("good", "held")
    with (
        holding(database, "LOCK TABLE held IN ACCESS EXCLUSIVE MODE"),
        transaction.atomic(),
        connections[DEFAULT].cursor() as cursor,
    ):
        cursor.execute("INSERT INTO good (id) VALUES (50)")
        cursor.execute("SET LOCAL statement_timeout = '1s'")
        report = reset(DEFAULT, lock_timeout=60)
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchall() == [("1s",)]
    assert statuses(report) == {"good_id_seq": "advanced", "held_id_seq": "failed"}
    reason = entry(report, "held_id_seq").reason
    assert reason == "public.held.id: canceling statement due to statement timeout"
    assert draw(database, "good_id_seq") == 51


def test_a_failure_leaves_the_callers_transaction_whole(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("good", "odd")
    role = database.role("limited")
    database.execute(
        f"GRANT ALL ON good, odd, good_id_seq TO {role};"
        f"GRANT SELECT ON odd_id_seq TO {role}; INSERT INTO odd (id) VALUES (2000000000)"
    )
    with (
        django_as(database, USER=role) as alias,
        transaction.atomic(using=alias),
        connections[alias].cursor() as cursor,
    ):
        cursor.execute("INSERT INTO good (id) VALUES (30)")
        assert statuses(reset(alias)) == {"good_id_seq": "advanced", "odd_id_seq": "failed"}
        cursor.execute("INSERT INTO good DEFAULT VALUES RETURNING id")
        assert cursor.fetchall() == [(31,)]
    assert database.execute("SELECT count(*) FROM good WHERE id IN (30, 31)") == [(2,)]


def test_two_imports_that_touch_the_same_tables_in_opposite_order(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("one", "two", "three")
    errors: list[BaseException] = []
    met = threading.Barrier(2)

    def work(tables: list[str], ids: range) -> None:
        try:
            with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
                for number, table in zip(ids, tables, strict=True):
                    cursor.execute(f"INSERT INTO {table} (id) VALUES ({number})")
                    met.wait(5)
                    report = reset(DEFAULT)
                    assert not report.having(*{e.status for e in report if e.status == "failed"})
                    met.wait(5)
        except BaseException as error:
            errors.append(error)
        finally:
            connections[DEFAULT].close()

    threads = [
        threading.Thread(target=work, args=(["one", "two", "three"], range(100, 103))),
        threading.Thread(target=work, args=(["three", "two", "one"], range(200, 203))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Where they wait for each other, a lock times out, or the barrier breaks.
    assert errors == []
    assert [draw(database, f"{table}_id_seq") for table in ("one", "two", "three")] == [
        203,
        202,
        201,
    ]


def test_a_repair_within_a_transaction_holds_up_no_other(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("t")
    with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
        cursor.execute("INSERT INTO t (id) VALUES (50)")
        reset(DEFAULT)
        with database.connect() as other:
            other.execute("SET lock_timeout = '100ms'")
            assert other.execute("INSERT INTO t DEFAULT VALUES RETURNING id").fetchall() == [(51,)]
            other.execute("SELECT setval('t_id_seq', 60)")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_that_is_older_than_the_rows(
    database: Database, behind: Callable[..., None], level: str
) -> None:
    behind("t")
    database.execute("SELECT setval('t_id_seq', 5)")
    with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
        cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        cursor.execute("SELECT count(*) FROM t")
        database.execute("INSERT INTO t DEFAULT VALUES")
        database.execute("INSERT INTO t (id) VALUES (40)")
        cursor.execute("INSERT INTO t (id) VALUES (20)")
        assert entry(reset(DEFAULT), "t_id_seq").next_after == 21
        database.execute("SELECT setval('t_id_seq', 900)")
        assert entry(reset(DEFAULT), "t_id_seq").next_after == 901
        refused = entry(reset(DEFAULT, rewind=True), "t_id_seq")
        assert refused.status.value == "failed"
        assert "snapshot" in str(refused.reason)
    assert draw(database, "t_id_seq") == 901


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_old_snapshot_is_never_told_to_be_ok(
    database: Database, behind: Callable[..., None], level: str
) -> None:
    behind("t")
    database.execute("SELECT setval('t_id_seq', 5)")
    with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
        cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        cursor.execute("LOCK TABLE t IN ROW EXCLUSIVE MODE; SELECT count(*) FROM t")
        database.execute("INSERT INTO t (id) VALUES (40)")
        found = entry(reset(DEFAULT), "t_id_seq")
        assert found.status.value == "unverified"
        assert "snapshot" in str(found.reason)


def test_two_serializable_imports_that_have_nothing_to_do_with_each_other(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("one", "two")
    errors: list[BaseException] = []
    met = threading.Barrier(2)

    def work(table: str, other: str) -> None:
        try:
            with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
                cursor.execute(f"INSERT INTO {table} (id) VALUES (100)")
                met.wait(5)
                report = reset(DEFAULT)
                assert entry(report, f"{table}_id_seq").next_after == 101
                assert "SERIALIZABLE" in str(entry(report, f"{other}_id_seq").reason)
                met.wait(5)
        except BaseException as error:
            errors.append(error)
        finally:
            connections[DEFAULT].close()

    pairs = [("one", "two"), ("two", "one")]
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


class TestRewind:
    @pytest.fixture
    def ahead(self, database: Database, behind: Callable[..., None]) -> str:
        behind("t")
        database.execute("SELECT setval('t_id_seq', 1000)")
        return "t_id_seq"

    def test_goes_back_to_just_past_the_rows(
        self, database: Database, ahead: str, repaired: Callable[..., Report]
    ) -> None:
        found = entry(repaired(rewind=True), ahead)
        assert (found.status.value, found.next_before, found.next_after) == ("rewound", 1001, 6)
        assert draw(database, ahead) == 6

    def test_starts_again_where_there_are_no_rows(
        self, database: Database, ahead: str, repaired: Callable[..., Report]
    ) -> None:
        database.execute("TRUNCATE t; CREATE SEQUENCE s START 5 INCREMENT 10;")
        database.execute("CREATE TABLE u (id bigint DEFAULT nextval('s')); SELECT nextval('s')")
        report = repaired(rewind=True)
        assert (entry(report, ahead).next_after, entry(report, "s").next_after) == (1, 5)
        assert (draw(database, ahead), draw(database, "s")) == (1, 5)

    def test_still_advances_what_is_behind(
        self, database: Database, ahead: str, repaired: Callable[..., Report]
    ) -> None:
        database.execute("CREATE TABLE u (id serial); INSERT INTO u VALUES (9)")
        assert statuses(repaired(rewind=True)) == {ahead: "rewound", "u_id_seq": "advanced"}

    def test_headroom_holds(
        self, database: Database, ahead: str, repaired: Callable[..., Report]
    ) -> None:
        assert entry(repaired(rewind=True, headroom=50), ahead).next_after == 56

    def test_a_sequence_used_up_by_nothing_is_rewound(
        self, database: Database, ahead: str, repaired: Callable[..., Report]
    ) -> None:
        database.execute("SELECT setval('t_id_seq', 2147483647)")
        assert entry(inspect(DEFAULT), ahead).status.value == "exhausted"
        assert entry(repaired(rewind=True), ahead).next_after == 6

    def test_waits_for_open_inserts(
        self, database: Database, ahead: str, repaired: Callable[..., Report]
    ) -> None:
        with holding(database, "INSERT INTO t DEFAULT VALUES"):
            found = entry(repaired(rewind=True), ahead)
        assert found.status.value == "failed"
        assert "public.t" in str(found.reason)
        assert standing(database, ahead) == (1001, True)

    def test_counts_the_rows_that_it_waited_for(self, database: Database, ahead: str) -> None:
        with database.connect(autocommit=False) as connection:
            connection.execute("INSERT INTO t (id) VALUES (700)")
            timer = threading.Timer(0.3, connection.commit)
            timer.start()
            found = entry(reset(DEFAULT, rewind=True, lock_timeout=5), ahead)
            timer.join()
        assert (found.status.value, found.next_after) == ("rewound", 701)

    def test_a_cache_of_others_forbids_it(
        self, database: Database, ahead: str, repaired: Callable[..., Report]
    ) -> None:
        database.execute("ALTER SEQUENCE t_id_seq CACHE 5")
        found = entry(repaired(rewind=True), ahead)
        assert (found.status.value, found.reason) == (
            "failed",
            "CACHE 5: other sessions may hold numbers not yet used",
        )
        assert draw(database, ahead) == 1001

    def test_within_a_transaction_the_tables_are_free_again(
        self, database: Database, ahead: str
    ) -> None:
        with transaction.atomic():
            reset(DEFAULT, rewind=True)
            with database.connect() as other:
                other.execute("SET lock_timeout = '100ms'")
                rows = other.execute("INSERT INTO t DEFAULT VALUES RETURNING id").fetchall()
                assert rows == [(6,)]

    def test_beside_live_inserts_no_number_is_among_the_rows(
        self, database: Database, ahead: str
    ) -> None:
        over = threading.Event()
        errors: list[psycopg.Error] = []

        def insert() -> None:
            with database.connect() as connection:
                try:
                    while not over.is_set():
                        connection.execute("INSERT INTO t DEFAULT VALUES")
                        time.sleep(0.2)
                except psycopg.Error as error:
                    errors.append(error)

        threads = [threading.Thread(target=insert) for _ in range(3)]
        for thread in threads:
            thread.start()
        rewound = 0
        try:
            while rewound < 10:
                database.execute("SELECT setval('t_id_seq', last_value + 1000) FROM t_id_seq")
                rewound += entry(reset(DEFAULT, rewind=True), ahead).status == "rewound"
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert errors == [], "a duplicate key"

    def test_without_the_right_to_set(self, database: Database, ahead: str) -> None:
        role = database.role("limited")
        database.execute(f"GRANT SELECT, USAGE ON t_id_seq TO {role}; GRANT ALL ON t TO {role}")
        with django_as(database, USER=role) as alias:
            found = entry(reset(alias, rewind=True), ahead)
        assert found.status.value == "failed"
        assert "UPDATE" in str(found.reason)
        assert draw(database, ahead) == 1001

    def test_without_the_right_to_lock(self, database: Database, ahead: str) -> None:
        role = database.role("limited")
        database.execute(f"GRANT ALL ON t_id_seq TO {role}; GRANT SELECT ON t TO {role}")
        with django_as(database, USER=role) as alias:
            found = entry(reset(alias, rewind=True), ahead)
        assert found.status.value == "failed"
        assert "table t" in str(found.reason)
        assert draw(database, ahead) == 1001


def test_a_database_without_plpgsql(database: Database) -> None:
    database.execute("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (7)")
    database.execute("DROP EXTENSION plpgsql")
    assert entry(reset(DEFAULT), "t_id_seq").next_after == 8


def test_sequences_that_cannot_be_held_take_the_time_of_one(database: Database) -> None:
    """Somebody has drawn from each, and does not end the transaction."""
    for name in ("a", "b"):
        database.execute(
            f"CREATE TABLE {name} (id serial PRIMARY KEY); INSERT INTO {name} VALUES (5000000)"
        )
    sequences, _ = read_catalog(connections[DEFAULT], LockBudget(TIMEOUT))
    budget = LockBudget(TIMEOUT)
    with database.connect(autocommit=False) as other:
        other.execute("SELECT nextval('a_id_seq'), nextval('b_id_seq')")
        moves = [Move(sequence, 1, 5000001) for sequence in sequences]
        outcomes = [outcome for _, outcome in advance(connections[DEFAULT], moves, budget)]
    assert [type(outcome) for outcome in outcomes] == [Postponed, Postponed]
    assert budget.for_one() == LockBudget.SHORTEST
