"""What a role without rights can have called when a more powerful one looks at its tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import connections, transaction

from restorehooks.duplicates.diagnosis import diagnose
from restorehooks.duplicates.key import parse_key
from restorehooks.duplicates.rows import rows_with
from restorehooks.duplicates.target import Target, find_targets
from restorehooks.sequences import repair
from restorehooks.sequences.glance import all_fine
from restorehooks.sequences.notes import note_on_subscription
from restorehooks.sequences.planning import STRANGERS_CODE
from restorehooks.sequences.reading import read
from restorehooks.sequences.repair import reset_table
from restorehooks.sequences.scope import Limits
from tests.support.databases import Database
from tests.support.sequences import DEFAULT, django_as, entry, inspect, reset, statuses
from tests.support.strangers import mallory_in, once


@pytest.fixture
def mallory(database: Database) -> str:
    """A role that has a table of its own in a schema of its own, and functions that tell."""
    return mallory_in(database)


def called(database: Database) -> list[Any]:
    """Return as whom mallory's functions were called."""
    return database.execute("SELECT DISTINCT who, session FROM m.log")


@pytest.mark.parametrize("role", ["set by the settings", "the session's own"])
def test_a_role_that_a_superuser_has_set_does_not_make_its_functions_ours(
    database: Database, mallory: str, role: str
) -> None:
    """Such a function can say RESET ROLE."""
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE UNIQUE INDEX u ON m.t (id) WHERE m.f(1)")
    database.execute("TRUNCATE m.log")
    assumed = {"OPTIONS": {"assume_role": mallory}}
    with django_as(database, **(assumed if "settings" in role else {"USER": mallory})):
        found = entry(reset(DEFAULT), "m.t_id_seq")
        said = diagnose(connections[DEFAULT], "u")[0].sentences
    if "settings" in role:
        assert "another role's code, through m.f" in str(found.reason)
        assert "m.f" in said
        assert called(database) == []
    else:
        assert found.next_after == 51
        assert called(database) == [(mallory, mallory)]


def test_a_role_whose_session_a_superuser_has_taken_up_does_not_make_its_functions_ours(
    database: Database, mallory: str
) -> None:
    """Such a function can say RESET SESSION AUTHORIZATION."""
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE UNIQUE INDEX u ON m.t (id) WHERE m.f(1)")
    database.execute("TRUNCATE m.log")
    with django_as(database), connections[DEFAULT].cursor() as cursor:
        cursor.execute(f"SET SESSION AUTHORIZATION {mallory}")
        found = entry(reset(DEFAULT), "m.t_id_seq")
    assert "another role's code, through m.f" in str(found.reason)
    assert called(database) == []


