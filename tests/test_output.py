"""What the commands print: nothing commands a terminal, help helps, and pipes may be cut."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.core.management.base import DjangoHelpFormatter
from django.db import IntegrityError, connections
from django.test import override_settings

from restorehooks import reset_sequences
from restorehooks.checks import sequences_are_ahead, sequences_have_room
from restorehooks.management.output import SafeOutput, json_text
from restorehooks.management.progress import OnTerminal
from restorehooks.receivers import not_checked
from restorehooks.streams import standard_streams
from tests.support.databases import Database
from tests.support.dumps import alone, dumped
from tests.support.projects import Project

COMMANDS = ("restoredb", "dumpdb", "resetsequences", "explainduplicate")
NASTY = "a\x1b[2Jb\x07c\x9b31md\u202ee\ud8ff"
HEALING = {"RESTOREHOOKS": {"REPAIR_ON_DUPLICATE": True}}
HARMLESS = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]*")


def test_nothing_that_is_written_commands_a_terminal() -> None:
    stream = StringIO()
    SafeOutput(stream).write(f"{NASTY}\n{NASTY}")
    assert HARMLESS.fullmatch(stream.getvalue())
    assert stream.getvalue().count("\n") == 2
    assert HARMLESS.fullmatch(json_text({NASTY: [NASTY]}))
    assert json.loads(json_text([NASTY])) == [NASTY]


def test_what_an_encoding_does_not_know_is_escaped() -> None:
    raw = BytesIO()
    stream = TextIOWrapper(raw, encoding="ascii", write_through=True)
    SafeOutput(stream).write("Grüße, 日本")
    assert raw.getvalue() == b"Gr\\xfc\\xdfe, \\u65e5\\u672c\n"


def test_the_bar_on_a_terminal_is_safe_too(capsys: pytest.CaptureFixture[str]) -> None:
    bar = OnTerminal()
    bar.step(f"loading into {NASTY}")
    bar.note(NASTY)
    said = capsys.readouterr().err
    assert said.startswith("loading into a\N{REPLACEMENT CHARACTER}[2J")
    assert HARMLESS.fullmatch(re.sub(r"\x1b\[[0-9;]*m", "", said))


def test_names_in_the_database_command_no_terminal(database: Database) -> None:
    name = '"a\x1b[2J\x07b"'
    database.execute(f"CREATE TABLE {name} (id serial); INSERT INTO {name} VALUES (4)")
    alone(database)
    for options in ({"check": True}, {"sql": True}, {"format": "json", "check": True}, {}):
        out, err = StringIO(), StringIO()
        with suppress(SystemExit):  # it is behind
            call_command("resetsequences", stdout=out, stderr=err, **options)
        assert HARMLESS.fullmatch(out.getvalue() + err.getvalue())
    explained = StringIO()
    database.execute(f'ALTER TABLE {name} ADD CONSTRAINT {name[:-1]}key" UNIQUE (id)')
    call_command("explainduplicate", "a\x1b[2J\x07bkey", stdout=explained)
    assert HARMLESS.fullmatch(explained.getvalue())


def test_a_name_is_no_picture(database: Database) -> None:
    database.execute('CREATE SEQUENCE ":skull:[red]x"')
    out = StringIO()
    call_command("resetsequences", verbosity=2, stdout=out)
    assert 'public.":skull:[red]x" ' in out.getvalue()


def test_a_hook_says_why_it_did_nothing_and_commands_no_terminal() -> None:
    assert HARMLESS.fullmatch(not_checked("default", RuntimeError(NASTY)))


def test_printed_sql_with_odd_names_does_what_it_says(database: Database) -> None:
    """Names are escaped: psql, a terminal and whoever copies it get the same statement."""
    name = '"a\x1b[2J\n\\q\\u0041\u202e\U000e0041\'$;""b"'
    owner = database.role("a\tb")
    other = literal(name[:-1] + '2"')
    database.execute(
        f"CREATE TABLE {name} (id serial, {name} int DEFAULT 7); INSERT INTO {name} VALUES (4);"
        f'CREATE SEQUENCE {name[:-1]}2" AS int OWNED BY {name}.{name};'
        f"ALTER TABLE {name} ALTER {name} SET DEFAULT nextval({other});"
        f'INSERT INTO {name} VALUES (5, 90); ALTER TABLE {name} OWNER TO "{owner}"'
    )
    alone(database)
    for options in ({}, {"rewind": True}):
        if options:
            database.execute("SELECT setval(oid, 500) FROM pg_class WHERE relkind = 'S'")
        out = StringIO()
        with suppress(SystemExit):
            call_command("resetsequences", sql=True, stdout=out, **options)
        said = out.getvalue()
        assert HARMLESS.fullmatch(said)
        for line in said.splitlines():
            assert line.startswith(("-- ", "BEGIN;"))
        for setting in ("on", "off") if database.server.version < 190000 else ("on",):
            with database.connect() as connection:
                connection.execute(f"SET standard_conforming_strings = {setting}")
                connection.execute(said.encode())
        ends = database.execute("SELECT nextval(oid) FROM pg_class WHERE relkind = 'S' ORDER BY 1")
        assert ends == [(6,), (91,)]


def literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def test_names_in_checks_logs_and_notes_command_no_terminal_and_begin_no_line(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that holds a line of its own could say that all is well, or be a log's record."""
    name = '"a\x1b[2J\nFORGED\u202eb"'
    database.execute(
        f"CREATE SCHEMA {name}; CREATE TABLE {name}.{name} (id serial PRIMARY KEY);"
        f"INSERT INTO {name}.{name} VALUES (1), (2);"
        f"CREATE TABLE {name}.full (id int2 PRIMARY KEY DEFAULT 7);"
        f"CREATE SEQUENCE {name}.s AS int2 OWNED BY {name}.full.id;"
        f"ALTER TABLE {name}.full ALTER id SET DEFAULT nextval('{name}.s');"
        f"INSERT INTO {name}.full VALUES (32767)"
    )
    said = [f"{one.msg}\n{one.hint}" for one in sequences_are_ahead(["default"])]
    said += [f"{one.msg}\n{one.hint}" for one in sequences_have_room(["default"])]
    assert len(said) == 2
    with caplog.at_level(logging.INFO, "restorehooks"), override_settings(**HEALING):
        with pytest.raises(IntegrityError) as caught, connections["default"].cursor() as cursor:
            cursor.execute(f"INSERT INTO {name}.{name} DEFAULT VALUES")
        said += caught.value.__notes__
        reset_sequences()
    assert "moved on to 3" in said[-1]
    said += caplog.messages
    assert len(said) == 6
    said.append(_explained("a\x1b[2J\nFORGED\u202eb_pkey"))
    said.append(_explained("full_pkey"))
    with pytest.raises(CommandError) as refused:
        _explained("a\x1b[2J\nFORGED\u202eb_pke")
    said.append(str(refused.value))
    with pytest.raises(CommandError, match="has no schema") as refused:
        call_command("resetsequences", schema=["nosuch"])
    said.append(str(refused.value))
    for text in said:
        assert "FORGED" in text
        assert HARMLESS.fullmatch(text)
        assert not [line for line in text.splitlines() if line.startswith("FORGED")]


