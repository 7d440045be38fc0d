"""``restorehooks`` and ``python -m restorehooks``: the commands, with no Django project."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

import pytest

from tests.support import preloaded
from tests.support.databases import Database
from tests.support.sequences import CASES, expected, next_of
from tests.support.servers import RunningServer, environment

SECRET = "s3cr3t"
FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def restorehooks(
    folder: Path, *arguments: str, env: dict[str, str], program: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in ``folder``; whatever happens it tells no password and no traceback."""
    command = [*(program or [sys.executable, "-m", "restorehooks"]), *arguments]
    done = preloaded.run(command, folder, env, "")
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def console_script() -> list[str]:
    """Return the installed console script, or what it would run."""
    script = shutil.which("restorehooks", path=str(Path(sys.executable).parent))
    code = "import sys; from restorehooks.__main__ import main; sys.exit(main())"
    return [script] if script else [sys.executable, "-c", code]


def test_all_23_cases(tmp_path: Path, database: Database) -> None:
    database.execute(CASES.read_text())
    done = restorehooks(
        tmp_path,
        "resetsequences",
        "--format=json",
        env=database.environ,
        program=console_script(),
    )
    assert done.returncode == 1  # two are exhausted
    assert done.stderr == ""
    (found,) = json.loads(done.stdout)["databases"]
    by_table: dict[str, dict[str, Any]] = {}
    for each in found["sequences"]:
        for column in each["columns"]:
            table = column.rsplit(".", 1)[0].removeprefix("public.")
            by_table[table] = each
    assert len(expected()) == len(found["sequences"]) == 23
    for table, answer in expected().items():
        each = by_table[table]
        if answer == "exhausted":
            assert each["status"] == "exhausted", table
            continue
        ((drawn,),) = database.execute("SELECT nextval(%s)", each["sequence"])
        assert answer in ("any", str(drawn)), table

    check = restorehooks(tmp_path, "resetsequences", "--check", env=database.environ)
    assert check.stdout.splitlines()[-1] == (
        'Database "default": 23 sequences: 21 ok, 2 exhausted.'
    )


def test_env_file(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id serial); INSERT INTO t VALUES (4)")
    (tmp_path / ".env").write_text(f"# where\nexport DATABASE_URL='{database.url}'  # it is\n")
    bare = environment(database.server, DJANGO_SETTINGS_MODULE="of.some.other.project")
    done = restorehooks(tmp_path, "resetsequences", env=bare)
    assert (done.returncode, done.stderr) == (0, "")
    assert next_of(database, "t_id_seq") == 5
    (tmp_path / ".env").write_bytes(b"DATABASE_URL=postgresql://j\xf6rg@localhost/shop\n")
    done = restorehooks(tmp_path, "resetsequences", env=bare)
    assert (done.returncode, done.stderr) == (2, "The file .env is not UTF-8 text.\n")
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://localhost/not-this-one\n")
    elsewhere = {**bare, "DATABASE_URL": database.server.url("no such database")}
    done = restorehooks(tmp_path, "resetsequences", env=elsewhere)
    assert done.returncode == 1
    assert 'database "no such database" does not exist' in done.stderr


def test_of_an_env_file_only_what_is_ours_is_taken(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id serial); INSERT INTO t VALUES (4)")
    ran = tmp_path / "ran"
    (tmp_path / "bin").mkdir()
    for name in ("pg_dump", "psql"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".env").write_text(
        f"DATABASE_URL={database.url}\nPG_BINDIR={tmp_path}/bin\nPATH={tmp_path}/bin\n"
        "PGOPTIONS=-c application_name=theirs\nPYTHONSTARTUP=/dev/null\n"
    )
    bare = environment(database.server)
    if programs := bare.pop("PG_BINDIR", None):
        bare["PATH"] = os.pathsep.join([programs, bare["PATH"]])
    done = restorehooks(tmp_path, "dumpdb", "x.dump", env=bare)
    assert (done.returncode, ran.exists()) == (0, False), done.stderr
    # Nor is a program taken from here because PATH says so.
    bare["PATH"] = os.pathsep.join(["", ".", "bin", bare["PATH"]])
    done = restorehooks(tmp_path, "dumpdb", "y.dump", env=bare)
    assert (done.returncode, ran.exists()) == (0, False), done.stderr
    restorehooks(tmp_path, "dbshell", env=bare)
    assert not ran.exists()
    done = restorehooks(tmp_path, "dumpdb", "z.dump", env={**bare, "PG_BINDIR": "bin"})
    said = "PG_BINDIR is bin: programs are run from an absolute path only."
    assert (done.returncode, said in done.stderr, ran.exists()) == (1, True, False)


