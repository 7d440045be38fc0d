"""What a role puts in the place of what was looked at, before it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction

from restorehooks.duplicates import catalog, target
from restorehooks.duplicates.diagnosis import diagnose
from restorehooks.duplicates.key import parse_key
from restorehooks.duplicates.rows import rows_with
from restorehooks.duplicates.target import find_targets
from restorehooks.sequences import session
from restorehooks.sequences.glance import all_fine
from restorehooks.sequences.message import LockBudget
from restorehooks.sequences.source import read_source
from tests.sequences.test_strangers import called
from tests.support.databases import Database
from tests.support.sequences import DEFAULT, django_as, entry, reset, standing
from tests.support.strangers import mallory_in, once


@pytest.fixture
def mallory(database: Database) -> str:
    """A role that has a table of its own in a schema of its own, and functions that tell."""
    return mallory_in(database)


def swapped_while_we_wait(database: Database, role: str, swap: str) -> Any:
    """Swap something in a transaction that is committed once somebody waits for its locks."""
    waits = "SELECT FROM pg_locks WHERE relation IS NOT NULL AND NOT granted"
    return once(database, role, waits, swap, "SELECT")


TABLE = """
    ALTER SEQUENCE m.t_id_seq RENAME TO elsewhere;
    CREATE TABLE m.t_id_seq (last_value bigint, is_called boolean);
    INSERT INTO m.t_id_seq VALUES (1, true);
    CREATE INDEX ON m.t_id_seq (last_value) WHERE m.f(1);
"""
VIEW = """
    ALTER SEQUENCE m.t_id_seq RENAME TO elsewhere;
    CREATE VIEW m.t_id_seq AS SELECT 1::bigint AS last_value, true AS is_called WHERE m.f(1);
"""


@pytest.mark.parametrize("within", [False, True], ids=["outside", "within a transaction"])
def test_a_table_in_the_place_of_a_sequence_is_not_read(
    database: Database, mallory: str, within: bool
) -> None:
    with swapped_while_we_wait(database, mallory, TABLE):
        if within:
            with transaction.atomic():
                report = reset(DEFAULT)
        else:
            report = reset(DEFAULT)
    assert called(database) == []
    assert entry(report, "m.t_id_seq").reason == (
        "m.t_id_seq: m.t_id_seq is another relation than it was"
    )


@pytest.mark.parametrize("swap", [TABLE, VIEW], ids=["a table", "a view"])
def test_what_takes_the_place_of_a_sequence_of_the_source_is_not_read(
    database: Database, other_database: Database, swap: str
) -> None:
    mallory = mallory_in(other_database)
    with swapped_while_we_wait(other_database, mallory, swap):
        (position,) = read_source(connections["other"], connections[DEFAULT], 2).positions
    assert (position.name, position.last_value) == ("m.t_id_seq", None)


RULE = """
    CREATE RULE "_RETURN" AS ON SELECT TO m.e DO INSTEAD
        SELECT 2000000000 AS id FROM m.t WHERE m.f(1)
"""


def test_a_table_that_becomes_a_view_is_not_read(
    database: Database, mallory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to PostgreSQL 15 an empty table could; its oid stays, and 15.7 does not refuse views."""
    if database.server.version >= 160000:
        pytest.skip("a table cannot become a view")
    monkeypatch.setattr(session, "FIRST_TO_REFUSE_VIEWS", {})
    monkeypatch.setattr(session, "NO_VIEWS", {})
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE SEQUENCE m.s; CREATE TABLE m.e (id int NOT NULL)")
        connection.execute("ALTER SEQUENCE m.s OWNED BY m.e.id")
    with swapped_while_we_wait(database, mallory, RULE):
        report = reset(DEFAULT)
    assert called(database) == []
    assert entry(report, "m.s").reason == "m.e.id: m.e is no table with rows of its own"


OURS = """
    DROP TABLE m.ours;
    CREATE TABLE m.ours (id serial PRIMARY KEY); INSERT INTO m.ours VALUES (50);
    CREATE UNIQUE INDEX ON m.ours (id) WHERE m.g(1);
"""
LASTING = """
    CREATE FUNCTION m.g(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM pg_advisory_lock_shared(77); RETURN true; END $$;
"""
"""A function that leaves a lock when it is called, whatever is rolled back then."""
HELD = "SELECT 1 FROM pg_locks WHERE objid = 77 AND pid = %s"