def _explained(what: str) -> str:
    out = StringIO()
    call_command("explainduplicate", what, stdout=out)
    return out.getvalue()


def test_what_a_server_says_commands_no_terminal_in_a_traceback_either(
    project: Project, database: Database
) -> None:
    project.settings(DATABASES={"default": {**database.settings, "NAME": "a\x1b[2Jb\x07"}})
    done = project.manage("resetsequences", "--traceback", check=False)
    assert done.returncode == 1
    assert 'database "a\ufffd[2Jb\ufffd" does not exist' in done.stderr
    assert HARMLESS.fullmatch(done.stderr)


LOGS = r"""
import logging, manage, django
from django.core.management import call_command
django.setup()
call_command("resetsequences", verbosity=0)
logging.getLogger("psycopg.transaction").warning("error ignored: %s", "a\x1b[2Jb\nforged")
"""


def test_what_the_driver_logs_of_a_server_commands_no_terminal(
    project: Project, database: Database
) -> None:
    """Where no logging is set up, Python writes warnings to the terminal."""
    done = project.run([sys.executable, "-c", LOGS])
    assert done.stderr == "error ignored: a\ufffd[2Jb\ufffdforged\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_sentences_examples_and_exit_codes(name: str) -> None:
    parser = load_command_class("restorehooks", name).create_parser("manage.py", name)
    for action in parser._actions:
        if not {*action.option_strings} & {"--help", *DjangoHelpFormatter.show_last}:
            assert action.help, action.option_strings
            assert action.help.endswith("."), action.help
    text = parser.format_help()
    examples = text.partition("\nexamples:\n")[2].partition("\nexit codes:\n")
    assert examples[0].count(f"manage.py {name}") >= 2
    assert re.search(r"^  2 +\S", examples[2], re.MULTILINE)
    assert parser.description
    assert parser.description.endswith(".")
    # Django's own options stand by themselves; ours are in groups that say what they are about.
    djangos = parser._optionals._group_actions
    for action in djangos:
        assert {*action.option_strings} & {"--help", *DjangoHelpFormatter.show_last}


