"""Real sessions insert, by default and with explicit ids, while repairs run in a loop beside them.

Afterwards no number may have been handed out twice, and no sequence may have gone back.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.core.management.color import no_style
from django.db import connections, models, transaction

from tests.support.databases import Database
from tests.support.sequences import DEFAULT, reset, statuses

WRITERS = 3
INSERT = "INSERT INTO stress (x) SELECT g FROM generate_series(1, {}) g RETURNING id"
IMPORT = "INSERT INTO stress (id) SELECT last_value + {} FROM stress_id_seq"
"""An import writes its ids a little or far ahead of where the sequence stands."""


# Not SELECT last_value: while nextval is at work that may glimpse what it only tells the log,
# 32 numbers ahead.
POSITION = "SELECT pg_sequence_last_value('stress_id_seq')"


class Crowd:
    """Sessions that all do their work until the time is up, and what they saw."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.over = threading.Event()
        self.drawn: list[int] = []
        self.positions: list[int] = []
        self.repairs = 0
        self.errors: list[BaseException] = []

    def run(self, seconds: float, *workers: Callable[[], None]) -> None:
        threads = [threading.Thread(target=self._guarded, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self.over.set()
        for thread in threads:
            thread.join()
        assert self.errors == []
        assert self.repairs > 10
        assert len(self.drawn) > 1000

    def _guarded(self, worker: Callable[[], None]) -> None:
        try:
            worker()
        except BaseException as error:
            self.errors.append(error)
        finally:
            connections[DEFAULT].close()

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[tuple[int, ...]]]:
        with self.database.connect() as connection:
            yield connection

    def insert(self) -> None:
        """Insert by default: single rows, many rows, and several statements to a transaction."""
        dice = random.Random(threading.get_ident())
        with self._session() as connection:
            while not self.over.is_set():
                with connection.transaction():
                    for _ in range(dice.choice([1, 1, 5])):
                        rows = connection.execute(INSERT.format(dice.choice([1, 10, 100])))
                        self.drawn += [number for (number,) in rows.fetchall()]

    def import_with(self, gaps: list[int]) -> Callable[[], None]:
        def work() -> None:
            dice = random.Random(1)
            with self._session() as connection:
                while not self.over.is_set():
                    connection.execute(IMPORT.format(dice.choice(gaps)))
                    time.sleep(0.002)

        return work

    def watch(self) -> None:
        with self._session() as connection:
            while not self.over.is_set():
                ((position,),) = connection.execute(POSITION)
                self.positions += [] if position is None else [position]
                time.sleep(0.0005)

    def repair(self) -> None:
        while not self.over.is_set():
            assert set(statuses(reset(DEFAULT)).values()) <= {"ok", "advanced"}
            self.repairs += 1

    def repair_within(self) -> None:
        while not self.over.is_set():
            with transaction.atomic():
                assert set(statuses(reset(DEFAULT)).values()) <= {"ok", "advanced"}
                self.repairs += 1

    def reset_djangos_way(self) -> None:
        class Stress(models.Model):  # noqa: DJ008
            class Meta:
                app_label = "stress"
                db_table = "stress"

        connection = connections[DEFAULT]
        (statement,) = connection.ops.sequence_reset_sql(no_style(), [Stress])
        while not self.over.is_set():
            with connection.cursor() as cursor:
                cursor.execute(statement)
            self.repairs += 1

    @property
    def twice(self) -> list[int]:
        """The numbers that nextval handed out more than once."""
        return [number for number, times in Counter(self.drawn).items() if times > 1]


@pytest.fixture
def crowd(database: Database) -> Crowd:
    database.execute(
        "CREATE TABLE stress (id bigserial, x bigint); CREATE INDEX ON stress (id);"
        "INSERT INTO stress (id) VALUES (100)"
    )
    return Crowd(database)


def next_insert_is_past_all_rows(database: Database) -> bool:
    ((largest,),) = database.execute("SELECT max(id) FROM stress")
    ((number,),) = database.execute("INSERT INTO stress DEFAULT VALUES RETURNING id")
    return bool(number > largest)


@pytest.mark.parametrize(
    ("gaps", "cache"),
    [
        ([1, 2, 5, 30, 400], 1),
        ([600, 5_000, 20_000, 150_000], 1),
        ([1, 3, 19, 21, 150], 20),
        ([1, 700, 30_000, 3_000_000], 5),
    ],
    ids=["small gaps", "large gaps", "small gaps, CACHE 20", "all gaps, CACHE 5"],
)
def test_no_number_is_handed_out_twice_and_no_sequence_goes_back(
    crowd: Crowd, database: Database, gaps: list[int], cache: int
) -> None:
    database.execute(f"ALTER SEQUENCE stress_id_seq CACHE {cache}")
    workers = [crowd.insert] * WRITERS + [crowd.import_with(gaps), crowd.watch]
    crowd.run(1.3, *workers, crowd.repair, crowd.repair_within)
    assert crowd.twice == []
    assert crowd.positions == sorted(crowd.positions)
    reset(DEFAULT)
    assert next_insert_is_past_all_rows(database)


def test_djangos_own_reset_in_the_same_place_hands_numbers_out_twice(
    crowd: Crowd, database: Database
) -> None:
    workers = [crowd.insert] * WRITERS + [crowd.import_with([1, 30]), crowd.watch]
    crowd.run(1, *workers, crowd.reset_djangos_way)
    assert len(crowd.twice) > 0
    assert crowd.positions != sorted(crowd.positions)
