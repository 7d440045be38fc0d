"""A plain dump from a stranger runs nothing on this side and reaches no other database.

It is restored as a superuser here, so that whatever gets through also succeeds.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from restorehooks.restore.dump.identify import identify
from restorehooks.restore.errors import DumpError, ScriptError
from restorehooks.restore.processes import lines_of
from restorehooks.restore.script.feed import run_script
from restorehooks.restore.script.lexer import Statement
from restorehooks.restore.script.options import ScriptOptions
from restorehooks.restore.script.parallel import inserts, spread
from restorehooks.restore.script.parallel.builds import Builds
from restorehooks.restore.script.psql import DatabaseStatements
from restorehooks.restore.script.results import Collected, ScriptResult
from restorehooks.restore.script.rows import without_first_column
from restorehooks.restore.script.rules import decide
from restorehooks.restore.script.survey import survey
from restorehooks.restore.script.tolerated import tolerance
from restorehooks.restore.script.verdicts import LeaveOut, Refused
from restorehooks.restore.script.wire import StatementFailed, Wire
from restorehooks.restore.script.words import Words
from restorehooks.wording import first_line, quoted
from tests.support.databases import Database
from tests.support.dumps import as_sql, program
from tests.support.servers import RunningServer

EFFECTS = """
SELECT (SELECT array_agg((datname, datdba, datconnlimit, datallowconn, datacl)::text ORDER BY oid)
        FROM pg_database),
       (SELECT array_agg(r::text ORDER BY oid) FROM pg_roles r),
       (SELECT array_agg(m::text ORDER BY m::text) FROM pg_auth_members m),
       (SELECT array_agg(s::text ORDER BY s::text) FROM pg_db_role_setting s),
       (SELECT array_agg((t.spcname, t.spcacl)::text ORDER BY oid) FROM pg_tablespace t),
       (SELECT array_agg(s::text ORDER BY s::text) FROM pg_file_settings s),
       (SELECT array_agg((d.description, d.objoid)::text ORDER BY 1) FROM pg_shdescription d)
"""


class Prey:
    """What a hostile dump is after: files on the machine, and all else on the server."""

    def __init__(self, live: Database, target: Database, folder: Path, role: str):
        self.live, self.target, self.role = live, target, role
        self.folder = folder
        self.mark = folder / "mark"
        self._connection: psycopg.Connection[Any] | None = None

    def connection(self) -> psycopg.Connection[Any]:
        """Return a superuser's connection to the database that is restored into."""
        if self._connection is None or self._connection.closed:
            self._connection = self.target.connect()
        return self._connection

    def state(self) -> list[Any]:
        """Return what no dump may change."""
        rows = self.live.execute("SELECT string_agg(t::text, ',' ORDER BY t) FROM treasure t")
        return [self.live.server.execute(EFFECTS), rows, sorted(self.folder.iterdir())]

    def feed(self, script: str | bytes, **wishes: Any) -> ScriptResult:
        """Restore the script, commit it if nothing objects, and undo what it did to the target."""
        content = script if isinstance(script, bytes) else script.encode()
        connection = self.connection()
        try:
            with connection.transaction():
                return run_script(io.BytesIO(content), connection, options=ScriptOptions(**wishes))
        finally:
            self.target.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def fill_in(self, text: str) -> str:
        """Put the names of what is there into a script."""
        names = {"MARK": str(self.mark), "LIVE": self.live.name, "VICTIM": self.role}
        for name, value in names.items():
            text = text.replace(name, value)
        return text


@pytest.fixture(scope="module")
def prey(server: RunningServer) -> Iterator[Prey]:
    folder = Path(tempfile.mkdtemp(prefix="restorehooks-prey-"))
    folder.chmod(0o777)  # the server's own user could write here
    live = Database(server, f"live_{os.getpid()}", None, [])
    target = Database(server, f"target_{os.getpid()}", None, [])
    for database in (live, target):
        server.execute(f"CREATE DATABASE {database.name}")
    live.execute("CREATE TABLE treasure (id serial PRIMARY KEY, what text)")
    live.execute("INSERT INTO treasure (what) SELECT 'gold ' || n FROM generate_series(1, 50) n")
    prey = Prey(live, target, folder, live.role("victim"))
    yield prey
    prey.connection().close()
    for database in (live, target):
        database.disconnect()
        server.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")
    server.execute(f"DROP ROLE {live.roles[0]}")
    shutil.rmtree(folder)


# --- psql's commands ---------------------------------------------------------------------------