def own_pid() -> int:
    """Return the process of the session that repairs and explains."""
    return int(connections[DEFAULT].connection.info.backend_pid)


HOOKS: dict[str, Callable[[], Any]] = {
    "a repair": lambda: reset(DEFAULT),
    "a glance": lambda: all_fine(connections[DEFAULT], []),
}


@pytest.mark.parametrize("read", HOOKS.values(), ids=HOOKS)
def test_what_the_owner_of_a_schema_puts_in_the_place_of_our_table_is_not_called(
    database: Database, mallory: str, read: Callable[[], Any]
) -> None:
    """Who owns a schema may drop what is in it, whoever owns that."""
    database.execute(f"ALTER SCHEMA m OWNER TO {mallory}")
    database.execute("CREATE TABLE m.ours (id serial PRIMARY KEY); INSERT INTO m.ours VALUES (7)")
    database.execute("SELECT setval('m.ours_id_seq', 7); DROP TABLE m.t; ANALYZE")
    with database.connect(user=mallory) as connection:
        connection.execute(LASTING)
    with swapped_while_we_wait(database, mallory, OURS):
        read()
    assert database.execute(HELD, own_pid()) == []


def test_an_index_that_is_made_while_another_table_is_read_is_not_called(
    database: Database, mallory: str
) -> None:
    """A long message looks at each table again just before it reads it."""
    with database.connect(user=mallory) as connection:
        for number in range(20):
            name = f"m.t{number:02}"
            connection.execute(f"CREATE TABLE {name} (id serial PRIMARY KEY)")
            connection.execute(f"INSERT INTO {name} DEFAULT VALUES")
        connection.execute("CREATE TABLE m.a (id serial)")
        connection.execute("INSERT INTO m.a SELECT n FROM generate_series(1, 1000000) n")
    reads = "SELECT FROM pg_locks WHERE relation = 'm.t19'::regclass"
    trap = "CREATE UNIQUE INDEX ON m.t19 (id) WHERE m.f(1)"
    with once(database, mallory, reads, "SELECT", trap):
        report = reset(DEFAULT)
    assert called(database) == []
    assert "another role's code, through m.f" in str(entry(report, "m.t19_id_seq").reason)


CAST = """
    CREATE TYPE m.word AS (n int);
    CREATE FUNCTION m.number(m.word) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN 7; END $$;
    CREATE CAST (m.word AS bigint) WITH FUNCTION m.number AS IMPLICIT;
    CREATE TABLE m.words (id bigint DEFAULT 7); CREATE SEQUENCE m.s MAXVALUE 1000;
    ALTER TABLE m.words ALTER id SET DEFAULT nextval('m.s');
    INSERT INTO m.words VALUES (7);
"""
WORDS = """
    ALTER TABLE m.words ALTER id DROP DEFAULT, ALTER id TYPE m.word USING ROW(7)::m.word
"""


def test_the_cast_of_a_type_that_a_column_gets_while_we_wait_is_not_called(
    database: Database, mallory: str
) -> None:
    with database.connect(user=mallory) as connection:
        connection.execute(CAST)
    with swapped_while_we_wait(database, mallory, WORDS):
        report = reset(DEFAULT)
    assert called(database) == []
    assert entry(report, "m.s").reason == "m.words.id: m.words.id has another type than it had"


def test_a_column_that_becomes_a_virtual_one_while_we_wait_is_not_read(
    database: Database, mallory: str
) -> None:
    """The only function of its expression is PostgreSQL's own, which opens another table."""
    if database.server.version < 180000:
        pytest.skip("virtual columns are there from PostgreSQL 18 on")
    with database.connect(user=mallory) as connection:
        connection.execute(KEYED)
        ((oid,),) = connection.execute("SELECT 'm.h'::regclass::oid")
    database.execute("TRUNCATE m.log")
    with swapped_while_we_wait(database, mallory, VIRTUAL.format(oid)):
        report = reset(DEFAULT)
    assert called(database) == []
    assert "reading m.t could run" in str(entry(report, "m.t_id_seq").reason)
    database.execute("SELECT max(id) FROM m.t")
    assert called(database) == [("postgres", "postgres")], "this is no trap"