def test_no_psql_is_run_that_somebody_else_may_change(tmp_path: Path, database: Database) -> None:
    """Be it a link out of a folder of PATH, or in the current folder, where PATH has no other."""
    (theirs := tmp_path / "theirs").mkdir()
    (ours := tmp_path / "ours").mkdir()
    ran = tmp_path / "ran"
    (theirs / "psql").write_text(f"#!/bin/sh\n: > {ran}\n")
    (theirs / "psql").chmod(0o755)
    (ours / "psql").symlink_to(theirs / "psql")
    restorehooks(tmp_path, "dbshell", env={**database.environ, "PATH": str(ours)})
    assert ran.exists()
    ran.unlink()
    theirs.chmod(0o777)
    for folder, path in ((tmp_path, ours), (theirs, tmp_path / "missing")):
        restorehooks(folder, "dbshell", env={**database.environ, "PATH": str(path)})
        assert not ran.exists()


def test_an_env_file_leads_no_password_elsewhere(tmp_path: Path, database: Database) -> None:
    """The server's own address is that of the file's database, and of no other."""
    bare = environment(database.server)
    with socket.create_server(("127.0.0.1", 0)) as thief:
        elsewhere = f"postgresql://127.0.0.1:{thief.getsockname()[1]}/{database.name}"
        (tmp_path / ".env").write_text(f"RESTOREHOOKS_DIRECT_URL={elsewhere}\n")
        mine = {**bare, "DATABASE_URL": database.url}
        done = restorehooks(tmp_path, "dumpdb", "x.dump", env=mine)
        thief.setblocking(False)
        with pytest.raises(BlockingIOError):
            thief.accept()
    assert done.returncode == 0
    assert "RESTOREHOOKS_DIRECT_URL of the file .env is not taken" in done.stderr
    (tmp_path / ".env").write_text(
        f"DATABASE_URL=postgresql://localhost:1/{database.name}\n"
        f"RESTOREHOOKS_DIRECT_URL={database.url}\n"
    )
    assert restorehooks(tmp_path, "dumpdb", "y.dump", env=bare).returncode == 0


def test_an_env_file_that_others_may_change_is_not_read(tmp_path: Path, database: Database) -> None:
    file = tmp_path / ".env"
    file.write_text(f"DATABASE_URL={database.url}\n")
    bare = environment(database.server)
    file.chmod(0o666)
    done = restorehooks(tmp_path, "resetsequences", env=bare)
    said = "The file .env is not read, since every user may write to it."
    assert (done.returncode, done.stderr) == (2, f"{said} {MISSING}")
    done = restorehooks(tmp_path, "resetsequences", env={**bare, "DATABASE_URL": database.url})
    assert (done.returncode, done.stderr) == (0, f"{said}\n")
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    shared = pwd.getpwnam("nobody").pw_gid
    file.chmod(0o660)
    os.chown(file, 0, shared)
    done = restorehooks(tmp_path, "resetsequences", env=bare)
    who = f'the group "{grp.getgrgid(shared).gr_name}"'
    said = f"The file .env is not read, since {who} may write to it."
    assert (done.returncode, done.stderr) == (2, f"{said} {MISSING}")
    file.chmod(0o644)
    os.chown(file, 12345, 12345)
    done = restorehooks(tmp_path, "resetsequences", env=bare)
    said = "The file .env is not read, since it belongs to another user."
    assert (done.returncode, done.stderr) == (2, f"{said} {MISSING}")


@pytest.mark.parametrize(
    "lines",
    [
        f"DATABASE_URL: postgresql://joe:{SECRET}@localhost/shop",
        f"DATABASE_URL = postgresql://joe:{SECRET}@localhost/shop",
        f"KEY='-----BEGIN KEY-----\n{SECRET}\n-----END KEY-----'",
        f"\x1b[2J{SECRET}",
    ],
)
def test_no_line_of_an_env_file_is_repeated(
    tmp_path: Path, server: RunningServer, lines: str
) -> None:
    (tmp_path / ".env").write_text(f"{lines}\n")
    done = restorehooks(tmp_path, "resetsequences", env=environment(server))
    said = "The file .env has lines that are not of the form NAME=VALUE."
    assert (done.returncode, done.stderr) == (2, f"{said} {MISSING}")


