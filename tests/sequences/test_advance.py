"""Moving a sequence while others draw from it, at close quarters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import pytest
from django.db import connections, transaction
from psycopg import sql

from restorehooks.sequences.advance import (
    DRAWN_AT_ONCE,
    FORGET,
    Outcome,
    Postponed,
    advance,
)
from restorehooks.sequences.catalog import read_catalog
from restorehooks.sequences.message import Failed, LockBudget
from restorehooks.sequences.model import Sequence
from restorehooks.sequences.statements import DRAW, SET_FORWARD, Move, hold
from tests.support.databases import Database
from tests.support.sequences import (
    DEFAULT,
    bytes_of_sequences,
    django_as,
    draw,
    reset,
    standing,
)


def catalogued() -> Sequence:
    ((found,), _) = read_catalog(connections[DEFAULT], LockBudget(1))
    return found


def move(sequence: Sequence, last_value: int, target: int) -> Outcome:
    ((_, outcome),) = advance(
        connections[DEFAULT], [Move(sequence, last_value, target)], LockBudget(1)
    )
    return outcome


@contextmanager
def two_sessions_drawing(database: Database) -> Iterator[None]:
    """Let two sessions fill the table drawn from the sequence s while the block runs."""
    over = threading.Event()

    def work() -> None:
        with database.connect() as connection:
            while not over.is_set():
                connection.execute(
                    "INSERT INTO drawn SELECT nextval('s') FROM generate_series(1, 2000)"
                )

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def numbers_drawn_twice(database: Database, cache: int, *statements: str) -> tuple[int, int]:
    """Return how many numbers two busy sessions drew beside thousands of repairs of a gap.

    The statements are the real ones, in a loop within the server: the gap is there anew each time.
    """
    database.execute(
        "DROP TABLE IF EXISTS drawn; CREATE UNLOGGED TABLE drawn (number bigint);"
        f"DROP SEQUENCE IF EXISTS s; CREATE SEQUENCE s CACHE {cache}; SELECT nextval('s')"
    )
    steps = [sql.SQL("EXECUTE {};").format(sql.Literal(each)) for each in statements]
    body = sql.SQL("BEGIN FOR i IN 1..600 LOOP {} COMMIT; END LOOP; END").format(
        sql.SQL(" ").join(steps)
    )
    with two_sessions_drawing(database):
        database.execute(sql.SQL("DO {}").format(sql.Literal(body.as_string())))
    ((drawn, twice),) = database.execute(
        "SELECT count(*), count(*) - count(DISTINCT number) FROM drawn"
    )
    return drawn, twice


STANDS = "pg_sequence_last_value('s')"


def set_past(final: str) -> str:
    return SET_FORWARD.format(
        oids=sql.SQL("ARRAY['s'::regclass]"),
        finals=sql.SQL(f"ARRAY[{final}]"),
        increments=sql.SQL("ARRAY[1]"),
        ends=sql.SQL("ARRAY[NULL]"),
    ).as_string()


@pytest.mark.psycopg3("the test itself writes statements with psycopg 3")
@pytest.mark.parametrize(("cache", "gap"), [(1, 300), (5, 2), (50, 700)])
def test_a_gap_that_is_drawn_while_others_close_it(
    database: Database, cache: int, gap: int
) -> None:
    statement = DRAW.format(
        most=sql.Literal(1000),
        oids=sql.SQL("ARRAY['s'::regclass]"),
        finals=sql.SQL(f"ARRAY[{STANDS} + {gap}]"),
        increments=sql.SQL("ARRAY[1]"),
    )
    drawn, twice = numbers_drawn_twice(database, cache, FORGET.as_string(), statement.as_string())
    assert drawn >= 2000
    assert twice == 0


@pytest.mark.psycopg3("the test itself writes statements with psycopg 3")
@pytest.mark.parametrize("cache", [1, 50])
def test_a_gap_that_is_set_while_the_sequence_is_held(database: Database, cache: int) -> None:
    database.execute(f"CREATE SEQUENCE s CACHE {cache}")
    held = hold(catalogued()).as_string()
    setting = set_past(f"{STANDS} + 2")
    drawn, twice = numbers_drawn_twice(database, cache, held, FORGET.as_string(), setting)
    assert drawn >= 2000
    assert twice == 0


@pytest.mark.parametrize("cache", [1, 5])
def test_a_guarded_setval_in_the_same_place_hands_numbers_out_twice(
    database: Database, cache: int
) -> None:
    setting = f"SELECT setval('s', at + 2) FROM (SELECT {STANDS} AS at OFFSET 0) AS t"
    tries = (numbers_drawn_twice(database, cache, setting) for _ in range(20))
    assert any(twice > 0 for _, twice in tries)


BURSTS = """
    DO $$ BEGIN
        WHILE NOT EXISTS (SELECT FROM over) LOOP
            PERFORM pg_advisory_lock_shared(1);
            INSERT INTO drawn SELECT nextval('s') FROM generate_series(1, 600);
            COMMIT;
            PERFORM pg_advisory_unlock_shared(1);
        END LOOP;
    END $$
