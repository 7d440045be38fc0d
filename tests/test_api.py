"""The functions for imports: reset_sequences, inspect_sequences, reset_sequences_after."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction
from django.db.transaction import TransactionManagementError

from restorehooks import Status, inspect_sequences, reset_sequences, reset_sequences_after
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import set_back, upcoming


@pytest.fixture
def migrated(database: Database) -> Database:
    """A database with Django's own tables."""
    call_command("migrate", verbosity=0)
    return database


def add_group(pk: int) -> Group:
    return Group.objects.create(pk=pk, name=f"group {pk}")


def test_scope_and_report(migrated: Database) -> None:
    add_group(7)
    set_back(migrated, "auth_permission", "django_migrations")
    plan = inspect_sequences()
    assert [entry.sequence for entry in plan.having(Status.BEHIND)] == [
        "public.auth_group_id_seq",
        "public.auth_permission_id_seq",
        "public.django_migrations_id_seq",
    ]
    assert (plan.applied, plan.is_fine, plan.changed) == (False, False, [])
    assert upcoming(migrated, "auth_group") == 1

    report = reset_sequences(Group)
    assert (report.applied, report.is_fine, report.database) == (True, True, "default")
    (moved,) = report.changed
    assert (moved.next_before, moved.next_after, moved.extreme) == (1, 8, 7)
    assert moved.models == ("auth.Group",)
    assert "public.auth_permission_id_seq" not in {entry.sequence for entry in report}
    assert upcoming(migrated, "auth_permission") == 1

    assert len(reset_sequences("auth.permission", Group).changed) == 1
    assert reset_sequences("auth").changed == []
    assert upcoming(migrated, "django_migrations") == 1
    assert len(inspect_sequences(schemas="public")) == len(inspect_sequences())
    assert len(reset_sequences(using="default", schemas=["public"]).changed) == 1
    assert reset_sequences(schemas=["nowhere"]).entries == ()

    assert reset_sequences("auth.Group", headroom=5).changed[0].next_after == 13
    assert inspect_sequences(Group, rewind=True, headroom=1).entries[0].next_after == 9
    assert reset_sequences(Group, rewind=True).changed[0].next_after == 8


def test_wrong_arguments(migrated: Database) -> None:
    with pytest.raises(LookupError, match='There is no app "shop"; installed are: auth, '):
        reset_sequences("shop")
    with pytest.raises(LookupError, match='App "auth" has no model "Grup"; it has: Group, '):
        inspect_sequences("auth.Grup")
    with pytest.raises(Exception, match="The connection 'nowhere' doesn't exist"):
        reset_sequences(Group, using="nowhere")