@pytest.mark.parametrize("kind", ["a view", "a foreign table"])
def test_what_takes_the_place_of_a_table_meanwhile_is_not_read(
    database: Database, mallory: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("CREATE FOREIGN DATA WRAPPER nothing")
    database.execute(f"GRANT USAGE ON FOREIGN DATA WRAPPER nothing TO {mallory}")
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing")

    def read_later(*args: Any, **kwargs: Any) -> Any:
        with database.connect(user=mallory) as connection:
            connection.execute("ALTER TABLE m.t RENAME TO other")
            if kind == "a view":
                connection.execute("CREATE VIEW m.t AS SELECT id FROM m.other WHERE m.f(id)")
            else:
                connection.execute("CREATE FOREIGN TABLE m.t (id int) SERVER nowhere")
        return read(*args, **kwargs)

    monkeypatch.setattr(repair, "read", read_later)
    found = entry(reset(DEFAULT), "m.t_id_seq")
    assert found.status.value == "failed"
    assert "m.t is another relation than it was" in str(found.reason)
    assert called(database) == []


def index_for_whoever_waits(database: Database, mallory: str) -> AbstractContextManager[None]:
    """Hold the lock of m.t; once somebody waits for it, add an index that calls m.f."""
    index = "CREATE UNIQUE INDEX u ON m.t (id) WHERE m.f(1)"
    return once(database, mallory, WAITING, "LOCK TABLE m.t", index)


WAITING = "SELECT FROM pg_locks WHERE relation = 'm.t'::regclass AND NOT granted"
READERS: dict[str, Callable[[Target], Any]] = {
    "a repair": lambda _: entry(reset(DEFAULT), "m.t_id_seq").reason,
    "a glance": lambda _: all_fine(connections[DEFAULT], []),
    "an explanation": lambda t: rows_with(connections[DEFAULT], t, parse_key("Key (id)=(50)")),
}


def repair_by_old_snapshots(_: Target) -> None:
    with connections[DEFAULT].cursor() as cursor:
        cursor.execute("SET default_transaction_isolation = 'repeatable read'")
    reset(DEFAULT)


def repair_in_an_old_snapshot(_: Target) -> None:
    with transaction.atomic(), connections[DEFAULT].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert "since this repeatable read transaction began" in str(list(reset(DEFAULT)))


READERS |= {"old snapshots": repair_by_old_snapshots, "one": repair_in_an_old_snapshot}


@pytest.mark.parametrize("reader", READERS)
def test_an_index_that_is_made_while_we_wait_for_the_table_is_not_called(
    database: Database, mallory: str, reader: str
) -> None:
    database.execute("ANALYZE m.t")
    (target,) = find_targets(connections[DEFAULT], "t_pkey")
    with index_for_whoever_waits(database, mallory):
        said = READERS[reader](target)
    assert called(database) == []
    if reader == "a repair":
        assert "reading m.t could run another role's code, through m.f" in str(said)


ESTIMATED = {
    "the difference of a range's ends": """
        ALTER TABLE m.t ADD r m.r; UPDATE m.t SET r = m.r(id, id + 2);
        CREATE INDEX u ON m.t (n) WHERE id > 0 OR r @> 200
        """,
    "a domain over the range, in an array of composites": """
        CREATE DOMAIN m.rd AS m.r; CREATE TYPE m.c AS (r m.rd);
        ALTER TABLE m.t ADD c m.c[]; UPDATE m.t SET c = ARRAY[ROW(m.r(id, id + 2))::m.c];
        CREATE INDEX ON m.t (((c[1]).r));
        CREATE INDEX u ON m.t (n) WHERE id > 0 OR (c[1]).r @> 200
        """,
    "a range that is made of numbers": """
        CREATE INDEX ON m.t (m.r(n, n + 2));
        CREATE INDEX u ON m.t (n) WHERE id > 0 OR m.r(n, n + 2) @> 5
        """,
    "several ranges": """
        ALTER TABLE m.t ADD rs m.ranges; UPDATE m.t SET rs = m.ranges(m.r(id, id + 2));
        CREATE INDEX u ON m.t (n) WHERE id > 0 OR rs @> 200
        """,
    "an operator's negator": """
        CREATE FUNCTION m.g(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.note(); RETURN true; END $$;
        CREATE OPERATOR m.<<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4ne,
                               NEGATOR = OPERATOR(m.>>>), RESTRICT = neqsel);
        CREATE OPERATOR m.>>> (LEFTARG = int, RIGHTARG = int, FUNCTION = m.g,
                               NEGATOR = OPERATOR(m.<<<));
        CREATE INDEX u ON m.t (n) WHERE id > 0 OR n OPERATOR(m.<<<) 7
        """,
    "an operator's commutator": """
        CREATE FUNCTION m.g(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.note(); RETURN true; END $$;
        CREATE OPERATOR m.<<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4lt,
                               COMMUTATOR = OPERATOR(m.>>>), RESTRICT = scalarltsel);
        CREATE OPERATOR m.>>> (LEFTARG = int, RIGHTARG = int, FUNCTION = m.g,
                               COMMUTATOR = OPERATOR(m.<<<));
        CREATE INDEX u ON m.t (n) WHERE id > 0 OR 7 OPERATOR(m.<<<) n
        """,
    "a constant CHECK of a domain": """
        CREATE DOMAIN m.d AS int CHECK (m.f(1)); CREATE INDEX u ON m.t ((n::m.d))
        """,
    "a domain over it": """
        CREATE DOMAIN m.d AS int CHECK (m.f(1)); CREATE DOMAIN m.e AS m.d;
        CREATE INDEX u ON m.t ((n::m.e))
        """,
    "a domain that its CHECK casts to": """
        CREATE DOMAIN m.d AS int CHECK (m.f(1)); CREATE DOMAIN m.e AS int CHECK (VALUE::m.d >= 0);
        CREATE INDEX u ON m.t ((n::m.e))
        """,
}
"""Statements of mallory's after which planning a query for m.t calls a function."""
TYPES = """
    CREATE FUNCTION m.apart(int, int) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN 1; END $$;
    CREATE TYPE m.r AS RANGE (
        SUBTYPE = int, SUBTYPE_DIFF = m.apart, MULTIRANGE_TYPE_NAME = m.ranges);
    ALTER TABLE m.t ADD n int; INSERT INTO m.t SELECT n, n % 10 FROM generate_series(100, 400) n;
"""


@pytest.mark.parametrize("made", ESTIMATED.values(), ids=ESTIMATED)
def test_what_an_estimate_calls_is_not_called(database: Database, mallory: str, made: str) -> None:
    with database.connect(user=mallory) as connection:
        connection.execute(TYPES + made)
        connection.execute("ANALYZE m.t")
    database.execute("TRUNCATE m.log")
    database.execute("SELECT max(id) FROM m.t WHERE id > 0")
    assert called(database) == [("postgres", "postgres")], "this is no trap"
    database.execute("TRUNCATE m.log")
    found = entry(reset(DEFAULT), "m.t_id_seq")
    assert "another role's code" in str(found.reason)
    assert "another role's code" in diagnose(connections[DEFAULT], "u")[0].sentences
    assert called(database) == []


HASHED = """
    CREATE FUNCTION m.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN 1; END $$;
    CREATE TABLE m.h (id int) PARTITION BY HASH ((id + m.one(1)));
    ALTER TABLE m.t ADD n int DEFAULT 1;
    DO $$ BEGIN EXECUTE format({}, format(
        'satisfies_hash_partition(%s, 2, 0, 1)', 'm.h'::regclass::oid)); END $$
"""
RANGES = """
    CREATE TYPE m.r AS RANGE (SUBTYPE = int, MULTIRANGE_TYPE_NAME = m.ranges);
    CREATE FUNCTION m.j({0}) RETURNS json LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN '1'::json; END $$;
    CREATE CAST ({0} AS json) WITH FUNCTION m.j({0});
    ALTER TABLE m.t ADD r {1} DEFAULT '{2}';
"""
ANY_TO_TEXT = """
    CREATE TYPE m.e AS ENUM ('a'); {0}; CREATE UNIQUE INDEX u ON m.t (id) WHERE as_text({1}) = 'a'
"""
PLANNED = "SELECT max(id) FROM m.t WHERE id > 0"
BETTER_MATCH = """
    CREATE FUNCTION public.fold(text, text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN 'x'; END $$;
"""
UNDEPENDED: dict[str, tuple[int, str, str]] = {
    "another table's key": (
        14, PLANNED,
        HASHED.format("'CREATE UNIQUE INDEX u ON m.t (id) WHERE %s IS NOT NULL'"),
    ),
    "that in a domain's CHECK": (
        14, PLANNED,
        HASHED.format("'CREATE DOMAIN m.d AS int CHECK (%s)'")
        + "; CREATE INDEX u ON m.t ((n::m.d))",
    ),
    "that in a virtual column": (
        19, PLANNED,
        HASHED.format(
            "'ALTER TABLE m.t ADD v boolean GENERATED ALWAYS AS (%s) VIRTUAL,"
            " ADD CONSTRAINT u UNIQUE (n)'"
        )
        + "; CREATE STATISTICS m.s ON id, v FROM m.t",
    ),
    "a cast to json": (
        16, "SELECT JSON_ARRAY(e RETURNING jsonb) FROM m.t",
        """
        CREATE TYPE m.e AS ENUM ('a');
        CREATE FUNCTION m.j(m.e) RETURNS json LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.note(); RETURN '1'::json; END $$;
        CREATE CAST (m.e AS json) WITH FUNCTION m.j(m.e);
        ALTER TABLE m.t ADD e m.e DEFAULT 'a';
        CREATE INDEX u ON m.t (JSON_ARRAY(e RETURNING jsonb))
        """,
    ),
    "a cast to json of the multirange over a range": (
        16, "SELECT JSON_ARRAY(multirange(r) RETURNING jsonb) FROM m.t",
        RANGES.format("m.ranges", "m.r", "[1,2)")
        + "CREATE INDEX u ON m.t (JSON_ARRAY(multirange(r) RETURNING jsonb))",
    ),
    "a cast to json of the range under a multirange": (
        16, "SELECT JSON_ARRAY(range_merge(r) RETURNING jsonb) FROM m.t",
        RANGES.format("m.r", "m.ranges", "{}")
        + "CREATE INDEX u ON m.t (JSON_ARRAY(range_merge(r) RETURNING jsonb))",
    ),
    "a cast of what a function for any type is given": (
        14, PLANNED, ANY_TO_TEXT.format(
            "CREATE FUNCTION m.j(m.e) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
            " $$ BEGIN PERFORM m.note(); RETURN 'a'; END $$;"
            "CREATE CAST (m.e AS text) WITH FUNCTION m.j(m.e)", "'a'::m.e"
        ),
    ),
    "a cast of many such": (
        14, PLANNED, ANY_TO_TEXT.format(
            "CREATE FUNCTION m.j(m.e[]) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
            " $$ BEGIN PERFORM m.note(); RETURN 'a'; END $$;"
            "CREATE CAST (m.e[] AS text) WITH FUNCTION m.j(m.e[])", "array_append(NULL, 'a'::m.e)"
        ),
    ),
    "a cast of the whole row": (
        14, "SELECT public.as_text(t) FROM m.t",
        "CREATE FUNCTION m.j(m.t) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM m.note(); RETURN 'a'; END $$;"
        "CREATE CAST (m.t AS text) WITH FUNCTION m.j(m.t);"
        "CREATE INDEX u ON m.t (public.as_text(t))",
    ),
    "a cast of an array of rows": (
        14, "SELECT public.as_text((ARRAY[t])[1]) FROM m.t",
        "CREATE FUNCTION m.j(m.t) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM m.note(); RETURN 'a'; END $$;"
        "CREATE CAST (m.t AS text) WITH FUNCTION m.j(m.t);"
        "CREATE INDEX u ON m.t (public.as_text((ARRAY[t])[1]))",
    ),
    "the type of a value of JSON": (
        17, "SELECT JSON_VALUE('5', '$' RETURNING m.d)",
        """
        CREATE DOMAIN m.d AS int CHECK (m.f(VALUE)); ALTER TABLE m.t ADD j jsonb DEFAULT '5';
        CREATE INDEX u ON m.t ((JSON_VALUE(j, '$' RETURNING m.d)::int + 1))
        """,
    ),
    "what PostgreSQL's own function in a domain's CHECK calls": (
        14, "SELECT id::m.d FROM m.t",
        """
        CREATE DOMAIN m.d AS int CHECK (ts_rewrite('a'::tsquery,
            'SELECT ''a''::tsquery, ''b''::tsquery FROM m.note()') IS NOT NULL);
        CREATE UNIQUE INDEX u ON m.t ((id::m.d))
        """,
    ),
    "a negator in the place of NOT": (
        14, "SELECT NOT (id OPERATOR(m.<<<) 7) FROM m.t",
        """
        CREATE FUNCTION m.g(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.note(); RETURN true; END $$;
        CREATE OPERATOR m.<<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4ne,
                               NEGATOR = OPERATOR(m.>>>));
        CREATE OPERATOR m.>>> (LEFTARG = int, RIGHTARG = int, FUNCTION = m.g,
                               NEGATOR = OPERATOR(m.<<<));
        CREATE UNIQUE INDEX u ON m.t (id) WHERE NOT (id OPERATOR(m.<<<) 7)
        """,
    ),
    "a function of another type that one for any type calls": (
        14, PLANNED,
        """
        CREATE TYPE m.e AS ENUM ('a');
        CREATE FUNCTION public.norm(m.e) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.note(); RETURN 'x'; END $$;
        CREATE INDEX u ON m.t (id) WHERE any_norm('a'::m.e) = 'x'
        """,
    ),
    "an operator that one for any type uses": (
        14, PLANNED,
        """
        CREATE TYPE m.e AS ENUM ('a');
        CREATE FUNCTION m.g(m.e, m.e) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN PERFORM m.note(); RETURN true; END $$;
        CREATE OPERATOR public.= (LEFTARG = m.e, RIGHTARG = m.e, FUNCTION = m.g);
        CREATE INDEX u ON m.t (id) WHERE are_same('a'::m.e, 'a'::m.e)
        """,
    ),
    "a better match of what a function of ours calls": (
        14, PLANNED,
        BETTER_MATCH + """
        CREATE INDEX u ON m.t (id) WHERE folded('a') = 'x'
        """,
    ),
    "the same in a domain's CHECK": (
        14, "SELECT id::m.d FROM m.t",
        BETTER_MATCH + """
        CREATE DOMAIN m.d AS int CHECK (folded('a') = 'x');
        CREATE UNIQUE INDEX u ON m.t ((id::m.d))
        """,
    ),
    "the same in a function of an extension": (  # as many of PostGIS's
        14, PLANNED,
        BETTER_MATCH + """
        CREATE INDEX u ON m.t (id) WHERE st_folded('a') = 'x'
        """,
    ),
    "the same in a function whose own names are resolved": (
        14, PLANNED,
        BETTER_MATCH + """
        CREATE INDEX u ON m.t (id) WHERE bound('a') = 'x'
        """,
    ),
    "a table of another role that such a function reads": (
        14, "SELECT max(id) FROM m.s",
        """
        CREATE TABLE m.s (id serial PRIMARY KEY); INSERT INTO m.s VALUES (5);
        CREATE UNIQUE INDEX u ON m.s (id) WHERE top(1) > 0; CREATE INDEX ON m.t (id) WHERE m.f(1)
        """,
    ),
    "SQL that a function in C is given": (
        14, PLANNED,
        """
        CREATE INDEX u ON m.t (id) WHERE st_mapalgebraexpr('a'::tsquery,
            'SELECT ''a''::tsquery, ''b''::tsquery FROM m.note()') IS NOT NULL
        """,
    ),
}  # fmt: skip
FOR_ANY_TYPE = """
    GRANT CREATE ON SCHEMA public TO PUBLIC;
    CREATE FUNCTION as_text(anyelement) RETURNS text LANGUAGE sql IMMUTABLE AS
        $$ SELECT $1::text $$;
    CREATE FUNCTION norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower($1) $$;
    CREATE FUNCTION any_norm(anyelement) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN RETURN public.norm($1); END $$;
    CREATE FUNCTION fold(regtype, text) RETURNS text LANGUAGE sql IMMUTABLE AS
        $$ SELECT lower($2) $$;
    CREATE FUNCTION folded(text) RETURNS text LANGUAGE sql IMMUTABLE AS
        $$ SELECT public.fold('text', $1) $$;
    CREATE FUNCTION st_folded(text) RETURNS text LANGUAGE sql IMMUTABLE AS
        $$ SELECT public.fold('text', $1) $$;
    ALTER EXTENSION plpgsql ADD FUNCTION st_folded(text);
    CREATE FUNCTION bound(text) RETURNS text IMMUTABLE RETURN folded($1);
    CREATE FUNCTION top(int) RETURNS int IMMUTABLE BEGIN ATOMIC SELECT max(id) FROM m.t; END;
    CREATE FUNCTION are_same(anyelement, anyelement) RETURNS boolean LANGUAGE sql IMMUTABLE
        SET search_path = public AS $$ SELECT $1 = $2 $$;
    CREATE FUNCTION st_mapalgebraexpr(tsquery, text) RETURNS tsquery LANGUAGE internal IMMUTABLE
        AS 'tsquery_rewrite_query';  -- runs SQL, as PostGIS's does
"""
"""What may call a function without a dependency on it: from which version on, how, and made how."""


@pytest.mark.parametrize("what", UNDEPENDED)
def test_what_no_dependency_leads_to_is_not_called(
    database: Database, mallory: str, what: str
) -> None:
    since, calls, made = UNDEPENDED[what]
    if database.server.version < since * 10000:
        pytest.skip(f"from PostgreSQL {since} on")
    database.execute(FOR_ANY_TYPE)
    with database.connect(user=mallory) as connection:
        connection.execute(made)
    database.execute("TRUNCATE m.log")
    database.execute(calls)
    assert called(database) == [("postgres", "postgres")], "this is no trap"
    database.execute("TRUNCATE m.log")
    assert "another role's code" in str(entry(reset(DEFAULT), "m.t_id_seq").reason)
    assert "another role's code" in diagnose(connections[DEFAULT], "u")[0].sentences
    assert called(database) == []


def test_an_operator_has_no_function_of_postgresqls_own_called_with_our_rights(
    database: Database, mallory: str
) -> None:
    """One that an estimate calls may be any that fits: this one could end sessions instead."""
    with database.connect(user=mallory) as connection:
        connection.execute(
            """
            ALTER TABLE m.t ADD n int; INSERT INTO m.t SELECT n, 5 FROM generate_series(100, 400) n;
            CREATE OPERATOR m.<<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4ne,
                                   NEGATOR = OPERATOR(m.>>>), RESTRICT = neqsel);
            CREATE OPERATOR m.>>> (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_try_advisory_lock,
                                   NEGATOR = OPERATOR(m.<<<));
            CREATE INDEX u ON m.t (n) WHERE id > 0 OR n OPERATOR(m.<<<) 7;
            DROP FUNCTION m.f, m.note; ANALYZE m.t
            """
        )
    locked = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 5 AND objid = 7"
    with database.connect() as connection:
        connection.execute(PLANNED)
        assert connection.execute(locked).fetchall(), "this is no trap"
    assert "pg_catalog.pg_try_advisory_lock" in str(entry(reset(DEFAULT), "m.t_id_seq").reason)
    assert "pg_catalog.pg_try_advisory" in diagnose(connections[DEFAULT], "u")[0].sentences


MEMBER = """
    CREATE FUNCTION {0}(int, int) RETURNS {1} LANGUAGE internal IMMUTABLE AS '{2}';
    ALTER EXTENSION plpgsql ADD FUNCTION {0}(int, int)
"""
CALLED_FOR_WHAT_THEY_DO = {
    "of an extension that is not well known": (
        FOR_ANY_TYPE,
        "st_mapalgebraexpr('a'::tsquery,"
        " 'SELECT ''a''::tsquery, ''b''::tsquery FROM pg_try_advisory_lock(5, 7)')",
    ),
    "of a well-known one, without a value": (  # as some of PostGIS's
        MEMBER.format("from_geobuf", "void", "pg_advisory_lock_int4"),
        "from_geobuf(5, 7)",
    ),
    "of isn, for the session": (
        MEMBER.format("isn_weak", "boolean", "pg_try_advisory_lock_int4"),
        "isn_weak(5, 7)",
    ),
    "of ours, whose body lets one of PostgreSQL's own do it": (
        "CREATE FUNCTION rewritten(text) RETURNS tsquery IMMUTABLE"
        " RETURN ts_rewrite('a'::tsquery, $1)",
        "rewritten('SELECT ''a''::tsquery, ''b''::tsquery FROM pg_try_advisory_lock(5, 7)')",
    ),
}


@pytest.mark.parametrize("which", CALLED_FOR_WHAT_THEY_DO)
def test_whoever_has_made_no_function_has_none_called_either(
    database: Database, mallory: str, which: str
) -> None:
    """Those of others are enough for what does something: run the SQL that it is given."""
    made, call = CALLED_FOR_WHAT_THEY_DO[which]
    database.execute(made)
    with database.connect(user=mallory) as connection:
        connection.execute(
            f"""
            CREATE INDEX u ON m.t (id) WHERE {call} IS NOT NULL;
            DROP FUNCTION m.f, m.note;
            SELECT pg_advisory_unlock_all()  -- the index has been built with it
            """
        )
    locked = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 5 AND objid = 7"
    with database.connect() as connection:
        connection.execute(PLANNED)
        assert connection.execute(locked).fetchall(), "this is no trap"
    assert not all_fine(connections[DEFAULT], [])
    assert f"public.{call.split('(')[0]}" in str(entry(reset(DEFAULT), "m.t_id_seq").reason)
    assert not database.execute(locked)


def test_a_cast_of_ours_between_types_that_nothing_names_is_in_nobodys_way(
    database: Database, mallory: str
) -> None:
    """PostGIS has a STABLE one from topogeometry to geometry."""
    database.execute(
        """
        CREATE TYPE geo AS ENUM ('a'); CREATE TYPE topo AS (g geo);
        CREATE FUNCTION as_geo(topo) RETURNS geo LANGUAGE plpgsql STABLE
            AS $$ BEGIN RETURN $1.g; END $$;
        CREATE CAST (topo AS geo) WITH FUNCTION as_geo
        """
    )
    with database.connect(user=mallory) as connection:
        connection.execute(
            "ALTER TABLE m.t ADD g public.geo; CREATE INDEX u ON m.t (g) WHERE g IS NOT NULL"
        )
    assert entry(reset(DEFAULT), "m.t_id_seq").next_after == 51


@pytest.mark.parametrize("role", ["a superuser", "the owner"])
def test_a_cast_that_nothing_can_call_is_in_nobodys_way(
    database: Database, mallory: str, role: str
) -> None:
    """Whoever may use a type of ours may cast it to one of its own, and no index names that."""
    app = database.role("app")
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE TYPE m.e AS ENUM ('x')")
    for name, owner in (("ours", "CURRENT_USER"), ("theirs", app)):
        database.execute(
            f"""
            CREATE TYPE {name}_state AS ENUM ('a'); ALTER TYPE {name}_state OWNER TO {owner};
            CREATE TABLE {name} (id serial PRIMARY KEY, state {name}_state);
            CREATE UNIQUE INDEX {name}_u ON {name} (id) WHERE state = 'a';
            INSERT INTO {name} VALUES (50, 'a'); ALTER TABLE {name} OWNER TO {owner};
            """
        )
        with database.connect(user=mallory) as connection:
            connection.execute(
                f"""
                CREATE FUNCTION m.{name}(public.{name}_state) RETURNS m.e LANGUAGE plpgsql
                    IMMUTABLE AS $$ BEGIN PERFORM m.note(); RETURN 'x'; END $$;
                CREATE CAST (public.{name}_state AS m.e) WITH FUNCTION m.{name} AS IMPLICIT
                """
            )
    with django_as(database, **({} if role == "a superuser" else {"USER": app})):
        report = reset(DEFAULT)
        said = diagnose(connections[DEFAULT], "theirs_u")[0].sentences
    assert entry(report, "theirs_id_seq").next_after == 51
    assert "is not read" not in said
    if role == "a superuser":
        assert entry(report, "ours_id_seq").next_after == 51
    assert called(database) == []


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE ours (id serial PRIMARY KEY); CREATE INDEX ON ours (id) WHERE m.f(1)",
        "CREATE TABLE ours (id serial PRIMARY KEY);"
        " CREATE STATISTICS s ON (m.f(1) AND id > 0), id FROM ours",
        "CREATE TABLE ours (id serial, n int) PARTITION BY RANGE ((n > 0 AND m.f(1)))",
    ],
    ids=["index", "statistics", "key"],
)
def test_what_our_own_table_calls_of_another_roles(
    database: Database, mallory: str, made: str
) -> None:
    """Nothing else in the database makes it worth asking what tables lead to."""
    database.execute(made)
    database.execute("TRUNCATE m.log")
    for report in (inspect(DEFAULT), reset(DEFAULT)):
        found = entry(report, "ours_id_seq")
        assert found.status.value == "unverified"
        assert "could run another role's code, through m.f" in str(found.reason)
    assert called(database) == []