KEYED = """
    CREATE FUNCTION m.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN 1; END $$;
    CREATE TABLE m.h (id int) PARTITION BY HASH ((id + m.one(1)));
"""
VIRTUAL = """
    ALTER TABLE m.t ADD old int, ALTER id DROP DEFAULT; ALTER SEQUENCE m.t_id_seq OWNED BY m.t.old;
    ALTER TABLE m.t DROP id, ADD id int GENERATED ALWAYS AS (
        CASE WHEN satisfies_hash_partition({}, 2, 0, old) THEN 1 ELSE 2 END) VIRTUAL
"""


def test_a_table_of_which_single_columns_may_be_read_is_waited_for_and_looked_at(
    database: Database, mallory: str
) -> None:
    reader = database.role("reader")
    with database.connect(user=mallory) as connection:
        connection.execute(f"{CAST}; GRANT SELECT (id) ON m.words TO {reader}")
        connection.execute(f"GRANT ALL ON SEQUENCE m.s TO {reader}")
    database.execute(f"GRANT USAGE ON SCHEMA m TO {reader}")
    with (
        django_as(database, USER=reader) as alias,
        swapped_while_we_wait(database, mallory, WORDS),
    ):
        report = reset(alias)
    assert called(database) == []
    assert entry(report, "m.s").reason == "m.words.id: m.words.id has another type than it had"


ELSEWHERE = """
    CREATE TABLE m.a (id serial PRIMARY KEY); INSERT INTO m.a VALUES (50000);
    CREATE TABLE m.z (id serial PRIMARY KEY); INSERT INTO m.z VALUES (50000);
    CREATE TABLE n.a_id_seq (last_value bigint, is_called boolean); CREATE SEQUENCE n.z_id_seq;
    CREATE INDEX ON n.a_id_seq (last_value) WHERE m.g(1);
"""


