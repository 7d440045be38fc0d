"""A plain dump over several connections: what comes out, and what is said, is as over one."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from restorehooks.restore.errors import ScriptError
from restorehooks.restore.progress import Progress
from restorehooks.restore.script import rows
from restorehooks.restore.script.feed import run_script
from restorehooks.restore.script.options import ScriptOptions
from restorehooks.restore.script.parallel import inserts, workers
from tests.support.databases import Database
from tests.support.dumps import over_several

WRITERS = "SELECT count(DISTINCT xmin::text) FROM {}"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows be enough for several connections."""
    monkeypatch.setattr(rows, "PIECE", 20)
    monkeypatch.setattr(rows, "LONGEST_LINE", 500)
    monkeypatch.setattr(inserts, "_MOST", 3)
    monkeypatch.setattr(workers, "BYTES_AHEAD", 200)


@pytest.fixture(scope="module")
def empty(request: pytest.FixtureRequest) -> Iterator[Database]:
    """One database, whose schema public each test leaves as it likes."""
    server = request.getfixturevalue("server")
    database = Database(server, f"spread_{os.getpid()}", None, [])
    server.execute(f"CREATE DATABASE {database.name}")
    yield database
    database.disconnect()
    server.execute(f"DROP DATABASE {database.name} WITH (FORCE)")


@pytest.fixture
def database(empty: Database) -> Database:
    empty.disconnect()
    empty.execute("DROP SCHEMA IF EXISTS s CASCADE; DROP SCHEMA public CASCADE")
    empty.execute("CREATE SCHEMA public")
    return empty


def copied(head: str, lines: list[str]) -> str:
    return f"{head} FROM stdin;\n" + "".join(f"{line}\n" for line in lines) + "\\.\n"


def said(database: Database, text: str, jobs: int) -> tuple[str, int, str | None]:
    """Return the error that a dump ends with; what it has created is dropped."""
    with pytest.raises(ScriptError) as caught:
        over_several(text.encode(), database, jobs)
    database.disconnect()
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return str(caught.value), caught.value.line, caught.value.sqlstate


NUMBERS = [str(number) for number in range(300)]