DECIDED_BY_A_TYPE = {
    "a range, by its SUBTYPE_DIFF": (
        "CREATE FUNCTION asked(int, int) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN RETURN $1 - $2; END $$",
        "CREATE TYPE m.x AS RANGE (SUBTYPE = int, SUBTYPE_DIFF = public.asked)",
        "(id) WHERE x > '[7,8)'",
    ),
    "an enum, given to a function for any type": (
        "CREATE FUNCTION asked(anyelement) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN RETURN $1; END $$",
        "CREATE TYPE m.x AS ENUM ('a')",
        "(asked(x))",
    ),
    "an enum, given to one of a well-known extension": (
        "CREATE FUNCTION asked(anyenum) RETURNS int LANGUAGE internal IMMUTABLE AS 'hashenum';"
        " ALTER EXTENSION plpgsql ADD FUNCTION asked(anyenum)",
        "CREATE TYPE m.x AS ENUM ('a')",
        "(asked(x))",
    ),
}


@pytest.mark.parametrize("what", DECIDED_BY_A_TYPE)
def test_a_type_of_a_strangers_decides_in_our_own_table(
    database: Database, mallory: str, what: str
) -> None:
    """Its owner may change what it leads to; no function of theirs is there yet."""
    ours, theirs, index = DECIDED_BY_A_TYPE[what]
    database.execute(ours)
    with database.connect(user=mallory) as connection:
        connection.execute(f"{theirs}; DROP FUNCTION m.f, m.note")
    database.execute(f"CREATE TABLE ours (id serial, x m.x); CREATE INDEX ON ours {index}")
    assert "through public.asked" in str(entry(reset(DEFAULT), "ours_id_seq").reason)