def test_an_env_file_of_another_editor(tmp_path: Path, database: Database) -> None:
    bare = environment(database.server)
    file = tmp_path / ".env"
    for line in (f"\ufeffDATABASE_URL={database.url}", f"DATABASE_URL='{database.url}' \t "):
        file.write_text(f"{line}\n  # not a comment\n")
        done = restorehooks(tmp_path, "resetsequences", env=bare)
        assert (done.returncode, done.stderr) == (0, "")
    for text in ("DATABASE_URL=postgresql://a\0@b/c\n", f"RESTOREHOOKS_X=a\0{SECRET}\n"):
        file.write_text(text)
        done = restorehooks(tmp_path, "resetsequences", env=bare)
        assert (done.returncode, done.stderr) == (2, "The file .env is not UTF-8 text.\n")


def test_a_strangers_link_chooses_no_env_file(tmp_path: Path, database: Database) -> None:
    """A folder that somebody sends could lead to the .env of a project of ours."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a link away")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    ours.write_text(f"DATABASE_URL={database.url}\n")
    (theirs / ".env").symlink_to(ours)
    bare = environment(database.server)
    assert restorehooks(theirs, "resetsequences", env=bare).returncode == 0
    os.chown(theirs / ".env", 12345, 12345, follow_symlinks=False)
    done = restorehooks(theirs, "resetsequences", env=bare)
    assert (done.returncode, done.stderr) == (2, f"{LED} {MISSING}")


LED = "The file .env is not read, since others may put another one in its place."


def test_an_empty_variable_hides_no_env_file(tmp_path: Path, database: Database) -> None:
    """As Docker Compose sets one that has no value."""
    (tmp_path / ".env").write_text(f"DATABASE_URL={database.url}\n")
    bare = {**environment(database.server), "DATABASE_URL": ""}
    assert restorehooks(tmp_path, "resetsequences", env=bare).returncode == 0


@pytest.mark.parametrize("way", ["link", "folder", "writable"])
def test_no_strangers_link_behind_one_of_ours_chooses_an_env_file(
    tmp_path: Path, database: Database, way: str
) -> None:
    """As a release's .env leads to a folder that all releases share."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a link away")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/.env").write_text(f"DATABASE_URL={database.url}\n")
    (release := tmp_path / "release").mkdir()
    (release / ".env").symlink_to("../shared/.env")
    shared, bare = tmp_path / "shared", environment(database.server)
    if way == "folder":
        shared.symlink_to("ours")
    else:
        shared.mkdir()
        (shared / ".env").symlink_to("../ours/.env")
    assert restorehooks(release, "resetsequences", env=bare).returncode == 0
    if way == "writable":
        shared.chmod(0o777)
    else:
        os.lchown(shared if way == "folder" else shared / ".env", 12345, 12345)
    done = restorehooks(release, "resetsequences", env=bare)
    assert (done.returncode, done.stderr) == (2, f"{LED} {MISSING}")


@pytest.mark.parametrize("is_link", [True, False])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755])
def test_an_env_file_is_read_where_nobody_else_can_put_one(
    tmp_path: Path, database: Database, mode: int, *, is_link: bool
) -> None:
    """Be it a link, or another file of ours, such as the one of production, by a new name."""
    (tmp_path / "ours").write_text(f"DATABASE_URL={database.url}\n")
    (folder := tmp_path / "folder").mkdir()
    if is_link:
        (folder / ".env").symlink_to("../ours")
    else:
        (tmp_path / "ours").rename(folder / ".env")
    folder.chmod(mode)
    done = restorehooks(folder, "resetsequences", env=environment(database.server))
    if mode == 0o777:
        assert (done.returncode, done.stderr) == (2, f"{LED} {MISSING}")
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_an_env_file_of_any_length_takes_no_time_and_no_memory(
    tmp_path: Path, database: Database
) -> None:
    """It may have come with a dump, in a tar file."""
    file, bare = tmp_path / ".env", environment(database.server)
    blanks = " " * 500_000
    file.write_text(f"DATABASE_URL={database.url}{blanks}#\nRESTOREHOOKS_X=1{blanks}x\n")
    assert restorehooks(tmp_path, "resetsequences", env=bare).returncode == 0
    with file.open("ab") as more:
        more.truncate(2 << 20)
    done = restorehooks(tmp_path, "resetsequences", env=bare)
    said = "The file .env is not read, since it has more than 1 MB."
    assert (done.returncode, done.stderr) == (2, f"{said} {MISSING}")


