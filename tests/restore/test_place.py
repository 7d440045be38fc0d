"""Which database is meant: said first, and refused where DATABASE_URL names another one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo, PGconn

from restorehooks.management import place
from restorehooks.management.place import disagreement_here
from restorehooks.restore.server.address import Address
from tests.support import ROOT
from tests.support.databases import Database, MakeDatabase, pointed
from tests.support.dumps import SHOP, alone
from tests.support.projects import Project

YES = "--no-input"
MANAGE = [sys.executable, "manage.py"]
STANDALONE = [sys.executable, "-m", "restorehooks"]
SCRIPT = [str(ROOT / "scripts" / "restore.sh")]


@pytest.fixture
def other(make_database: MakeDatabase) -> Database:
    """A database that DATABASE_URL names and the project's settings do not."""
    return make_database()


def has_the_shop(database: Database) -> bool:
    found = database.execute("SELECT to_regclass('purchase') IS NOT NULL") == [(True,)]
    alone(database)
    return found


def test_the_first_line_says_what_goes_where(
    project: Project, database: Database, backup: Path
) -> None:
    alone(database)
    line = project.manage("restoredb", str(backup)).stderr.splitlines()[0]
    assert "restoring" in line
    for said in (
        f"{backup} (custom dump",
        "from PostgreSQL ",
        ", made 2",
        f'into "{database.name}" on {database.server.params["host"]}:',
        f'{database.server.params["port"]} as "{database.server.params["user"]}"',
    ):
        assert said in line


@pytest.mark.parametrize("program", [[*MANAGE, "restoredb"], [*STANDALONE, "restoredb"], SCRIPT])
def test_a_url_that_names_another_database_is_refused_with_both(
    project: Project, live: Database, other: Database, backup: Path, program: list[str]
) -> None:
    alone(other)
    # With a parameter that is Django's and not libpq's.
    url = {"DATABASE_URL": f"{other.url}&conn_max_age=60", "PYTHON": sys.executable}
    done = project.run([*program, str(backup), YES], check=False, env=url)
    assert done.returncode == 2
    for said in (live.name, other.name, "--database-url", "--project"):
        assert said in done.stderr
    assert not has_the_shop(live)
    assert not has_the_shop(other)
    chosen = project.run([*program, str(backup), YES, "--database-url"], env=url)
    assert f'into "{other.name}" on' in chosen.stderr
    assert (has_the_shop(live), has_the_shop(other)) == (False, True)


@pytest.mark.parametrize("command", ["restoredb", "dumpdb"])
def test_a_program_that_calls_a_command_says_which_database_by_an_alias(
    live: Database, tmp_path: Path, command: str
) -> None:
    """An alias that leads elsewhere for one command would lead there for the whole process."""
    with pytest.raises(CommandError, match="--database-url is for the command line"):
        call_command(command, str(tmp_path / "x"), "--database-url")


def test_a_manage_py_that_came_with_a_dump_is_not_run(database: Database, tmp_path: Path) -> None:
    """Only ``python -m`` imports from the current folder anyway."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "manage.py").write_text("open('was_run', 'w')\n")
    command = [sys.executable, "-P", "-m", "restorehooks", "dumpdb", str(tmp_path / "dump")]
    if sys.version_info < (3, 11):
        command = [str(Path(sys.executable).parent / "restorehooks"), *command[4:]]
    url = {**os.environ, "DATABASE_URL": database.url}
    url.pop("PYTHONPATH", None)

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *options], cwd=folder, env=url, capture_output=True, text=True, check=False
        )

    refused = run()
    assert (refused.returncode, "manage.py in this folder" in refused.stderr) == (2, True)
    assert "--database-url" in refused.stderr
    assert run("--database-url").returncode == 0
    assert not (folder / "was_run").exists()


@pytest.mark.parametrize("how", ["ours", "link", "writable"])
def test_a_manage_py_is_run_only_where_nobody_else_can_put_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A link to Python's cProfile.py would run any file of the folder."""
    (tmp_path / "program.py").write_text("print('restorehooks: was run')\n")
    (folder := tmp_path / "folder").mkdir()
    (folder / "manage.py").symlink_to("../program.py")
    if how == "link":
        if os.geteuid() != 0:
            pytest.skip("only root can give a link away")
        os.lchown(folder / "manage.py", 12345, 12345)
    folder.chmod(0o1777 if how != "ours" else 0o755)
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost:1/nothing")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    said = disagreement_here() or ""
    assert (said == "was run") == (how == "ours"), said