NAMESAKES = {
    "a function for any type": (
        "(shop.norm(name))",
        """
        CREATE FUNCTION shop.norm(anyelement) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN RETURN lower($1::text); END $$
        """,
        "CREATE FUNCTION shop.norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM m.note(); RETURN 'a'; END $$",
    ),
    "an operator for any type": (
        "((name OPERATOR(shop.@@) name))",
        """
        CREATE FUNCTION shop.same(anyelement, anyelement) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN RETURN lower($1::text); END $$;
        CREATE OPERATOR shop.@@ (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = shop.same)
        """,
        "CREATE FUNCTION m.same(text, text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM m.note(); RETURN 'a'; END $$;"
        "CREATE OPERATOR shop.@@ (LEFTARG = text, RIGHTARG = text, FUNCTION = m.same)",
    ),
    "a function of a row whose type its text does not name": (
        "(shop.norm(ROW(id, name)))",
        """
        CREATE TYPE shop.pair AS (id int, name text);
        CREATE FUNCTION shop.norm(shop.pair) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN RETURN lower($1.name); END $$
        """,
        "CREATE FUNCTION shop.norm(record) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM m.note(); RETURN 'a'; END $$",
    ),
}


@pytest.mark.parametrize("what", NAMESAKES)
def test_the_text_of_an_index_of_ours_does_not_mean_a_strangers(
    database: Database, mallory: str, what: str
) -> None:
    on, ours, theirs = NAMESAKES[what]
    database.execute(f"CREATE SCHEMA shop; GRANT ALL ON SCHEMA shop TO {mallory}")
    database.execute(
        f"{ours}; CREATE TABLE shop.o (id serial PRIMARY KEY, name text);"
        f"CREATE UNIQUE INDEX o_key ON shop.o {on}; CREATE INDEX o_plain ON shop.o {on};"
        "INSERT INTO shop.o (name) VALUES ('a'), ('b')"
    )
    message = f'violates unique constraint "o_key" Key {on}=(a) already exists.'
    (found,) = diagnose(connections[DEFAULT], message)
    assert found.rows == ("(id)=(1)",)
    with database.connect(user=mallory) as connection:
        connection.execute(theirs)
    (found,) = diagnose(connections[DEFAULT], message)
    assert found.rows is None
    said = diagnose(connections[DEFAULT], "o_plain")[0].sentences
    assert "the index's text may mean" in said
    assert called(database) == []