def test_what_takes_the_place_of_a_schema_while_we_wait_for_a_sequence_is_not_called(
    database: Database, mallory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sequence is held, and another one waited for, before the first is set by its name."""
    monkeypatch.setattr(LockBudget, "SHORTEST", 2)  # on a busy machine, too
    database.execute(
        f"GRANT CREATE ON DATABASE {database.name} TO {mallory};"
        f"ALTER SCHEMA m OWNER TO {mallory}; CREATE SCHEMA n AUTHORIZATION {mallory}"
    )
    with database.connect(user=mallory) as connection:
        connection.execute(LASTING + ELSEWHERE)
    waits = "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    rename = "ALTER SCHEMA m RENAME TO o; ALTER SCHEMA n RENAME TO m; CREATE TABLE m.log (who name)"
    with once(database, mallory, waits, "SELECT nextval('m.z_id_seq')", rename):
        reset(DEFAULT)
    assert database.execute(HELD, own_pid()) == []


def test_another_sequence_that_takes_the_name_while_we_wait_is_neither_set_nor_given_away(
    database: Database, mallory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LockBudget, "SHORTEST", 2)
    database.execute(
        f"GRANT CREATE ON DATABASE {database.name} TO {mallory};"
        f"ALTER SCHEMA m OWNER TO {mallory}; CREATE SCHEMA n AUTHORIZATION {mallory};"
        "CREATE SEQUENCE n.t_id_seq"
    )
    with database.connect(user=mallory) as connection:
        connection.execute("INSERT INTO m.t VALUES (2147483646)")
    waits = "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    rename = "ALTER SCHEMA m RENAME TO o; ALTER SCHEMA n RENAME TO m; CREATE TABLE m.log (who name)"
    with once(database, mallory, waits, "SELECT nextval('m.t_id_seq')", rename):
        reset(DEFAULT)
    assert standing(database, "m.t_id_seq") == (1, False)
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'm.t_id_seq'::regclass"
    assert database.execute(owner) == [("postgres",)]


def test_rows_of_a_table_that_takes_the_place_of_ours_do_not_count(
    database: Database, mallory: str
) -> None:
    database.execute(
        f"ALTER SCHEMA m OWNER TO {mallory}; CREATE SEQUENCE ours;"
        "CREATE TABLE m.ours (id int DEFAULT nextval('ours')); INSERT INTO m.ours VALUES (7)"
    )
    swap = "DROP TABLE m.ours; CREATE TABLE m.ours AS SELECT 2147483646 AS id"
    with swapped_while_we_wait(database, mallory, swap):
        report = reset(DEFAULT)
    assert "m.ours is another relation than it was" in str(entry(report, "ours").reason)
    assert standing(database, "ours") == (1, False)


def test_a_domain_within_a_type_of_ours_is_not_called(database: Database, mallory: str) -> None:
    """The key in a message is text, and to make a value of it would ask the domain's CHECK."""
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE DOMAIN m.d AS int")
        database.execute(
            "CREATE TYPE pair AS (a m.d, b int); CREATE TABLE shop (v pair UNIQUE);"
            "INSERT INTO shop VALUES (ROW(1, 2))"
        )
        connection.execute("ALTER DOMAIN m.d ADD CHECK (m.f(VALUE)) NOT VALID")
    (found,) = diagnose(connections[DEFAULT], '"shop_v_key" Key (v)=((1,2)) already exists.')
    assert found.rows is None
    assert called(database) == []


NAMESAKE = """
    CREATE TYPE n.word AS (n int);
    CREATE FUNCTION n.number(n.word) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM pg_advisory_lock_shared(77); RETURN 50; END $$;
    CREATE CAST (n.word AS bigint) WITH FUNCTION n.number AS IMPLICIT;
    CREATE TABLE n.t (id n.word); INSERT INTO n.t VALUES (ROW(50));
"""


def test_a_key_is_not_looked_for_in_a_table_that_takes_the_name_of_the_constraint_s(
    database: Database, mallory: str
) -> None:
    database.execute(
        f"GRANT CREATE ON DATABASE {database.name} TO {mallory};"
        f"ALTER SCHEMA m OWNER TO {mallory}; CREATE SCHEMA n AUTHORIZATION {mallory}"
    )
    with database.connect(user=mallory) as connection:
        connection.execute(NAMESAKE)
    (found,) = find_targets(connections[DEFAULT], "t_pkey")
    waits = "SELECT 1 FROM pg_locks WHERE relation IS NOT NULL AND NOT granted"
    rename = "ALTER SCHEMA m RENAME TO o; ALTER SCHEMA n RENAME TO m; CREATE TABLE m.log (who name)"
    with once(database, mallory, waits, "LOCK TABLE m.t", rename):
        assert rows_with(connections[DEFAULT], found, parse_key("Key (id)=(50)")) is None
    assert database.execute(HELD, own_pid()) == []


def test_the_expression_of_an_index_that_is_dropped_meanwhile_is_not_called(
    database: Database, mallory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the index would call is not found any more, but its text is known."""
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE UNIQUE INDEX u ON m.t ((m.f(id)))")
    find = catalog.lineages

    def find_later(*args: Any) -> Any:
        with database.connect(user=mallory) as connection:
            connection.execute("DROP INDEX m.u")
        return find(*args)

    monkeypatch.setattr(target, "lineages", find_later)
    database.execute("TRUNCATE m.log")
    (found,) = diagnose(connections[DEFAULT], 'duplicate "u" Key (m.f(id))=(t) already exists.')
    assert found.target.stranger is None
    assert found.rows is None
    assert called(database) == []


def test_what_the_owner_of_a_type_adds_to_it_while_we_wait_is_not_called(
    database: Database, mallory: str
) -> None:
    """An index of ours casts to a domain of mallory's."""
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE DOMAIN m.d AS int; DROP FUNCTION m.f, m.note")
    database.execute(
        "CREATE SCHEMA z; CREATE TABLE z.o (id serial PRIMARY KEY, n int);"
        "CREATE INDEX ON z.o ((n::m.d)); INSERT INTO z.o VALUES (9, 1)"
    )
    waits = "SELECT FROM pg_locks WHERE relation = 'm.t'::regclass AND NOT granted"
    check = """
        CREATE FUNCTION m.note() RETURNS void LANGUAGE sql AS
            $$ INSERT INTO m.log VALUES (current_user, session_user) $$;
        CREATE FUNCTION m.g(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.note(); RETURN true; END $$;
        ALTER DOMAIN m.d ADD CHECK (m.g(1))
    """
    with once(database, mallory, waits, "LOCK TABLE m.t", check):
        found = entry(reset(DEFAULT), "z.o_id_seq")
    assert "z.o could run another role's code, through m.g" in str(found.reason)
    assert called(database) == []