def test_restorehooks_describes_its_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "restorehooks", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in (*COMMANDS, "dbshell", "restore-script", "completion"):
        assert re.search(rf"^  {name} +[A-Z].+", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("restorehooks re", {"resetsequences", "restoredb", "restore-script"}),
        ("restorehooks restoredb --no-a", {"--no-analyze"}),
        ("restorehooks dumpdb --mo", {"--mode"}),
        ("restorehooks resetsequences shop --che", {"--check"}),
        ("restorehooks restoredb back", set()),
    ],
)
def test_a_shell_completes_commands_and_options(typed: str, offered: set[str]) -> None:
    if not (bash := shutil.which("bash")):
        pytest.skip("no bash here")
    words = " ".join(map(repr, typed.split()))
    done = subprocess.run(
        [
            bash,
            "-c",
            f'eval "$({sys.executable} -m restorehooks completion)"; COMP_WORDS=({words});'
            ' COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _restorehooks; echo "${COMPREPLY[@]}"',
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == offered


def test_a_reader_that_goes_away_gets_no_traceback(project: Project, database: Database) -> None:
    database.execute(
        "DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format("
        "'CREATE TABLE quite_a_long_name_of_a_table_%s (id serial)', n); END LOOP; END $$"
    )
    alone(database)
    done: Any = project.run(
        ["sh", "-c", f"{sys.executable} manage.py resetsequences -v2 2>said | head -1; cat said"]
    )
    assert len(done.stdout.splitlines()) == 1


def options_of_a_restore() -> Iterator[list[str]]:
    """Yield every option that says how a dump is restored, each with a value if it takes one."""
    parser = load_command_class("restorehooks", "restoredb").create_parser("manage.py", "restoredb")
    for group in parser._action_groups:
        if group.title in ("positional arguments", "options", "which database", "output"):
            continue
        for action in group._group_actions:
            name = action.option_strings[0]
            if name != "--dry-run":
                yield [name] if action.nargs in (0, "*", "?") else [name, "1"]


@pytest.mark.parametrize("option", [*options_of_a_restore()], ids=lambda option: option[0])
def test_undo_refuses_what_it_cannot_take(option: list[str]) -> None:
    for action in ("--undo", "--kept"):
        if action != option[0]:
            with pytest.raises(CommandError, match=r"^[A-Z-].*\.$") as refused:
                call_command("restoredb", *option, action)
            assert refused.value.returncode == 2


@pytest.fixture
def closed_or_full(database: Database, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that runs the program with some of its streams closed or on a full disk.

    ``streams`` are a shell's redirections.
    """
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    database.execute("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (4)")
    alone(database)
    dumped(database, tmp_path / "x.dump")

    def run(arguments: list[str], streams: str) -> tuple[int, str]:
        program = [sys.executable, "-m", "restorehooks", *arguments]
        command = ["sh", "-c", f'"$@" {streams}', "sh", *program]
        environ = {**database.environ, "PYTHONUNBUFFERED": ""}
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, (done.stderr.splitlines() or [""])[-1]

    return run


def test_output_on_a_full_disk_is_one_sentence(
    database: Database, closed_or_full: Callable[..., tuple[int, str]]
) -> None:
    for arguments in (["--help"], ["restoredb", "x.dump", "--no-input"], ["restoredb", "--kept"]):
        assert closed_or_full(arguments, ">/dev/full") == (
            1,
            "Standard output cannot be written, and misses what came of it: No space left on"
            " device.",
        )
    assert database.execute("SELECT last_value FROM t_id_seq") == [(4,)]


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "no"), OSError("no")])
def test_what_is_not_about_output_is_not_said_of_it(error: OSError) -> None:
    with pytest.raises(OSError, match="no"), standard_streams():
        raise error


def test_streams_that_nobody_reads_stop_nothing(
    database: Database, closed_or_full: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "says.sh").write_text("echo a word\n")
    which = "SELECT oid FROM pg_database WHERE datname = %s"
    before = database.server.execute(which, database.name)
    for streams in ("<&- >&- 2>&-", "2>/dev/full"):
        alone(database)
        assert closed_or_full(["restoredb", "x.dump", "--no-input"], streams)[0] == 0
        now = database.server.execute(which, database.name)
        assert now != before
        before = now
    restore = ["restoredb", "x.dump", "--no-input", "--json", "--hooks-dir", "hooks"]
    assert closed_or_full(restore, "2>&- | sed -n 1p >&2") == (0, "{")
    code, said = closed_or_full(["restoredb", "-", "--no-input"], "<&-")
    assert (code, said.split(":")[1]) == (1, " standard input was empty")
    code, said = closed_or_full(["dumpdb", "-"], ">&-")
    assert (code, said) == (2, "CommandError: Standard output is closed: name a file.")