def test_an_operator_for_a_domain_over_a_type_of_ours_is_not_called(
    database: Database, mallory: str
) -> None:
    """The type and its operators are in a schema where others may create some."""
    database.execute(
        f"CREATE SCHEMA shop; GRANT ALL ON SCHEMA shop TO {mallory}; CREATE EXTENSION citext"
        " SCHEMA shop; CREATE DOMAIN shop.mail AS shop.citext;"
        "CREATE TABLE shop.o (id serial PRIMARY KEY, mail shop.mail UNIQUE);"
        "INSERT INTO shop.o (mail) VALUES ('a'), ('b')"
    )
    with database.connect(user=mallory) as connection:
        connection.execute(
            """
            CREATE FUNCTION m.equal(shop.mail, shop.citext) RETURNS boolean LANGUAGE plpgsql
                IMMUTABLE AS $$ BEGIN PERFORM m.note(); RETURN true; END $$;
            CREATE OPERATOR shop.= (
                LEFTARG = shop.mail, RIGHTARG = shop.citext, FUNCTION = m.equal)
            """
        )
    (found,) = diagnose(connections[DEFAULT], '"o_mail_key" Key (mail)=(a) already exists.')
    assert found.rows == ("(id)=(1)",)
    assert called(database) == []


def test_the_key_of_a_table_that_a_partitioned_one_is_part_of_is_not_called(
    database: Database, mallory: str
) -> None:
    """What is read by itself is planned with its bounds, and they are in its parents' keys."""
    with database.connect(user=mallory) as connection:
        connection.execute(
            """
            CREATE FUNCTION m.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                $$ BEGIN PERFORM m.note(); RETURN 1; END $$;
            CREATE TABLE m.top (id int, n int) PARTITION BY RANGE ((n + m.one(1)));
            CREATE TABLE m.above PARTITION OF m.top FOR VALUES FROM (0) TO (100)
                PARTITION BY LIST (n);
            CREATE SEQUENCE m.s;
            CREATE TABLE m.part PARTITION OF m.above (id DEFAULT nextval('m.s')) DEFAULT
                PARTITION BY RANGE (id);
            ALTER TABLE m.part ADD CONSTRAINT u UNIQUE (id);
            CREATE TABLE m.leaf PARTITION OF m.part DEFAULT;
            INSERT INTO m.top VALUES (7, 7)
            """
        )
    database.execute("TRUNCATE m.log")
    database.execute("SELECT max(id) FROM m.part")
    assert called(database) == [("postgres", "postgres")], "this is no trap"
    database.execute("TRUNCATE m.log")
    assert "another role's code, through m.one" in str(entry(reset(DEFAULT), "m.s").reason)
    assert "m.one" in diagnose(connections[DEFAULT], "u")[0].sentences
    assert called(database) == []


