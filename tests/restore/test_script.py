"""A plain dump gives through psycopg what it gives through psql, and nothing when it is cut."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from restorehooks.restore.dump.identify import identify
from restorehooks.restore.dump.proof import open_plain
from restorehooks.restore.errors import DumpError, ScriptError
from restorehooks.restore.script import rows
from restorehooks.restore.script.feed import run_script
from restorehooks.restore.script.options import ScriptOptions
from restorehooks.restore.script.results import LeftOut, ScriptResult
from tests.support.databases import Database
from tests.support.dumps import as_sql, fill, over_several, plain, restored, without_order

MakeDatabase = Callable[..., Database]


def run(connection: psycopg.Connection[Any], text: str | bytes, **wishes: Any) -> ScriptResult:
    """Send a script in one transaction and commit it."""
    stream = io.BytesIO(text.encode() if isinstance(text, str) else text)
    with connection.transaction():
        options = ScriptOptions.for_connection(connection, **wishes)
        return run_script(stream, connection, options=options)


def kinds(result: ScriptResult) -> dict[str, int]:
    """Return how many statements of each kind were left out."""
    counts: dict[str, int] = {}
    for one in result.left_out:
        counts[one.what] = counts.get(one.what, 0) + one.count
    return counts


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect() as connection:
        yield connection


# --- The same database -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(request: pytest.FixtureRequest) -> Iterator[Database]:
    """One database with every kind of object, for the tests that only dump it."""
    server = request.getfixturevalue("server")
    database = Database(server, f"everything_{os.getpid()}", None, [])
    server.execute(f"CREATE DATABASE {database.name}")
    fill(database)
    yield database
    database.disconnect()
    server.execute(f"DROP DATABASE {database.name} WITH (FORCE)")


FLAGS = pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--inserts",),
        ("--column-inserts", "--on-conflict-do-nothing"),
        ("--inserts", "--rows-per-insert=7"),
        ("--create",),
        ("--create", "--clean", "--if-exists"),
        ("--clean", "--if-exists"),
        ("--quote-all-identifiers", "--disable-dollar-quoting"),
        ("--use-set-session-authorization", "--verbose"),
        ("--serializable-deferrable", "--load-via-partition-root"),
    ],
    ids=" ".join,
)


@FLAGS
def test_the_restored_database_dumps_as_the_source_did(
    everything: Database, database: Database, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    result = restored(plain(everything, tmp_path / "dump.sql", *flags), database)
    assert result.rows > 300
    assert as_sql(database, tmp_path) == as_sql(everything, tmp_path)


def test_committing_as_it_goes_gives_the_same(
    everything: Database, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    dump = identify(plain(everything, tmp_path / "dump.sql"))
    options = ScriptOptions.for_connection(connection, commit_every=3)
    with open_plain(dump) as stream:
        assert run_script(stream, connection, options=options).complete
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    database = connection.info.dbname
    target = Database(everything.server, database, None, [])
    assert as_sql(target, tmp_path) == as_sql(everything, tmp_path)


@FLAGS
def test_several_connections_give_the_same(
    everything: Database,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
) -> None:
    monkeypatch.setattr(rows, "PIECE", 100)
    result = over_several(plain(everything, tmp_path / "dump.sql", *flags), database)
    assert result.complete
    assert without_order(as_sql(database, tmp_path)) == without_order(as_sql(everything, tmp_path))


def test_versions_of_columns_are_left_out_and_their_options_stay(
    connection: psycopg.Connection[Any],
) -> None:
    """As pg_dump 18.6 writes a table of 15.20, whose own pg_dump writes no version."""
    result = run(
        connection,
        "CREATE TABLE t (id int, x int);\n"
        "ALTER TABLE ONLY public.t ALTER COLUMN id SET (pg_attver=26492720);\n"
        "ALTER TABLE ONLY public.t ALTER COLUMN x SET (n_distinct=5, pg_attver=26492720);\n",
    )
    assert kinds(result) == {"column version": 2}
    options = "SELECT unnest(attoptions) FROM pg_attribute WHERE attrelid = 't'::regclass"
    found = [option for (option,) in connection.execute(options).fetchall()]
    assert "n_distinct=5" in found
    assert "pg_attver=26492720" not in found


def test_a_create_dump_names_what_it_leaves_out(
    everything: Database, database: Database, tmp_path: Path
) -> None:
    role = everything.role("setter")
    everything.execute(f"ALTER DATABASE {everything.name} SET work_mem = '5MB'")
    everything.execute(f"ALTER ROLE {role} IN DATABASE {everything.name} SET work_mem = '6MB'")
    everything.execute(f"GRANT CONNECT ON DATABASE {everything.name} TO {role}")
    everything.execute(f"COMMENT ON DATABASE {everything.name} IS 'it''s; mine'")
    path = plain(everything, tmp_path / "dump.sql", "--create", "--clean")
    result = restored(path, database)
    everything.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    left_out = {one.what: one for one in result.left_out}
    assert left_out["database"].statement == f"DROP DATABASE {everything.name}"
    assert path.read_text().splitlines()[left_out["database"].line - 1] == (
        f"DROP DATABASE {everything.name};"
    )
    assert left_out["database"].count >= 6
    assert left_out["connect"].count == 2
    assert left_out["transaction"].count % 2 == 0  # BEGIN and COMMIT around large objects
    assert database.execute("SELECT current_setting('work_mem')") == [("4MB",)]


@pytest.mark.parametrize("name", ["my-db", 'My "odd"; \\ näme', "it's | `true`", "Plain"])
def test_a_create_dump_of_a_database_with_any_name_is_restored(
    make_database: MakeDatabase, database: Database, tmp_path: Path, name: str
) -> None:
    source = make_database(f"{name} {os.getpid()}" if name != "my-db" else f"my-db-{os.getpid()}")
    source.execute("CREATE TABLE t (x text); INSERT INTO t VALUES ('é')")
    for flags in (("--create",), ("--create", "--clean", "--if-exists")):
        path = plain(source, tmp_path / "dump.sql", *flags)
        assert kinds(restored(path, database))["connect"] == 1
        assert as_sql(database, tmp_path) == as_sql(source, tmp_path)
        assert identify(path).database == source.name
        database.execute("DROP TABLE t")


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP", "SQL_ASCII"])
def test_a_dump_in_another_encoding_keeps_its_characters(
    make_database: MakeDatabase, database: Database, tmp_path: Path, encoding: str
) -> None:
    text = "表示; ソ'" if encoding == "EUC_JP" else "Größe; é\\'"
    source = make_database()
    source.execute(
        'CREATE TABLE "naïve" (x text)' if encoding != "EUC_JP" else "CREATE TABLE t (x text)"
    )
    table = '"naïve"' if encoding != "EUC_JP" else "t"
    source.execute(f"INSERT INTO {table} VALUES (%s), (%s)", text, text * 2)
    for flags in ((), ("--inserts",)):
        path = plain(source, tmp_path / "dump.sql", f"--encoding={encoding}", *flags)
        database.execute(f"DROP TABLE IF EXISTS {table}")
        assert restored(path, database).tables.missing() is None
        assert database.execute(f"SELECT x FROM {table} ORDER BY x") == [(text,), (text * 2,)]


@pytest.mark.parametrize("encoding", ["SJIS", "GBK"])
def test_an_encoding_with_backslashes_in_characters_is_refused(
    make_database: MakeDatabase, connection: psycopg.Connection[Any], tmp_path: Path, encoding: str
) -> None:
    source = make_database()
    source.execute("CREATE TABLE t (x text); INSERT INTO t VALUES ('表')")
    text = plain(source, tmp_path / "dump.sql", f"--encoding={encoding}").read_bytes()
    with pytest.raises(ScriptError, match=rf"in {encoding}, .* pg_dump --encoding=UTF8"):
        run(connection, text)


def test_an_encoding_that_psycopg_does_not_know_is_no_obstacle(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    source = make_database()
    source.execute("CREATE TABLE t (x text); INSERT INTO t VALUES ('表')")
    path = plain(source, tmp_path / "dump.sql", "--encoding=EUC_TW")
    restored(path, database)
    assert database.execute("SELECT x FROM t") == [("表",)]
    database.execute("DROP TABLE t")
    path.write_bytes(path.read_bytes().replace(b"COPY public.t", b"COPY public.missing"))
    with pytest.raises(ScriptError, match=r"relation .* does not exist"):
        restored(path, database)


def test_rows_that_an_insert_returns_are_dropped(connection: psycopg.Connection[Any]) -> None:
    text = "CREATE TABLE t (x int);\nINSERT INTO t SELECT generate_series(1, 500) RETURNING x;\n"
    assert run(connection, text + "INSERT INTO t VALUES (1), (2) RETURNING x;\n").rows == 502


def test_windows_line_ends_and_a_byte_order_mark_do_not_matter(
    everything: Database, database: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    source = make_database()
    source.execute("CREATE TABLE t (x text); INSERT INTO t VALUES ('a'), (NULL), ('c')")
    source.execute("CREATE VIEW v AS SELECT x FROM t")
    dump = plain(source, tmp_path / "dump.sql")
    dump.write_bytes(b"\xef\xbb\xbf" + dump.read_bytes().replace(b"\n", b"\r\n"))
    assert restored(dump, database).rows == 3
    assert as_sql(database, tmp_path) == as_sql(source, tmp_path)


def test_strings_are_read_as_the_dump_sets_them(database: Database) -> None:
    if not database.server.backslashes_escape:
        pytest.skip("the server knows standard strings only")
    with database.connect() as connection:
        run(
            connection,
            r"""
            CREATE TABLE t (n int, x text);
            INSERT INTO t VALUES (1, 'a\');
            SET standard_conforming_strings = off; SET escape_string_warning = off;
            INSERT INTO t VALUES (2, 'b\';'), (3, E'c\';'
                '\';d');
            SET standard_conforming_strings = on;
            INSERT INTO t VALUES (4, E'e\';'
                -- it continues
                '\';f'), (5, $$;'$$), (6, U&'\0061;\\'), (7, 'g\'';');
            """,
        )
    assert database.execute("SELECT array_agg(x ORDER BY n) FROM t") == [
        (["a\\", "b';", "c';';d", "e';';f", ";'", "a;\\", "g\\';"],)
    ]


# --- COPY --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5, 100_000])
def test_rows_arrive_however_they_fall_into_blocks(database: Database, size: int) -> None:
    """The line that ends the rows is found wherever a block is cut."""
    head = f"CREATE TABLE t (x text);\nCOPY t FROM stdin;\n{'a' * size}"
    rows = f"{head}\n\\\\.\nlast\n\\.\nSELECT 1;\n".encode()

    class Trickle(io.RawIOBase):
        def __init__(self, step: int):
            self.rest, self.step = rows, step

        def read(self, count: int = -1) -> bytes:
            chunk, self.rest = self.rest[: self.step], self.rest[self.step :]
            return chunk

    for step in (1, 2, 3, 7, len(rows) - 1):
        if len(rows) // step > 10_000:
            continue
        with database.connect() as connection, connection.transaction(force_rollback=True):
            stream: Any = Trickle(step)
            result = run_script(stream, connection, options=ScriptOptions())
            assert (result.statements, result.rows) == (3, 3)
            found = connection.execute("SELECT x FROM t OFFSET 1").fetchall()
            assert found == [("\\.",), ("last",)]


def test_an_empty_copy_adds_nothing(connection: psycopg.Connection[Any]) -> None:
    text = "CREATE TABLE t (x int);\nCOPY t FROM stdin;\n\\.\nCOPY t (x) FROM stdin;\n7\n\\.\n"
    assert run(connection, text).rows == 1


def test_what_looks_like_sql_in_a_row_is_a_row(connection: psycopg.Connection[Any]) -> None:
    rows = ["\\\\! touch /tmp/x", "DROP TABLE t;", "'", "$$", "/*", "-- PostgreSQL database dump"]
    text = "CREATE TABLE t (x text);\nCOPY t FROM stdin;\n" + "\n".join(rows) + "\n\\.\n"
    assert run(connection, text).rows == len(rows)


def test_a_failed_copy_names_its_line_and_the_servers_reason(
    connection: psycopg.Connection[Any],
) -> None:
    text = "\nCREATE TABLE t (x int);\n\nCOPY t (x) FROM stdin;\n1\n2\nthree\n\\.\nSELECT 1;\n"
    with pytest.raises(ScriptError) as caught:
        run(connection, text)
    assert str(caught.value) == (
        'line 4 of the dump: invalid input syntax for type integer: "three" '
        '(COPY t, line 3, column x: "three") (SQLSTATE 22P02), in: COPY t (x) FROM stdin'
    )
    assert (caught.value.line, caught.value.sqlstate) == (4, "22P02")


def test_a_copy_into_a_missing_table_reads_no_rows_as_statements(database: Database) -> None:
    database.execute("CREATE TABLE witness (x int)")
    text = "COPY missing FROM stdin;\nDROP TABLE witness;\n\\.\nDROP TABLE witness;\n"
    with database.connect() as connection, pytest.raises(ScriptError, match="42P01"):
        run(connection, text)
    assert database.execute("SELECT count(*) FROM witness") == [(0,)]


# --- Errors ------------------------------------------------------------------------------------


def test_an_error_names_line_message_code_and_statement(
    connection: psycopg.Connection[Any],
) -> None:
    with pytest.raises(ScriptError) as caught:
        run(connection, "-- one\nSELECT 1; SELECT 2;\n\n/* a\nb */ SELECT nope,\n 3 FROM x;\n")
    assert str(caught.value) == (
        'line 5 of the dump: relation "x" does not exist (SQLSTATE 42P01), '
        "in: SELECT nope, 3 FROM x"
    )


def test_the_right_one_of_many_queued_rows_is_named(connection: psycopg.Connection[Any]) -> None:
    rows = [f"INSERT INTO t VALUES ({n % 1501});" for n in range(3000)]
    with pytest.raises(ScriptError) as caught:
        run(connection, "CREATE TABLE t (x int PRIMARY KEY);\n" + "\n".join(rows))
    assert caught.value.line == 1503
    assert caught.value.sqlstate == "23505"
    assert "Key (x)=(0) already exists" in str(caught.value)
    assert connection.execute("SELECT to_regclass('t')").fetchone() == (None,)


def test_a_message_shows_no_password(connection: psycopg.Connection[Any]) -> None:
    text = "CREATE USER MAPPING FOR public SERVER nowhere OPTIONS (user 'u', password 'hunter2');"
    with pytest.raises(ScriptError, match="nowhere") as caught:
        run(connection, text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("SELECT 1;\nSELECT 2", "a statement"),
        ("SELECT 1;\n\nSELECT 'abc;\n", "a string"),
        ("SELECT 1;\nSELECT\nE'abc\\';", "a string"),
        ("SELECT 1;\nSELECT $a$ abc; $b$", r"a \$-quoted string"),
        ('SELECT 1;\nSELECT "abc;', "a quoted name"),
        ("SELECT 1;\n/* abc; /* */ ", "a comment"),
        ("SELECT 1;\nSELECT (1; 2;", "a statement"),
        ("CREATE TABLE t (x int);\nCOPY t FROM stdin;\n1\n2\n", "COPY data"),
        ("CREATE TABLE t (x int);\nCOPY t FROM stdin;\n1\n2", "COPY data"),
        ("CREATE TABLE t (x int);\nCOPY t FROM stdin;\n1\n\\.", "COPY data"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql\nBEGIN ATOMIC SELECT 1;", "a statement"),
    ],
)
def test_an_end_in_the_middle_is_an_error(database: Database, text: str, inside: str) -> None:
    expected = pytest.raises(ScriptError, match=f"ends in the middle of {inside}")
    with database.connect() as connection, expected:
        run(connection, text)
    assert database.execute("SELECT to_regclass('t')") == [(None,)]


def test_a_dump_cut_anywhere_is_never_complete(
    everything: Database, database: Database, tmp_path: Path
) -> None:
    whole = plain(everything, tmp_path / "dump.sql").read_bytes()
    trailer = whole.index(b"-- PostgreSQL database dump complete")
    places = {len(whole) * n // 40 for n in range(40)} | {
        whole.index(b"\n\n--", len(whole) // 2),
        whole.index(b"COPY ") + 200,
        whole.index(b" FROM stdin;") + len(" FROM stdin;"),
        whole.index(b"restrict") + 4,
        trailer,
        trailer + 10,
    }
    before = as_sql(database, tmp_path)
    for place in sorted(places):
        with database.connect() as connection:
            try:
                with connection.transaction(force_rollback=True):
                    stream = io.BytesIO(whole[:place])
                    complete = run_script(stream, connection, options=ScriptOptions()).complete
            except ScriptError as error:
                complete = "ends in the middle of" not in str(error)
            assert not complete
    assert as_sql(database, tmp_path) == before


@pytest.mark.parametrize(
    ("end", "complete"),
    [
        ("-- PostgreSQL database dump complete\n", True),
        ("-- PostgreSQL database dump complete\r\n--\r\n\r\n\\unrestrict aB3\r\n", True),
        ("-- PostgreSQL database dump complete\n--\n/* . */", True),
        ("-- PostgreSQL database dump complete\nSELECT 2;\n", False),
        ("-- PostgreSQL database dump complete\n--\n-- PostgreSQL database dump\n--\n", False),
        ("-- PostgreSQL database dump\n", False),
        ("SELECT '\n-- PostgreSQL database dump complete\n';", False),
        ("SELECT $$\n-- PostgreSQL database dump complete\n$$;", False),
        ("/*\n-- PostgreSQL database dump complete\n*/", False),
        (
            "CREATE TABLE t (x text);\nCOPY t FROM stdin;\n"
            "-- PostgreSQL database dump complete\n\\.\n",
            False,
        ),
        ("", False),
    ],
)
def test_only_the_last_line_of_pg_dump_makes_it_complete(
    connection: psycopg.Connection[Any], end: str, complete: bool
) -> None:
    assert run(connection, f"SELECT 1;\n{end}").complete is complete


def test_a_stream_that_fails_midway_commits_nothing(database: Database) -> None:
    class Failing(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            chunk = super().read(100)
            if not chunk:
                raise DumpError("the disk is gone")
            return chunk

    stream = Failing(b"CREATE TABLE t (x text);\nCOPY t FROM stdin;\n" + b"abc\n" * 1000)
    expected = pytest.raises(DumpError, match="the disk is gone")
    with database.connect() as connection, expected, connection.transaction():
        run_script(stream, connection, options=ScriptOptions())
    assert database.execute("SELECT to_regclass('t')") == [(None,)]


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE t (x int); SELECT pg_sleep(60);",
        "CREATE TABLE t (x int); INSERT INTO t SELECT 1 FROM pg_sleep(60); SELECT 1;",
    ],
)
def test_ctrl_c_ends_a_long_statement_on_the_server_too(database: Database, text: str) -> None:
    with database.connect() as connection:
        pid = connection.info.backend_pid
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run(connection, text)
        timer.join()
    # The server ends it in its own time, which is not the minute that it would have slept.
    active = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
    deadline = time.monotonic() + 20
    while database.execute(active, pid) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert database.execute("SELECT to_regclass('t')") == [(None,)]


def test_a_lost_connection_is_one_sentence(database: Database) -> None:
    with database.connect() as connection:
        text = f"SELECT 1;\nSELECT pg_terminate_backend({connection.info.backend_pid});\nSELECT 2;"
        with pytest.raises(
            ScriptError, match=r"^line 2 of the dump: the connection was lost"
        ) as caught:
            run(connection, text)
    assert "\n" not in str(caught.value)


# --- The session -------------------------------------------------------------------------------


def test_settings_of_the_session_are_afterwards_what_they_were(database: Database) -> None:
    database.execute("CREATE TABLE seen (x int)")
    with database.connect() as connection:
        connection.execute("SET work_mem = '7MB'; SET lock_timeout = '3s'")
        settings = "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'transaction%'"
        before = connection.execute(settings + " ORDER BY 1").fetchall()
        strings = "off" if database.server.backslashes_escape else "on"
        run(
            connection,
            f"SET client_encoding = 'SQL_ASCII'; SET standard_conforming_strings = {strings};"
            "SELECT pg_catalog.set_config('search_path', '', false); SET work_mem = '1MB';"
            "SET row_security = off; SET statement_timeout = 0; SET lock_timeout = 0;"
            "SET client_min_messages = warning; SET app.custom = 'x';",
        )
        assert connection.execute(settings + " ORDER BY 1").fetchall() == before
        assert connection.execute("SELECT count(*) FROM seen").fetchone() == (0,)


def test_without_a_transaction_one_is_begun_and_left_to_the_caller(database: Database) -> None:
    with database.connect() as connection:
        run_script(io.BytesIO(b"CREATE TABLE t (x int);"), connection, options=ScriptOptions())
        assert database.execute("SELECT to_regclass('t')") == [(None,)]
        connection.commit()
        assert database.execute("SELECT to_regclass('t') IS NULL") == [(False,)]


def test_commit_every_wants_an_idle_autocommitting_connection(database: Database) -> None:
    expected = pytest.raises(ValueError, match="autocommitting")
    with database.connect() as connection, connection.transaction(), expected:
        run_script(io.BytesIO(), connection, options=ScriptOptions(commit_every=5))


# --- What is left out --------------------------------------------------------------------------


@pytest.fixture
def owned(make_database: MakeDatabase, tmp_path: Path) -> tuple[str, str]:
    """A dump with owners and privileges, and the role in it, which is gone by now."""
    source = make_database()
    role = source.role('netbox; O"Neill')
    quoted = '"' + role.replace('"', '""') + '"'
    source.execute(
        f"CREATE SCHEMA s AUTHORIZATION {quoted}; CREATE TABLE s.t (x int);"
        f"ALTER TABLE s.t OWNER TO {quoted}; CREATE TABLE u (y int);"
        f"GRANT SELECT ON u TO {quoted}; GRANT SELECT ON u TO public;"
        f"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        f"ALTER FUNCTION f() OWNER TO {quoted}; GRANT EXECUTE ON FUNCTION f() TO {quoted};"
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted} GRANT SELECT ON TABLES TO public;"
        "INSERT INTO s.t VALUES (1)"
    )
    text = plain(source, tmp_path / "dump.sql").read_text()
    source.execute(f"REASSIGN OWNED BY {quoted} TO CURRENT_USER; DROP OWNED BY {quoted}")
    source.execute(f"DROP ROLE {quoted}")
    source.roles.clear()
    return text, role


def test_owners_and_grantees_that_do_not_exist_are_left_out_and_counted(
    connection: psycopg.Connection[Any], owned: tuple[str, str]
) -> None:
    text, role = owned
    result = run(connection, text)
    assert kinds(result) == {"owner": 3, "privileges": 2}
    assert {one.reason for one in result.left_out} == {
        f'the role "{role}" does not exist here',
        f'this role cannot act for the role "{role}"',
    }
    granted = connection.execute("SELECT has_table_privilege('public', 'u', 'SELECT')")
    assert granted.fetchone() == (True,)
    line = result.left_out[0].line
    assert "OWNER TO" in text.splitlines()[line - 1]


def test_of_several_grantees_those_that_exist_are_kept(
    database: Database, connection: psycopg.Connection[Any]
) -> None:
    role = database.role("Keeper")
    text = (
        "CREATE TABLE t (x int); GRANT ALL ON t TO PUBLIC;"
        f'GRANT SELECT ON t TO nobody_here, "{role}" WITH GRANT OPTION;'
        "REVOKE ALL ON t FROM PUBLIC, nobody_here;"
    )
    result = run(connection, text)
    assert [(one.reason, one.count) for one in result.left_out] == [
        ('the role "nobody_here" does not exist here', 2)
    ]
    query = "SELECT has_table_privilege(%s, 't', 'SELECT WITH GRANT OPTION')"
    assert connection.execute(query, [role]).fetchone() == (True,)
    open_to_all = "SELECT has_table_privilege('public', 't', 'SELECT')"
    assert connection.execute(open_to_all).fetchone() == (False,)


def test_a_role_may_be_named_as_a_keyword_is(connection: psycopg.Connection[Any]) -> None:
    text = (
        'CREATE TABLE t (x int); ALTER TABLE t OWNER TO "current_user";'
        'GRANT SELECT ON t TO "session_user", "public"; ALTER TABLE t OWNER TO CURRENT_USER;'
    )
    result = run(connection, text)
    assert {one.reason for one in result.left_out} == {
        'the role "current_user" does not exist here',
        'the role "session_user" does not exist here',
    }
    granted = connection.execute("SELECT has_table_privilege('public', 't', 'SELECT')")
    assert granted.fetchone() == (True,)


def test_owners_that_exist_are_kept(
    database: Database, connection: psycopg.Connection[Any]
) -> None:
    role = database.role("Keeper")
    text = f'CREATE TABLE t (x int); ALTER TABLE t OWNER TO "{role}"; GRANT ALL ON t TO "{role}";'
    assert run(connection, text).left_out == []
    owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 't'")
    assert owner.fetchone() == (role,)
    connection.execute("DROP TABLE t")


def test_an_ordinary_role_restores_what_belonged_to_a_superuser(database: Database) -> None:
    role = database.role("ordinary")
    database.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    superuser = database.server.params["user"]
    text = f'CREATE TABLE t (x int); ALTER TABLE t OWNER TO "{superuser}"; SELECT 1;'
    with database.connect(user=role) as connection:
        result = run(connection, text)
    assert result.left_out == [
        LeftOut(
            "owner",
            f'ALTER TABLE t OWNER TO "{superuser}"',
            1,
            f'this role cannot give ownership to the role "{superuser}"',
            1,
        )
    ]


def test_no_owner_and_no_privileges_leave_out_all(
    connection: psycopg.Connection[Any], owned: tuple[str, str]
) -> None:
    text, _ = owned
    result = run(connection, text, no_owner=True, no_privileges=True)
    assert kinds(result)["owner"] == text.count(" OWNER TO ")
    granting = ("GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES ")
    assert kinds(result)["privileges"] == sum(
        line.startswith(granting) for line in text.splitlines()
    )


def test_data_only_adds_rows_and_moves_no_sequence(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    source = make_database()
    source.execute("CREATE TABLE t (id serial PRIMARY KEY, x text)")
    source.execute("INSERT INTO t (x) VALUES ('a'), ('b')")
    database.execute("CREATE TABLE t (id serial PRIMARY KEY, x text)")
    database.execute("SELECT setval('t_id_seq', 900)")
    for number, flags in enumerate(((), ("--data-only", "--disable-triggers"))):
        path = plain(source, tmp_path / "dump.sql", *flags)
        result = restored(path, database, data_only=True)
        assert kinds(result)["sequence position"] == 1
        assert ("structure" in kinds(result)) is (number == 0)
        assert database.execute("SELECT x FROM t ORDER BY id") == [("a",), ("b",)]
        assert database.execute("SELECT last_value FROM t_id_seq") == [(900,)]
        database.execute("DELETE FROM t")


def test_what_fails_without_harm_is_left_out_and_the_rest_goes_on(
    database: Database,
) -> None:
    role = database.role("ordinary")
    database.execute(f"GRANT CREATE ON DATABASE {database.name} TO {role}")
    text = (
        "SET statement_timeout = 0;\nSET transaction_timeout = 0;\n"
        "CREATE SCHEMA public;\nCREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;\n"
        "COMMENT ON EXTENSION plpgsql IS 'PL/pgSQL procedural language';\n"
        "CREATE SCHEMA mine;\n"
    )
    with database.connect(user=role) as connection:
        result = run(connection, text)
        known = connection.info.server_version >= 170000
    assert [one.line for one in result.left_out] == ([3, 5] if known else [2, 3, 5])
    assert {one.what for one in result.left_out} == {"failed without harm"}
    assert result.statements + len(result.left_out) == 6
    assert database.execute("SELECT to_regnamespace('mine') IS NULL") == [(False,)]


def test_what_is_not_on_the_allow_list_is_fatal(connection: psycopg.Connection[Any]) -> None:
    for text in (
        "SET nonsense_timeout = 0;",
        "CREATE SCHEMA pg_catalog;",
        "CREATE EXTENSION nope;",
    ):
        with pytest.raises(ScriptError):
            run(connection, text)


def test_a_missing_tablespace_gives_way_to_the_default_one(
    connection: psycopg.Connection[Any],
) -> None:
    run(connection, "SET default_tablespace = fast;\nCREATE TABLE t (x int);\n")
    where = "SELECT reltablespace FROM pg_class WHERE relname = 't'"
    assert connection.execute(where).fetchone() == (0,)


def test_a_table_that_could_not_be_dropped_is_known_to_be_left(
    connection: psycopg.Connection[Any],
) -> None:
    result = run(connection, "CREATE TABLE kept ();\nDROP TABLE kept, gone;", drops_may_miss=True)
    assert kinds(result) == {"drop": 1}
    assert result.tables.left == ["kept"]
