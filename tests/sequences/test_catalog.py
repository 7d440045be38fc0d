"""Which sequence numbers which columns, whatever it is called and however it is tied to them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import connections
from psycopg import sql

from restorehooks.driver import text
from restorehooks.duplicates.diagnosis import diagnose
from restorehooks.sequences import catalog, message
from restorehooks.sequences.defaults import is_exactly_nextval
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

NAMES = [
    "plain",
    "Mixed Case",
    "quo\"te's",
    "per%cent",
    "%s",
    "%(name)s",
    "{brace}",
    "dot.ted",
    "new\nline",
    "back\\slash",
    "semi;colon--comment",
    "tab\there",
    "größe",
    "表",
    "🐘",
    "select",
    "x" * 63,
    "é" * 31,
    " ",
    "$1",
    ":name",
    "?",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_schema_table_column_and_sequence(database: Database, name: str) -> None:
    database.execute(
        sql.SQL(
            "CREATE SCHEMA {0}; CREATE SEQUENCE {0}.{0};"
            "CREATE TABLE {0}.{1} ({0} bigint PRIMARY KEY DEFAULT nextval({2}));"
            "INSERT INTO {0}.{1} SELECT generate_series(1, 5)"
        ).format(
            sql.Identifier(name),
            sql.Identifier(name[:40] + " table"),
            sql.Literal(sql.Identifier(name, name).as_string()),
        )
    )
    (planned,) = inspect(DEFAULT)
    (done,) = reset(DEFAULT)
    assert (planned.status.value, done.status.value, done.next_after) == ("behind", "advanced", 6)
    assert draw(database, done.sequence) == 6
    (again,) = reset(DEFAULT)
    assert (again.status.value, again.next_after) == ("ok", 7)


def test_any_name_in_the_statements_for_a_dba(database: Database) -> None:
    for name in NAMES:
        database.execute(
            sql.SQL(
                "CREATE SCHEMA {0}; CREATE TABLE {0}.t (id bigint PRIMARY KEY);"
                "CREATE SEQUENCE {0}.{0} OWNED BY {0}.t.id; INSERT INTO {0}.t VALUES (5);"
                "CREATE TABLE {0}.u (id smallint PRIMARY KEY);"
                "CREATE SEQUENCE {0}.{1} OWNED BY {0}.u.id; INSERT INTO {0}.u VALUES (32767);"
                "CREATE TABLE {0}.{2} ({0} bigint); CREATE SEQUENCE {0}.v OWNED BY {0}.{2}.{0};"
                "INSERT INTO {0}.{2} VALUES (7); SELECT setval({3}, 50)"
            ).format(
                sql.Identifier(name),
                sql.Identifier(name[:40] + "\nDROP TABLE victim; --"),
                sql.Identifier(name[:40] + " table"),
                sql.Literal(sql.Identifier(name, "v").as_string()),
            )
        )
    database.execute("CREATE TABLE victim (id int)")
    database.execute(inspect(DEFAULT, rewind=True).as_sql())
    counts = inspect(DEFAULT).summary()
    assert (counts["ok"], counts["exhausted"]) == (2 * len(NAMES), len(NAMES))
    numbers = {e.next_after for e in inspect(DEFAULT) if e.status == "ok"}
    assert numbers == {6, 8}, "one advanced, one rewound"
    assert database.execute("SELECT to_regclass('victim') IS NOT NULL") == [(True,)]


def test_names_as_long_as_they_get_that_differ_in_their_last_letter(database: Database) -> None:
    for last in "ab":
        name = "s" * 62 + last
        database.execute(
            f"CREATE SEQUENCE {name};"
            f"CREATE TABLE {'t' * 62 + last} (id bigint DEFAULT nextval('{name}'));"
            f"INSERT INTO {'t' * 62 + last} VALUES ({ord(last)})"
        )
    assert {e.sequence[-1]: e.next_after for e in reset(DEFAULT)} == {"a": 98, "b": 99}


def test_a_sequence_in_another_schema_than_its_table(database: Database) -> None:
    database.execute(
        "CREATE SCHEMA numbers; CREATE SEQUENCE numbers.s;"
        "CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('numbers.s'));"
        "INSERT INTO t VALUES (7)"
    )
    for schema in ("numbers", "public"):
        assert statuses(inspect(DEFAULT, schemas=[schema])) == {"numbers.s": "behind"}
    reset(DEFAULT)
    assert draw(database, "numbers.s") == 8


def test_only_what_is_asked_for_is_moved(database: Database) -> None:
    database.execute(
        "CREATE SCHEMA one; CREATE SCHEMA two;"
        "CREATE TABLE one.t (id serial); CREATE TABLE two.t (id serial);"
        "INSERT INTO one.t VALUES (5); INSERT INTO two.t VALUES (5)"
    )
    assert len(reset(DEFAULT, schemas=["none"])) == 0
    assert statuses(reset(DEFAULT, schemas=["two"])) == {"two.t_id_seq": "advanced"}
    assert statuses(inspect(DEFAULT)) == {"one.t_id_seq": "behind", "two.t_id_seq": "ok"}


def test_a_sequence_that_numbers_no_column_is_shown_and_left_alone(database: Database) -> None:
    database.execute("CREATE SEQUENCE alone; SELECT setval('alone', 50)")
    database.execute("CREATE SEQUENCE fresh")
    for rewind in (False, True):
        report = reset(DEFAULT, rewind=rewind)
        assert statuses(report) == {"alone": "ok", "fresh": "ok"}
        assert entry(report, "alone").reason == "numbers no column that the database knows of"
        assert entry(report, "alone").columns == ()
    assert draw(database, "alone") == 51


@pytest.mark.parametrize(
    "type_", ["bigint", "numeric", "numeric(12, 2)", "double precision", "real", "integer"]
)
@pytest.mark.parametrize("domains", [0, 1, 3])
def test_numbers_of_any_type_under_any_domains(
    database: Database, type_: str, domains: int
) -> None:
    name = type_
    for depth in range(domains):
        database.execute(f"CREATE DOMAIN d{depth} AS {name} CHECK (value > 0)")
        name = f"d{depth}"
    database.execute(
        f"CREATE SEQUENCE s; CREATE TABLE t (id {name} PRIMARY KEY DEFAULT nextval('s'));"
        "INSERT INTO t SELECT generate_series(1, 5)"
    )
    assert statuses(reset(DEFAULT)) == {"s": "advanced"}
    assert database.execute("INSERT INTO t DEFAULT VALUES RETURNING id::bigint") == [(6,)]


@pytest.mark.parametrize(
    ("default", "status"),
    [("nextval('s')", "behind"), ("nextval('s') * 2", "unverified")],
)
def test_a_default_that_a_column_has_from_its_domain(
    database: Database, default: str, status: str
) -> None:
    database.execute(
        f"CREATE SEQUENCE s; CREATE DOMAIN key AS int DEFAULT {default}; CREATE DOMAIN pk AS key;"
        "CREATE TABLE t (id pk PRIMARY KEY, own key DEFAULT 1); CREATE INDEX ON t (own);"
        "CREATE TYPE row_type AS (id key); CREATE VIEW v AS SELECT * FROM t;"
        "INSERT INTO t SELECT generate_series(1, 5)"
    )
    found = entry(inspect(DEFAULT), "public.s")
    assert (found.status.value, found.columns) == (status, ("public.t.id",))
    assert statuses(inspect(DEFAULT, [])) == {}


def test_one_sequence_may_number_two_columns_of_one_table(database: Database) -> None:
    database.execute(
        "CREATE SEQUENCE s;"
        "CREATE TABLE t (a bigint DEFAULT nextval('s'), b bigint DEFAULT nextval('s'));"
        "INSERT INTO t VALUES (3, 9), (4, 2)"
    )
    report = reset(DEFAULT)
    assert entry(report, "s").columns == ("public.t.a", "public.t.b")
    assert draw(database, "s") == 10


def test_a_partition_with_a_default_of_its_own(database: Database) -> None:
    database.execute(
        "CREATE SEQUENCE own;"
        "CREATE TABLE t (id bigserial, k int) PARTITION BY LIST (k);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);"
        "ALTER TABLE t2 ALTER id SET DEFAULT nextval('own');"
        "INSERT INTO t VALUES (40, 1), (7, 2)"
    )
    report = reset(DEFAULT)
    assert entry(report, "t_id_seq").columns == ("public.t.id",)
    assert entry(report, "own").columns == ("public.t2.id",)
    assert (draw(database, "t_id_seq"), draw(database, "own")) == (41, 8)


def test_hundreds_of_partitions_are_one_column(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id bigserial, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);"
        "DO $$BEGIN FOR i IN 1..300 LOOP"
        " EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES IN (%s)', i, i);"
        " END LOOP; END$$;"
        "INSERT INTO t SELECT i * 10, i FROM generate_series(1, 300) i"
    )
    (only,) = reset(DEFAULT)
    assert (only.columns, only.next_after) == (("public.t.id",), 3001)


def test_inheritance_of_several_levels_and_parents(database: Database) -> None:
    database.execute(
        "CREATE TABLE a (id serial); CREATE TABLE b () INHERITS (a);"
        "CREATE TABLE c (other serial); CREATE TABLE d () INHERITS (b, c);"
        "INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); INSERT INTO d VALUES (3, 30)"
    )
    report = reset(DEFAULT)
    assert {e.sequence: (e.columns, e.next_after) for e in report} == {
        "public.a_id_seq": (("public.a.id",), 4),
        "public.c_other_seq": (("public.c.other",), 31),
    }


def test_a_child_with_numbers_of_its_own(database: Database) -> None:
    """An identity is no default, and ONLY changes the parent's default, not the child's."""
    other, another = database.role("other"), database.role("another")
    database.execute(
        f"""
        CREATE TABLE a (id serial); CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY);
        CREATE TABLE b (id int GENERATED ALWAYS AS IDENTITY) INHERITS (a);
        CREATE TABLE j (id int GENERATED ALWAYS AS IDENTITY) INHERITS (i);
        CREATE SEQUENCE s; CREATE TABLE c (id serial); CREATE TABLE d () INHERITS (c);
        ALTER TABLE ONLY c ALTER id SET DEFAULT nextval('s');
        CREATE TABLE p (id int); CREATE TABLE k (id int GENERATED ALWAYS AS IDENTITY) INHERITS (p);
        ALTER TABLE p OWNER TO {other}; ALTER TABLE k OWNER TO {another}
        """
    )
    for table in "bjdk":
        database.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES (5)")
    assert {e.sequence: (e.columns, e.next_after) for e in reset(DEFAULT)} == {
        "public.a_id_seq": (("public.a.id",), 6),
        "public.b_id_seq": (("public.b.id",), 6),
        "public.i_id_seq": (("public.i.id",), 6),
        "public.j_id_seq": (("public.j.id",), 6),
        "public.c_id_seq": (("public.d.id",), 6),
        "public.s": (("public.c.id",), 6),
        "public.k_id_seq": (("public.k.id",), 6),
    }


def test_a_default_that_names_the_sequence_by_text(database: Database) -> None:
    database.execute(
        "CREATE SCHEMA other; CREATE SEQUENCE s; CREATE SEQUENCE other.s;"
        'CREATE SEQUENCE "Quo""ted \'S"; CREATE SEQUENCE other.only_there;'
        "CREATE TABLE a (id bigint DEFAULT nextval('s'::text::regclass));"
        "CREATE TABLE b (id bigint DEFAULT nextval('other.s'::text::regclass));"
        "CREATE TABLE c (id bigint DEFAULT nextval('\"Quo\"\"ted ''S\"'::text::regclass));"
        "CREATE TABLE d (id int DEFAULT nextval('only_there'::varchar::regclass));"
        "INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); INSERT INTO c VALUES (3);"
        "INSERT INTO d VALUES (4)"
    )
    with django_as(database, OPTIONS={"options": "-c search_path=other,public"}) as alias:
        report = reset(alias)
    assert {e.sequence: (e.columns, e.next_after) for e in report} == {
        "other.s": (("public.a.id", "public.b.id"), 3),
        "other.only_there": (("public.d.id",), 5),
        "public.s": ((), 1),
        'public."Quo""ted \'S"': (("public.c.id",), 4),
    }


@pytest.mark.parametrize(
    "name", ["no_such", "no.such", '"unclosed', "a.b.c.d", "elsewhere.public.s", "", ".", "t"]
)
def test_a_default_that_names_no_sequence_costs_the_others_nothing(
    database: Database, behind: Callable[..., None], name: str
) -> None:
    behind("good")
    database.execute(
        sql.SQL("CREATE TABLE t (id bigint DEFAULT nextval({}::text::regclass))").format(
            sql.Literal(name)
        )
    )
    database.execute(
        "CREATE SEQUENCE by_text; CREATE TABLE u (id bigint DEFAULT"
        " nextval('by_text'::text::regclass)); INSERT INTO u VALUES (8)"
    )
    assert statuses(reset(DEFAULT)) == {"good_id_seq": "advanced", "by_text": "advanced"}
    assert (draw(database, "good_id_seq"), draw(database, "by_text")) == (6, 9)


@pytest.mark.parametrize(
    "default",
    [
        "nextval('s') * 10",
        "1000 + nextval('s')",
        "coalesce(nextval('s'), 1)",
        "CASE WHEN random() < 2 THEN nextval('s') END",
        "nextval('s') + nextval('other')",
        "nextval('s'::text::regclass) + 1",
        "round(nextval('s')::numeric)",
        "(nextval('s')::int2 | 1)::bigint",
        "## 's'::regclass",
    ],
)
def test_a_default_that_is_more_than_nextval_is_not_judged(
    database: Database, default: str
) -> None:
    database.execute("CREATE SEQUENCE s; CREATE SEQUENCE other")
    database.execute("CREATE OPERATOR ## (RIGHTARG = regclass, FUNCTION = nextval)")
    database.execute(f"CREATE TABLE t (id bigint DEFAULT {default}); INSERT INTO t VALUES (500)")
    found = entry(reset(DEFAULT), "s")
    assert (found.status.value, found.next_after) == ("unverified", 1)
    assert found.reason == "the default of public.t.id is more than nextval"
    assert standing(database, "s") == (1, False)


@pytest.mark.parametrize(
    ("type_", "default"),
    [
        ("bigint", "nextval('s')"),
        ("integer", "nextval('s')"),
        ("integer", "nextval('s')::integer"),
        ("smallint", "nextval('s')::integer::smallint"),
        ("numeric(10, 2)", "nextval('s')"),
        ("double precision", "nextval('s')"),
        ("bigint", "nextval('s'::text::regclass)"),
        ("bigint", "nextval('s'::varchar::regclass)::numeric"),
        ("bigint", "nextval(('s'::text)::regclass)"),
    ],
)
def test_casts_leave_a_default_nothing_but_nextval(
    database: Database, type_: str, default: str
) -> None:
    database.execute("CREATE SEQUENCE s")
    database.execute(f"CREATE TABLE t (id {type_} DEFAULT {default}); INSERT INTO t VALUES (500)")
    assert entry(reset(DEFAULT), "s").next_after == 501


@pytest.mark.parametrize(
    ("expression", "exact"),
    [
        ("nextval('s'::regclass)", True),
        ("(nextval('s'::regclass))::integer", True),
        ("((nextval('s'::regclass))::numeric(10,2))::\"My Domain\"", True),
        ("nextval(('s'::text)::regclass)", True),
        ("nextval('it''s'::regclass)", True),
        ("(nextval('s'::regclass) * 10)", False),
        ("nextval('s'::regclass) + nextval('s'::regclass)", False),
        ("my_nextval('s'::regclass)", False),
        ("'nextval'::text", False),
        ("", False),
    ],
)
def test_what_is_exactly_nextval(expression: str, exact: bool) -> None:
    assert is_exactly_nextval(expression) is exact


def test_an_owned_sequence_counts_without_a_default(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id serial PRIMARY KEY); ALTER TABLE t ALTER id DROP DEFAULT;"
        "INSERT INTO t VALUES (12)"
    )
    reset(DEFAULT)
    assert draw(database, "t_id_seq") == 13


def test_a_column_draws_from_another_sequence_than_it_owns(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id serial PRIMARY KEY); CREATE SEQUENCE real_one;"
        "ALTER TABLE t ALTER id SET DEFAULT nextval('real_one'); INSERT INTO t VALUES (12)"
    )
    report = reset(DEFAULT)
    assert statuses(report) == {"t_id_seq": "ok", "real_one": "advanced"}
    assert entry(report, "t_id_seq").reason == (
        "numbers nothing any more: public.t.id draws from public.real_one; if nothing draws from"
        " it: DROP SEQUENCE public.t_id_seq"
    )
    assert database.execute("INSERT INTO t DEFAULT VALUES RETURNING id") == [(13,)]


@pytest.mark.parametrize("type_", ["text", "varchar(20)", "uuid", "bigint[]", "char(9)"])
def test_a_sequence_left_over_on_a_column_that_holds_no_numbers(
    database: Database, type_: str
) -> None:
    database.execute(f"CREATE TABLE t (id {type_}); CREATE SEQUENCE s OWNED BY t.id")
    before = bytes_of_sequences(database)
    found = entry(reset(DEFAULT), "s")
    assert found.status.value == "ok"
    assert str(found.reason).startswith("numbers nothing any more: public.t.id is of type ")
    assert bytes_of_sequences(database) == before
    database.execute(str(found.reason).rpartition(": ")[2])
    assert len(inspect(DEFAULT)) == 0


def test_what_is_not_ours_is_not_listed(database: Database) -> None:
    connection = connections[DEFAULT]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY SEQUENCE temporary_one;"
            "CREATE TEMPORARY TABLE temporary_table (id serial);"
            "INSERT INTO temporary_table VALUES (5);"
            "CREATE SEQUENCE permanent;"
            "CREATE TEMPORARY TABLE temporary_user (id bigint DEFAULT nextval('permanent'));"
            "INSERT INTO temporary_user VALUES (99);"
            "CREATE TABLE t (id serial, gone serial, x int);"
            "ALTER TABLE t DROP COLUMN gone;"
            "CREATE UNLOGGED TABLE unlogged (id serial); INSERT INTO unlogged VALUES (5)"
        )
    report = reset(DEFAULT)
    assert {e.sequence: e.columns for e in report} == {
        "public.permanent": (),
        "public.t_id_seq": ("public.t.id",),
        "public.unlogged_id_seq": ("public.unlogged.id",),
    }
    assert draw(database, "permanent") == 1


def test_a_column_dropped_from_under_an_unowned_sequence(database: Database) -> None:
    database.execute(
        "CREATE SEQUENCE s; CREATE TABLE t (x int, id bigint DEFAULT nextval('s'));"
        "INSERT INTO t VALUES (1, 50); ALTER TABLE t DROP COLUMN id"
    )
    assert entry(reset(DEFAULT), "s").columns == ()


def test_what_belongs_to_an_extension_is_not_listed(database: Database) -> None:
    database.execute("CREATE TABLE members (id serial); INSERT INTO members VALUES (9)")
    database.execute("CREATE TABLE ours (id serial); INSERT INTO ours VALUES (9)")
    for member in ("TABLE members", "SEQUENCE members_id_seq"):
        database.execute(f"ALTER EXTENSION plpgsql ADD {member}")
    assert statuses(reset(DEFAULT)) == {"ours_id_seq": "advanced"}
    assert standing(database, "members_id_seq") == (1, False)


def test_foreign_tables_are_named_not_read(database: Database) -> None:
    database.execute(
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere;"
        "CREATE SEQUENCE s; CREATE SEQUENCE s2;"
        "CREATE FOREIGN TABLE f (id bigint DEFAULT nextval('s')) SERVER far;"
        "CREATE TABLE p (id bigint DEFAULT nextval('s2'), k int) PARTITION BY LIST (k);"
        "CREATE FOREIGN TABLE p1 PARTITION OF p FOR VALUES IN (1) SERVER far;"
        "CREATE TABLE local (id bigint DEFAULT nextval('s')); INSERT INTO local VALUES (5)"
    )
    report = reset(DEFAULT)
    assert statuses(report) == {"s": "unverified", "s2": "unverified"}
    assert "public.f.id has rows in a foreign table" in str(entry(report, "s").reason)
    assert "public.p.id has rows in a foreign table" in str(entry(report, "s2").reason)
    assert draw(database, "s") == 6, "past the rows that could be seen"


def test_a_view_is_named_and_never_run(database: Database, behind: Callable[..., None]) -> None:
    behind("good")
    database.execute(
        "CREATE TABLE harm (done int);"
        "CREATE FUNCTION evil() RETURNS bigint LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO harm VALUES (1); RETURN 5; END$$;"
        "CREATE SEQUENCE s; CREATE VIEW v AS SELECT evil() AS id;"
        "ALTER VIEW v ALTER id SET DEFAULT nextval('s')"
    )
    report = reset(DEFAULT)
    assert statuses(report) == {"good_id_seq": "advanced", "s": "unverified"}
    assert entry(report, "s").reason == "public.v is a view"
    assert database.execute("SELECT * FROM harm") == []


def test_functions_of_a_user_are_never_run(database: Database, behind: Callable[..., None]) -> None:
    behind("good")
    database.execute(
        "CREATE DOMAIN d AS bigint; CREATE DOMAIN n AS numeric;"
        "CREATE FUNCTION farther(d, d) RETURNS d LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'run by %', current_user; END$$;"
        "CREATE AGGREGATE max(d) (sfunc = farther, stype = d, initcond = 0);"
        "CREATE FUNCTION above(n, n) RETURNS bool LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'run by %', current_user; END$$;"
        "CREATE OPERATOR > (leftarg = n, rightarg = n, function = above);"
        "CREATE OPERATOR < (leftarg = n, rightarg = n, function = above);"
        "CREATE TABLE t (id d PRIMARY KEY, v n);"
        "CREATE SEQUENCE s OWNED BY t.id; CREATE SEQUENCE s2 OWNED BY t.v;"
        "INSERT INTO t VALUES (5, 7.5)"
    )
    report = reset(DEFAULT)
    assert {e.sequence: e.next_after for e in report} == {
        "public.good_id_seq": 6,
        "public.s": 6,
        "public.s2": 8,
    }


def test_rows_of_a_table_whose_owner_may_not_draw_are_said_not_to_count(
    database: Database,
) -> None:
    """Whoever may draw and insert can number them, so that nothing is known of the sequence."""
    other = database.role("other")
    database.execute(
        f"CREATE SCHEMA m AUTHORIZATION {other}; CREATE SEQUENCE a; CREATE SEQUENCE b;"
        "CREATE SEQUENCE c; CREATE SEQUENCE d; CREATE TABLE ours (id int DEFAULT nextval('d'))"
    )
    with database.connect(user=other) as connection:
        connection.execute("CREATE TABLE m.a (id int PRIMARY KEY DEFAULT nextval('public.a'))")
        connection.execute("CREATE TABLE m.b (id int DEFAULT nextval('public.b'::text::regclass))")
        connection.execute("CREATE DOMAIN m.c AS int DEFAULT nextval('public.c')")
        connection.execute("CREATE TABLE m.d (id int DEFAULT nextval('public.d'))")
    database.execute("CREATE TABLE by_domain (id m.c)")
    report = inspect(DEFAULT)
    columns = {"a": "m.a.id", "b": "m.b.id", "c": "public.by_domain.id"}
    for sequence, column in columns.items():
        found = entry(report, sequence)
        assert found.status.value == "unverified"
        assert found.reason == (
            f"{column} draws from it, and its rows do not count, since {other} may not"
        )
    assert (entry(report, "d").status.value, entry(report, "d").reason) == ("ok", None)
    (said,) = diagnose(connections[DEFAULT], "a_pkey")
    assert said.sentences.startswith("Whether sequence public.a is behind is not certain: m.a.id")


def test_a_default_that_unpacks_to_megabytes_is_not_read(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id serial); INSERT INTO t VALUES (7); CREATE DOMAIN d AS int;"
        "DO $$ BEGIN EXECUTE format("
        "'CREATE TABLE x (n int DEFAULT nextval(''t_id_seq'') + length(%L));"
        " ALTER DOMAIN d SET DEFAULT nextval(''t_id_seq'') + length(%1$L)',"
        " repeat('a', 2000000)); END $$; CREATE TABLE y (n d)"
    )
    database.execute(
        "CREATE TABLE z (id serial); DO $$ BEGIN EXECUTE format("
        "'ALTER TABLE z ALTER id SET DEFAULT length(%L)', repeat('a', 2000000)); END $$;"
        "CREATE TABLE short (id serial); DO $$ BEGIN EXECUTE format("
        "'ALTER TABLE short ALTER id SET DEFAULT length(%L)', repeat('a', 20000)); END $$"
    )
    report = reset(DEFAULT)
    found = entry(report, "t_id_seq")
    assert (found.status.value, found.next_after, found.reason) == ("advanced", 8, None)
    said = entry(report, "z_id_seq").reason
    assert said == "the default of public.z.id is another one, not nextval"
    assert 2000 < len(str(entry(report, "short_id_seq").reason)) < 2100


def rows_looked_at(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many rows the catalogue's query makes, or passes over, in a look at all."""
    send, plans = message.send, []

    def explained(connection, statements, *args, **how):  # type: ignore[no-untyped-def]
        for query in (each if isinstance(each, str) else text(each) for each in statements):
            if "sequence AS MATERIALIZED" in query:
                plan = f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"
                plans.append(str(send(connection, [plan], *args, **how)))
        return send(connection, statements, *args, **how)

    monkeypatch.setattr(catalog, "send", explained)
    assert set(statuses(inspect(DEFAULT)).values()) == {"ok"}
    each = r"'Actual Rows': ([\d.]+), 'Actual Loops': (\d+)(?:(?!'Node Type').)*?"
    made = re.findall(each, plans[0])
    passed = re.findall(each + r"'Rows Removed by (?:Join )?Filter': (\d+)", plans[0])
    return int(
        sum(float(rows) * int(times) for rows, times in made)
        + sum(int(rows) * int(times) for _, times, rows in passed)
    )


def test_a_tree_of_tables_is_read_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 40 tables has a sequence of its own, and all the columns of those above it."""
    database.execute("CREATE TABLE t0 (c0 serial)")
    for number in range(1, 40):
        above = f"INHERITS (t{number - 1})"
        database.execute(f"CREATE TABLE t{number} (c{number} serial) {above}")
    assert rows_looked_at(monkeypatch) < 200_000


@pytest.mark.parametrize("whose", ["another role's", "our own"])
def test_a_chain_of_domains_is_followed_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    role = database.role("other") if "other" in whose else "postgres"
    database.execute(f"CREATE SCHEMA m; GRANT ALL ON SCHEMA m TO {role}")
    with database.connect(user=role) as connection:
        connection.execute(
            """
            CREATE DOMAIN m.d0 AS int;
            DO $$ BEGIN
                FOR n IN 1..500 LOOP
                    EXECUTE format('CREATE DOMAIN m.d%s AS m.d%s CHECK (VALUE > 0)', n, n - 1);
                END LOOP;
            END $$;
            CREATE TABLE m.t (id serial PRIMARY KEY, d m.d500);
            CREATE INDEX ON m.t (id) WHERE d IS NULL
            """
        )
    assert rows_looked_at(monkeypatch) < 100_000