def test_the_key_of_another_roles_table_that_ours_is_part_of_is_not_called(
    database: Database, mallory: str
) -> None:
    """It is the key's owner who lets it call a function of ours, by which it calls theirs."""
    database.execute(FOR_ANY_TYPE)
    with database.connect(user=mallory) as connection:
        connection.execute(
            """
            CREATE TABLE m.p (id int, n text) PARTITION BY LIST ((n || public.folded('a')));
            CREATE TABLE m.part PARTITION OF m.p FOR VALUES IN ('xx') PARTITION BY RANGE (id);
            CREATE TABLE m.leaf PARTITION OF m.part DEFAULT;
            """
        )
    database.execute(
        """
        CREATE SCHEMA ours; CREATE SEQUENCE ours.s;
        ALTER TABLE m.part OWNER TO postgres; ALTER TABLE m.part SET SCHEMA ours;
        ALTER TABLE m.leaf OWNER TO postgres; ALTER TABLE m.leaf SET SCHEMA ours;
        ALTER TABLE ours.part ALTER id SET DEFAULT nextval('ours.s')
        """
    )
    with database.connect(user=mallory) as connection:
        connection.execute(
            "CREATE FUNCTION public.fold(text, text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
            " $$ BEGIN PERFORM m.note(); RETURN 'x'; END $$"
        )
    database.execute("SELECT max(id) FROM ours.part")
    assert called(database) == [("postgres", "postgres")], "this is no trap"
    database.execute("TRUNCATE m.log")
    (found,) = reset_table(connections[DEFAULT], "ours", "part", Limits())
    assert "another role's code, through public.folded" in str(found.reason)
    assert called(database) == []


