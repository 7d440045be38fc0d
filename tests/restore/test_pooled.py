"""A pooler between Django and the server: a restore is refused, and asks for the server itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from psycopg import sql

from restorehooks.restore.errors import AddressError, PoolerError
from restorehooks.restore.server import address, direct, lock
from restorehooks.restore.server import pooler as pooler_module
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.pooler import DIRECT_URL, require_direct
from restorehooks.signals import post_restore
from tests.support.databases import Database, pointed
from tests.support.dumps import contents, neighbours
from tests.support.one_session import one_session
from tests.support.poolers import pooled
from tests.support.proxies import PLAIN, as_a_pooler, proxy
from tests.support.sequences import set_back, upcoming
from tests.support.servers import RunningServer, packaged


def command(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["transaction", "session", "statement", "pgpool", "odyssey"])
def test_it_is_refused_and_the_pooled_sessions_are_left_as_they_were(
    live: Database, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(pooler_module, "SECONDS_TO_END", 0.2)
    before = contents(live)
    with pooled(live, mode) as pooler:
        for arguments in (
            ["restoredb", str(backup), "--no-input"],
            ["restoredb", str(backup), "--dry-run"],
            ["restoredb", str(backup), "--in-place", "--no-input"],
            ["restoredb", "--undo", "--no-input"],
            ["restoredb", "--kept"],
            ["dumpdb", str(tmp_path / "new.dump")],
        ):
            with pytest.raises(CommandError, match=f"A pooler answers.*{DIRECT_URL}"):
                command(*arguments)
        assert pooler.left_behind(live.name, "postgres") == []
    assert (contents(live), neighbours(live)) == (before, [])
    assert not (tmp_path / "new.dump").exists()


def test_a_pooler_that_soon_ends_its_sessions_is_known_all_the_same(live: Database) -> None:
    """Or gives their places to others: a session that is gone does not say that none is kept."""
    with (
        pooled(live, size=2, more="server_idle_timeout = 1"),
        pytest.raises(PoolerError),
    ):
        Address.of("default").connect(live.name)


def test_a_process_is_looked_for_on_its_own_server(
    live: Database, make_server: Callable[..., RunningServer]
) -> None:
    """One name may lead to several poolers, and these to several servers."""
    elsewhere = make_server()
    with proxy(live, theirs=as_a_pooler) as one:
        place = {**live.server.params, "host": "localhost", "port": one.port}
        with live.connect(**place, **PLAIN) as connection, pytest.raises(PoolerError):
            require_direct(connection, "there", live.name, elsewhere.connect)


def test_with_the_servers_own_address_it_restores_and_undoes(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def receiver(using: str, **_: Any) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), current_setting('application_name')")
            pid, name = cursor.fetchone()
        seen.append((pid == connections[using].connection.info.backend_pid, name))

    post_restore.connect(receiver)
    try:
        with pooled(live) as pooler:
            assert _count("precious") == 300  # from now on the pooler has a session there
            # What the address says of a connection holds for the hooks' connections, too.
            monkeypatch.setenv(DIRECT_URL, f"{live.url}&application_name=direct")
            assert "Restored" in command("restoredb", str(backup), "--no-input", "--migrate")
            assert seen == [(True, "direct")]
            assert _count("purchase") == 5000
            assert pooler.left_behind(live.name, "postgres") == []
            assert "as it was" in command("restoredb", "--undo", "--no-input")
            assert _count("precious") == 300
            assert pooler.left_behind(live.name, "postgres") == []
    finally:
        post_restore.disconnect(receiver)


def test_a_pgpool_that_takes_it_for_the_end_of_the_server_is_not_made_to_fail_over(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECT_URL, live.url)
    fails_over = "failover_on_backend_shutdown = {}\n"
    with pooled(live, "pgpool", more=fails_over.format("off")) as pooler:
        with pooler.connect(live.name) as client:
            assert "Restored" in command("restoredb", str(backup), "--no-input")
            with pytest.raises(psycopg.Error):
                client.execute("SELECT 1")
        assert _count("purchase") == 5000
    with pooled(live, "pgpool", more=fails_over.format("on")) as pooler:
        with pooler.connect(live.name) as client:
            before = contents(live)
            for arguments in ([str(backup), "--dry-run"], [str(backup), "--no-input"], ["--undo"]):
                with pytest.raises(CommandError, match=r"pgpool at .* would fail over .* = off"):
                    command("restoredb", *arguments)
            assert contents(live) == before
            assert client.execute("SELECT count(*) FROM purchase").fetchone() == (5000,)
        live.disconnect()
        assert "Restored" in command("restoredb", str(backup), "--in-place", "--no-input")
        assert _count("purchase") == 5000
    never = "backend_flag0 = 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER'\n"
    with pooled(live, "pgpool", more=never + fails_over.format("on")):
        assert "as it was" in command("restoredb", "--undo", "--no-input")
        assert _count("precious") == 300


def _count(table: str) -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        found = int(cursor.fetchone()[0])
    connections.close_all()
    return found


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, 'leads to "{name}": restore into a PostgreSQL server'),
        ({"by_database": True}, "has one session for all connections"),
        ({"by_database": True, "most": 1}, "has one session for all connections"),
    ],
    ids=["whatever database is named", "one for each database", "one connection"],
)
def test_a_server_with_one_session_is_refused_at_once(
    live: Database,
    backup: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
    said: str,
) -> None:
    """It would answer CREATE DATABASE, enter the live database, and lock out nobody."""
    monkeypatch.setattr(lock, "SECONDS_TO_CONNECT", 2)
    before = contents(live)
    tried = [[str(backup), "--no-input"], [str(backup), "--dry-run"], ["--undo"]]
    for arguments in tried[:1] if "most" in how else tried:
        with (
            one_session(live, **how) as server,
            pointed("default", server.settings(live)),
            pytest.raises(CommandError, match=said.format(name=live.name)),
        ):
            command("restoredb", *arguments)
        everything = b"".join(server.asked)
        for word in (b"CREATE", b"DROP", b"advisory"):
            assert word not in everything
    assert (contents(live), neighbours(live)) == (before, [])


def test_in_place_it_is_refused_too_and_a_repair_works(live: Database, backup: Path) -> None:
    set_back(live, "precious")
    before = contents(live)
    with one_session(live) as server, pointed("default", server.settings(live)):
        with pytest.raises(CommandError, match="restore into a PostgreSQL server"):
            command("restoredb", str(backup), "--in-place", "--no-input")
        assert contents(live) == before
        command("resetsequences")
    assert upcoming(live, "precious") == 301


def test_the_servers_own_address_is_that_of_the_aliass_database(
    live: Database,
    backup: Path,
    tmp_path: Path,
    make_server: Callable[..., RunningServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A variable that was left over may name a database of the same name on another server."""
    elsewhere = make_server()
    elsewhere.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(live.name)))
    monkeypatch.setenv(DIRECT_URL, elsewhere.url(live.name))
    for arguments in (
        ["restoredb", str(backup), "--no-input"],
        ["restoredb", str(backup), "--no-input", "--in-place"],
        ["restoredb", str(backup), "--dry-run"],
        ["restoredb", "--undo", "--no-input"],
        ["restoredb", "--drop-previous", "--no-input"],
        ["dumpdb", str(tmp_path / "x.dump")],
    ):
        with pytest.raises(CommandError, match="not the database that the alias"):
            command(*arguments)
    assert _count("precious") == 300
    # Nor is it where the alias's database is to be made.
    with pointed("default", {**live.settings, "NAME": "to_be_made"}):
        elsewhere.execute("CREATE DATABASE to_be_made")
        monkeypatch.setenv(DIRECT_URL, elsewhere.url("to_be_made"))
        with pytest.raises(CommandError, match="not the database that the alias"):
            command("restoredb", str(backup), "--no-input")
    assert elsewhere.execute("SELECT count(*) FROM pg_database") == [(5,)]
    # Where not everybody may ask for the cluster's identifier, it is told by when it was started.
    elsewhere.execute(
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE ROLE joe LOGIN CREATEDB"
    )
    elsewhere.execute("ALTER DATABASE to_be_made OWNER TO joe")
    with pointed("default", elsewhere.settings("to_be_made", USER="joe")):
        monkeypatch.setenv(DIRECT_URL, elsewhere.url("to_be_made", "joe"))
        assert "Restored" in command("restoredb", str(backup), "--no-input")
    with (
        pointed("default", {**live.settings, "NAME": "to_be_made"}),
        pytest.raises(CommandError, match="not the database that the alias"),
    ):
        command("restoredb", str(backup), "--no-input")