def test_after_a_block(migrated: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restorehooks")
    with reset_sequences_after(Group, using="default") as after:
        Group.objects.bulk_create([Group(pk=3, name="a"), Group(pk=4, name="b")])
        assert after.report is None
    assert after.report
    assert after.report.changed[0].next_after == 5
    assert Group.objects.create(name="c").pk == 5
    assert caplog.messages == ["Sequence public.auth_group_id_seq moved on to 5"]

    caplog.clear()
    migrated.execute("ALTER SEQUENCE auth_group_id_seq MAXVALUE 9")
    with reset_sequences_after("auth.Group"):
        add_group(9)
    (message,) = caplog.messages
    assert message.startswith("Sequence public.auth_group_id_seq is exhausted: ")


def test_after_a_block_whose_models_no_sequence_numbers(
    migrated: Database, caplog: pytest.LogCaptureFixture
) -> None:
    migrated.execute("ALTER TABLE auth_group ALTER id DROP IDENTITY IF EXISTS")
    migrated.execute("ALTER TABLE auth_group_permissions ALTER id DROP IDENTITY IF EXISTS")
    with connections["default"].cursor() as cursor:  # as whoever owns the database may
        cursor.execute('SET search_path TO "a\nforged", public')
    with reset_sequences_after(Group):
        pass
    messages = [record.getMessage() for record in caplog.records]
    (message,) = [each for each in messages if each.startswith("No sequence was checked")]
    assert "in database default" in message
    assert "\n" not in message
    assert "auth.Group.id" in message


def test_after_a_function(migrated: Database) -> None:
    @reset_sequences_after(Group)
    def load(first: int, *, last: int) -> int:
        """Load groups."""
        for pk in range(first, last + 1):
            add_group(pk)
        return last

    assert load(1, last=3) == 3
    assert Group.objects.create(name="x").pk == 4
    assert load(6, last=6) == 6
    assert Group.objects.create(name="y").pk == 7
    assert (load.__name__, load.__doc__) == ("load", "Load groups.")

    with pytest.raises(TypeError, match="generator"):

        @reset_sequences_after(Group)
        def lazily() -> Iterator[Group]:
            yield add_group(20)


def test_after_a_block_that_raises(migrated: Database, caplog: pytest.LogCaptureFixture) -> None:
    def add_and_raise(pk: int, error: type[BaseException]) -> None:
        with reset_sequences_after(Group):
            add_group(pk)
            raise error

    def swallow_an_error() -> None:
        with reset_sequences_after(Group), suppress(IntegrityError):
            add_group(5)

    with pytest.raises(ZeroDivisionError):
        add_and_raise(3, ZeroDivisionError)
    assert upcoming(migrated, "auth_group") == 4
    with pytest.raises(KeyboardInterrupt):
        add_and_raise(5, KeyboardInterrupt)
    assert upcoming(migrated, "auth_group") == 6

    assert caplog.messages == []
    with (
        pytest.raises(IntegrityError, match="auth_group_pkey"),
        transaction.atomic(),
        reset_sequences_after(Group),
    ):
        add_group(5)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert Group.objects.create(name="next").pk == 6

    with transaction.atomic(), pytest.raises(TransactionManagementError):
        swallow_an_error()
    assert Group.objects.create(name="after").pk == 7


def test_inside_a_transaction(migrated: Database) -> None:
    with transaction.atomic():
        with reset_sequences_after(Group):
            add_group(9)
        assert Group.objects.create(name="next").pk == 10
        locks = migrated.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE d.datname = current_database() AND l.locktype = 'advisory'"
        )
        assert locks == [(0,)]
        transaction.set_rollback(True)
    assert Group.objects.count() == 0
    assert upcoming(migrated, "auth_group") == 11  # setval is not undone, which harms nobody


def test_models_of_several_apps_and_automatic_tables(migrated: Database) -> None:
    group = add_group(2)
    migrated.execute(
        "INSERT INTO auth_group_permissions VALUES (8, %s, (SELECT min(id) FROM auth_permission))",
        group.pk,
    )
    report = reset_sequences(Group, ContentType)
    assert {entry.sequence: entry.next_after for entry in report.changed} == {
        "public.auth_group_id_seq": 3,
        "public.auth_group_permissions_id_seq": 9,
    }
    group.permissions.set(Permission.objects.all())
    assert reset_sequences(Group).changed == []


ASYNCHRONOUS = """
    import asyncio
    from django.contrib.auth.models import Group
    from restorehooks import reset_sequences_after

    async def add(pk):
        await Group.objects.acreate(pk=pk, name=str(pk))

    @reset_sequences_after(Group)
    async def load(pk):
        await add(pk)
        return pk

    async def main():
        async with reset_sequences_after(Group) as after:
            await add(4)
        print(after.report.changed[0].next_after, (await Group.objects.acreate(name="x")).pk)
        print(await load(8), (await Group.objects.acreate(name="y")).pk)
        try:
            async with reset_sequences_after(Group):
                await add(20)
                raise ZeroDivisionError
        except ZeroDivisionError:
            print((await Group.objects.acreate(name="z")).pk)
        tasks = [asyncio.create_task(load(pk)) for pk in range(30, 40)]
        await asyncio.gather(*tasks)
        print((await Group.objects.acreate(name="w")).pk)

    asyncio.run(main())
"""


def test_asynchronous_code(project: Project) -> None:
    project.manage("migrate")
    assert project.shell(ASYNCHRONOUS) == "5 5\n8 9\n21\n40\n"