def test_a_folder_that_cannot_be_looked_at_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for whoever gives up root in a closed folder of root's."""

    def closed(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / "manage.py").touch()
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost:1/nothing")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, "why_not_run", closed)
    assert "--database-url" in (disagreement_here() or "")


def test_the_project_decides_when_it_is_told_to(
    project: Project, live: Database, other: Database, backup: Path
) -> None:
    alone(other)
    url = {"DATABASE_URL": other.url, "PYTHON": sys.executable}
    project.run([*SCRIPT, str(backup), YES, "--project"], env=url)
    assert (has_the_shop(live), has_the_shop(other)) == (True, False)
    refused = project.run(
        [*STANDALONE, "restoredb", str(backup), YES, "--project"], check=False, env=url
    )
    assert (refused.returncode, "manage.py restoredb" in refused.stderr) == (2, True)


def test_nothing_is_refused_where_both_agree(
    project: Project, database: Database, other: Database, tmp_path: Path
) -> None:
    database.execute(SHOP)
    for one in (database, other):
        alone(one)

    def dumps(name: str, url: str, *options: str) -> None:
        project.manage("dumpdb", str(tmp_path / name), *options, env={"DATABASE_URL": url})

    dumps("same", database.url)
    # A password that Django reads and libpq does not.
    dumps("raw", database.url.replace("@/", ":p@ss%w@/"))
    # The same server by another name, as a project in CI may spell it.
    project.settings(DATABASES={"default": {**database.settings, "HOST": "127.0.0.1"}})
    if database.server.execute("SHOW listen_addresses") != [("",)]:
        dumps("by TCP", database.url)
    # Settings that read the variable themselves, for whichever alias.
    project.settings(
        "import os\n"
        "name = os.environ['DATABASE_URL'].rpartition('/')[2].partition('?')[0]\n"
        "DATABASES['default']['NAME'] = name\n"
    )
    dumps("read", other.url)
    project.settings(DATABASES={"default": other.settings, "second": database.settings})
    dumps("named", other.url, "--database=second")
    # What is no PostgreSQL's names nothing that a restore could go to.
    dumps("another", "mysql://root@localhost/shop")


@pytest.mark.parametrize("how", ["variables", "service"])
def test_what_the_settings_say_counts_and_not_the_environment(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Where they say what libpq's default is, too."""
    services = tmp_path / "services"
    services.write_text("[another]\nport=1\nsslmode=require\n")
    places = {"PGSERVICEFILE": str(services), "PGSERVICE": "another"}
    for name, value in (places if how == "service" else {"PGPORT": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    gss = next(each.compiled for each in Conninfo.get_defaults() if each.keyword == b"gssencmode")
    assert gss  # programs may have another default
    said = {"sslmode": "prefer", "target_session_attrs": "any", "gssencmode": gss.decode()}
    with pointed("default", {**database.settings, "PORT": "5432", "OPTIONS": said}):
        address = Address.of("default")
    asked = make_conninfo(**address.parameters)
    found = {option.keyword: option.val for option in PGconn.connect_start(asked.encode()).info}
    assert [found[name] for name in (b"port", b"sslmode", b"target_session_attrs")] == [
        b"5432",
        b"prefer",
        b"any",
    ]
    assert f"gssencmode={gss.decode()}" in address.conninfo("x")
