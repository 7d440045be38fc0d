"""Locks that other roles hold on whole databases, and names that they take, from another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections
from psycopg import sql

from restorehooks.restore.errors import TargetError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server import lock, sides
from restorehooks.restore.undo import drop_previous, kept_databases, undo
from restorehooks.signals import post_restore, pre_load
from tests.support.databases import Database
from tests.support.dumps import alone, neighbours


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no lock for seconds."""
    monkeypatch.setattr(lock, "LOCK_TIMEOUT", "SET lock_timeout = '200ms'")


@pytest.fixture
def stranger(live: Database) -> Iterator[psycopg.Connection[Any]]:
    """A session of a role without rights, in another database."""
    role = live.role("stranger")
    alone(live)
    connection = live.server.connect(dbname="postgres", user=role)
    yield connection
    connection.close()


def yes(_: str) -> bool:
    return True


def hold(stranger: psycopg.Connection[Any], database: str) -> None:
    """Lock a database, as every role may."""
    setting = "BEGIN; ALTER ROLE CURRENT_USER IN DATABASE {} SET work_mem = '1MB'"
    stranger.execute(sql.SQL(setting).format(sql.Identifier(database)))


@contextmanager
def at(signal: Any, do: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as a signal is sent."""

    def receive(**_: object) -> None:
        do()

    signal.connect(receive)
    try:
        yield
    finally:
        signal.disconnect(receive)


@contextmanager
def as_its_owner(live: Database) -> Iterator[None]:
    """Let a role that is no superuser own the database, and restore."""
    owner = live.role("owner", "LOGIN CREATEDB")
    to = sql.SQL("ALTER DATABASE {} OWNER TO {}")
    live.server.execute(to.format(sql.Identifier(live.name), sql.Identifier(owner)))
    settings = connections["default"].settings_dict
    before, settings["USER"] = settings["USER"], owner
    try:
        yield
    finally:
        connections["default"].close()
        settings["USER"] = before
        live.server.execute(to.format(sql.Identifier(live.name), sql.Identifier(before)))


@pytest.mark.parametrize("held", ["live", "side"])
def test_a_lock_that_every_role_may_hold_ends_no_restore(
    live: Database, backup: Path, stranger: psycopg.Connection[Any], held: str
) -> None:
    own = "ALTER ROLE {} IN DATABASE {} SET work_mem = '2MB'"
    names = sql.Identifier(stranger.info.user), sql.Identifier(live.name)
    live.server.execute(sql.SQL(own).format(*names))
    lock_it = {
        "live": at(post_restore, lambda: hold(stranger, live.name)),
        "side": at(pre_load, lambda: hold(stranger, neighbours(live)[0])),
    }
    with lock_it[held]:
        assert restore(Request(str(backup)), confirm=yes).restored


@pytest.mark.parametrize("done", [drop_previous, undo])
def test_nor_does_it_hold_up_what_is_done_to_a_kept_one(
    live: Database, backup: Path, stranger: psycopg.Connection[Any], done: Callable[..., object]
) -> None:
    assert restore(Request(str(backup)), confirm=yes).restored
    (kept,) = neighbours(live)
    hold(stranger, kept)
    done(confirm=yes)
    assert kept not in neighbours(live)


def test_who_holds_it_and_may_not_be_ended_is_named_and_nobody_is_disconnected(
    live: Database, backup: Path, stranger: psycopg.Connection[Any]
) -> None:
    who = f'process {stranger.info.backend_pid} of "{stranger.info.user}"'
    with as_its_owner(live):
        client = live.connect(user=connections["default"].settings_dict["USER"])
        holding = at(post_restore, lambda: hold(stranger, live.name))
        with holding, pytest.raises(TargetError, match=who):
            restore(Request(str(backup), swap_seconds=0.1), confirm=yes)
        assert client.execute("SELECT 1").fetchone() == (1,)
        client.close()
        assert neighbours(live) == []
        stranger.execute("ROLLBACK")
        restore(Request(str(backup)), confirm=yes)
        hold(stranger, neighbours(live)[0])
        with pytest.raises(TargetError, match=f"held up by a lock of {who}"):
            drop_previous(confirm=yes)
        stranger.execute("ROLLBACK")
        drop_previous(confirm=yes)


def test_a_change_that_is_not_committed_is_named_by_the_plan(
    live: Database, backup: Path, stranger: psycopg.Connection[Any]
) -> None:
    hold(stranger, live.name)
    stranger.execute("COMMIT")
    hold(stranger, live.name)
    with pytest.raises(TargetError, match=f'work_mem of the role "{stranger.info.user}"'):
        restore(Request(str(backup), dry_run=True))


@pytest.mark.parametrize("word", ["restoring", "before"])
def test_a_name_that_somebody_takes_is_left_to_them(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """A database that is being created is not to be seen, and takes its name."""
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    name, listed = f"{live.name}_{word}_20260102_030405", sides.names
    alone(live)

    def and_then_taken(connection: psycopg.Connection[Any]) -> list[str]:
        found = listed(connection)
        if name not in found:
            live.server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return found

    monkeypatch.setattr(sides, "server_time", lambda _: now)
    monkeypatch.setattr(sides, "names", and_then_taken)
    assert restore(Request(str(backup)), confirm=yes).restored
    assert name in neighbours(live)
    (kept,) = kept_databases()
    assert kept.name != name


def test_a_database_that_is_given_to_another_role_meanwhile_does_not_go_back(
    live: Database, backup: Path
) -> None:
    """Nor does what was loaded stay behind."""
    heir = live.role("heir")
    to = sql.SQL("ALTER DATABASE {} OWNER TO {}")
    given = to.format(sql.Identifier(live.name), sql.Identifier(heir))
    alone(live)
    giving = at(pre_load, lambda: live.server.execute(given))
    with giving, pytest.raises(TargetError, match=f'belongs to "{heir}" now'):
        restore(Request(str(backup), accept_lost_settings=True), confirm=yes)
    assert neighbours(live) == []
    assert live.execute("SELECT count(*) FROM precious") == [(300,)]
