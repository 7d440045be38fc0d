"""Secrets of a connection: in the environment of the programs that need them, nowhere else."""

from __future__ import annotations

import pickle
import re
import socket
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress
from dataclasses import asdict
from io import StringIO
from itertools import count
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg import pq

import restorehooks
from restorehooks.management.place import disagreement
from restorehooks.restore.alias import pointed_at
from restorehooks.restore.backup import back_up
from restorehooks.restore.errors import AddressError, ProgramError, ScriptError
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.lock import RestoreLock
from restorehooks.restore.server.pooler import DIRECT_URL
from tests.support.databases import Database, MakeDatabase, pointed
from tests.support.dumps import dumped, program
from tests.support.projects import Project

SECRET = b64encode(b"for nobody else's eyes, this one").decode()  # the form of a SCRAM key
OWN = re.compile(" has | knows ")
# What libpq hides and has no variable for, in any of its versions; whatever comes next is asked.
BARE = {"sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}


def _hidden() -> dict[str, bytes | None]:
    hidden = [option for option in pq.Conninfo.get_defaults() if option.dispchar in (b"*", b"D")]
    return {option.keyword.decode(): option.envvar for option in hidden}


def _with(database: Database, **options: str) -> dict[str, Any]:
    password = options.pop("password", "")
    return database.server.settings(database.name, PASSWORD=password, OPTIONS=options)


@pytest.fixture
def watched(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that write down every command line of the machine and their own environment."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux shows command lines in /proc")
    folder, seen = tmp_path / "bin", tmp_path / "seen"
    folder.mkdir()
    seen.touch()
    for name in ("pg_dump", "pg_restore"):
        (folder / name).write_text(
            '#!/bin/sh\n[ "$1" = --version ] || {\n'
            f"    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' >> {seen}\n"
            f'    echo "{name} has $PGPASSWORD" >> {seen}\n'
            f'    echo "{name} for $* knows $PGPASSWORD" >> {seen}\n'
            f'    echo "{name} has $PGOPTIONS" >> {seen}\n'
            f'}}\nexec {program(database, name)} "$@"\n'
        )
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PG_BINDIR", str(folder))
    return seen


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_password_is_in_the_environment_of_the_programs_alone(
    live: Database, backup: Path, tmp_path: Path, watched: Path, jobs: int
) -> None:
    with pointed("default", _with(live, password=SECRET)):
        back_up(tmp_path / "x", form="directory", jobs=jobs)
        restore(Request(str(backup), jobs=jobs), confirm=lambda _: True)
    lines = watched.read_text().splitlines()
    assert f"pg_dump has {SECRET}" in lines
    assert f"pg_restore has {SECRET}" in lines
    assert any("--dbname" in line for line in lines)
    shown = [line for line in lines if SECRET in line and not OWN.search(line)]
    assert not shown


def test_a_program_that_connects_nowhere_is_given_no_password(
    live: Database, backup: Path, watched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    restore(Request(str(backup), jobs=1), confirm=lambda _: True)
    for line in watched.read_text().splitlines():
        arguments, knows, password = line.partition(" knows ")
        if knows:
            assert bool(password) == ("--dbname" in arguments), line


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_session_is_to_set_is_in_no_argument(
    live: Database, backup: Path, tmp_path: Path, watched: Path, jobs: int
) -> None:
    """Policies and triggers are told keys so, which libpq cannot know of."""
    options = f"-c app.key={SECRET}"
    with pointed("default", _with(live, options=options)):
        back_up(tmp_path / "x", form="directory", jobs=jobs)
        restore(Request(str(backup), jobs=jobs), confirm=lambda _: True)
    lines = watched.read_text().splitlines()
    assert f"pg_dump has {options}" in lines
    assert any(f"pg_restore has {options} -c synchronous_commit=off" in line for line in lines)
    assert not [line for line in lines if SECRET in line and not OWN.search(line)]


def test_of_several_hosts_a_dump_is_of_the_one_that_was_looked_at(
    live: Database, tmp_path: Path, watched: Path
) -> None:
    twice = {key: f"{live.settings[key]},{live.settings[key]}" for key in ("HOST", "PORT")}
    newer = {"load_balance_hosts": "random"} if pq.version() >= 160000 else {}
    with pointed("default", {**live.settings, **twice, "OPTIONS": newer}):
        back_up(tmp_path / "x", form="directory", jobs=4)
    seen = watched.read_text().splitlines()
    (dumping,) = (line for line in seen if line.startswith("pg_dump for ") and "--dbname" in line)
    assert f"host={live.settings['HOST']} port={live.settings['PORT']} " in dumping
    assert "load_balance" not in dumping


@pytest.mark.parametrize("keyword", sorted(BARE | {"password"}))
def test_every_secret_of_libpq_travels_hidden_or_is_refused(
    live: Database, backup: Path, tmp_path: Path, watched: Path, keyword: str
) -> None:
    if keyword not in _hidden():
        pytest.skip(f"this libpq does not know {keyword}")
    with pointed("default", _with(live, **{keyword: SECRET})):
        address = Address.of("default")
        assert address.secrets == {keyword: SECRET}
        assert SECRET not in address.conninfo("x") + str(address)
        if keyword == "password":
            assert address.environment() == {"PGPASSWORD": SECRET}
            return
        with pytest.raises(AddressError, match=keyword):
            restore(Request(str(backup), dry_run=True))
        with pytest.raises(AddressError, match=keyword):
            back_up(tmp_path / "x.dump")
    assert SECRET not in watched.read_text()
    assert live.execute("SELECT count(*) FROM precious") == [(300,)]


def test_no_keyword_that_libpq_hides_is_taken_for_public(database: Database) -> None:
    known = {*BARE, "password", "replication", "sslkeylogfile"}
    assert _hidden().keys() <= known, "libpq hides more now: say whether it is a secret"


def test_a_plain_dump_needs_no_program_and_takes_every_secret(
    live: Database, tmp_path: Path, watched: Path
) -> None:
    plain = dumped(live, tmp_path / "x.sql", form="plain")
    options = dict.fromkeys(BARE & _hidden().keys(), SECRET)
    with pointed("default", _with(live, **options)):
        report = restore(Request(str(plain)), confirm=lambda _: True)
    assert report.restored
    assert SECRET not in watched.read_text()


def test_a_shell_hook_is_refused_what_it_cannot_be_given(
    live: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = dumped(live, tmp_path / "x.sql", form="plain")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "a.sh").write_text(":\n")
    with pointed("default", _with(live, sslpassword=SECRET)):
        request = Request(str(plain), hooks_dir=tmp_path / "hooks")
        with pytest.raises(AddressError, match="sslpassword"):
            restore(request, confirm=lambda _: True)


def test_nothing_that_is_printed_holds_a_password(
    project: Project, live: Database, backup: Path
) -> None:
    project.settings(DATABASES={"default": _with(live, password=SECRET)})
    done = project.manage("restoredb", str(backup), "--no-input", "--verbosity=3")
    assert SECRET not in done.stdout + done.stderr


def test_no_receiver_that_logs_what_it_gets_shows_a_password(live: Database, backup: Path) -> None:
    report = RestoreReport("default")
    with pointed("default", _with(live, password=SECRET, options=f"-c app.key={SECRET}")):
        restore(Request(str(backup), dry_run=True), confirm=lambda _: True, report=report)
    assert report.plan
    assert report.plan.address.secrets["password"] == SECRET
    assert live.name in repr(report)
    stored = pickle.dumps(report).decode("latin-1")
    assert SECRET not in f"{report!r} {report} {asdict(report)} {stored}"


def test_the_password_of_a_backend_that_makes_one_is_asked_for_when_it_is_needed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a cloud ends after a quarter of an hour, in the midst of a restore."""
    tokens = count(1)
    ask = DatabaseWrapper.get_connection_params

    def with_token(wrapper: DatabaseWrapper) -> dict[str, Any]:
        return {**ask(wrapper), "password": f"token {next(tokens)}"}

    monkeypatch.setattr(DatabaseWrapper, "get_connection_params", with_token)
    with pointed("default", _with(database)):
        address = Address.of("default")
        monkeypatch.setenv(DIRECT_URL, f"postgresql://joe:own@nowhere.invalid/{database.name}")
        assert Address.of("default").environment()["PGPASSWORD"] == "own"
    first, second = (int(address.environment()["PGPASSWORD"].split()[1]) for _ in range(2))
    assert 1 < first < second
    assert {**address.secrets, "options": ""}  # asked for once, whatever else is
    assert address.secrets["password"] == f"token {second + 2}"


@pytest.mark.parametrize("calls", [0, 1])
def test_a_backend_that_makes_no_password_any_more_is_a_sentence(
    database: Database, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """And no variable of ours shows those that it has made."""
    left = [SECRET] * calls
    ask = DatabaseWrapper.get_connection_params

    def with_token(wrapper: DatabaseWrapper) -> dict[str, Any]:
        return {**ask(wrapper), "password": left.pop()}

    monkeypatch.setattr(DatabaseWrapper, "get_connection_params", with_token)
    said = 'The backend of the alias "default" failed: IndexError: pop from empty list'
    with pointed("default", _with(database)), pytest.raises(AddressError, match=said) as caught:
        Address.of("default").connect(database.name)
    context = caught.value.__context__
    assert context
    assert SECRET not in "".join([*own_variables(caught.value), *own_variables(context)])


def test_where_it_fails_when_the_alias_is_to_lead_to_the_copy_no_variable_shows_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(wrapper: DatabaseWrapper) -> dict[str, Any]:
        raise IndexError

    with (
        pointed("default", _with(database, password=SECRET)),
        RestoreLock(Address.of("default")) as lock,
    ):
        monkeypatch.setattr(DatabaseWrapper, "get_connection_params", fail)
        with (
            pytest.raises(AddressError, match="failed: IndexError") as caught,
            pointed_at("default", database.name, lock),
        ):
            pass
    assert SECRET not in "".join(own_variables(caught.value))


def test_the_password_of_a_backend_that_makes_one_is_for_where_it_leads(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud signs the host, the port and the user."""
    ask = DatabaseWrapper.get_connection_params

    def with_token(wrapper: DatabaseWrapper) -> dict[str, Any]:
        found = ask(wrapper)
        return {**found, "password": f"{found['user']} {found['host']} {found['port']}"}

    monkeypatch.setattr(DatabaseWrapper, "get_connection_params", with_token)
    with pointed("default", _with(database)):
        place = "joe nowhere.invalid 5433"
        monkeypatch.setenv(DIRECT_URL, f"postgresql://joe@nowhere.invalid:5433/{database.name}")
        assert Address.of("default").environment()["PGPASSWORD"] == place


def test_a_password_of_digits_is_a_text(database: Database) -> None:
    with pointed("default", {**database.settings, "PASSWORD": 1234}):
        assert Address.of("default").environment()["PGPASSWORD"] == "1234"


def own_variables(error: BaseException) -> list[str]:
    """Return the variables of our own frames, as a report of an error shows them."""
    ours = str(Path(restorehooks.__file__).parent)
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return [shown(frame) for frame in frames if frame.f_code.co_filename.startswith(ours)]


NO_LONGER_ALLOWED = """
CREATE FUNCTION allowed(int) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE TABLE odd (a int CHECK (allowed(a)));
INSERT INTO odd VALUES (1);
CREATE OR REPLACE FUNCTION allowed(int) RETURNS bool LANGUAGE sql AS 'SELECT false';
"""


def shown(frame: FrameType) -> str:
    """Return a frame's variables as a report of an error shows them."""
    said = ""
    for value in frame.f_locals.values():
        with suppress(AttributeError):  # of a class that was just being made
            said += repr(value)
    return said


@pytest.mark.parametrize("wrong", [{"PORT": "1"}, {}])
def test_no_variable_that_a_report_of_an_error_shows_holds_a_password(
    live: Database, tmp_path: Path, wrong: dict[str, str]
) -> None:
    """Of ours: Sentry and Django show those of each frame."""
    live.execute(NO_LONGER_ALLOWED)
    dump = dumped(live, tmp_path / "x.dump")  # pg_restore fails at its row
    live.disconnect()
    with (
        pointed("default", {**_with(live, password=SECRET), **wrong}),
        pytest.raises(CommandError) as told,
    ):
        call_command("restoredb", str(dump), "--no-input", stderr=StringIO())
    error = told.value.__context__
    assert isinstance(error, psycopg.OperationalError if wrong else ProgramError)
    own = own_variables(error)
    assert len(own) > 3
    assert not [said for said in own if SECRET in said]


def refuse(connection: Any, **_: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("where", ["hooks", "source", "direct", "program"])
def test_nor_does_one_where_something_else_goes_wrong(
    live: Database,
    backup: Path,
    make_database: MakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    settings = _with(live, password=SECRET, options=f"-c app.key={SECRET}")
    source = str(backup)
    if where == "hooks":  # the alias cannot be connected to when it is to lead to the copy
        connection_created.connect(refuse)
    elif where == "source":
        other = make_database()
        other.execute("CREATE TABLE closed ()")
        url, key = other.server.url(other.name, other.role("shut_out")), quote(f"app.key={SECRET}")
        monkeypatch.setenv("SOURCE_URL", f"{url}&options=-c%20{key}")
        source = "env:SOURCE_URL"
    elif where == "direct":
        monkeypatch.setenv(DIRECT_URL, f"{live.server.url('other')}&sslpassword={SECRET}")
    else:
        settings["OPTIONS"]["sslpassword"] = SECRET
    try:
        with pointed("default", settings), pytest.raises(CommandError) as told:
            call_command("restoredb", source, "--no-input", stderr=StringIO())
    finally:
        connection_created.disconnect(refuse)
    error = told.value.__context__
    assert error
    own = own_variables(error)
    assert own
    assert not [said for said in own if SECRET in said]


def every_variable(error: BaseException | None) -> list[str]:
    """Return those of all frames, the standard library's too, of an error and what led to it."""
    said: list[str] = []
    while error:
        said += [shown(frame) for frame, _ in walk_tb(error.__traceback__)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said


def test_nor_does_one_of_a_program_that_cannot_be_started(
    live: Database, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    hook = hooks / "scrub.sh"
    hook.write_text("#!/no/such/program\n")
    hook.chmod(0o700)
    fork = subprocess.Popen

    def full(argv: list[str], **how: Any) -> Any:
        if "PGPASSWORD" in how.get("env", {}) and "pg_restore" in argv[0]:
            argv = ["/no/such/pg_restore"]
        return fork(argv, **how)

    for hooked, message in ((True, "scrub.sh cannot be started"), (False, "cannot be started")):
        if not hooked:
            monkeypatch.setattr(subprocess, "Popen", full)
        options = [f"--hooks-dir={hooks}"] * hooked
        with (
            pointed("default", _with(live, password=SECRET)),
            pytest.raises(CommandError, match=message) as told,
        ):
            call_command("restoredb", str(backup), "--no-input", *options, stderr=StringIO())
        shows = every_variable(told.value.__context__)
        assert len(shows) > 3
        assert not [said for said in shows if SECRET in said]


def test_nor_does_one_where_a_password_cannot_be_sent(live: Database) -> None:
    """Or where Ctrl-C comes while a backend makes one."""
    wrong = f"{SECRET}\udcff"
    with pointed("default", _with(live, password=wrong)), pytest.raises(UnicodeEncodeError) as told:
        Address.of("default")
    shows = own_variables(told.value)
    assert shows
    assert not [said for said in shows if SECRET in said]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE ROLE stranger LOGIN PASSWORD '{}'",
        "ALTER  ROLE stranger\n/* as before */ ENCRYPTED PASSWORD '{}'",
        "ALTER SYSTEM SET primary_conninfo = 'password={}'",
        "ALTER SERVER nowhere OPTIONS (ADD password '{}')",
        "CREATE FOREIGN TABLE gone (id int) SERVER nowhere OPTIONS (password '{}')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere OPTIONS (password '{}')",
        "ALTER SUBSCRIPTION s CONNECTION 'password={}'; SELECT no_such_thing",
    ],
)
def test_a_password_in_a_dump_is_in_no_message(
    live: Database, tmp_path: Path, statement: str
) -> None:
    dump, report = tmp_path / "dump.sql", RestoreReport("default")
    dump.write_text(
        f"--\n-- PostgreSQL database dump\n--\nSET client_encoding = 'UTF8';\n"
        f"{statement.format(SECRET)};\n--\n-- PostgreSQL database dump complete\n--\n"
    )
    with pytest.raises(ScriptError) as caught:
        restore(Request(str(dump)), confirm=lambda _: True, report=report)
    assert SECRET not in f"{caught.value} {report.left_out}"


@pytest.mark.parametrize(
    "password",
    ["hun@{}@", "hun/{}@", "hun?{}@", "hun#{}@", "hun@x:7@{}@", "@/{}@", "hun{}/db?host="],
)
def test_the_end_of_a_password_is_shown_as_no_host(
    database: Database, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """Where it is not percent-encoded, libpq takes it for one, for a port, or for a database."""
    url = f"postgresql://joe:{password.format('7h3End')}nowhere.invalid/{database.name}"
    monkeypatch.setenv("SOURCE_URL", url)
    monkeypatch.setenv(DIRECT_URL, url)
    said = []
    with pointed("default", _with(database)):
        for arguments in (["restoredb", "env:SOURCE_URL", "--no-input"], ["restoredb", "--kept"]):
            with pytest.raises(CommandError) as told:
                call_command(*arguments)
            said.append(str(told.value))
        monkeypatch.delenv(DIRECT_URL)
        monkeypatch.setenv("DATABASE_URL", url)
        said.append(disagreement() or "")
    assert "DATABASE_URL" in said[-1]
    assert "7h3End" not in " ".join(said)


IN_THE_WRONG_PLACE = [
    ["restoredb", "x.dump", "--database-url={}"],
    ["restoredb", "x.dump", "{}"],
    ["restoredb", "x.dump", "--direct-url={}", "--json"],
    ["restoredb", "--undo", "{}", "--json"],
    ["resetsequences", "--database-url={}"],
]


def test_no_address_that_is_given_in_the_wrong_place_is_repeated(
    project: Project, database: Database
) -> None:
    url = f"postgresql://joe:{SECRET}@nowhere.invalid/shop"
    for arguments in IN_THE_WRONG_PLACE:
        done = project.manage(*(each.format(url) for each in arguments), check=False)
        assert done.returncode in (1, 2)
        assert "nowhere.invalid" in done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr


def test_what_libpq_finds_and_is_no_text_is_named_and_not_shown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "s\udce9cret")  # in Latin-1
    with (
        pointed("default", _with(database)),
        pytest.raises(AddressError, match=r"What libpq finds .* is no UTF-8") as told,
    ):
        Address.of("default")
    assert "cret" not in str(told.value)


ASKS_FOR_THE_PASSWORD = r"""
import socket
import subprocess
connection, _ = socket.socket(fileno=0).accept()
connection.recv(1024)
connection.sendall(b"R\0\0\0\x08\0\0\0\x03")
print(connection.recv(1024))
"""


def test_whoever_is_asked_whether_it_is_there_gets_the_aliass_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGPASSWORD is another server's, where the alias has a password of its own."""
    monkeypatch.setenv("PGPASSWORD", "anotherOnes")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    asked = {"host": str(tmp_path), "port": "1", "user": "u", "dbname": "d", "password": "own"}
    address = Address.of_parameters("default", asked, {})
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(".s.PGSQL.1")
        server.listen()
        argv = [sys.executable, "-c", ASKS_FOR_THE_PASSWORD]
        with subprocess.Popen(
            argv, stdin=server.fileno(), stdout=subprocess.PIPE, text=True
        ) as process:
            address.answers()
            heard, _ = process.communicate(timeout=10)
    assert heard == repr(b"p\0\0\0\x08own\0") + "\n"
