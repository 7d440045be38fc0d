"""What a role without rights has made in the live database does not run with a restore's rights."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections
from psycopg import sql

from restorehooks.restore import in_place, load
from restorehooks.restore.errors import BusyError, RestoreError, ScriptError, TargetError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.script.feed import run_script
from restorehooks.restore.script.options import ScriptOptions
from restorehooks.restore.server import making_room, positions, replacing, sessions, swap
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.lock import RestoreLock, lock_key
from restorehooks.restore.server.lock_table import require_locks
from restorehooks.restore.server.own_objects import called_of_others
from restorehooks.restore.server.session_settings import own_names
from restorehooks.restore.undo import undo
from restorehooks.sequences.session import NO_VIEWS
from restorehooks.signals import post_restore, pre_load
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, dumped, neighbours

MADE = """
    CREATE SCHEMA m;
    CREATE TABLE m.log (who text, via text);
    GRANT ALL ON m.log TO PUBLIC; GRANT USAGE ON SCHEMA m TO PUBLIC;
    CREATE FUNCTION m.note(via text) RETURNS void LANGUAGE sql VOLATILE AS
        $$ INSERT INTO m.log VALUES (current_user, via) $$;
    CREATE FUNCTION m.f(via text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(via); RETURN true; END $$;
    CREATE FUNCTION m.twice(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note('index expression'); RETURN n * 2; END $$;
    CREATE TABLE m.t (id serial PRIMARY KEY, n int, CHECK (m.f('check') OR id > 0));
    CREATE INDEX ON m.t (n) WHERE m.f('index predicate');
    CREATE INDEX ON m.t (m.twice(n));
    CREATE STATISTICS m.s ON m.twice(n), id FROM m.t;
    ALTER TABLE m.t ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON m.t USING (m.f('policy'));
    CREATE VIEW m.v AS SELECT * FROM m.t WHERE m.f('view');
    CREATE FUNCTION m.on_drop() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM m.note('trigger'); RETURN NULL; END $$;
    CREATE TRIGGER t AFTER INSERT OR DELETE OR TRUNCATE ON m.t
        FOR EACH STATEMENT EXECUTE FUNCTION m.on_drop();
    CREATE TYPE m.ranked AS ENUM ('a');
    INSERT INTO m.t (id, n) VALUES (1, 1), (50, 2);
    CREATE TABLE m.part (id serial, n int) PARTITION BY RANGE (n);
    CREATE TABLE m.part_1 PARTITION OF m.part FOR VALUES FROM (0) TO (10);
    CREATE INDEX ON m.part (m.twice(n));
    INSERT INTO m.part (n) VALUES (1), (2);
"""


@pytest.fixture
def stranger(live: Database) -> str:
    """A role that may create in this database, and has put traps into it."""
    role = live.role("stranger", "LOGIN")
    live.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
            sql.Identifier(live.name), sql.Identifier(role)
        )
    )
    with live.connect(user=role) as connection:
        connection.execute(MADE)
    live.execute("TRUNCATE m.log")
    alone(live)
    return role


def _ran(live: Database) -> list[tuple[Any, ...]]:
    """Return what ran and as whom, and begin anew."""
    found = live.execute("SELECT who, via FROM m.log GROUP BY 1, 2 ORDER BY 1, 2")
    live.execute("TRUNCATE m.log")
    alone(live)
    return found


def test_a_plan_a_restore_and_its_undo_run_nothing_of_a_stranger(
    live: Database, backup: Path, stranger: str
) -> None:
    restore(Request(str(backup), dry_run=True))
    assert _ran(live) == []
    restore(Request(str(backup)), confirm=lambda _: True)
    undo(confirm=lambda _: True)
    assert _ran(live) == []


def test_in_place_only_statistics_evaluate_it_as_its_owner(
    live: Database, backup: Path, stranger: str
) -> None:
    restore(Request(str(backup), in_place=True), confirm=lambda _: True)
    ran = _ran(live)
    # PostgreSQL gathers statistics of an index's expression with the rights of its owner.
    assert (stranger, "index expression") in ran
    assert {who for who, _ in ran} == {stranger}


def test_in_place_no_overload_of_a_stranger_is_called(
    live: Database, make_database: MakeDatabase, tmp_path: Path, stranger: str
) -> None:
    """Of two functions of a name, a call takes the one whose arguments are the nearer ones."""
    source = make_database()
    source.execute(
        "CREATE FUNCTION f(anyelement) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';"
        "CREATE TABLE indexed (id int); INSERT INTO indexed VALUES (1);"
        "CREATE INDEX ON indexed (f(id))"
    )
    backup = dumped(source, tmp_path / "dump")
    live.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with live.connect(user=stranger) as connection:
        connection.execute(
            "CREATE FUNCTION public.f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
            " $$ BEGIN PERFORM m.note('overload'); RETURN 1; END $$;"
            "CREATE OPERATOR public.=== (RIGHTARG = int, FUNCTION = public.f)"
        )
    alone(live)
    with pytest.raises(RestoreError, match=r"another role has made a public\.f, too"):
        restore(Request(str(backup), in_place=True), confirm=lambda _: True)
    assert _ran(live) == []
    dropped = b"DROP OPERATOR public.=== (NONE, int); DROP FUNCTION public.f(int);"
    operator = b"CREATE OPERATOR public.=== (FUNCTION = public.f, RIGHTARG = int);"
    function = b"CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
    options = ScriptOptions(others=called_of_others)
    with live.connect() as connection, pytest.raises(ScriptError, match=r"a public\.===, too"):
        run_script(io.BytesIO(operator), connection, options=options)
    with live.connect() as connection:
        run_script(io.BytesIO(dropped + function + operator), connection, options=options)
    assert _ran(live) == []


@pytest.mark.parametrize("path", ['"$user", public', "public, pg_catalog", "traps, pg_catalog"])
def test_no_name_is_looked_up_in_the_callers_path(live: Database, backup: Path, path: str) -> None:
    """What is sent on the project's own connection calls nothing that is made there."""
    with live.connect() as connection:
        connection.execute(
            """
            CREATE SCHEMA traps;
            CREATE FUNCTION traps.note() RETURNS text LANGUAGE plpgsql AS
                $$ BEGIN RAISE 'called'; END $$;
            CREATE FUNCTION traps.count(anyelement) RETURNS bigint LANGUAGE sql
                AS 'SELECT traps.note()::bigint';
            CREATE FUNCTION traps.current_setting(text) RETURNS text LANGUAGE sql
                AS 'SELECT traps.note()';
            CREATE FUNCTION traps.set_config(text, text, boolean) RETURNS text LANGUAGE sql
                AS 'SELECT traps.note()';
            CREATE FUNCTION traps.same(text, text) RETURNS boolean LANGUAGE sql
                AS 'SELECT traps.note() IS NULL';
            CREATE OPERATOR traps.= (LEFTARG = text, RIGHTARG = text, FUNCTION = traps.same);
            CREATE FUNCTION traps.same(oid, oid) RETURNS boolean LANGUAGE sql
                AS 'SELECT traps.note() IS NULL';
            CREATE OPERATOR traps.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = traps.same);
            CREATE OPERATOR traps.>= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = traps.same);
            CREATE DOMAIN traps.text AS pg_catalog.text CHECK (traps.note() IS NULL);
            CREATE DOMAIN traps.oid AS pg_catalog.oid CHECK (traps.note() IS NULL);
            """
        )
    name = sql.Identifier(live.name)
    live.execute(sql.SQL("ALTER DATABASE {} SET search_path = " + path).format(name))
    alone(live)
    restore(Request(str(backup), in_place=True, analyze=False), confirm=lambda _: True)
    assert live.execute("SELECT count(*) FROM public.customer") == [(500,)]


def test_the_callers_path_is_as_it_was(live: Database) -> None:
    connections["default"].ensure_connection()
    connection = connections["default"].connection
    connection.execute("SET search_path = 'One two', public")
    before = connection.execute("SHOW search_path").fetchone()
    with own_names(connection):
        assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog, pg_temp",)
    assert connection.execute("SHOW search_path").fetchone() == before
    with pytest.raises(ZeroDivisionError), own_names(connection):
        raise ZeroDivisionError
    with pytest.raises(Exception, match="division"), connection.transaction():  # noqa: SIM117
        with own_names(connection):
            connection.execute("SELECT 1 / 0")
    assert connection.execute("SHOW search_path").fetchone() == before
    with Address.of("default").connect(live.name) as ours:
        assert ours.execute("SHOW search_path").fetchone() == ("pg_catalog, pg_temp",)


def test_a_plain_dump_and_a_hook_find_what_the_role_is_meant_to_find(
    live: Database, tmp_path: Path
) -> None:
    live.execute("CREATE SCHEMA shop; CREATE TABLE shop.kept (id int)")
    live.execute(
        sql.SQL("ALTER DATABASE {} SET search_path = shop, public").format(
            sql.Identifier(live.name)
        )
    )
    plain = dumped(live, tmp_path / "x.sql", form="plain")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "a.sql").write_text("INSERT INTO kept VALUES (1)")
    restore(Request(str(plain), hooks_dir=tmp_path / "hooks"), confirm=lambda _: True)
    live.disconnect()
    assert live.execute("SELECT id FROM shop.kept") == [(1,)]
    alone(live)
    by_hand = tmp_path / "by_hand.sql"
    end = "--\n-- PostgreSQL database dump complete\n--\n"
    by_hand.write_text(
        "--\n-- PostgreSQL database dump\n--\nCREATE TABLE found_in_public (id serial);\n" + end
    )
    restore(Request(str(by_hand)), confirm=lambda _: True)
    live.disconnect()
    assert live.execute("SELECT count(*) FROM public.found_in_public") == [(0,)]


@pytest.mark.parametrize(
    "fan",
    [
        """
        CREATE TABLE m.fan (customer int REFERENCES public.customer);
        CREATE INDEX ON m.fan (customer) WHERE m.f('foreign key')
        """,
        """
        CREATE FUNCTION m.as_int(m.ranked) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.f('foreign key'); RETURN 1; END $$;
        CREATE CAST (m.ranked AS int) WITH FUNCTION m.as_int AS IMPLICIT;
        CREATE TABLE m.fan (customer m.ranked REFERENCES public.customer)
        """,
        """
        CREATE FUNCTION public.rank(m.ranked) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.f('foreign key'); RETURN 1; END $$;
        CREATE CAST (m.ranked AS int) WITH FUNCTION public.as_int(anyenum) AS IMPLICIT;
        CREATE TABLE m.fan (customer m.ranked REFERENCES public.customer)
        """,
    ],
    ids=["an index", "a cast", "a cast by a function of ours"],
)
def test_a_strangers_table_that_refers_to_a_restored_one_is_not_read(
    live: Database, backup: Path, stranger: str, fan: str
) -> None:
    """To check a foreign key reads both tables with the rights of whoever adds it."""
    restore(Request(str(backup), in_place=True), confirm=lambda _: True)
    live.execute(
        f"""
        GRANT REFERENCES ON customer TO {stranger}; GRANT CREATE ON SCHEMA public TO {stranger};
        CREATE FUNCTION public.rank(anyenum) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$;
        CREATE FUNCTION public.as_int(anyenum) RETURNS int LANGUAGE plpgsql IMMUTABLE
            AS $$ BEGIN RETURN public.rank($1); END $$
        """
    )
    with live.connect(user=stranger) as connection:
        connection.execute(fan)
        if "m.ranked" in fan:
            with suppress(psycopg.errors.FeatureNotSupported):  # 19rc1 calls none for any type
                connection.execute("INSERT INTO m.fan VALUES ('a')")
    live.execute("TRUNCATE m.log")
    alone(live)
    with pytest.raises(TargetError, match=r"would call (m\.f|[a-z]+\.as_int)") as caught:
        restore(Request(str(backup), tables=("customer",), in_place=True), confirm=lambda _: True)
    assert "m.fan" in str(caught.value)
    assert _ran(live) == []
    with live.connect(user=stranger) as connection:
        connection.execute("DROP TABLE m.fan")
    restore(Request(str(backup), tables=("customer",), in_place=True), confirm=lambda _: True)


@pytest.mark.parametrize("stays", [False, True], ids=["made anew", "kept"])
def test_a_strangers_table_that_a_restored_one_refers_to_is_not_read(
    live: Database, tmp_path: Path, stranger: str, stays: bool
) -> None:
    live.execute("CREATE TABLE m.kind (id int PRIMARY KEY); INSERT INTO m.kind VALUES (1)")
    live.execute("CREATE TABLE customer (id int, kind int REFERENCES m.kind)")
    live.execute("INSERT INTO customer VALUES (1, 1)")
    if stays:
        live.execute("CREATE VIEW named AS SELECT * FROM customer")
    live.execute(f"ALTER TABLE m.kind OWNER TO {stranger}")
    backup = dumped(live, tmp_path / "backup.dump")
    with live.connect(user=stranger) as connection:
        connection.execute("CREATE INDEX ON m.kind (id) WHERE m.f('foreign key')")
    live.execute("TRUNCATE m.log")
    alone(live)
    only = Request(str(backup), tables=("customer",), in_place=True, analyze=False)
    with pytest.raises(TargetError, match=r"would call m\.f"):
        restore(only, confirm=lambda _: True)
    assert _ran(live) == []


PARTED = """
    CREATE TABLE root (n int) PARTITION BY RANGE (n);
    CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
    INSERT INTO root SELECT generate_series(1, 9);
    CREATE VIEW of_root AS SELECT * FROM root;
"""
WATCHED = """
    CREATE TRIGGER watched BEFORE INSERT OR DELETE OR TRUNCATE ON public.root
        FOR EACH STATEMENT EXECUTE FUNCTION m.on_drop();
    CREATE TRIGGER row AFTER INSERT ON public.root FOR EACH ROW EXECUTE FUNCTION m.on_drop();
"""


def test_no_trigger_of_a_partitioned_table_is_run(
    live: Database, tmp_path: Path, stranger: str
) -> None:
    """The TRIGGER privilege is enough to make one, and rows may come by way of the table."""
    live.execute(PARTED)
    backup = dumped(live, tmp_path / "backup.dump", "--load-via-partition-root")
    live.execute(f"GRANT TRIGGER ON root, leaf TO {stranger}")
    with live.connect(user=stranger) as connection:
        connection.execute(WATCHED)
    live.execute("ALTER TABLE ONLY leaf ENABLE ALWAYS TRIGGER row")
    enabled = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2"
    before = live.execute(enabled)
    alone(live)
    only = Request(str(backup), tables=("root", "leaf"), in_place=True, analyze=False)
    restore(only, confirm=lambda _: True)
    assert _ran(live) == []
    assert live.execute("SELECT count(*) FROM root") == [(9,)]
    assert live.execute(enabled) == before


def test_a_view_in_the_place_of_a_strangers_sequence_is_not_read(
    live: Database, tmp_path: Path, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not live.execute("SELECT name FROM pg_settings WHERE name = %s", *NO_VIEWS):
        pytest.skip("servers from August 2024 on can refuse it")
    with live.connect(user=stranger) as connection:
        connection.execute("CREATE TABLE m.numbered (id serial); INSERT INTO m.numbered VALUES (5)")
    backup = dumped(live, tmp_path / "backup.dump")
    stands = positions._stands

    def stands_later(cursor: Any, name: str) -> Any:
        with live.connect(user=stranger) as connection:
            connection.execute(
                "ALTER TABLE m.numbered ALTER id DROP DEFAULT; DROP SEQUENCE m.numbered_id_seq;"
                "CREATE VIEW m.numbered_id_seq AS SELECT 7 AS last_value, m.f('view') AS is_called"
            )
        return stands(cursor, name)

    monkeypatch.setattr(positions, "_stands", stands_later)
    only = Request(str(backup), tables=("m.numbered",), in_place=True, analyze=False)
    with pytest.raises(psycopg.Error, match="access to non-system view"):
        restore(only, confirm=lambda _: True)
    assert _ran(live) == []


CAST = """
    CREATE FUNCTION m.as_int(m.ranked) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.f('foreign key'); RETURN 1; END $$;
    CREATE CAST (m.ranked AS int) WITH FUNCTION m.as_int AS IMPLICIT;
"""
LATER = {
    "an index, while its table is locked": (
        "CREATE TABLE m.fan (customer int REFERENCES public.customer);",
        "CREATE INDEX ON m.fan (customer) WHERE m.f('foreign key')",
    ),
    "a cast, while rows are loaded": (
        CAST + "CREATE TABLE m.fan (customer m.ranked REFERENCES public.customer);"
        "INSERT INTO m.fan VALUES ('a'); DROP CAST (m.ranked AS int);",
        "CREATE CAST (m.ranked AS int) WITH FUNCTION m.as_int AS IMPLICIT",
    ),
}


@pytest.mark.parametrize("what", LATER)
def test_what_a_stranger_adds_to_such_a_table_meanwhile_is_not_called(
    live: Database, backup: Path, stranger: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore(Request(str(backup), in_place=True), confirm=lambda _: True)
    live.execute(f"GRANT REFERENCES ON customer TO {stranger}")
    fan, added = LATER[what]
    with live.connect(user=stranger) as connection:
        connection.execute(fan)
    live.execute("TRUNCATE m.log")
    alone(live)

    def add() -> None:
        with live.connect(user=stranger) as connection:
            connection.execute("SET lock_timeout = '50ms'")
            connection.execute(added)

    def after(function: Callable[..., Any], module: Any, name: str) -> None:
        def replacement(*args: Any, **kwargs: Any) -> Any:
            found = function(*args, **kwargs)
            with suppress(psycopg.errors.LockNotAvailable):
                add()
            return found

        monkeypatch.setattr(module, name, replacement)

    if "index" in what:
        after(replacing.plan_replacement, making_room, "plan_replacement")
    else:
        after(load._send_entries, load, "_send_entries")
    only = Request(str(backup), tables=("customer",), in_place=True, analyze=False)
    with suppress(TargetError):
        restore(only, confirm=lambda _: True)
    assert _ran(live) == []


def test_no_old_snapshot_hides_in_place_what_a_stranger_has_added(
    live: Database, backup: Path, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore(Request(str(backup), in_place=True), confirm=lambda _: True)
    live.execute(f"GRANT REFERENCES ON customer TO {stranger}")
    fan, added = LATER["an index, while its table is locked"]
    with live.connect(user=stranger) as connection:
        connection.execute(fan)
    setting = "SET default_transaction_isolation = 'repeatable read'"
    live.execute(f'ALTER DATABASE "{live.name}" {setting}; TRUNCATE m.log')
    alone(live)

    def once_it_has_begun(*args: Any) -> None:
        require_locks(*args)
        with live.connect(user=stranger) as connection:
            connection.execute(added)
        live.execute("TRUNCATE m.log")

    monkeypatch.setattr(in_place, "require_locks", once_it_has_begun)
    only = Request(str(backup), tables=("customer",), in_place=True, analyze=False)
    with pytest.raises(TargetError, match="another role's code"):
        restore(only, confirm=lambda _: True)
    assert _ran(live) == []


def test_a_look_at_the_catalogue_is_not_compiled(database: Database) -> None:
    """It takes seconds to compile it, while tables are locked."""
    with database.connect() as connection:
        connection.execute("SET jit = on")
        with own_names(connection):
            assert connection.execute("SHOW jit").fetchone() == ("off",)
        assert connection.execute("SHOW jit").fetchone() == ("on",)


def test_whoever_holds_the_lock_for_no_restore_is_named(
    live: Database, backup: Path, stranger: str
) -> None:
    """A role that may connect to any database can do that, and is to be seen."""
    key = lock_key(live.name)
    with live.connect(user=stranger) as connection:
        pid = connection.info.backend_pid
        connection.execute("SELECT pg_advisory_lock(%s)", [key])
        with pytest.raises(BusyError) as caught:
            restore(Request(str(backup), dry_run=True))
    assert str(caught.value).endswith(
        f' is running (server process {pid} of "{stranger}"). "{stranger}" may not replace that'
        " database, and may be holding the lock for no restore. Wait for it, or end it with SELECT"
        f" pg_catalog.pg_terminate_backend({pid})."
    )
    with RestoreLock(Address.of("default")), pytest.raises(BusyError) as caught:
        restore(Request(str(backup), dry_run=True))
    assert "may not" not in str(caught.value)


@pytest.fixture
def in_latin1(live: Database) -> Iterator[None]:
    """A database and a role whose names are no UTF-8, as others of the same server see them."""
    server = live.server
    made = f"latin1_{live.name}"
    server.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'").format(
            sql.Identifier(made)
        )
    )
    try:
        with server.connect(dbname=made, client_encoding="LATIN1") as there:
            there.execute('CREATE DATABASE "caf\u00e9"')
            there.execute("COMMENT ON DATABASE \"caf\u00e9\" IS 'restorehooks \u00e9'")
            there.execute('CREATE ROLE "ren\u00e9" LOGIN')
        yield
    finally:
        with server.connect(dbname=made, client_encoding="LATIN1") as there:
            there.execute('DROP ROLE IF EXISTS "ren\u00e9"')
            there.execute('DROP DATABASE IF EXISTS "caf\u00e9" WITH (FORCE)')
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made)))