"""
REPAIRS = """
    DO $$ BEGIN
        FOR round IN 1..150 LOOP
            PERFORM pg_advisory_lock(1);  -- when all bursts are over; the next ones wait
            PERFORM set_config('test.final', (pg_sequence_last_value('s') + {gap})::text, false);
            PERFORM pg_advisory_unlock(1);  -- and begin at once, while this goes on
            {statements}
            COMMIT;
        END LOOP;
    END $$
"""
FINAL = "current_setting('test.final')::bigint"


def drawn_twice_in_bursts(database: Database, gap: int, *statements: str) -> int:
    """Return how many numbers bursts drew twice that began at the moment of a repair, each time.

    The barrier is a lock within the server: three sessions wait for it, and the repair frees them.
    """
    database.execute(
        "CREATE UNLOGGED TABLE IF NOT EXISTS drawn (number bigint); TRUNCATE drawn;"
        "CREATE TABLE IF NOT EXISTS over (); TRUNCATE over; DROP SEQUENCE IF EXISTS s;"
        "CREATE SEQUENCE s; SELECT nextval('s')"
    )
    sessions = [database.connect() for _ in range(3)]
    threads = [threading.Thread(target=each.execute, args=[BURSTS]) for each in sessions]
    for thread in threads:
        thread.start()
    steps = " ".join(f"EXECUTE {sql.Literal(each).as_string()};" for each in statements)
    database.execute(REPAIRS.format(gap=gap, statements=steps))
    database.execute("INSERT INTO over DEFAULT VALUES")
    for thread, session in zip(threads, sessions, strict=True):
        thread.join()
        session.close()
    ((drawn, twice),) = database.execute(
        "SELECT count(*), count(*) - count(DISTINCT number) FROM drawn"
    )
    assert drawn > 20 * 600
    return int(twice)


@pytest.mark.psycopg3("the test itself writes statements with psycopg 3")
@pytest.mark.parametrize("gap", [100, 599, 1_500])
@pytest.mark.parametrize("way", ["drawn", "held"])
def test_sessions_that_begin_bursts_at_the_moment_of_a_repair(
    database: Database, gap: int, way: str
) -> None:
    database.execute("CREATE SEQUENCE s")
    statements = {
        "drawn": [
            DRAW.format(
                most=sql.Literal(5_000),
                oids=sql.SQL("ARRAY['s'::regclass]"),
                finals=sql.SQL(f"ARRAY[{FINAL}]"),
                increments=sql.SQL("ARRAY[1]"),
            ).as_string()
        ],
        "held": [
            hold(catalogued()).as_string(),
            set_past(FINAL),
        ],
    }
    assert drawn_twice_in_bursts(database, gap, *statements[way]) == 0


def test_bursts_draw_numbers_twice_where_a_guard_is_all_there_is(database: Database) -> None:
    """With a moment between the guard and setval: the barrier lets the others draw just then."""
    guarded = (
        f"SELECT setval('s', {FINAL}) FROM (SELECT at, pg_sleep(0.002) FROM"
        " (SELECT pg_sequence_last_value('s') AS at OFFSET 0) t OFFSET 0) t"
        f" WHERE at < {FINAL}"
    )
    tries = (drawn_twice_in_bursts(database, 599, guarded) for _ in range(5))
    assert any(twice > 0 for twice in tries)


GAPS = [0, 1, 2, DRAWN_AT_ONCE, DRAWN_AT_ONCE + 1, 100_001, 2_000_000]


def test_gaps_of_any_size_are_closed_exactly(database: Database) -> None:
    for increment, gap, is_called in product([1, -1, 7, -50], GAPS, [False, True]):
        database.execute(f"DROP SEQUENCE IF EXISTS s; CREATE SEQUENCE s INCREMENT {increment}")
        if is_called:
            draw(database, "s")
        sequence = catalogued()
        target = sequence.start + (gap + 1) * increment
        assert move(sequence, sequence.start, target) == target
        assert draw(database, "s") == target
        assert move(sequence, sequence.start, target) == target + increment, "never back"


@pytest.mark.parametrize("within", [False, True])
def test_with_a_cache_it_ends_past_the_target_and_next_to_it(
    database: Database, within: bool
) -> None:
    for gap, held in product([1, 9, 10, 11, 4000, 300_000, 5_000_000], [False, True]):
        database.execute(
            "DROP SEQUENCE IF EXISTS s CASCADE; DROP TABLE IF EXISTS t; CREATE SEQUENCE s CACHE 10;"
            f"CREATE TABLE t (id bigint DEFAULT nextval('s')); INSERT INTO t VALUES ({gap})"
        )
        with connections[DEFAULT].cursor() as cursor:
            if held:
                cursor.execute("SELECT nextval('s')")
            if within:
                with transaction.atomic():
                    (found,) = reset(DEFAULT)
            else:
                (found,) = reset(DEFAULT)
            assert found.status.value in ("advanced", "ok")
            assert found.next_after is not None
            assert gap < found.next_after <= max(gap, 10) + 10
            cursor.execute("SELECT nextval('s')")
            assert cursor.fetchall() == [(found.next_after,)], "what was held is among the rows"


def test_where_it_was_called_already_but_by_others(database: Database) -> None:
    database.execute("CREATE SEQUENCE s")
    sequence = catalogued()
    database.execute("SELECT setval('s', 70)")
    assert move(sequence, 1, 50) == 71
    assert standing(database, "s") == (70, True)


@pytest.mark.parametrize("increment", [1, -7])
@pytest.mark.parametrize("cache", [1, 20])
def test_one_that_somebody_has_set_far_ahead_without_a_call_is_left_there(
    database: Database, cache: int, increment: int
) -> None:
    """Only by drawing from it can be said where it stands, and this session holds old numbers."""
    database.execute(f"CREATE SEQUENCE s INCREMENT {increment} CACHE {cache}")
    sequence = catalogued()
    ahead = sequence.start + 5_000 * increment
    with connections[DEFAULT].cursor() as cursor:
        cursor.execute("SELECT nextval('s')")
    database.execute(f"SELECT setval('s', {ahead}, false)")
    outcome = move(sequence, sequence.start, sequence.start + 1_000 * increment)
    assert isinstance(outcome, Postponed)
    assert standing(database, "s") == (ahead, False)


def test_one_that_others_have_drawn_to_the_end_of_its_cycle_starts_over_past_the_rows(
    database: Database,
) -> None:
    database.execute("CREATE SEQUENCE s INCREMENT 2 MAXVALUE 4000 CYCLE")
    sequence = catalogued()
    database.execute("SELECT setval('s', 3999)")
    assert move(sequence, 1, 2001) == 2001
    assert draw(database, "s") == 2001


def test_many_at_once_and_one_that_is_gone(database: Database) -> None:
    for number in range(30):
        database.execute(f"CREATE SEQUENCE s{number:02}")
    found, _ = read_catalog(connections[DEFAULT], LockBudget(1))
    database.execute("DROP SEQUENCE s07")
    moves = [Move(sequence, 1, 1000 + number) for number, sequence in enumerate(found)]
    outcomes = {
        m.sequence.name: outcome
        for m, outcome in advance(connections[DEFAULT], moves, LockBudget(1))
    }
    failed = outcomes.pop("s07")
    assert isinstance(failed, Failed)
    assert failed.message.startswith("public.s07: ")
    assert outcomes == {f"s{n:02}": 1000 + n for n in range(30) if n != 7}


def test_two_repairs_of_the_same_sequences_take_turns(database: Database) -> None:
    for number in range(20):
        database.execute(f"CREATE TABLE t{number} (id serial); INSERT INTO t{number} VALUES (400)")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                assert not reset(DEFAULT).summary()["failed"]
        except BaseException as error:
            errors.append(error)
        finally:
            connections[DEFAULT].close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {draw(database, f"t{number}_id_seq") for number in range(20)} == {401}, (
        "one of them drew what the other had drawn already"
    )


@pytest.mark.parametrize("increment", [1, -1])
def test_the_last_numbers_of_a_range_are_not_used_up_by_a_cache(
    database: Database, increment: int
) -> None:
    """A draw takes CACHE numbers at once: it would leave none of the ten for an insert."""
    first = 1 if increment > 0 else 10
    database.execute(
        f"CREATE SEQUENCE s INCREMENT {increment} MINVALUE 1 MAXVALUE 10 START {first} CACHE 20;"
        "CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'));"
        f"INSERT INTO t VALUES ({first}), ({first + 3 * increment})"
    )
    role = database.role("drawer")
    database.execute(f"GRANT SELECT ON t TO {role}; GRANT ALL ON SEQUENCE s TO {role}")
    before = bytes_of_sequences(database)
    with django_as(database, USER=role):
        (left,) = reset(DEFAULT)
    assert left.status.value == "behind"
    assert "only its owner can move it without using up its last numbers (CACHE 20)" in str(
        left.reason
    )
    assert bytes_of_sequences(database) == before

    (done,) = reset(DEFAULT)
    assert (done.status.value, done.next_after) == ("advanced", first + 4 * increment)
    assert database.execute("INSERT INTO t DEFAULT VALUES RETURNING id") == [(done.next_after,)]