META_COMMANDS = [
    "\\! touch MARK",
    "  \\! touch MARK",
    "\\!touch MARK",
    "SELECT 1 \\! touch MARK",
    "SELECT 1; \\! touch MARK",
    "SELECT 1;\\! touch MARK",
    "SELECT (\n\\! touch MARK\n);",
    "/* */ \\! touch MARK",
    "-- comment\r\\! touch MARK",
    "SELECT 1\\g |touch MARK",
    "SELECT 1 \\g MARK",
    "SELECT 1 \\gx |touch MARK",
    "SELECT 'touch MARK' \\gexec",
    "\\o |touch MARK",
    "\\o MARK\nSELECT 1;",
    "\\w |touch MARK",
    "\\copy (SELECT 1) to program 'touch MARK'",
    "\\copy (SELECT 1) to 'MARK'",
    "\\i /dev/null",
    "\\ir /dev/null",
    "\\set x `touch MARK`",
    "\\echo `touch MARK`",
    "\\prompt x",
    "\\setenv PAGER 'touch MARK'",
    "\\connect LIVE\nDROP TABLE IF EXISTS treasure;",
    "\\c LIVE\nDROP TABLE IF EXISTS treasure;",
    "CREATE DATABASE x;\n\\connect x \\! touch MARK",
    "CREATE DATABASE x;\n\\connect `touch MARK`",
    "CREATE DATABASE x;\n\\connect x\n\\connect LIVE\nDROP TABLE IF EXISTS treasure;",
    "\\restrict abc\n\\unrestrict abc\n\\! touch MARK",
    "\\restrict abc \\! touch MARK",
    "\\unrestrict `touch MARK`",
    "\\unrestrict abc `touch MARK`",
    "\\restrict `touch MARK`",
    "\\unrestrict\n\\! touch MARK",
    "SELECT 1 \\restrict abc\n;",
    "\\lo_export 1 MARK",
    "\\e MARK",
    "\\.",
    "\\;",
    "\\",
    "\\\\ \\! touch MARK",
    "SET standard_conforming_strings = off;\nSELECT 'a\\'';\n\\! touch MARK\n--';",
    "SELECT 'a\\';\n\\! touch MARK\n--';",
    "SET client_encoding = 'SJIS';\nSELECT '\x81\\';\n\\! touch MARK\n--';",
    "SELECT $a$ $b$;\n$a$;\n\\! touch MARK\n--$b$;",
    'SELECT 1 AS "a""";\n\\! touch MARK\n',
    "SELECT E'a\\\\';\n\\! touch MARK\n--';",
    "SELECT 1 /* /* */ ; */;\n\\! touch MARK\n",
    "CREATE TABLE t (x text);\nCOPY t FROM stdin;\na\n\\.\n\\! touch MARK\n",
    "CREATE TABLE t (x text);\nCOPY t FROM stdin;\r\na\r\n\\.\r\n\\! touch MARK\r\n",
    "COPY missing FROM stdin;\n\\! touch MARK\n\\.\n",
    "CREATE TABLE t (x text);\nCOPY t FROM stdin; \\! touch MARK\n\\.\n",
    "CREATE TABLE t (x text);\nCOPY t FROM stdin\\! touch MARK\n;\n\\.\n",
]


@pytest.mark.parametrize("script", META_COMMANDS)
def test_no_command_of_psql_is_run(prey: Prey, script: str) -> None:
    before = prey.state()
    with pytest.raises(ScriptError) as caught:
        prey.feed(prey.fill_in(script))
    assert "\n" not in str(caught.value)
    assert prey.state() == before


@pytest.mark.parametrize("script", ["\\! touch MARK", "SELECT 1;\\! touch MARK"])
def test_psql_itself_would_have_run_it(prey: Prey, script: str) -> None:
    """The traps above are live ones."""
    server = prey.live.server
    if not server.bindir or not (server.bindir / "psql").exists():
        pytest.skip("no psql to compare with")
    subprocess.run(
        [
            program(prey.target, "psql"),
            "-X",
            "-h",
            server.params["host"],
            "-p",
            str(server.params["port"]),
            "-U",
            server.params["user"],
            prey.target.name,
        ],
        input=prey.fill_in(script).encode(),
        capture_output=True,
        check=False,
    )
    assert prey.mark.exists()
    prey.mark.unlink()


def test_nothing_after_a_refused_command_is_sent(prey: Prey) -> None:
    with prey.target.connect() as connection:
        with pytest.raises(ScriptError, match="line 2 of the dump: refused"):
            run_script(
                io.BytesIO(b"CREATE TABLE early ();\n\\! true\nCREATE TABLE late ();"),
                connection,
                options=ScriptOptions(),
            )
        found = connection.execute("SELECT to_regclass('early')::text, to_regclass('late')::text")
        assert found.fetchone() == ("early", None)