@pytest.mark.usefixtures("in_latin1")
def test_a_name_in_another_encoding_stops_nothing(live: Database, backup: Path) -> None:
    restore(Request(str(backup), dry_run=True))
    assert restore(Request(str(backup)), confirm=lambda _: True).restored
    undo(confirm=lambda _: True)
    assert live.execute("SELECT count(*) FROM precious") == [(300,)]


def test_what_a_stranger_says_to_all_ends_no_swap(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a database of SQL_ASCII everybody may NOTIFY of what a client cannot be sent."""
    server, aside = live.server, f"ascii_{live.name}"
    encoding = "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
    server.execute(
        sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(aside), sql.SQL(encoding))
    )
    said: list[bool] = []

    @contextmanager
    def told_before(terminator: Any, databases: list[str], waiting: int) -> Iterator[list[str]]:
        if not said:
            with server.connect(dbname=aside) as neighbour:
                for channel in ("restorehooks_swap", "restorehooks"):
                    neighbour.execute(f"NOTIFY {channel}, E'\\xff'")
            said.append(True)
            raise psycopg.errors.ObjectInUse("it is heard once this transaction is over")
        with sessions.sessions_ended(terminator, databases, waiting) as in_the_way:
            yield in_the_way

    monkeypatch.setattr(swap, "sessions_ended", told_before)
    try:
        request = Request(str(backup), maintenance_db=aside)
        assert restore(request, confirm=lambda _: True).restored
    finally:
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(aside)))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("attributes", ["CREATEDB", "SUPERUSER"])
def test_nobody_enters_what_is_being_restored(
    live: Database, backup: Path, missing: bool, attributes: str
) -> None:
    """They could put a trigger on a table of theirs, or read what a hook is to take out."""
    role, user = live.role("stranger"), live.role("restores", f"LOGIN {attributes}")
    name = sql.Identifier(live.name)
    owned = sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(user))
    live.server.execute(owned)
    alone(live)
    if missing:
        live.server.execute(sql.SQL("DROP DATABASE {}").format(name))
    entered = {}

    def enter(signal: object, **_: object) -> None:
        (side,) = neighbours(live)
        try:
            live.connect(dbname=side, user=role).close()
            entered[signal] = True
        except psycopg.OperationalError as error:
            entered[signal] = "permission denied for database" not in str(error)

    for signal in (pre_load, post_restore):
        signal.connect(enter)
    settings = connections["default"].settings_dict
    before, settings["USER"] = settings["USER"], user
    try:
        assert restore(Request(str(backup)), confirm=lambda _: True).restored
        live.connect(user=role).close()
    finally:
        connections["default"].close()
        settings["USER"] = before
        for signal in (pre_load, post_restore):
            signal.disconnect(enter)
        live.server.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(name))
    assert entered == {pre_load: False, post_restore: False}