def test_an_alias_that_lets_nobody_in_does_not_leave_it_to_the_variable(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password may have changed, and the variable be another server's."""
    monkeypatch.setenv(DIRECT_URL, live.url)
    with (
        pointed("default", {**live.settings, "USER": live.role("shut_out", "NOLOGIN")}),
        pytest.raises(CommandError, match=f"lets nobody in.*{DIRECT_URL}"),
    ):
        command("restoredb", str(backup), "--no-input")
    assert _count("precious") == 300


def test_a_pooler_that_is_paused_is_not_waited_for(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (address, direct, pooler_module):
        monkeypatch.setattr(module, "SECONDS_TO_ANSWER", "1")
    monkeypatch.setenv(DIRECT_URL, live.url)
    with pooled(live) as pooler:
        assert _count("precious") == 300
        with pooler.connect("pgbouncer") as console:
            console.execute("PAUSE")
        assert "Restored" in command("restoredb", str(backup), "--no-input")


def test_a_copy_of_the_whole_server_is_another_one(
    backup: Path, make_server: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A staging server made from production's files has its identifier, names and oids."""
    production, staging = make_server(), make_server()
    production.execute("CREATE DATABASE shop")
    original, copy = production.process, staging.process
    assert original
    assert copy
    for each in (original, copy):
        each.stop("immediate")
    shutil.rmtree(copy.data / "cluster")
    shutil.copytree(original.data / "cluster", copy.data / "cluster")
    for each in (original, copy):
        each.start()
    with pointed("default", staging.settings("shop")):
        monkeypatch.setenv(DIRECT_URL, production.url("shop"))
        with pytest.raises(CommandError, match="not the database that the alias"):
            command("restoredb", str(backup), "--no-input")
        monkeypatch.setenv(DIRECT_URL, staging.url("shop"))
        assert "Restored" in command("restoredb", str(backup), "--no-input")


def test_in_whatever_language_a_server_says_that_a_database_is_missing(
    live: Database,
    backup: Path,
    make_server: Callable[..., RunningServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANGUAGE", "ru")  # gettext's, which C.UTF-8 lets through
    alias = make_server({"lc_messages": "C.UTF-8"}, bindir=packaged("plpgsql"))
    with pytest.raises(psycopg.OperationalError) as refused:
        alias.connect(dbname=live.name)
    if "FATAL" in str(refused.value):
        pytest.skip("this server has only English")
    with pointed("default", alias.settings(live.name)):
        with alias.connect(dbname="template1") as connection:
            connection.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
        assert "is kept" in command("restoredb", "--kept")  # by way of template1
        monkeypatch.setenv(DIRECT_URL, live.url)
        with pytest.raises(CommandError, match="not the database that the alias"):
            command("restoredb", str(backup), "--no-input")


def test_both_addresses_answer_in_one_encoding(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database in SQL_ASCII asks for none, and then psycopg gives bytes."""
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    monkeypatch.setenv(DIRECT_URL, live.url)
    assert "Nothing was changed" in command("restoredb", str(backup), "--dry-run")


def test_the_servers_own_address_has_a_port_of_its_own(
    live: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    with pointed("default", {**live.settings, "HOST": "one,two", "PORT": "6432,6433"}):
        monkeypatch.setenv(DIRECT_URL, f"postgresql://127.0.0.1/{live.name}")
        address = Address.of("default")
        assert (address.host, address.port) == ("127.0.0.1", "5432")


def test_the_servers_own_address_is_given_beside_a_service_of_the_pooler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    services = tmp_path / "services"
    services.write_text(
        "[pooled]\nhost=one\nport=6432\ndbname=shop\nuser=joe\npassword=secret\n"
        "[direct]\nhost=two\nport=6000\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    engine = "django.db.backends.postgresql"
    with pointed("default", {"ENGINE": engine, "NAME": "", "OPTIONS": {"service": "pooled"}}):
        monkeypatch.setenv(DIRECT_URL, "postgresql://two/shop")
        address = Address.of("default")
        assert (address.host, address.port, address.name) == ("two", "5432", "shop")
        assert (address.user, dict(address.secrets)) == ("joe", {"password": "secret"})
        monkeypatch.setenv(DIRECT_URL, "postgresql://two/other")
        with pytest.raises(AddressError, match='"other", and the alias "default" names "shop"'):
            Address.of("default")
    with pointed("default", {"ENGINE": engine, "NAME": "shop"}):
        monkeypatch.setenv("PGSERVICE", "pooled")
        monkeypatch.setenv(DIRECT_URL, "postgresql://two/shop")
        address = Address.of("default")
        assert (address.host, address.port, address.user) == ("two", "5432", "joe")
        monkeypatch.delenv("PGSERVICE")
    with pointed("default", {"ENGINE": engine, "NAME": "shop", "HOST": "one", "USER": "joe"}):
        monkeypatch.setenv(DIRECT_URL, "postgresql:///shop?service=direct\n")
        address = Address.of("default")
        assert (address.host, address.port, address.user) == ("two", "6000", "joe")


@pytest.mark.parametrize("url", ["postgresql://joe:s%FF@localhost/x", "joe's server"])
def test_an_address_that_is_no_url(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    said = f"{DIRECT_URL} is no URL of a PostgreSQL database"
    with pytest.raises(CommandError, match=said):
        command("restoredb", str(backup), "--dry-run", f"--direct={url}")
    monkeypatch.setenv(DIRECT_URL, url)
    with pytest.raises(CommandError, match=said):
        command("dumpdb", str(backup), "--force")
