"""pglogical itself, as Debian has it: a cutover from a provider, and a restore over a subscriber.

One server has both databases: pglogical replicates between two of one server as well. The tests
share them, in this order.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from restorehooks.sequences.notes import note_on_subscription
from tests.support.databases import Database, pointed
from tests.support.dumps import dumped
from tests.support.sequences import DEFAULT, bytes_of_sequences, django_as, inspect, upcoming
from tests.support.servers import FAST, RunningServer, packaged, private_server
from tests.test_cutover import ORDERS, insert, wait_until

OPTIONS = {"wal_level": "logical", "shared_preload_libraries": "pglogical"}
TRUSTED = "ALTER SYSTEM SET output_plugin_libraries = 'pgoutput', 'pglogical_output'"
"""Minor versions of 2026 trust no other output plugin."""
STATUS = "SELECT status FROM pglogical.show_subscription_status()"


Both = tuple[Database, Database]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """The old database and the new one, which has all rows of the old one.

    The old one has 40 orders, and two numbers that were drawn and lost. Neither is dropped: on
    PostgreSQL 15 a DROP DATABASE waits for the supervisor of pglogical 2.4.2 for ever.
    """
    folder = packaged("pglogical")
    if folder is None:
        pytest.skip("no pglogical is installed here")
    with private_server({**FAST, **OPTIONS}, folder) as server:
        if server.execute("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
            server.execute(TRUSTED)
            server.execute("SELECT pg_reload_conf()")
        provider, subscriber = made(server, "provider"), made(server, "subscriber")
        provider.execute(
            "INSERT INTO orders (name) SELECT 'old' FROM generate_series(1, 40);"
            "SELECT nextval('orders_id_seq') FROM generate_series(1, 2)"
        )
        for what in ("tables", "sequences"):
            provider.execute(
                f"SELECT pglogical.replication_set_add_all_{what}('default', '{{public}}')"
            )
        subscriber.execute("SELECT pglogical.create_subscription('cutover', %s)", place(provider))
        wait_until(lambda: subscriber.execute(STATUS) == [("replicating",)])
        yield provider, subscriber
        provider.disconnect()
        subscriber.disconnect()


def made(server: RunningServer, name: str) -> Database:
    server.execute(f"CREATE DATABASE {name}")
    database = Database(server, name, None, [])
    database.execute(f"{ORDERS} CREATE EXTENSION pglogical")
    database.execute("SELECT pglogical.create_node(%s, %s)", name, place(database))
    return database


@pytest.fixture
def provider(both: Both) -> Iterator[Database]:
    """The old database, Django's alias "other"."""
    with pointed("other", both[0].settings):
        yield both[0]


@pytest.fixture
def subscriber(both: Both) -> Iterator[Database]:
    """The new database, Django's default."""
    with pointed(DEFAULT, both[1].settings):
        yield both[1]


def place(database: Database) -> str:
    params = database.server.params
    return f"host={params['host']} port={params['port']} user=postgres dbname={database.name}"


def resetsequences(*options: str) -> str:
    out = StringIO()
    call_command("resetsequences", *options, stdout=out, stderr=out)
    return out.getvalue()


def test_a_role_that_may_not_read_pglogicals_tables(
    subscriber: Database, provider: Database
) -> None:

    role = subscriber.role("app")
    with django_as(subscriber, USER=role) as alias:
        assert inspect(alias).notes == ()


@pytest.mark.parametrize("side", ["provider", "subscriber"])
def test_a_restore_names_what_it_would_lose(
    provider: Database,
    subscriber: Database,
    tmp_path: Path,
    side: str,
) -> None:
    database, alias = (provider, "other") if side == "provider" else (subscriber, DEFAULT)
    dump = dumped(database, tmp_path / "d.dump", "--schema=public")
    database.disconnect()
    with pytest.raises(CommandError) as caught:
        call_command("restoredb", str(dump), f"--database={alias}", "--no-input", verbosity=0)
    said = str(caught.value)
    assert f'the pglogical node "{side}" would stay with the old database' in said
    assert ('subscription "cutover" would stay' in said) is (side == "subscriber")
    assert ("the logical replication slot" in said) is (side == "provider")


def test_a_cutover_from_a_provider(provider: Database, subscriber: Database) -> None:
    """pglogical copies positions later, a thousand numbers ahead, and sets back what is further."""
    before = bytes_of_sequences(provider)
    note = note_on_subscription("pglogical", "cutover")
    assert inspect(DEFAULT).notes == (note,)
    said = resetsequences("--from", "other", "--headroom", "5000")
    assert note in said
    assert "the source has come to 43" in said
    assert bytes_of_sequences(provider) == before
    assert (insert(subscriber, "new"), insert(provider, "old")) == (5044, 43)

    provider.execute("SELECT pglogical.synchronize_sequence('orders_id_seq')")
    wait_until(lambda: upcoming(subscriber, "orders") == 1044)
    subscriber.execute("SELECT pglogical.alter_subscription_disable('cutover', true)")
    resetsequences("--from", "other")
    assert insert(subscriber, "new") == 5045
    assert inspect(DEFAULT).notes == ()