# --- The server and its other databases --------------------------------------------------------

REFUSED = [
    "DROP DATABASE LIVE",
    "DROP DATABASE LIVE WITH (FORCE)",
    "ALTER DATABASE LIVE RENAME TO gone",
    "ALTER DATABASE LIVE CONNECTION LIMIT 0",
    "ALTER DATABASE LIVE SET work_mem TO '1MB'",
    "ALTER ROLE VICTIM IN DATABASE LIVE SET work_mem TO '1MB'",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "ALTER SYSTEM RESET ALL",
    "CREATE ROLE intruder SUPERUSER",
    "CREATE USER intruder",
    "CREATE GROUP intruder",
    "CREATE USER mapping SUPERUSER",
    "ALTER USER mapping SUPERUSER",
    "DROP USER IF EXISTS mapping",
    "SET U&\"role\" = 'VICTIM'",
    "ALTER ROLE VICTIM SUPERUSER",
    "ALTER USER VICTIM PASSWORD 'x'",
    "ALTER GROUP VICTIM ADD USER VICTIM",
    "DROP ROLE VICTIM",
    "DROP USER IF EXISTS VICTIM",
    "GRANT pg_read_all_data TO VICTIM",
    "REVOKE pg_monitor FROM VICTIM",
    "GRANT CREATE ON TABLESPACE pg_default TO VICTIM",
    "GRANT SET ON PARAMETER work_mem TO VICTIM",
    "COMMENT ON ROLE VICTIM IS 'x'",
    "SECURITY LABEL ON ROLE VICTIM IS 'x'",
    "SECURITY LABEL FOR $$ on table $$ ON ROLE VICTIM IS 'x'",
    "SECURITY LABEL FOR E'\\' on table \\'' ON ROLE VICTIM IS 'x'",
    "SECURITY LABEL FOR 'x' ON ROLE VICTIM IS 'x'",
    "SECURITY LABEL ON",
    "SECURITY LABEL FOR x ON",
    "COMMENT ON TABLESPACE pg_default IS 'x'",
    "CREATE TABLESPACE mine LOCATION 'MARK'",
    "ALTER TABLESPACE pg_default SET (seq_page_cost = 2)",
    "DROP TABLESPACE pg_default",
    "DROP OWNED BY VICTIM",
    "REASSIGN OWNED BY VICTIM TO VICTIM",
    "COPY t FROM PROGRAM 'touch MARK'",
    "COPY t TO PROGRAM 'touch MARK'",
    "COPY (SELECT 1) TO PROGRAM 'touch MARK'",
    "COPY t TO 'MARK'",
    "COPY (SELECT 1) TO 'MARK'",
    "COPY t FROM '/etc/passwd'",
    "COPY t TO STDOUT",
    "COPY (SELECT 1) TO STDOUT",
    "COPY BINARY t FROM STDIN",
    "COMMIT AND CHAIN",
    "COMMIT PREPARED 'x'",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT a",
    "ROLLBACK TO SAVEPOINT a",
    "RELEASE a",
    "START TRANSACTION",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "PREPARE TRANSACTION 'x'",
    "PREPARE a AS SELECT 1",
    "EXECUTE a",
    "SET TRANSACTION READ ONLY",
    "SET LOCAL search_path = x",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "LOAD 'auto_explain'",
    "CHECKPOINT",
    "DISCARD ALL",
    "VACUUM",
    "LISTEN a",
    "NOTIFY a",
    "EXPLAIN ANALYZE SELECT 1",
    "DECLARE c CURSOR FOR SELECT 1",
    "garbage",
    "1",
    "(SELECT 1)",
]
LEFT_OUT = [
    "CREATE DATABASE evil",
    "COMMENT ON DATABASE LIVE IS 'x'",
    "GRANT ALL ON DATABASE LIVE TO VICTIM",
    "REVOKE ALL ON DATABASE LIVE FROM PUBLIC",
    "SECURITY LABEL ON DATABASE LIVE IS 'x'",
    "COMMIT",
    "BEGIN",
    "SET ROLE VICTIM",
    "SET LOCAL ROLE VICTIM",
    "SET SESSION AUTHORIZATION VICTIM",
    "SET SESSION SESSION AUTHORIZATION VICTIM",
    "SET role TO VICTIM",
    'SET "role" = VICTIM',
    "SET session_authorization = VICTIM",
    "RESET ROLE",
    "RESET SESSION AUTHORIZATION",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_what_is_beyond_the_one_database_is_refused(prey: Prey, statement: str) -> None:
    before = prey.state()
    script = f"CREATE TABLE t (x text);\nSELECT 1;\n{prey.fill_in(statement)};\nSELECT 2;\n"
    with pytest.raises(ScriptError, match="line 3 of the dump: refused: "):
        prey.feed(script)
    assert prey.state() == before


@pytest.mark.parametrize("statement", LEFT_OUT)
def test_what_pg_dump_may_write_about_it_is_left_out(prey: Prey, statement: str) -> None:
    before = prey.state()
    result = prey.feed(f"SELECT 1;\n{prey.fill_in(statement)};\nSELECT 2;\n")
    assert [(one.line, one.count) for one in result.left_out] == [(2, 1)]
    assert result.statements == 2
    assert prey.state() == before


def test_a_create_dump_cannot_turn_to_another_database(prey: Prey) -> None:
    before = prey.state()
    name = prey.live.name
    result = prey.feed(
        f"DROP DATABASE IF EXISTS {name};\nCREATE DATABASE {name};\n"
        f"ALTER DATABASE {name} OWNER TO {prey.role};\n\\connect {name}\nSELECT 1;\n"
    )
    assert {one.what: one.count for one in result.left_out} == {"database": 3, "connect": 1}
    assert prey.state() == before
    with pytest.raises(ScriptError, match="line 1 of the dump: refused: it changes a database"):
        prey.feed(f"DROP DATABASE {name};\nSELECT 1;\n")
    with pytest.raises(ScriptError, match="line 1 of the dump: refused: it changes a database"):
        prey.feed(f"DROP DATABASE {name};\n")
    assert prey.state() == before


@pytest.mark.parametrize(
    "script",
    [
        "SELECT 1 /*; */ ; DROP TABLE t",
        "SELECT 'a\\'; COMMIT; --'",
        "SET standard_conforming_strings = off;\nSELECT 'a\\'; COMMIT; --';",
        "SELECT set_config('standard_conforming_strings', 'off', false);\n"
        "SELECT 'a\\'; COMMIT; --';",
        "INSERT INTO t SELECT set_config('standard_conforming_strings', 'off', false);\n"
        "INSERT INTO t VALUES ('a\\'); COMMIT; --');",
        "SET standard_conforming_strings = off;\n"
        "INSERT INTO t SELECT set_config('standard_conforming_strings', 'on', false);\n"
        "INSERT INTO t VALUES ('a\\'); COMMIT; DROP ROLE VICTIM; --');",
    ],
)
def test_one_message_is_never_two_statements(prey: Prey, script: str) -> None:
    """However a string is read, what is not on the list is not run."""
    before = prey.state()
    said = outcome(prey, prey.fill_in(f"CREATE TABLE t (x text);\n{script};\n"))
    ends = ["42601", "refused", "middle of", "left out"]
    if not prey.target.server.backslashes_escape:
        ends.append("non-standard string literals are not supported")
    assert any(end in said for end in ends)
    assert prey.state() == before


def test_the_wire_takes_one_statement_at_a_time(prey: Prey) -> None:
    """Even if the lexer took two for one."""
    two = Statement(b"SELECT 1; SELECT 2", 1)
    wire = Wire(prey.connection())
    for send in (wire.run, lambda statement: wire.copy(statement, [])):
        with pytest.raises(StatementFailed) as caught:
            send(two)
        assert caught.value.sqlstate == "42601"
    wire.queue(two)
    with pytest.raises(StatementFailed) as caught:
        wire.settle()
    assert caught.value.sqlstate == "42601"


def outcome(prey: Prey, script: str) -> str:
    """Return in words what became of a script."""
    try:
        result = prey.feed(script)
    except ScriptError as error:
        return str(error)
    return f"{sum(one.count for one in result.left_out)} left out, {result.statements} sent"


def test_a_zero_byte_hides_nothing(prey: Prey) -> None:
    with pytest.raises(ScriptError, match="zero byte"):
        prey.feed(b"COPY t FROM\0 stdin; SELECT 1;")


def test_settings_cannot_outlive_the_dump(prey: Prey) -> None:
    connection = prey.connection()
    prey.feed("SET search_path = evil; SET default_transaction_read_only = on;")
    shown = connection.execute("SHOW search_path").fetchone()
    assert shown == ('"$user", public',)
    connection.execute("CREATE TEMPORARY TABLE still_writable ()")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT set_config('role', 'VICTIM', false)",
        "SELECT set_config('session_authorization', 'VICTIM', false)",
        "SELECT set_config('session_authorization', 'VICTIM', false);"
        "SELECT set_config('role', 'none', false)",
    ],
)
def test_the_role_cannot_be_changed_for_what_comes_after(prey: Prey, statement: str) -> None:
    connection = prey.connection()
    who = "SELECT session_user, current_user, current_setting('role')"
    before = connection.execute(who).fetchone()
    prey.feed(prey.fill_in(f"{statement};"))
    assert connection.execute(who).fetchone() == before
    connection.execute("SET ROLE pg_monitor")
    before = connection.execute(who).fetchone()
    prey.feed(prey.fill_in(f"SET search_path = x; {statement};"))
    assert connection.execute(who).fetchone() == before
    connection.execute("RESET ROLE")


