"""Roles that may not see or do everything, row-level security, and databases that only read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connections, transaction
from psycopg import sql

from tests.support.databases import Database
from tests.support.sequences import (
    DEFAULT,
    bytes_of_sequences,
    django_as,
    draw,
    entry,
    inspect,
    reset,
    standing,
    statuses,
)
from tests.support.servers import RunningServer, reachable_folder
from tests.support.standbys import caught_up, standby_of


@pytest.fixture
def role(database: Database, behind: Callable[..., None]) -> str:
    """A role that may do everything with the tables good and odd."""
    behind("good", "odd")
    name = database.role("limited")
    grant(database, name, "ALL ON ALL TABLES IN SCHEMA public")
    grant(database, name, "ALL ON ALL SEQUENCES IN SCHEMA public")
    return name


def grant(database: Database, role: str, what: str) -> None:
    database.execute(sql.SQL("GRANT " + what + " TO {}").format(sql.Identifier(role)))


def revoke(database: Database, role: str, what: str) -> None:
    database.execute(sql.SQL("REVOKE " + what + " FROM {}").format(sql.Identifier(role)))


@pytest.fixture(params=[False, True], ids=["outside", "within a transaction"])
def within(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def repaired(database: Database, role: str, within: bool) -> dict[str, tuple[str, str | None]]:
    """Return status and reason of each sequence after a repair as the role."""
    with django_as(database, USER=role) as alias:
        if within:
            with transaction.atomic(using=alias):
                report = reset(alias)
        else:
            report = reset(alias)
    assert draw(database, "good_id_seq") == 6
    return {e.sequence.removeprefix("public."): (e.status.value, e.reason) for e in report}


def test_no_right_to_read_the_table(database: Database, role: str, within: bool) -> None:
    revoke(database, role, "ALL ON odd")
    grant(database, role, "INSERT, UPDATE ON odd")
    assert repaired(database, role, within) == {
        "good_id_seq": ("advanced", None),
        "odd_id_seq": ("unverified", "no SELECT privilege on public.odd.id"),
    }
    assert standing(database, "odd_id_seq") == (1, False)


def test_the_right_to_read_the_one_column_is_enough(
    database: Database, role: str, within: bool
) -> None:
    revoke(database, role, "ALL ON odd")
    grant(database, role, "SELECT (id) ON odd")
    assert repaired(database, role, within)["odd_id_seq"] == ("advanced", None)
    assert draw(database, "odd_id_seq") == 6


def test_no_right_to_read_the_sequence(database: Database, role: str, within: bool) -> None:
    revoke(database, role, "SELECT ON SEQUENCE odd_id_seq")
    assert repaired(database, role, within)["odd_id_seq"] == (
        "unverified",
        "no SELECT privilege on sequence public.odd_id_seq",
    )
    assert standing(database, "odd_id_seq") == (1, False)


def test_the_right_to_draw_but_not_to_set_is_enough(
    database: Database, role: str, within: bool
) -> None:
    revoke(database, role, "UPDATE ON SEQUENCE odd_id_seq")
    database.execute("INSERT INTO odd (id) VALUES (30000)")
    assert repaired(database, role, within)["odd_id_seq"] == ("advanced", None)
    assert draw(database, "odd_id_seq") == 30001


def test_the_right_to_draw_is_enough_for_a_cache_too(
    database: Database, role: str, within: bool
) -> None:
    database.execute("ALTER SEQUENCE odd_id_seq CACHE 5; INSERT INTO odd (id) VALUES (1001)")
    revoke(database, role, "UPDATE ON SEQUENCE odd_id_seq")
    assert repaired(database, role, within)["odd_id_seq"] == ("advanced", None)
    assert 1001 < draw(database, "odd_id_seq") <= 1006


@pytest.mark.parametrize("may_set", [False, True])
def test_too_far_to_draw_for_whoever_is_not_the_owner(
    database: Database, role: str, within: bool, may_set: bool
) -> None:
    if not may_set:
        revoke(database, role, "UPDATE ON SEQUENCE odd_id_seq")
    database.execute("INSERT INTO odd (id) VALUES (2000000000), (2000000001)")
    ((owner,),) = database.execute("SELECT quote_ident(current_user)")
    assert repaired(database, role, within)["odd_id_seq"] == (
        "behind",
        f"only its owner can move it 2,000,000,000 numbers on at once: let {owner} repair it",
    )
    assert standing(database, "odd_id_seq") == (1, False)


def test_whoever_is_not_the_owner_draws_as_far_as_there_is_time(
    database: Database, role: str, within: bool
) -> None:
    database.execute("INSERT INTO odd (id) VALUES (300000)")
    assert repaired(database, role, within)["odd_id_seq"] == ("advanced", None)
    assert draw(database, "odd_id_seq") == 300001


def test_no_right_to_change_the_sequence(database: Database, role: str, within: bool) -> None:
    revoke(database, role, "USAGE, UPDATE ON SEQUENCE odd_id_seq")
    status, reason = repaired(database, role, within)["odd_id_seq"]
    assert (status, reason) == (
        "failed",
        "no UPDATE privilege: GRANT UPDATE ON SEQUENCE public.odd_id_seq to this role",
    )


def test_no_right_to_enter_the_schema(database: Database, role: str, within: bool) -> None:
    database.execute(
        "CREATE SCHEMA closed; ALTER TABLE odd SET SCHEMA closed;"
        "CREATE SEQUENCE closed.by_text;"
        "CREATE TABLE t (id bigint DEFAULT nextval('closed.by_text'::text::regclass));"
        "INSERT INTO t VALUES (5)"
    )
    grant(database, role, "ALL ON t")
    found = repaired(database, role, within)
    assert found["good_id_seq"] == ("advanced", None)
    status, reason = found["closed.odd_id_seq"]
    assert status == "unverified"
    assert "no SELECT privilege on sequence closed.odd_id_seq" in str(reason)
    assert "no SELECT privilege on closed.odd.id" in str(reason)
    assert found["closed.by_text"][0] == "unverified"


def test_rights_that_come_by_membership_count(database: Database, role: str, within: bool) -> None:
    member = database.role("member", f"LOGIN INHERIT IN ROLE {role}")
    assert repaired(database, member, within)["odd_id_seq"] == ("advanced", None)


POLICY = (
    "ALTER TABLE odd ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY small ON odd USING (id < 3);"
    "CREATE TABLE loud (id serial); INSERT INTO loud VALUES (5);"
)


def test_rows_that_a_policy_may_hide(database: Database, role: str, within: bool) -> None:
    database.execute(POLICY)
    assert repaired(database, role, within)["odd_id_seq"] == (
        "unverified",
        "row-level security may hide rows of public.odd.id",
    )
    assert standing(database, "odd_id_seq") == (1, False)


def test_policies_do_not_hold_for_the_owner(database: Database, role: str, within: bool) -> None:
    database.execute(POLICY)
    database.execute(sql.SQL("ALTER TABLE odd OWNER TO {}").format(sql.Identifier(role)))
    assert repaired(database, role, within)["odd_id_seq"] == ("advanced", None)
    assert draw(database, "odd_id_seq") == 6


def test_forced_policies_hold_for_the_owner_too(
    database: Database, role: str, within: bool
) -> None:
    database.execute(POLICY)
    database.execute("ALTER TABLE odd FORCE ROW LEVEL SECURITY")
    database.execute(sql.SQL("ALTER TABLE odd OWNER TO {}").format(sql.Identifier(role)))
    assert repaired(database, role, within)["odd_id_seq"][0] == "unverified"


def test_a_role_that_policies_do_not_hold_for(database: Database, role: str, within: bool) -> None:
    database.execute(POLICY)
    database.execute("ALTER TABLE odd FORCE ROW LEVEL SECURITY")
    database.execute(sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(role)))
    assert repaired(database, role, within)["odd_id_seq"] == ("advanced", None)
    assert draw(database, "odd_id_seq") == 6


def test_a_policy_of_a_partition_hides_nothing_from_the_parent(
    database: Database, role: str, within: bool
) -> None:
    database.execute(
        "CREATE TABLE p (id serial, k int) PARTITION BY LIST (k);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (50, 1);"
        "ALTER TABLE p1 ENABLE ROW LEVEL SECURITY; ALTER TABLE p1 FORCE ROW LEVEL SECURITY"
    )
    grant(database, role, "ALL ON p, p_id_seq")
    assert repaired(database, role, within)["p_id_seq"] == ("advanced", None)
    assert draw(database, "p_id_seq") == 51


@pytest.mark.psycopg3("the test itself writes statements with psycopg 3")
def test_a_role_switched_to_counts_not_the_one_that_logged_in(
    database: Database, role: str
) -> None:
    revoke(database, role, "SELECT ON odd")
    with connections[DEFAULT].cursor() as cursor:
        cursor.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        assert statuses(reset(DEFAULT)) == {"good_id_seq": "advanced", "odd_id_seq": "unverified"}
        cursor.execute("RESET ROLE")


def check_that_nothing_can_be_written(database: Database, alias: str, because: str) -> None:
    before = bytes_of_sequences(database)
    for reported in (reset(alias), reset(alias, rewind=True), reset(alias, headroom=5)):
        assert reported.read_only == because
        assert statuses(reported) == {
            "fine_id_seq": "ok",
            "good_id_seq": "behind",
            "odd_id_seq": "behind",
        }
        assert entry(reported, "odd_id_seq").reason == because
        assert entry(reported, "odd_id_seq").next_after == 1
    assert bytes_of_sequences(database) == before


@pytest.mark.parametrize("option", ["default_transaction_read_only", "transaction_read_only"])
def test_a_session_that_only_reads(database: Database, role: str, option: str) -> None:
    database.execute("CREATE TABLE fine (id serial)")
    options = {"options": "-c default_transaction_read_only=on"}
    if option == "default_transaction_read_only":
        with django_as(database, OPTIONS=options) as alias:
            check_that_nothing_can_be_written(database, alias, "transactions are read-only here")
    else:
        with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            check_that_nothing_can_be_written(database, DEFAULT, "transactions are read-only here")


@pytest.mark.parametrize("of", ["ROLE {role}", "DATABASE {db}", "ROLE {role} IN DATABASE {db}"])
def test_what_is_set_for_a_role_or_a_database_is_no_word_of_the_callers(
    database: Database, role: str, of: str
) -> None:
    """Our own transactions write there; within one of the caller's it is as that one says."""
    whose = of.format(role=role, db=database.name)
    database.execute("CREATE TABLE fine (id serial)")
    database.execute(f"ALTER {whose} SET default_transaction_read_only = on")
    grant(database, role, "ALL ON fine, fine_id_seq")
    database.execute(f"ALTER TABLE good OWNER TO {role}")
    with django_as(database, USER=role) as alias:
        with transaction.atomic(alias):
            check_that_nothing_can_be_written(database, alias, "transactions are read-only here")
        assert statuses(reset(alias)) == {
            "fine_id_seq": "ok",
            "good_id_seq": "advanced",
            "odd_id_seq": "advanced",
        }
        database.execute("SELECT setval('good_id_seq', 900)")
        assert {e.status.value for e in reset(alias, rewind=True)} == {"ok", "rewound"}
    assert draw(database, "good_id_seq") == 6


