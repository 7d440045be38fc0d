"""A sequence repaired right after it drew a number that was taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connections, transaction
from django.test import override_settings

from restorehooks import retry_after_repair
from restorehooks.duplicates import heal
from restorehooks.signals import sequences_repaired
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import INSERT_THING, set_back, upcoming

ON = {"RESTOREHOOKS": {"REPAIR_ON_DUPLICATE": True}}


@pytest.fixture
def healing() -> Iterator[None]:
    with override_settings(**ON):
        yield


@pytest.fixture
def repaired() -> Iterator[list[str]]:
    """What ``sequences_repaired`` told of, as it comes in."""
    told: list[str] = []

    def receive(report: Any, trigger: str, **kwargs: Any) -> None:
        told.extend(f"{trigger} {entry.sequence} {entry.next_after}" for entry in report.changed)

    sequences_repaired.connect(receive)
    yield told
    sequences_repaired.disconnect(receive)


def insert(using: str = "default", statement: str = INSERT_THING) -> int:
    with connections[using].cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


def sessions(database: Database) -> int:
    """Return how many other sessions the database has."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    ((number,),) = database.execute(f"{count} AND backend_type = 'client backend'")
    return int(number) - 1


def test_off_unless_asked_for(things: Database, repaired: list[str]) -> None:
    with pytest.raises(IntegrityError):
        insert()
    assert upcoming(things, "thing") == 2
    assert repaired == []


@pytest.mark.usefixtures("healing")
def test_the_second_attempt_works(things: Database, repaired: list[str]) -> None:
    with pytest.raises(IntegrityError) as caught:
        insert()
    assert (
        "thing_id_seq has been moved on to 43; the next attempt works."
        in caught.value.__notes__[-1]
    )
    assert repaired == ["duplicate public.thing_id_seq 43"]
    assert insert() == 43
    deadline = monotonic() + 5
    while sessions(things) != 1:  # the short one is gone, or about to be
        assert monotonic() < deadline


@pytest.mark.usefixtures("healing")
def test_within_a_transaction_and_its_savepoints(things: Database) -> None:
    with transaction.atomic():
        with pytest.raises(IntegrityError), transaction.atomic():
            insert()
        assert insert() == 43
    set_back(things, "thing")
    heal._tried.clear()
    with pytest.raises(IntegrityError), transaction.atomic():
        insert()
    assert upcoming(things, "thing") == 44