def test_no_message_can_command_a_terminal(prey: Prey) -> None:
    with pytest.raises(ScriptError) as caught:
        prey.feed("SELECT '\x1b]0;title\x07\u202e', \x1b[2J;")
    assert str(caught.value).isprintable()
    with pytest.raises(ScriptError) as caught:
        prey.feed("\\! \x1b[2J\r\n")
    assert str(caught.value).isprintable()
    text = 'CREATE TABLE t (); ALTER TABLE t OWNER TO "\x1b[2J";'
    result = prey.feed(text, owners=frozenset(), roles=frozenset())
    assert f"{result.left_out[0].statement}{result.left_out[0].reason}".isprintable()


def test_what_a_dump_says_fills_no_memory(prey: Prey) -> None:
    with prey.target.connect() as connection:
        raised = b"DO $$ BEGIN RAISE '%', repeat('x', 100000); END $$;"
        sent = b"DO $$ BEGIN EXECUTE 'LISTEN x'; PERFORM pg_notify('x', n::text)"
        sent += b" FROM generate_series(1, 1000) n; END $$; SELECT 1; "
        options = ScriptOptions(commit_every=1)
        with pytest.raises(ScriptError) as caught:
            run_script(io.BytesIO(sent + raised), connection, options=options)
        assert len(str(caught.value)) < 5000
        assert connection.pgconn.notifies() is None
    assert len(first_line("x" * 100000)) < 5000
    program = [sys.executable, "-c", "print('x' * 1000000); print('end')"]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout
        long, end = lines_of(process.stdout, lambda: None)
    assert (end, len(long) < 200000) == ("end", True)