def test_a_standby_server(
    make_server: Callable[..., RunningServer],
    make_database: Callable[..., Database],
) -> None:
    primary = make_server({"wal_level": "replica", "max_wal_senders": "4"})
    assert primary.process is not None
    database = make_database(alias=DEFAULT, on=primary)
    for table in ("good", "odd", "fine"):
        database.execute(f"CREATE TABLE {table} (id serial PRIMARY KEY)")
    database.execute("INSERT INTO good VALUES (5); INSERT INTO odd VALUES (5)")
    database.execute("CREATE UNLOGGED TABLE lost (id serial); DROP TABLE lost")
    with (
        reachable_folder() as folder,
        standby_of(primary.process, folder) as standby,
    ):
        host = str(standby.socket_dir)
        copy = RunningServer({**primary.params, "host": host}, primary.version)
        here = Database(copy, database.name, None, [])
        because = "the server is a standby and cannot be written to"
        with django_as(database, HOST=host, PORT=str(standby.port)) as alias:
            check_that_nothing_can_be_written(here, alias, because)
            with transaction.atomic(using=alias):
                check_that_nothing_can_be_written(here, alias, because)
            assert entry(inspect(alias), "good_id_seq").next_after == 6
            database.execute(
                "CREATE SEQUENCE s; CREATE UNLOGGED TABLE unlogged (id int DEFAULT nextval('s'));"
                "INSERT INTO unlogged VALUES (5)"
            )
            caught_up(primary, copy)
            found = entry(inspect(alias, scan_limit=1_000_000), "s")
            assert "during recovery" in str(found.reason)
        here.disconnect()