EACH_IN_A_FORK = """
import json, os, sys
import environ
from django.core.management.commands import dbshell
from restorehooks.__main__ import main

for url in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork() == 0:
        os.dup2(1, 2)
        os.environ["DATABASE_URL"] = url
        code = main(["resetsequences"])
        print(f"exit code {code}", flush=True)
        os._exit(0)
    os.wait()
    print("----")
"""


MISSING = (
    f"DATABASE_URL is not set: set it to {FORM}, in the environment or in a file .env in the"
    " current folder.\n"
)


def test_what_is_not_a_database(tmp_path: Path, server: RunningServer) -> None:
    not_a_url = (
        f"DATABASE_URL is not of the form {FORM} (with any / ? # @ : % in its parts"
        " percent-encoded)."
    )
    sentences = {"": MISSING.strip()}
    for garbage in (
        "garbage",
        f"//joe:{SECRET}@localhost/shop",
        f"joe:{SECRET}@localhost/shop",
        f"postgresql:/joe:{SECRET}@localhost/shop",
        f"postgresql://joe:{SECRET}@localhost",
        f"postgresql://joe:{SECRET}@localhost/",
        f"postgresql://joe:{SECRET}/x@localhost:5432/shop",
        f"postgresql://joe:{SECRET}@localhost:{SECRET}/shop",
        f"postgresql://joe:12/{SECRET}@localhost/shop",
        f"postgresql://joe:#{SECRET}@localhost/shop",
        f"postgresql://joe:12?{SECRET}@localhost/shop",
        f"host=localhost password={SECRET}",
        f"https://joe:{SECRET}@localhost/shop",
    ):
        sentences[garbage] = not_a_url
    for url in (
        f"mysql://joe:{SECRET}@localhost/shop",
        "sqlite:///shop.sqlite3",
        f"oracle://joe:{SECRET}@localhost/shop",
        f"mssql://joe:{SECRET}@localhost/shop",
    ):
        scheme = url.partition(":")[0]
        sentences[url] = (
            f"DATABASE_URL names a database of {scheme}; restorehooks works on PostgreSQL only."
        )
    program = [sys.executable, "-c", EACH_IN_A_FORK, json.dumps([*sentences])]
    done = restorehooks(tmp_path, env=environment(server), program=program)
    answers = done.stdout.split("----\n")[:-1]
    for (url, sentence), answer in zip(sentences.items(), answers, strict=True):
        assert answer == f"{sentence}\nexit code 2\n", url
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_command(tmp_path: Path, server: RunningServer) -> None:
    for arguments, stderr in (
        (["resetsequences"], MISSING),
        (["resetsequence"], 'There is no command "resetsequence"; there are: '),
        (["loaddata"], 'There is no command "loaddata"; there are: '),
        (["postgresql://u:secret@h/d"], "There is no such command; there are: "),
    ):
        done = restorehooks(tmp_path, *arguments, env=environment(server))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith(stderr)


def test_help_needs_no_database(tmp_path: Path, server: RunningServer) -> None:
    env = environment(server)
    usage = restorehooks(tmp_path, env=env)
    assert (usage.returncode, usage.stderr) == (0, "")
    assert "resetsequences" in usage.stdout
    assert "DATABASE_URL" in usage.stdout
    assert restorehooks(tmp_path, "--help", env=env).stdout == usage.stdout
    of_command = restorehooks(tmp_path, "resetsequences", "--help", env=env)
    assert (of_command.returncode, of_command.stderr) == (0, "")
    assert of_command.stdout.startswith("usage: restorehooks resetsequences")
    assert "--headroom" in of_command.stdout
    version = restorehooks(tmp_path, "--version", env=env)
    assert version.stdout.startswith("restorehooks 0.")


def test_wrong_usage(tmp_path: Path, database: Database) -> None:
    done = restorehooks(tmp_path, "resetsequences", "shop", env=database.environ)
    assert done.returncode == 2
    assert done.stderr == ('CommandError: There is no app "shop"; installed are: restorehooks.\n')
    done = restorehooks(tmp_path, "resetsequences", "--verbos", env=database.environ)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.fixture