FIRST, LAST = "-- PostgreSQL database {}dump\n", "-- PostgreSQL database {}dump complete\n"


@pytest.mark.parametrize(
    ("of", "line"),
    [
        ("", "-- Name: {}; Type: TABLE; Schema: public; Owner: -\n"),
        ("", "CREATE EXTENSION {};\n"),
        ("", "CREATE EVENT TRIGGER {} ON ddl_command_end;\n"),
        ("cluster ", "CREATE ROLE {};\n"),
    ],
)
def test_no_name_in_a_dump_fills_the_memory(tmp_path: Path, of: str, line: str) -> None:
    """A gzipped file of 1 MB has room for a GB of them."""
    path = tmp_path / "names.sql"
    lines = (line.format(f"{'x' * 3000}{number}") for number in range(2000))
    path.write_text("".join([FIRST.format(of), *lines, LAST.format(of)]))
    tracemalloc.start()
    try:
        found = survey(identify(path, whole_server=True))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.ended, kept < 2_000_000 or bool(found.globals_)) == (True, True)
    assert max(map(len, [*found.extensions, *found.roles, *found.for_superusers, ""])) < 300
    if found.globals_:
        path.write_text(f"{FIRST.format(of)}CREATE ROLE {'x' * (65 << 20)};\n{LAST.format(of)}")
        with pytest.raises(DumpError, match="line 2: more roles and the like than any server has"):
            survey(identify(path, whole_server=True))


