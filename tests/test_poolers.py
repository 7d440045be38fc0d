"""A pooler between Django and the server: hooks, repairs and healing, and what they leave there.

What a restore does is in tests/restore/test_pooled.py.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction
from django.test import override_settings

from restorehooks.duplicates import heal
from restorehooks.sequences.message import send
from tests.support.databases import Database
from tests.support.poolers import pooled
from tests.support.sequences import INSERT_THING, said, set_back, upcoming

HEALING = {"RESTOREHOOKS": {"REPAIR_ON_DUPLICATE": True}}


def command(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_what_a_session_keeps_is_seen(things: Database) -> None:
    with pooled(things) as pooler:
        with connections["default"].cursor() as cursor:
            cursor.execute("SET lock_timeout = 7; SELECT pg_advisory_lock(1)")
        assert pooler.left_behind(things.name) == ["lock_timeout = 7", "advisory ExclusiveLock"]


def insert() -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute(INSERT_THING)
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("mode", ["transaction", "session", "statement", "pgpool", "odyssey"])
def test_a_repair_and_an_explanation_leave_the_session_as_it_was(
    things: Database, mode: str
) -> None:
    with pooled(things, mode) as pooler:
        command("explainduplicate", "thing_pkey")
        assert "public.thing_id_seq" in command("resetsequences")
        assert insert() == 43
        assert pooler.left_behind(things.name) == []


@pytest.mark.parametrize("mode", ["transaction", "session", "pgpool", "odyssey"])
def test_the_hooks_of_migrate_and_loaddata(database: Database, tmp_path: Path, mode: str) -> None:
    fixture = tmp_path / "group.json"
    fixture.write_text('[{"model": "auth.group", "pk": 77, "fields": {"name": "late"}}]')
    with pooled(database, mode) as pooler:
        command("migrate")
        set_back(database, "django_migrations", "auth_permission")
        told = "\n".join(said(command("migrate")))
        assert "django_migrations_id_seq" in told
        assert "auth_permission_id_seq" in told
        command("loaddata", str(fixture))
        assert upcoming(database, "auth_group") == 78
        assert pooler.left_behind(database.name) == []


def test_the_hooks_prepare_nothing_in_a_session_that_others_get(database: Database) -> None:
    with pooled(database):
        for _ in range(3):
            command("migrate")
            command("flush", "--no-input")
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT name FROM pg_prepared_statements")
            assert cursor.fetchall() == []


@pytest.mark.parametrize("mode", ["transaction", "session", "pgpool", "odyssey"])
def test_within_a_transaction_the_repair_stays_when_it_is_rolled_back(
    things: Database, mode: str
) -> None:
    with pooled(things, mode) as pooler:
        with transaction.atomic():
            assert "public.thing_id_seq" in command("resetsequences")
            transaction.set_rollback(True)
        assert insert() == 43
        assert pooler.left_behind(things.name) == []


@override_settings(**HEALING)
@pytest.mark.parametrize(
    ("mode", "size", "within"),
    [("transaction", 1, False), ("transaction", 2, True), ("session", 2, False),
     ("statement", 1, False), ("pgpool", 0, True), ("odyssey", 2, True)],
)  # fmt: skip
def test_healing(things: Database, mode: str, size: int, within: bool) -> None:
    with pooled(things, mode, size):
        with (
            pytest.raises(IntegrityError) as caught,
            transaction.atomic() if within else nullcontext(),
        ):
            insert()
        assert "has been moved on to 43" in caught.value.__notes__[-1]
        assert insert() == 43


@override_settings(**HEALING)
def test_healing_gives_up_where_the_caller_has_the_last_session(
    things: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PgBouncer would let it wait for two minutes, and the caller with it."""
    monkeypatch.setattr(heal, "ANSWER_TIMEOUT", 0.3)
    with pooled(things, "transaction"), caplog.at_level(logging.WARNING, "restorehooks"):
        with pytest.raises(IntegrityError), transaction.atomic():
            insert()
        assert "no sequence was repaired: no answer within 0.3 seconds" in caplog.text
        with transaction.atomic():
            assert send(connections["default"], ["SELECT 1"], 1.0) == [[(1,)]]