@pytest.mark.usefixtures("healing")
def test_no_more_than_once_in_a_while(
    things: Database, repaired: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for expected in (1, 1):
        set_back(things, "thing")
        with pytest.raises(IntegrityError):
            insert()
        assert len(repaired) == expected
    monkeypatch.setattr(heal, "INTERVAL", 0.2)
    sleep(0.25)
    with pytest.raises(IntegrityError):
        insert()
    assert len(repaired) == 2


@pytest.mark.usefixtures("healing")
def test_another_table_is_another_matter(things: Database, repaired: list[str]) -> None:
    things.execute("CREATE TABLE other (id serial PRIMARY KEY, name text)")
    things.execute("INSERT INTO other VALUES (1, 'a'), (2, 'b')")
    for table in ("thing", "other"):
        with pytest.raises(IntegrityError):
            insert(statement=f"INSERT INTO {table} (name) VALUES ('x') RETURNING id")
    assert len(repaired) == 2


@pytest.mark.usefixtures("healing")
def test_many_threads_at_once_repair_once(things: Database, repaired: list[str]) -> None:
    failures: list[str] = []

    def work() -> None:
        try:
            insert()
        except IntegrityError as error:
            failures.append(str(error))
        finally:
            connections.close_all()

    things.execute("INSERT INTO thing SELECT n, '' FROM generate_series(3, 41) n")
    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures
    assert len(repaired) == 1
    assert insert() >= 43


@pytest.mark.usefixtures("healing")
@pytest.mark.parametrize(
    "lock", ["LOCK TABLE thing", "ALTER TABLE thing ADD COLUMN x int", "TRUNCATE thing"]
)
def test_it_never_waits_for_what_the_caller_holds(
    things: Database, lock: str, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction.atomic():
        with connections["default"].cursor() as cursor:
            cursor.execute(lock)
            cursor.execute("INSERT INTO thing (id) VALUES (1), (2) ON CONFLICT DO NOTHING")
        began = monotonic()
        with pytest.raises(IntegrityError), transaction.atomic():
            insert()  # this savepoint's end leaves the lock to the transaction around it
        assert monotonic() - began < 1.5
    assert upcoming(things, "thing") == 2
    assert any("lock timeout" in message for message in caplog.messages)


@pytest.mark.usefixtures("healing")
def test_rows_not_committed_yet_do_no_harm(things: Database, repaired: list[str]) -> None:
    """As in a TestCase, whose rows the other connection cannot see."""
    with transaction.atomic():
        with connections["default"].cursor() as cursor:
            cursor.execute("INSERT INTO thing VALUES (100, 'x')")
            cursor.execute("CREATE TABLE fresh (id serial PRIMARY KEY, name text)")
            cursor.execute("INSERT INTO fresh VALUES (1, 'x')")
        for table in ("thing", "fresh"):
            with pytest.raises(IntegrityError), transaction.atomic():
                insert(statement=f"INSERT INTO {table} (name) VALUES ('x') RETURNING id")
        assert repaired == ["duplicate public.thing_id_seq 43"]
        assert insert() == 43


@pytest.mark.usefixtures("healing")
def test_a_wrong_guess_changes_nothing(things: Database, repaired: list[str]) -> None:
    things.execute("CREATE TABLE code (code int PRIMARY KEY); INSERT INTO code VALUES (1)")
    things.execute("SELECT setval('thing_id_seq', 100)")
    before = things.execute("SELECT * FROM thing_id_seq")
    for statement in (
        "INSERT INTO thing VALUES (42, 'x') RETURNING id",
        "INSERT INTO code VALUES (1) RETURNING code",
    ):
        with pytest.raises(IntegrityError):
            insert(statement=statement)
    assert things.execute("SELECT * FROM thing_id_seq") == before
    assert repaired == []


@pytest.mark.psycopg3("Django pools psycopg 3 alone")
@pytest.mark.usefixtures("healing")
def test_a_pool_with_no_place_left(things: Database, repaired: list[str]) -> None:
    connection = connections["default"]
    connection.settings_dict["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 1}}
    connection.settings_dict["CONN_MAX_AGE"] = 0
    try:
        began = monotonic()
        with pytest.raises(IntegrityError):
            insert()
        assert monotonic() - began < 2
        assert len(repaired) == 1
        assert insert() == 43
    finally:
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("healing")
def test_no_connection_to_be_had(
    things: Database, repaired: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    role = things.role("single", "LOGIN SUPERUSER")
    things.server.execute(f"ALTER ROLE {role} NOSUPERUSER CONNECTION LIMIT 1")
    things.execute(f"GRANT ALL ON thing TO {role}")
    connections["default"].settings_dict["USER"] = role
    with pytest.raises(IntegrityError, match="thing_pkey"):
        insert()
    connections["default"].close()
    (message,) = caplog.messages
    assert message.startswith("After a unique violation, no sequence was repaired: ")
    assert "too many connections" in message
    assert repaired == []


@pytest.mark.usefixtures("healing")
def test_a_partition_s_violation_repairs_the_parent_s_sequence(
    database: Database, repaired: list[str]
) -> None:
    database.execute(
        "CREATE TABLE visit (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text)"
        " PARTITION BY HASH (id);"
        "CREATE TABLE visit_0 PARTITION OF visit FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        "INSERT INTO visit VALUES (1, 'a'), (2, 'a')"
    )
    statement = "INSERT INTO visit (name) VALUES ('x') RETURNING id"
    with pytest.raises(IntegrityError):
        insert(statement=statement)
    assert repaired == ["duplicate public.visit_id_seq 3"]
    assert insert(statement=statement) == 3


@pytest.mark.usefixtures("healing")
def test_a_receiver_that_fails_the_same_way_does_not_go_round(things: Database) -> None:
    calls = []

    def receive(**kwargs: Any) -> None:
        calls.append(kwargs["trigger"])
        set_back(things, "thing")
        insert()

    sequences_repaired.connect(receive)
    try:
        with pytest.raises(IntegrityError):
            insert()
    finally:
        sequences_repaired.disconnect(receive)
    assert calls == ["duplicate"]


def test_requests_in_transactions(project: Project, database: Database) -> None:
    """With ATOMIC_REQUESTS the first request fails as a whole, and the next one works."""
    project.app("shop", models="class Order(models.Model): pass")
    project.write(
        "urls.py",
        """
        from django.http import HttpResponse
        from django.urls import path
        from shop.models import Order

        def order(request):
            return HttpResponse(Order.objects.create().pk)

        urlpatterns = [path("order", order)]
        """,
    )
    project.settings(
        INSTALLED_APPS=["restorehooks", "shop"],
        MIGRATION_MODULES={"shop": None},
        ROOT_URLCONF="urls",
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": {**database.settings, "ATOMIC_REQUESTS": True}},
        RESTOREHOOKS=ON["RESTOREHOOKS"],
    )
    project.manage("migrate", "--run-syncdb", "-v0")
    database.execute("INSERT INTO shop_order VALUES (1), (2), (7)")
    out = project.shell(
        """
        import json, logging
        logging.disable()
        from django.test import Client
        client = Client(raise_request_exception=False)
        answers = [client.get("/order") for _ in range(2)]
        print(json.dumps([(a.status_code, a.content.decode()[:1]) for a in answers]))
        """
    )
    first, second = json.loads(out)
    assert first[0] == 500
    assert second == [200, "8"]


def test_work_is_done_again_after_a_repair(things: Database, repaired: list[str]) -> None:
    @retry_after_repair()
    def work(*names: str) -> list[int]:
        return [insert() for _ in names]

    assert work("a", "b") == [43, 44]
    assert repaired == ["duplicate public.thing_id_seq 43"]

    set_back(things, "thing")
    tries = 0
    for attempt in retry_after_repair(using="default"):
        with attempt, transaction.atomic():
            tries += 1
            number = insert()
    assert (tries, number) == (2, 45)


def test_async_work_is_done_again(things: Database) -> None:
    from asgiref.sync import sync_to_async

    @retry_after_repair()
    async def work() -> int:
        return int(await sync_to_async(insert)())

    async def by_hand() -> int:
        number = 0
        for attempt in retry_after_repair():
            async with attempt:
                number = await sync_to_async(insert)()
        return number

    assert async_to_sync(work)() == 43
    set_back(things, "thing")
    assert async_to_sync(by_hand)() == 44


def test_several_sequences_behind_in_one_piece_of_work(things: Database) -> None:
    things.execute("CREATE TABLE other (id serial PRIMARY KEY, name text)")
    things.execute("INSERT INTO other VALUES (1, 'a')")
    other = "INSERT INTO other (name) VALUES ('x') RETURNING id"

    @retry_after_repair()
    def work() -> tuple[int, int]:
        with transaction.atomic():
            return insert(), insert(statement=other)

    assert work() == (44, 2)

    set_back(things, "thing", "other")

    @retry_after_repair(attempts=2)
    def twice() -> tuple[int, int]:
        return insert(), insert(statement=other)

    with pytest.raises(IntegrityError, match="other_pkey"):
        twice()


def test_healed_already_it_is_done_again_too(things: Database, healing: None) -> None:
    assert retry_after_repair()(insert)() == 43


def test_real_duplicates_are_raised_at_once_or_after_one_more_try(things: Database) -> None:
    tries = []

    @retry_after_repair()
    def work(statement: str) -> None:
        tries.append(statement)
        insert(statement=statement)

    things.execute("ALTER TABLE thing ADD UNIQUE (name)")
    with pytest.raises(IntegrityError, match="thing_name_key"):
        work("INSERT INTO thing (id, name) VALUES (50, 'a') RETURNING id")
    assert len(tries) == 1
    things.execute("SELECT setval('thing_id_seq', 100)")
    tries.clear()
    with pytest.raises(IntegrityError, match="thing_pkey"):
        work("INSERT INTO thing VALUES (42, 'z') RETURNING id")
    assert len(tries) == 2


def test_never_within_a_transaction_and_never_for_other_errors(things: Database) -> None:
    tries = []

    @retry_after_repair()
    def work(error: Exception | None = None) -> int:
        tries.append(1)
        if error:
            raise error
        return insert()

    with pytest.raises(IntegrityError), transaction.atomic():
        work()
    for error in (ValueError("x"), IntegrityError("x")):
        with pytest.raises(type(error)):
            work(error)
    assert len(tries) == 3
    assert upcoming(things, "thing") == 2


def test_wrong_use_of_the_decorator() -> None:
    with pytest.raises(ValueError, match="attempts must be at least 1, not 0"):
        retry_after_repair(attempts=0)

    @retry_after_repair()
    def fine() -> str:
        return "fine"

    assert fine() == "fine"
    with pytest.raises(TypeError, match="is a generator"):

        @retry_after_repair()
        def odd() -> Iterator[int]:
            yield 1


def test_a_wrong_setting_is_named_by_the_check_and_stops_nothing(things: Database) -> None:
    with override_settings(RESTOREHOOKS={"REPAIR_ON_DUPLICATE": "yes"}):
        from restorehooks import conf

        with pytest.raises(ImproperlyConfigured, match="must be True or False, not 'yes'"):
            conf.repair_on_duplicate()
        with pytest.raises(IntegrityError, match="thing_pkey"):
            insert()