def tcp_server(make_server: Callable[..., RunningServer]) -> tuple[RunningServer, int]:
    """A server that asks for passwords, over TCP, and has no SSL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return make_server({"listen_addresses": "127.0.0.1", "port": str(port)}), port


@dataclass
class Guarded:
    """A database with odd names that is reached over TCP with a password."""

    database: Database
    port: int
    role: str
    password: str

    @property
    def path(self) -> str:
        return quote(self.database.name, safe="")

    @property
    def login(self) -> str:
        return f"{quote(self.role, safe='')}:{quote(self.password, safe='')}"


@pytest.fixture
def guarded(
    tcp_server: tuple[RunningServer, int], make_database: Callable[..., Database]
) -> Guarded:
    server, port = tcp_server
    database = make_database("größe's 100% ?/#", on=server)
    password = f"{SECRET}/@:?#% +ü&="
    role = database.role("owner-%@:/", "LOGIN SUPERUSER", password)
    return Guarded(database, port, role, password)


def test_forms_of_the_url(tmp_path: Path, guarded: Guarded) -> None:
    database, port, login, path = guarded.database, guarded.port, guarded.login, guarded.path
    database.execute("CREATE TABLE t (id serial); INSERT INTO t VALUES (4)")
    folder = quote(str(database.server.params["host"]), safe="")
    for url in (
        f"postgresql://{login}@127.0.0.1:{port}/{path}",
        f"postgres://{login}@127.0.0.1:{port}/{path}?sslmode=disable",
        f"pgsql://{login}@127.0.0.1:{port}/{path}?sslmode=prefer&connect_timeout=5",
        f"postgis://{login}@127.0.0.1:{port}/{path}?application_name=restore",
        f"postgresql://{login}@/{path}?host={folder}&port={port}",
        f"postgresql://{login}@/{path}?host=127.0.0.1&port={port}&options=-c%20jit%3Doff",
    ):
        database.execute("SELECT setval('t_id_seq', 1, false)")
        env = environment(database.server, DATABASE_URL=url)
        done = restorehooks(tmp_path, "resetsequences", "-v2", env=env)
        assert (done.returncode, done.stderr) == (0, ""), url
        assert "public.t_id_seq" in done.stdout
        assert next_of(database, "t_id_seq") == 5


def test_a_password_of_any_characters_may_stand_in_a_variable_of_its_own(
    tmp_path: Path, guarded: Guarded
) -> None:
    """As in docker-compose.yml: in a URL some of them would have to be encoded."""
    guarded.database.execute("CREATE TABLE t (id serial); INSERT INTO t VALUES (4)")
    url = f"postgresql://{quote(guarded.role, safe='')}@127.0.0.1:{guarded.port}/{guarded.path}"
    variables = {"DATABASE_URL": url, "PGPASSWORD": guarded.password}
    env = environment(guarded.database.server, **variables)
    assert restorehooks(tmp_path, "resetsequences", env=env).returncode == 0
    done = restorehooks(tmp_path, "dumpdb", "x.dump", env=env)
    assert (done.returncode, (tmp_path / "x.dump").exists()) == (0, True)
    done = restorehooks(tmp_path, "restoredb", "x.dump", "--dry-run", env=env)
    assert (done.returncode, SECRET in done.stdout + done.stderr) == (0, False)


def test_refusals_of_the_server_are_one_line(tmp_path: Path, guarded: Guarded) -> None:
    def refused(url: str) -> str:
        env = environment(guarded.database.server, DATABASE_URL=url)
        done = restorehooks(tmp_path, "resetsequences", env=env)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith('CommandError: Database "default" cannot be asked: ')
        return line

    port, login, path = guarded.port, guarded.login, guarded.path
    name = quote(guarded.role, safe="")
    wrong = f"postgresql://{name}:{SECRET}@127.0.0.1:{port}/{path}"
    assert "password authentication failed" in refused(wrong)
    assert "password" in refused(f"postgresql://{name}@127.0.0.1:{port}/{path}")
    assert "SSL" in refused(f"postgresql://{login}@127.0.0.1:{port}/{path}?sslmode=require")
    assert "sslmode" in refused(f"postgresql://{login}@127.0.0.1:{port}/{path}?sslmode=maybe")
    assert "frobnicate" in refused(f"postgresql://{login}@127.0.0.1:{port}/{path}?frobnicate=1")
    assert "refused" in refused(f"postgresql://{login}@127.0.0.1:9/{path}")
    assert "no-such-host" in refused(f"postgresql://{login}@no-such-host.invalid:{port}/{path}")


def test_interrupted(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id serial); INSERT INTO t VALUES (4)")
    with database.connect(autocommit=False) as other:
        other.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with subprocess.Popen(
            [sys.executable, "-m", "restorehooks", "resetsequences"],
            cwd=tmp_path,
            env=database.environ,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            until = monotonic() + 30
            while not database.execute("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert process.poll() is None
                assert monotonic() < until
                sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "Interrupted.\n")