# --- What is shared out, and what is not -------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        copied("COPY public.t (id, x)", [f"{n}\t{n:>5000}" for n in NUMBERS]),
        copied("copy t", [f"{n}\t{n:>5000}" for n in NUMBERS]),
        "".join(f"INSERT INTO public.t VALUES ({n}, '{n}');\n" for n in NUMBERS),
        "".join(f"INSERT INTO t (x, id) VALUES\n\t(-1, {n}),\n\t(NULL, 0);\n" for n in NUMBERS),
    ],
    ids=["copy", "bare copy", "insert", "several rows"],
)
def test_rows_come_over_several_connections(
    database: Database, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row takes a millisecond, and they are more than the server takes in while it is at work.

    Else one connection may be done before there is another.
    """
    monkeypatch.setattr(workers, "BYTES_AHEAD", 100_000)
    check = "CHECK (length(x) < 9000 AND pg_sleep(0.001) IS NOT NULL)"
    head = f"CREATE TABLE t (id serial, x text {check} DEFAULT random()::text);\n"
    result = over_several((head + text).encode(), database)
    assert result.rows == database.execute("SELECT count(*) FROM t")[0][0]
    assert database.execute("SELECT count(DISTINCT id) >= 300 FROM t") == [(True,)]
    assert database.execute(WRITERS.format("t"))[0][0] > 1


ORDERED = {
    "a number is drawn": ("CREATE TABLE t (n serial, x text);", ""),
    "the clock is asked": ("CREATE TABLE t (n float DEFAULT random(), x text);", ""),
    "an identity": ("CREATE TABLE t (n int GENERATED ALWAYS AS IDENTITY, x text);", ""),
    "a domain draws": (
        "CREATE SEQUENCE q; CREATE DOMAIN d AS int DEFAULT nextval('q');"
        "CREATE TABLE t (n d, x text);",
        "",
    ),
    "a trigger": (
        "CREATE TABLE t (n int, x text); CREATE SEQUENCE q;"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql"
        " AS $$BEGIN NEW.n := nextval('public.q'); RETURN NEW; END$$;"
        "CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();",
        "",
    ),
    "a rule": (
        "CREATE TABLE t (n int, x text); CREATE TABLE log (n serial, x text);"
        "CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO log (x) VALUES (NEW.x);",
        "INSERT",
    ),
    "a check that reads": (
        "CREATE TABLE t (n serial, x text);"
        "CREATE FUNCTION f(text) RETURNS bool LANGUAGE sql AS 'SELECT true';"
        "ALTER TABLE t ADD CHECK (f(x));",
        "",
    ),
    "a key is there": ("CREATE TABLE t (n int DEFAULT 1, x text PRIMARY KEY);", ""),
    "row security": (
        "CREATE TABLE t (n int DEFAULT 1, x text); ALTER TABLE t ENABLE ROW LEVEL SECURITY;",
        "",
    ),
    "an expression": ("CREATE TABLE t (n int DEFAULT 1, x text);", "upper({})"),
}


@pytest.mark.parametrize("head", ORDERED.values(), ids=ORDERED.keys())
def test_rows_whose_order_may_matter_come_over_one(
    database: Database, head: tuple[str, str]
) -> None:
    create, how = head
    value = how if "{}" in how else "{}"
    text = "".join(f"INSERT INTO t (x) VALUES ({value.format(repr(n))});\n" for n in NUMBERS[:50])
    if not how:
        text += copied("COPY t (x)", NUMBERS[50:100])
    over_several(f"{create}\n{text}".encode(), database)
    found = [x for (x,) in database.execute("SELECT x FROM t ORDER BY ctid")]
    assert found == NUMBERS[: 50 if how else 100]


def test_rows_that_are_frozen_come_over_one(database: Database) -> None:
    """Only the transaction that has created the table may add them so."""
    frozen = copied("COPY t", NUMBERS).replace("stdin", "stdin WITH (FREEZE)")
    over_several(f"CREATE TABLE t (x int);\n{frozen}".encode(), database)
    assert database.execute(WRITERS.format("t")) == [(1,)]
    assert database.execute("SELECT array_agg(x ORDER BY ctid) FROM t") == [([*range(300)],)]


def test_rows_of_different_lengths_are_added_each_by_itself(database: Database) -> None:
    text = "".join(
        f"INSERT INTO t VALUES ({n});\nINSERT INTO t VALUES ({n}, '{n}');\n" for n in NUMBERS[:9]
    )
    text += "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING;\nINSERT INTO t (x) VALUES (NULL);\n"
    result = over_several(f"CREATE TABLE t (n int, x text);\n{text}".encode(), database)
    assert (result.rows, result.statements) == (20, 21)
    assert database.execute("SELECT count(*), count(n), count(x) FROM t") == [(20, 19, 9)]


def test_what_was_created_later_is_known(database: Database) -> None:
    """A table that gets a key, a trigger or another path between two COPYs."""
    text = (
        "CREATE TABLE t (x int);\n"
        + copied("COPY t", NUMBERS[:50])
        + copied("COPY t", NUMBERS[50:60])
        + "CREATE SEQUENCE q;\nALTER TABLE t ADD COLUMN n int DEFAULT nextval('q');\n"
        + copied("COPY t (x)", NUMBERS[60:120])
        + "CREATE SCHEMA s;\nCREATE TABLE s.t (x int, n serial);\nSET search_path = s;\n"
        + copied("COPY t (x)", NUMBERS[:80])
    )
    over_several(text.encode(), database)
    later = "SELECT x FROM {} WHERE x >= {} ORDER BY n"
    assert database.execute(later.format("public.t", 60)) == [(n,) for n in range(60, 120)]
    assert database.execute(later.format("s.t", 0)) == [(n,) for n in range(80)]


def test_rows_that_come_after_keys_come_over_one(database: Database) -> None:
    """Which of two rows with one key is kept, and what a key refers to, depends on the order."""
    text = (
        "CREATE TABLE t (id int, t_id int);\nALTER TABLE t ADD CONSTRAINT k PRIMARY KEY (id);\n"
        "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (t_id) REFERENCES t(id);\n"
        + "".join(f"INSERT INTO t VALUES ({n}, {n});\n" for n in NUMBERS[:50])
        + copied("COPY t", [f"{n}\t{n - 1}" for n in range(50, 300)])
    )
    over_several(text.encode(), database)
    found = database.execute("SELECT id FROM t ORDER BY ctid")
    assert found == [(n,) for n in range(300)]
    assert database.execute(WRITERS.format("t")) == [(1,)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_settings_of_the_session_hold_for_all(database: Database, jobs: int) -> None:
    role = database.role("loader", "NOLOGIN")
    database.execute(f"GRANT ALL ON SCHEMA public TO {role}")
    text = (
        "SET client_encoding = 'LATIN1';\nSET datestyle = 'German';\n"
        "SELECT pg_catalog.set_config('search_path', 'public', false);\n"
        f"SET SESSION AUTHORIZATION {role};\n"
        "CREATE TABLE t (x text, d date, who name DEFAULT current_user);\n"
        + copied("COPY t (x, d, who)", [f"é {n}\t01.02.2003\tx" for n in NUMBERS])
        + "CREATE INDEX i ON t USING btree (x);\n"
        "RESET SESSION AUTHORIZATION;\nSET datestyle = 'ISO, DMY';\n"
        "CREATE TABLE u (x text, d date);\n"
        + copied("COPY u", [f"é {n}\t03/02/2001" for n in NUMBERS])
        + "CREATE INDEX j ON u USING btree (x);\n"
    )
    over_several(text.encode("latin-1"), database, jobs)
    owners = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = %s"
    assert database.execute(owners, "i") == [(role,)]
    assert database.execute(owners, "j") != [(role,)]
    found = database.execute("SELECT DISTINCT left(x, 2), d::text FROM t ORDER BY 1")
    assert found == [("é ", "2003-02-01")]
    assert database.execute("SELECT DISTINCT left(x, 2), d::text FROM u") == [("é ", "2001-02-03")]


def test_a_row_is_never_cut(database: Database) -> None:
    """Neither a long one nor one that goes on after a backslash at the end of a line."""
    values = [f"{n}\\\nmore" if n % 7 else "x" * 3000 + str(n) for n in range(1, 200)]
    text = "CREATE TABLE t (x text);\n" + copied("COPY t", values)
    over_several(text.encode(), database)
    expected = sorted(value.replace("\\\n", "\n") for value in values)
    assert sorted(x for (x,) in database.execute("SELECT x FROM t")) == expected


# --- What is built -----------------------------------------------------------------------------

TABLES = (
    "CREATE TABLE a (id int, b_id int, x text);\nCREATE TABLE b (id int, a_id int);\n"
    + copied("COPY a", [f"{n}\t{n}\tx" for n in NUMBERS])
    + copied("COPY b", [f"{n}\t{n}" for n in NUMBERS])
)
BUILT = (
    "ALTER TABLE ONLY a\n    ADD CONSTRAINT a_pkey PRIMARY KEY (id);\n"
    "COMMENT ON CONSTRAINT a_pkey ON a IS 'key';\n"
    "ALTER TABLE ONLY b ADD CONSTRAINT b_pkey PRIMARY KEY (id);\n"
    "CREATE UNIQUE INDEX a_b ON a USING btree (b_id);\n"
    "ALTER TABLE ONLY a REPLICA IDENTITY USING INDEX a_pkey;\n"
    "CREATE INDEX a_x ON ONLY a USING btree (x);\n"
    "ALTER TABLE a CLUSTER ON a_x;\nCOMMENT ON INDEX a_x IS 'index';\n"
    "ALTER TABLE ONLY b ADD CONSTRAINT b_x EXCLUDE USING btree (a_id WITH =);\n"
    "ALTER TABLE ONLY a ADD CONSTRAINT ab FOREIGN KEY (b_id) REFERENCES b(id);\n"
    "ALTER TABLE ONLY b ADD CONSTRAINT ba FOREIGN KEY (a_id) REFERENCES a(id) ON DELETE CASCADE;\n"
    "ALTER TABLE ONLY a ADD CONSTRAINT aa FOREIGN KEY (id) REFERENCES a(id);\n"
    "COMMENT ON CONSTRAINT aa ON a IS 'itself';\n"
)


def test_indexes_keys_and_what_depends_on_them_are_built(database: Database) -> None:
    over_several((TABLES + BUILT).encode(), database)
    assert database.execute(
        "SELECT conname::text, contype::text, obj_description(oid) FROM pg_constraint"
        " WHERE contype <> 'n' AND connamespace = 'public'::regnamespace ORDER BY 1"
    ) == [
        ("a_pkey", "p", "key"),
        ("aa", "f", "itself"),
        ("ab", "f", None),
        ("b_pkey", "p", None),
        ("b_x", "x", None),
        ("ba", "f", None),
    ]
    assert database.execute(
        "SELECT indexrelid::regclass::text, indisclustered, indisreplident FROM pg_index"
        " WHERE indrelid = 'a'::regclass ORDER BY 1"
    ) == [("a_b", False, False), ("a_pkey", False, True), ("a_x", True, False)]


def test_what_most_waits_for_is_built_first(database: Database) -> None:
    """Over one connection beside the first all is built in turn: the oids tell in which."""
    dump = (
        "CREATE TABLE alone (id int);\nCREATE TABLE child (id int);\n"
        "CREATE TABLE parent (id int);\n"
        + copied("COPY alone", [f"{n}" for n in range(1, 8)])
        + copied("COPY child", [f"{n}" for n in range(1, 6)])
        + copied("COPY parent", [f"{n}" for n in range(1, 6)])
        + "CREATE INDEX alone_id ON alone USING btree (id);\n"
        "CREATE INDEX child_id ON child USING btree (id);\n"
        "ALTER TABLE parent ADD CONSTRAINT parent_pkey PRIMARY KEY (id);\n"
        "ALTER TABLE child ADD CONSTRAINT child_fk FOREIGN KEY (id) REFERENCES parent(id);\n"
    )
    with database.connect() as connection, database.connect() as other:
        options = ScriptOptions.for_connection(connection, commit_every=10)
        run_script(io.BytesIO(dump.encode()), connection, options=options, others=[other])
    built = database.execute(
        "SELECT relname::text FROM (SELECT oid, relname FROM pg_class WHERE relkind = 'i'"
        " UNION ALL SELECT oid, conname FROM pg_constraint WHERE contype = 'f') AS b"
        " WHERE relname ~ '^(alone|child|parent)_' ORDER BY oid"
    )
    assert built == [("child_id",), ("parent_pkey",), ("child_fk",), ("alone_id",)]


class Counting(Progress):
    """Takes down how many of how many things were built, at each change of that."""

    seen: list[tuple[int, int | None]]

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in ("builds", "builds_total") and self.builds_total:
            self.seen = [*getattr(self, "seen", []), (self.builds, self.builds_total)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_is_built_is_counted(database: Database, jobs: int) -> None:
    """What comes after something else is not known of before."""
    progress = Counting()
    later = "CREATE VIEW v AS SELECT 1;\nCREATE INDEX later ON b USING btree (a_id);\n"
    over_several((TABLES + BUILT + later).encode(), database, jobs, progress=progress)
    assert progress.seen == [*((number, 8) for number in range(9)), (8, 9), (9, 9)]


def test_a_deadlock_of_two_builds_is_none_of_the_dump(database: Database) -> None:
    """Each of two constraints locks its table, and a function in it reads the other one."""
    reads = "CREATE FUNCTION {}(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN"
    reads += " PERFORM pg_sleep(0.01); PERFORM FROM public.{} LIMIT 1; RETURN $1; END$$;\n"
    text = (
        TABLES
        + reads.format("of_a", "b")
        + reads.format("of_b", "a")
        + "ALTER TABLE a ADD CONSTRAINT x EXCLUDE USING btree (of_a(id) WITH =) WHERE (id < 9);\n"
        + "ALTER TABLE b ADD CONSTRAINT y EXCLUDE USING btree (of_b(id) WITH =) WHERE (id < 9);\n"
    )
    over_several(("SET deadlock_timeout = 20;\n" + text).encode(), database)
    assert database.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'x'") == [(2,)]


# --- Errors ------------------------------------------------------------------------------------

HEAD = "CREATE TABLE t (n int, x text);\n"
GOOD = [f"{n}\tx" for n in NUMBERS]
BROKEN = {
    "a row": HEAD + copied("COPY public.t", [*GOOD[:222], "x\tx", *GOOD[222:]]),
    "the last row": HEAD + copied("COPY public.t", [*GOOD, "1"]),
    "a row after a long one": HEAD
    + copied("COPY t", [*GOOD[:30], "1\t" + "x" * 2000, *GOOD[30:60], "y\t", *GOOD]),
    "one line that ends otherwise": HEAD + copied("COPY t", [*GOOD[:250], "1\t\r", *GOOD[250:]]),
    "all lines after some end otherwise": HEAD
    + copied("COPY t", [*GOOD[:200], *(f"{n}\t\r" for n in range(100))]),
    "an insert": HEAD + "".join(f"INSERT INTO t VALUES ({n});\n" for n in [*NUMBERS, "''"]),
    "a key": TABLES + "ALTER TABLE a ADD CONSTRAINT p PRIMARY KEY (x);\n" + BUILT,
    "an index": TABLES + "CREATE UNIQUE INDEX i ON a USING btree (x);\nCREATE VIEW v AS SELECT 1;",
    "a foreign key": TABLES.replace("7\t7\n", "7\t777\n", 1) + BUILT,
    "what depends on an index": TABLES + BUILT.replace("CLUSTER ON a_x", "CLUSTER ON nope"),
    "rows, and a refused statement": HEAD
    + copied("COPY t", [*GOOD, "?\tx"])
    + "CREATE DATABASE nope;\n",
    "rows, and an end in the middle": HEAD + copied("COPY t", [*GOOD, "?\tx"]) + "SELECT 'x",
    "rows, and a failed statement": HEAD + copied("COPY t", [*GOOD, "?\tx"]) + "SELECT nope;\n",
    "rows of two tables": HEAD
    + copied("COPY t", [*GOOD, "?\tx"])
    + "CREATE TABLE u (x int);\n"
    + copied("COPY u", ["?"]),
    "an end in the middle of rows": HEAD + "COPY t FROM stdin;\n" + "1\tx\n" * 30 + "2",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_an_error_is_told_as_over_one_connection(database: Database, text: str) -> None:
    assert said(database, text, jobs=3) == said(database, text, jobs=1)
    assert threading.active_count() == 1


def test_a_connection_that_is_lost_is_one_sentence(database: Database) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'other'"
    text = TABLES + "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';\n"
    text = text.replace("'SELECT 1'", "'SELECT 1 FROM pg_terminate_backend(pg_backend_pid())'")
    text += "CREATE INDEX i ON a USING btree (f(id));\nCREATE VIEW v AS SELECT 1;\n" + kill
    with pytest.raises(ScriptError, match=r"^line \d+ of the dump: the connection was lost"):
        over_several(text.encode(), database)


SLOW = (
    TABLES + "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE"
    " AS 'BEGIN PERFORM pg_sleep(60); RETURN 1; END';\n"
    "CREATE INDEX i ON a USING btree (f(id));\n"
)


@pytest.mark.parametrize("jobs", [1, 3])
def test_ctrl_c_ends_what_every_connection_does(database: Database, jobs: int) -> None:
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX i%'"

    def interrupt() -> None:
        deadline = time.monotonic() + 20
        while watcher.execute(sleeping).fetchone() == (0,) and time.monotonic() < deadline:
            time.sleep(0.02)
        # As if it came just before the main thread began to wait, which then does not notice it.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    with database.connect() as watcher:
        timer = threading.Thread(target=interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            over_several(SLOW.encode(), database, jobs)
        timer.join()
        deadline = time.monotonic() + 20
        active = f"{sleeping} AND state = 'active'"
        while watcher.execute(active).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert threading.active_count() == 1


def test_others_want_that_it_is_committed_as_it_goes(database: Database) -> None:
    with (
        database.connect() as connection,
        database.connect() as other,
        pytest.raises(ValueError, match="left open"),
    ):
        run_script(io.BytesIO(), connection, options=ScriptOptions(), others=[other])