def test_in_another_roles_schema_the_index_of_a_table_of_ours_is_our_own(
    database: Database, mallory: str
) -> None:
    """So it is in a managed cloud: the administrator's role has the schema, and is no superuser."""
    app = database.role("app")
    database.execute(f"GRANT ALL ON SCHEMA m TO {app}")
    with database.connect(user=mallory) as connection:
        connection.execute("CREATE TYPE m.state AS ENUM ('new')")
    with database.connect(user=app) as connection:
        connection.execute(
            """
            CREATE FUNCTION m.norm(text) RETURNS text LANGUAGE sql IMMUTABLE
                AS $$ SELECT lower($1) $$;
            CREATE TABLE m.ours (id serial PRIMARY KEY, name text, state m.state);
            CREATE UNIQUE INDEX ours_u ON m.ours (m.norm(name)) WHERE state = 'new';
            INSERT INTO m.ours VALUES (5, 'a')
            """
        )
    database.execute(f"ALTER SCHEMA m OWNER TO {mallory}")
    with django_as(database, USER=app):
        assert entry(reset(DEFAULT), "m.ours_id_seq").next_after == 6
        assert "is not read" not in diagnose(connections[DEFAULT], "ours_u")[0].sentences


def test_what_looks_like_a_trap_and_is_none_is_read(database: Database, mallory: str) -> None:
    """Operators that only belong together, types without code and extensions do no harm."""
    database.execute(
        "CREATE EXTENSION citext; CREATE FUNCTION bound(text) RETURNS text IMMUTABLE"
        " RETURN lower($1)"
    )
    with database.connect(user=mallory) as connection:
        connection.execute(
            """
            CREATE OPERATOR m.<<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4lt,
                                   NEGATOR = OPERATOR(m.>>>), COMMUTATOR = OPERATOR(m.>>>>));
            CREATE OPERATOR m.>>> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4ge,
                                   NEGATOR = OPERATOR(m.<<<));
            CREATE OPERATOR m.>>>> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4gt,
                                    COMMUTATOR = OPERATOR(m.<<<));
            CREATE DOMAIN m.called AS int CHECK (m.f(VALUE));
            CREATE DOMAIN m.d AS int NOT NULL CHECK (VALUE > 0);
            CREATE TYPE m.r AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi);
            CREATE TYPE m.c AS (a m.d);
            CREATE TABLE m.by_operator (id serial PRIMARY KEY, n int);
            CREATE INDEX ON m.by_operator (id) WHERE NOT (1 OPERATOR(m.<<<) 2);
            CREATE INDEX ON m.by_operator (n)
                WHERE NOT (n OPERATOR(m.<<<) 2) AND NOT (1 OPERATOR(m.<<<) ANY (ARRAY[1, 2]));
            CREATE TABLE m.by_domain (id serial PRIMARY KEY);
            CREATE INDEX ON m.by_domain (id) WHERE 1::m.d = 1;
            CREATE INDEX ON m.by_domain ((ARRAY[1]::m.d[]));
            CREATE INDEX ON m.by_domain (id) WHERE ROW(1)::m.c IS NOT NULL;
            CREATE TABLE m.by_column (id serial PRIMARY KEY, n m.called);
            CREATE INDEX ON m.by_column (id) WHERE id > 3;
            INSERT INTO m.by_column VALUES (5);
            CREATE TABLE m.by_range (id serial PRIMARY KEY, r m.r);
            CREATE INDEX ON m.by_range (id) WHERE r && m.r(1, 5);
            CREATE INDEX ON m.by_range USING gist (r);
            CREATE TABLE m.by_extension (id serial PRIMARY KEY, name citext);
            CREATE INDEX ON m.by_extension (id) WHERE name = 'a' OR lower(name) = 'b';
            CREATE INDEX ON m.by_extension (strpos(name, 'a'::citext));  -- an SQL function
            INSERT INTO m.by_extension VALUES (5);
            CREATE TABLE m.by_body (id serial PRIMARY KEY, name text);
            CREATE INDEX ON m.by_body (bound(name)); INSERT INTO m.by_body VALUES (5);
            CREATE DOMAIN m.past AS date CHECK (VALUE <= now());
            CREATE DOMAIN m.seen AS m.past CHECK (to_char(VALUE, 'Y') <> '');
            CREATE TABLE m.by_value (id serial PRIMARY KEY, day m.seen);
            CREATE INDEX ON m.by_value (date_part('year', day)) WHERE day IS NOT NULL;
            INSERT INTO m.by_value VALUES (5, '2000-01-01');
            INSERT INTO m.by_operator VALUES (5);
            INSERT INTO m.by_domain VALUES (5);
            INSERT INTO m.by_range SELECT n, m.r(n, n + 2) FROM generate_series(1, 5) AS n;
            ANALYZE m.by_range
            """
        )
    database.execute("TRUNCATE m.log")
    plan = inspect(DEFAULT)
    assert {(e.status.value, e.reason) for e in plan} == {("behind", None)}
    assert set(statuses(reset(DEFAULT)).values()) == {"advanced"}
    assert called(database) == []


