"""Finding pg_restore and pg_dump, and knowing what their words mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from restorehooks import programs
from restorehooks.restore.archive import commands
from restorehooks.restore.archive.messages import Outcome, check_exit, read_messages
from restorehooks.restore.dump.contents import read_contents
from restorehooks.restore.dump.identify import identify
from restorehooks.restore.errors import ProgramError
from restorehooks.restore.harmless import why_harmless
from restorehooks.restore.server.address import Address
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import dumped

TIMEOUT = (
    'could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"\n'
    "Command was: SET transaction_timeout = 0;\n"
)
COPY = 'COPY failed for table "t": ERROR:  relation "customer" does not exist'

EMBEDDED = '`pip install "django-restorehooks[embedded]"`'


def read(text: str, exit_code: int, expected: int = 0) -> Outcome:
    outcome = read_messages(text.splitlines())
    check_exit(outcome, exit_code, expected)
    return outcome


def test_the_setting_that_old_servers_do_not_know_is_expected() -> None:
    text = (
        "pg_restore: connecting to database for restore\n"
        "pg_restore: while INITIALIZING:\n"
        f"pg_restore: error: {TIMEOUT}"
        'pg_restore: creating TABLE "public.t"\n'
        "pg_restore: warning: errors ignored on restore: 1\n"
    )
    outcome = read(text, 1, expected=1)
    assert (outcome.finished, outcome.warnings) == (2, [])
    for expected in (0, 2):
        with pytest.raises(ProgramError, match="counted 1 errors where"):
            read(text, 1, expected=expected)


def test_a_translated_server_message_makes_no_difference() -> None:
    text = TIMEOUT.replace("ERROR:  unrecognized configuration parameter", "FEHLER:  unbekannter")
    text = f"pg_restore: error: {text}pg_restore: warning: errors ignored on restore: 1"
    assert read(text, 1, expected=1)


@pytest.mark.parametrize(
    "text",
    [
        f"pg_restore: pg_restore: error: error: {TIMEOUT}{TIMEOUT}",
        f"pg_restore: error: {TIMEOUT}pg_restore: pg_restore: error: {TIMEOUT}",
        "pg_restore: error: " + TIMEOUT + "pg_restore:pg_restore: while PROCESSING TOC:\n"
        f"pg_restore: error: {TIMEOUT} while PROCESSING TOC:\n",
        f"pg_restore: pg_restore: error: processing item 3 TABLE t\n{TIMEOUT}error: {TIMEOUT}",
    ],
)
def test_workers_that_write_at_once_are_understood(text: str) -> None:
    text = f"{text}pg_restore: warning: errors ignored on restore: 2\n"
    assert len(read(text, 1, expected=2).problems) == 2


@pytest.mark.parametrize(
    ("text", "exit_code"),
    [
        (f"pg_restore: error: {COPY}\npg_restore: warning: errors ignored on restore: 1\n", 1),
        (f"pg_restore: error: {COPY}\n", 0),  # an exit code proves nothing
        (f"pg_restore: pg_restore: error: {COPY}\n", 0),
        (f"{COPY}\n", 0),
        ("pg_restore: warning: errors ignored on restore: 1\n", 1),  # which one was not seen
        (f"pg_restore: error: {TIMEOUT}pg_restore: warning: errors ignored on restore: 2\n", 1),
        (f"pg_restore: error: {TIMEOUT}", 1),  # it gave up
        ("", 1),
        ("", -9),
        ("pg_restore: error: could not read from input file: end of file\n", 1),
        # A message that only looks like one on the list.
        (
            "pg_restore: error: could not execute query: ERROR:  unrecognized configuration "
            'parameter "transaction_timeout"\nCommand was: SELECT public.evil();\n'
            "pg_restore: warning: errors ignored on restore: 1\n",
            1,
        ),
        (
            "pg_restore: error: could not execute query: ERROR:  x\n"
            "Command was: COMMENT ON EXTENSION a IS 'b'; DROP TABLE c; --';\n"
            "pg_restore: warning: errors ignored on restore: 1\n",
            1,
        ),
    ],
)
def test_anything_else_is_fatal(text: str, exit_code: int) -> None:
    for expected in (0, 1):
        with pytest.raises(ProgramError):
            read(text, exit_code, expected)


def test_what_is_harmless_in_full() -> None:
    for statement in (
        "SET transaction_timeout = 0;",
        "COMMENT ON EXTENSION hstore IS 'it''s; fine';",
        "COMMENT ON EXTENSION \"uuid-ossp\" IS 'x';",
        "CREATE SCHEMA public;",
        "COMMENT ON SCHEMA public IS 'standard public schema';",
    ):
        assert why_harmless(statement), statement
    for statement in (
        "SET statement_timeout = 0;",
        "CREATE SCHEMA public; DROP TABLE x;",
        "CREATE SCHEMA publicity;",
        "COMMENT ON TABLE x IS 'y';",
        "",
    ):
        assert why_harmless(statement) is None, statement


@pytest.mark.parametrize(
    ("release", "at_least", "command"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\n", 15, "`apt-get install postgresql-client-15`"),
        ("ID=debian\nVERSION_CODENAME=trixie\n", 16, "`apt-get install postgresql-client-17`"),
        ("ID=debian\nVERSION_CODENAME=bookworm\n", 18, EMBEDDED),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", 14, "`apt-get install postgres"),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", 17, EMBEDDED),
        ("ID=debian\nVERSION_CODENAME=unheard-of\n", 17, EMBEDDED),
        ("ID=debian\nVERSION_CODENAME=trixie\n", 19, "PostgreSQL's own packages of 19"),
        ('NAME="Alpine"\nID=alpine\n', 17, "`apk add postgresql17-client`"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', 17, EMBEDDED),
    ],
)
def test_the_package_to_install_exists_on_the_system(
    tmp_path: Path, release: str, at_least: int, command: str
) -> None:
    file = tmp_path / "os-release"
    file.write_text(release)
    assert programs.package(at_least, at_least, file).startswith(command)


def test_the_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PG_BINDIR", raising=False)
    present = [*programs.programs("pg_restore")]
    assert present
    assert all("pg_wrapper" not in str(program.path.resolve()) for program in present)
    oldest = min(program.major for program in present)
    assert programs.find("pg_restore", at_least=10, prefer=oldest).major == oldest
    monkeypatch.setattr(programs, "program_folders", lambda: iter(()))
    with pytest.raises(ProgramError, match=r"pg_restore 17 or newer .* none\. Install it with"):
        programs.find("pg_restore", at_least=17, prefer=18)


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_dump_of_17_or_later_into_an_older_server(
    database: Database, make_database: MakeDatabase, tmp_path: Path, jobs: int
) -> None:
    newer = [one for one in programs.programs("pg_dump") if one.major >= 17]
    if database.server.version >= 170000 or not newer:
        pytest.skip("takes a server before 17 and a client from 17 on")
    source = make_database()
    source.execute("".join(f"CREATE TABLE t{n} AS SELECT 1 AS id;" for n in range(20)))
    address = Address.of("default")
    commands.write(
        newer[0],
        tmp_path / "x.dump",
        conninfo=address.conninfo(source.name),
        environment={},
        flags=["--format=custom"],
    )
    commands.load(
        programs.find("pg_restore", at_least=17),
        tmp_path / "x.dump",
        conninfo=address.conninfo(database.name),
        environment={},
        server_version=database.server.version,
        jobs=jobs,
    )
    assert database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(20,)]


def test_the_list_and_a_whole_read(database: Database, tmp_path: Path) -> None:
    database.execute('CREATE TABLE "a b" (id serial); CREATE VIEW v AS SELECT 1')
    file = dumped(database, tmp_path / "x.dump")
    program = programs.find("pg_restore", at_least=14, prefer=database.server.version // 10000)
    kinds = [entry.kind for entry in read_contents(identify(file))]
    assert {"TABLE", "TABLE DATA", "SEQUENCE", "SEQUENCE SET", "DEFAULT", "VIEW"} <= {*kinds}
    commands.prove(program, file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ProgramError):
        commands.prove(program, file)


def test_where_a_statement_is_wrong_is_no_part_of_the_message() -> None:
    lines = [
        'pg_restore: error: could not execute query: ERROR:  syntax error at or near "VIRTUAL"',
        "LINE 3:     y integer GENERATED ALWAYS AS (x) VIRTUAL",
        "                                              ^",
        "Command was: CREATE TABLE public.t (",
    ]
    with pytest.raises(ProgramError) as caught:
        read_messages(lines)
    assert str(caught.value) == 'pg_restore: syntax error at or near "VIRTUAL"'


def test_both_versions_are_named_where_pg_restore_refuses_the_server() -> None:
    lines = [
        "pg_restore: connecting to database for restore",
        "pg_restore: error: aborting because of server version mismatch",
        "pg_restore: detail: server version: 19rc1; pg_restore version: 18.6",
    ]
    with pytest.raises(ProgramError, match=r"mismatch server version: 19rc1; .* version: 18\.6$"):
        read_messages(lines)


def test_of_messages_without_end_a_few_lines_are_kept() -> None:
    """What a dump raises, an index's function, say, may have millions of them."""
    lines = ["pg_restore: error: could not execute query: ERROR:  x", *["x" * 100] * 1000]
    with pytest.raises(ProgramError) as caught:
        read_messages([*lines, "Command was: SELECT 1;", *["x" * 100] * 1000])
    assert len(str(caught.value)) < 3000
    outcome = read_messages(["pg_restore: warning: x"] * 1000)
    assert (len(outcome.warnings), outcome.warnings[-1]) == (51, "there are more")