SAID, MANY = "as no name has", 300_000
"""What is said of a name that is too long, and bytes: a gzipped file of 1 MB has room for a GB."""


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ('INSERT INTO "{a}" VALUES (1)', SAID),
        ('INSERT INTO {"a"} VALUES (1)', SAID),
        ('DROP TABLE {""}', SAID),
        ("SELECT ${a}$x${a}$", SAID),
        ("CREATE FUNCTION f() begin{ }x{ atomic}", ""),
        ("CREATE FUNCTION f() begin{--\n}{/**/}atomic", ""),
        ("DROP TABLE {a,}b", ""),
        ("DROP SCHEMA {a,}b", ""),
        ("SELECT E'a'{\n}, 'b'", ""),
        ("SELECT E'a'{--\n}, 'b'", ""),
        ("SET SESSION AUTHORIZATION '{a}'", ""),
        ("SET SESSION AUTHORIZATION '{''}'", ""),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE a{\n}, b GRANT SELECT ON TABLES TO x", ""),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE a{/**/}, b GRANT SELECT ON TABLES TO x", ""),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE a/*{x}*/, b GRANT SELECT ON TABLES TO x", ""),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE {a,}b GRANT SELECT ON TABLES TO x", ""),
        ("CREATE POLICY p ON t TO {a,}b USING (true)", ""),
        ("COPY t ({a,}b) FROM STDIN (FORMAT text)", ""),
        ("INSERT INTO t ({a, }b) VALUES (1)", ""),
        ("INSERT INTO t VALUES ({1, }1)", ""),
        ("INSERT INTO t VALUES {(1), }(1)", ""),
        ("INSERT INTO t VALUES ('{''}')", ""),
        ("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY ({a,}b) REFERENCES u (a)", ""),
        ("\\connect a{ }x\n", ""),
        ('\\connect "{""}"\n', ""),
    ],
)
def test_nothing_that_is_repeated_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, said: str
) -> None:
    """Nor does it take hours."""
    monkeypatch.setattr(inserts, "_LONGEST", MANY - 1)
    many = re.sub(r"\{([^{}]+)\}", lambda found: found[1] * (MANY // len(found[1])), statement)
    path = tmp_path / "many.sql"
    path.write_text(f"{FIRST.format('')}{many};\n{LAST.format('')}")
    options = ScriptOptions(
        owners=frozenset(), roles=frozenset(), keeps_others=True, acting_role="none"
    )
    tracemalloc.start()
    try:
        with pytest.raises(DumpError, match=said) if said else nullcontext():
            survey(identify(path))
        for command in () if said or many.startswith("\\") else (many.encode(),):
            with suppress(Refused):
                decide(command, Words(command), options, "utf-8")
            tolerance(command, Words(command), options, "utf-8")
            inserts.Inserts(cast(Any, None)).add(Statement(command, 1))
            Builds(None).recognise(Statement(command, 1))
            spread._COPY.fullmatch(command)
        DatabaseStatements().may_connect(many.encode())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * MANY


def test_of_a_row_of_any_length_nothing_is_kept_to_take_its_object_id_off() -> None:
    rows = b"1\tx\n\n22\t3\t\n4\n5\t6"
    for size in range(1, 9):
        cut = [rows[at : at + size] for at in range(0, len(rows), size)]
        assert b"".join(without_first_column(cut)) == b"x\n\n3\t\n4\n6"
    blocks = [b"1\tx", *[b"y" * 1000] * 3]
    assert [*without_first_column(blocks)] == [b"x", *blocks[1:]]


def test_of_the_words_of_a_statement_the_first_are_kept() -> None:
    words = Words(b"GRANT " + b"aa " * 5000 + b"ON x TO y")
    for _ in range(2):
        assert (words.after("on"), len([*words])) == ("x", 5005)
    assert len(words._known) == 1000


def test_of_the_positions_of_a_sequence_the_last_is_kept(prey: Prey) -> None:
    setval = "SELECT pg_catalog.setval('public.q', {}, true);\n"
    by_hand = "select setval('other', 1)"
    text = "".join(map(setval.format, range(1, 2000))) + f"{by_hand};\n"
    result = prey.feed(text, data_only=True)
    assert result.positions == [setval.format(1999).rstrip(";\n"), by_hand]


def test_what_is_repeated_is_kept_once_and_of_many_names_few_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gzipped file of 1 MB has room for ten million statements."""
    path = tmp_path / "many.sql"
    lines = "CREATE EXTENSION x;\nCREATE ROLE r;\nCREATE EVENT TRIGGER e ON sql_drop;\n" * 1000
    path.write_text(f"{FIRST.format('cluster ')}{(FIRST + lines + LAST).format('', '') * 2}")
    found = survey(identify(path, whole_server=True))
    kept = len(found.parts), len(found.extensions), len(found.roles), len(found.for_superusers)
    assert kept == (1, 1, 1, 1)
    monkeypatch.setattr("restorehooks.restore.script.survey._MOST_GLOBALS", 100_000)
    path.write_text(FIRST.format("cluster ") + "a;\n" * 1000)
    with pytest.raises(DumpError, match="more roles and the like than any server has"):
        survey(identify(path, whole_server=True))
    collected = Collected()
    for number in range(2000):
        collected.add(LeaveOut("owner", f"the role r{number}"), b"ALTER", number, "utf-8")
    reasons = collected.all()
    assert (len(reasons), sum(one.count for one in reasons), reasons[-1].count) == (
        1001,
        2000,
        1000,
    )
    assert quoted(map(str, range(1000))).endswith('"99" and 900 more')


def test_of_what_is_built_later_little_is_kept() -> None:
    builds, count = Builds(None), 0
    text = b"CREATE INDEX i ON t USING btree (x) WHERE (x = '%s')" % (b"x" * (1 << 20))
    build = builds.recognise(Statement(text, 1))
    assert build
    while builds.has_room_for(build):
        builds.add(build)
        count += 1
        assert count < 20
    assert not builds.add_after(Statement(b"COMMENT ON INDEX i IS 'x'", 1))
    builds.take()
    assert builds.has_room_for(build)


def test_no_copy_joins_somebodys_replication(prey: Prey) -> None:
    result = prey.feed(
        "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere password=hunter2' PUBLICATION p;\n"
        "ALTER SUBSCRIPTION s OWNER TO VICTIM;\nCOMMENT ON SUBSCRIPTION s IS 'x';\n"
    )
    assert [(one.what, one.count) for one in result.left_out] == [("subscription", 3)]
    assert "hunter2" not in result.left_out[0].statement


@pytest.mark.parametrize(
    ("statement", "fine"),
    [
        ("COPY t FROM stdin", True),
        ('copy/**/"t"(--\n"x")from STDIN', True),
        ('COPY public . "t" ( x ) FROM stdin WITH (FORMAT text)', True),
        ("COPY \"t FROM stdin \" FROM PROGRAM 'touch MARK'", False),
        ("COPY t (x FROM stdin) FROM PROGRAM 'touch MARK'", False),
        ("COPY t/* FROM stdin */FROM PROGRAM 'touch MARK'", False),
        ("COPY t -- FROM stdin\nFROM PROGRAM 'touch MARK'", False),
        ("COPY t FROM PROGRAM 'touch MARK' -- FROM stdin", False),
        ("COPY t TO PROGRAM 'FROM stdin; touch MARK'", False),
        ("COPY t" + " " * 200_000 + "FROM PROGRAM 'touch MARK'", False),
    ],
)
def test_only_rows_of_the_dump_itself_are_copied(prey: Prey, statement: str, fine: bool) -> None:
    before = prey.state()
    script = prey.fill_in(f"CREATE TABLE t (x text);\n{statement};\nrow\n\\.\n")
    if fine:
        assert prey.feed(script).rows == 1
    else:
        with pytest.raises(ScriptError, match="refused"):
            prey.feed(script)
    assert prey.state() == before


# --- Fuzzed ------------------------------------------------------------------------------------

BLANKS = st.lists(
    st.sampled_from(
        [" ", "\n", "\t", "\r", "\f", "--x\n", "-- ';\r", "/* ; */", "/*/**/*/", "/*'*/"]
    ),
    min_size=1,
    max_size=3,
).map("".join)


@st.composite
def disguised(draw: st.DrawFn) -> str:
    """A forbidden statement with other blanks, comments and capitals."""
    text = draw(st.sampled_from(REFUSED + LEFT_OUT))
    words = []
    for word in re.findall(r"'[^']*'|[^\s']+", text):
        known = any(name in word for name in ("MARK", "LIVE", "VICTIM")) or not word.isalpha()
        swap = draw(st.booleans()) and not known
        words.append(word.swapcase() if swap else word)
    blanks = [draw(BLANKS) for _ in words]
    return draw(st.sampled_from(["", "\n", "/**/", ";;"])) + "".join(
        word + blank for word, blank in zip(words, blanks, strict=True)
    )


CONFUSION = st.sampled_from(
    [
        "SET standard_conforming_strings = off;",
        "SET standard_conforming_strings = on;",
        "SELECT 'a\\';",
        "SELECT 'a\\'';",
        "SELECT E'\\'",
        "SELECT '\n",
        "'",
        '"',
        "SELECT $$;$$",
        "$a$",
        "/*",
        "*/",
        "(",
        ")",
        "BEGIN ATOMIC",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1;",
        "END;",
        ";",
        "SELECT 1;",
        "CREATE TABLE t (x text);",
        "COPY t FROM stdin;\n",
        "\nCOPY t FROM stdin;\n1\n\\.\n",
        "\n\\.\n",
        "\n\\. \n",
        "\n\\.\r\n",
        "INSERT INTO t VALUES ('\\",
        "INSERT INTO t VALUES (''');",
        "--",
        "\n",
        "\\! touch MARK\n",
        "\n\\restrict a\n",
        "SET client_encoding = 'SJIS';",
        "SET client_encoding = 'LATIN1';",
        "\x81",
        "U&'",
        "\x00",
    ]
)
FUZZ = settings(
    max_examples=int(os.environ.get("RESTOREHOOKS_FUZZ", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@example("DROP/*/**/*/ROLE VICTIM")
@example("drop --\n role /* ' */ VICTIM")
@example("COPY t/**/FROM\nPROGRAM 'touch MARK'")
@given(statement=disguised())
def test_no_disguise_helps(prey: Prey, statement: str) -> None:
    before = prey.state()
    script = f"CREATE TABLE t (x text);\nSELECT 1;\n{prey.fill_in(statement)};\nSELECT 2;\n"
    said = outcome(prey, script)
    assert "refused" in said or said == "1 left out, 3 sent"
    assert prey.state() == before


@FUZZ
@given(pieces=st.lists(st.one_of(CONFUSION, disguised()), min_size=1, max_size=12))
def test_no_confusion_helps(prey: Prey, pieces: list[str]) -> None:
    before = prey.state()
    assert "\n" not in outcome(prey, prey.fill_in("".join(pieces)))
    assert prey.state() == before


def literal(text: str, form: str, escapes: bool) -> str:
    """Write text as a string of SQL."""
    doubled = text.replace("'", "''")
    if form == "dollar" and "$" not in text:
        return f"$tag${text}$tag$"
    if form == "escape":
        return "E'" + doubled.replace("\\", "\\\\") + "'"
    return "'" + (doubled.replace("\\", "\\\\") if escapes else doubled) + "'"


TEXT = st.text(st.sampled_from("a;'\"\\$(/*-)\n:E\x7féß"), max_size=8)


def piece(data: st.DataObject, kind: str, text: str, escapes: bool) -> str:
    """Return SQL that puts the text into the table t, in one of several ways."""
    if kind == "copy":
        row = text.replace("\\", "\\\\").replace("\n", "\\n")
        return f"COPY t (x) FROM stdin;\n{row}\n\\.\n"
    if kind == "function":
        return (
            "CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql BEGIN ATOMIC "
            f"SELECT CASE WHEN true THEN {literal(text, 'plain', escapes)} END; END; "
            "INSERT INTO t (x) SELECT f();"
        )
    form = data.draw(st.sampled_from(["plain", "escape", "dollar"]))
    blank = data.draw(BLANKS)
    name = '"' + data.draw(TEXT).replace('"', '""').replace("\x00", "") + 'x"'
    insert = "INSERT INTO" if kind == "insert" else "insert  into"
    return f"{insert} t (x) SELECT {literal(text, form, escapes)}{blank}AS{blank}{name};"


@FUZZ
@given(data=st.data())
def test_statements_end_where_the_server_says(prey: Prey, data: st.DataObject) -> None:
    """Valid statements of all kinds of strings come out one by one, each with its own content."""
    expected: list[str] = []
    script = ["CREATE TABLE t (n serial, x text);"]
    escapes = False
    kinds = ["insert", "copy", "function", "name"]
    if prey.target.server.backslashes_escape:
        kinds.append("flip")
    for _ in range(data.draw(st.integers(1, 8))):
        kind = data.draw(st.sampled_from(kinds))
        if kind == "flip":
            escapes = not escapes
            script.append(f"SET standard_conforming_strings = {'off' if escapes else 'on'};")
        else:
            text = data.draw(TEXT)
            script.append(piece(data, kind, text, escapes))
            expected.append(text)
    script.append(
        "SELECT set_config('application_name', md5(coalesce(string_agg(x, '|' ORDER BY n), '')), "
        "false) FROM t;"
    )
    with prey.target.connect() as connection:
        with connection.transaction(force_rollback=True):
            stream = io.BytesIO(" ".join(script).replace("\n ", "\n").encode())
            result = run_script(stream, connection, options=ScriptOptions())
            rows = connection.execute("SELECT x FROM t ORDER BY n").fetchall()
        assert [x for (x,) in rows] == expected
        assert result.rows == len(expected)


def test_the_live_database_is_as_it_was(prey: Prey, tmp_path: Path) -> None:
    """After all of the above; a dump of it says more than the queries."""
    assert "gold 50" in as_sql(prey.live, tmp_path)
    assert prey.live.execute("SELECT count(*), max(id) FROM treasure") == [(50, 50)]
    assert not prey.mark.exists()