@pytest.mark.parametrize("what", ["constraints", "indexes"])
def test_many_make_no_estimate_of_millions(database: Database, what: str) -> None:
    """PostgreSQL 19 makes a hash table of as many rows as a recursive query may have."""
    each = "CHECK (n > {})" if what == "constraints" else "EXCLUDE (abs(n + {}) WITH =)"
    many = ", ".join(each.format(number) for number in range(500))
    for name in "abc" if what == "constraints" else "a":
        database.execute(f"CREATE TABLE {name} (n int, {many})")
    database.execute("ANALYZE pg_constraint; ANALYZE pg_depend; ANALYZE pg_index")
    with database.connect() as connection:
        connection.execute("SET search_path = pg_catalog")
        ((plan,),) = connection.execute(f"EXPLAIN (FORMAT JSON) {STRANGERS_CODE}")
    rows = [int(found) for found in re.findall(r"'Plan Rows': (\d+)", str(plan))]
    assert max(rows) < 1_000_000


TOO_LONG_TO_LOOK_AT = {
    "statistics": "CREATE STATISTICS {0}.s ON (n <> %1$L), id FROM {0}.x",
    "a key": "CREATE TABLE {0}.k (LIKE {0}.x) PARTITION BY RANGE ((n <> %1$L));"
    " ALTER SEQUENCE {0}.x_id_seq OWNED BY {0}.k.id; DROP TABLE {0}.x",
    "a domain's CHECK": "CREATE DOMAIN {0}.d AS text CHECK (VALUE <> %1$L);"
    " CREATE INDEX ON {0}.x ((n::{0}.d))",
    "a CHECK of a few kilobytes": "CREATE DOMAIN {0}.d AS text CHECK (VALUE <> %2$L);"
    " CREATE INDEX ON {0}.x ((n::{0}.d))",
    "an index of a few kilobytes": "CREATE INDEX ON {0}.x (id) WHERE n <> %2$L",
}


@pytest.mark.parametrize("what", TOO_LONG_TO_LOOK_AT)
def test_an_expression_that_may_unpack_to_a_gigabyte_costs_the_others_nothing(
    database: Database, mallory: str, what: str
) -> None:
    """A regular expression fails on that, and with it the query for all sequences.

    Or it takes long: many that are stored in a few kilobytes, and unpack to megabytes.
    """
    long = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 4000) n)"
    packed = "repeat('a', 150000)"
    for schema, owner in (("m", mallory), ("public", "postgres")):
        with database.connect(user=owner) as connection:
            connection.execute(f"CREATE TABLE {schema}.x (id serial, n text)")
            made = TOO_LONG_TO_LOOK_AT[what].format(schema)
            connection.execute(f"DO $$ BEGIN EXECUTE format('{made}', {long}, {packed}); END $$")
    report = reset(DEFAULT)
    assert "through an expression that is too long" in str(entry(report, "m.x_id_seq").reason)
    assert entry(report, "x_id_seq").reason is None


@pytest.mark.parametrize("whose", ["mallory's", "our own"])
@pytest.mark.parametrize("up", [1, -1])
def test_a_number_of_thousands_of_digits_costs_the_others_nothing(
    database: Database, mallory: str, up: int, whose: str
) -> None:
    """Python makes no text of it; no sequence can come to it."""
    with database.connect(**({"user": mallory} if "mallory" in whose else {})) as connection:
        connection.execute(
            f"CREATE SEQUENCE m.s AS integer INCREMENT {up};"
            "CREATE TABLE m.n (id numeric DEFAULT nextval('m.s'));"
            f"INSERT INTO m.n VALUES ({up} * 10::numeric ^ 5000)"
        )
        assert statuses(reset(DEFAULT)) == {"m.t_id_seq": "advanced", "m.s": "ok"}
        connection.execute(f"INSERT INTO m.n VALUES ({up * 3000000000})")
        assert statuses(reset(DEFAULT))["m.s"] == "exhausted"
        connection.execute(f"TRUNCATE m.n; INSERT INTO m.n VALUES ({-up} * 10::numeric ^ 5000)")
        assert statuses(reset(DEFAULT))["m.s"] == "ok"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_names_of_a_stranger_in_any_encoding(database: Database, encoding: str) -> None:
    name, role = f"{database.name}_{encoding.lower()}", database.role("mallory")
    database.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    try:
        with django_as(database, NAME=name) as alias, connections[alias].cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA m AUTHORIZATION {role}; SET ROLE {role}")
            cursor.execute('CREATE TABLE m."\u00e9 ""\\{,}" (id serial); RESET ROLE')
            cursor.execute('INSERT INTO m."\u00e9 ""\\{,}" VALUES (50)')
            (found,) = reset(alias)
            connections[alias].close()
    finally:
        database.execute(f"DROP DATABASE {name}")
    assert (found.status.value, found.next_after) == ("advanced", 51)


def test_a_strangers_schema_called_pglogical_is_not_read(database: Database) -> None:
    """What pglogical's own says of subscriptions is read from the extension's table alone."""
    database.execute(
        "CREATE TABLE t (id serial PRIMARY KEY); CREATE SCHEMA pglogical;"
        "CREATE VIEW pglogical.subscription AS SELECT 'x' AS sub_name, 1 / 0 = 1 AS sub_enabled"
    )
    assert inspect(DEFAULT).notes == ()
    database.execute(
        "DROP VIEW pglogical.subscription;"
        "CREATE TABLE pglogical.subscription AS SELECT 'x' AS sub_name, true AS sub_enabled"
    )
    assert inspect(DEFAULT).notes == ()
    database.execute(MEMBER)
    assert inspect(DEFAULT).notes == (note_on_subscription("pglogical", "x"),)
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE pglogical.subscription")
        assert statuses(inspect(DEFAULT)) == {"t_id_seq": "ok"}
    database.execute("UPDATE pglogical.subscription SET sub_enabled = false")
    assert inspect(DEFAULT).notes == ()


MEMBER = """
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    VALUES (99998, 'pglogical', 10, 'pglogical'::regnamespace, false, '2.4.8');
RESET allow_system_table_mods;
ALTER EXTENSION pglogical ADD TABLE pglogical.subscription;
"""
"""Makes the table look like one of pglogical's own."""
