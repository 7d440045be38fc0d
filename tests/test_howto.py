"""The how-to pages: each command that one shows is run in a small shop, in the page's order.

RESTOREHOOKS_RECORD=1 writes what the commands print into the pages.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import sql

from tests.support import ROOT, preloaded
from tests.support.databases import Database, MakeDatabase, new_database
from tests.support.dumps import neighbours
from tests.support.projects import MANAGE, Project
from tests.support.servers import RunningServer
from tests.support.shown import commands, steady, write_shop

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
FILES = "django.core.files.storage"
MARK = "howto"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if f"<!-- run: {MARK} -->" in page.read_text()]


@pytest.fixture(scope="module")
def made(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Project, Database]]:
    """A project with one app, its database, which an ordinary role owns, and a dump of that."""
    with new_database(server, "shop", None, "template1") as database:
        role = database.role("app", "LOGIN CREATEDB")
        database.execute(sql.SQL("ALTER DATABASE shop OWNER TO {}").format(sql.Identifier(role)))
        default = {**server.settings("shop"), "USER": role}
        project = Project(tmp_path_factory.mktemp("shop"), server, {"default": default})
        write_project(project)
        project.manage("migrate", "--run-syncdb", "-v0")
        database.execute("INSERT INTO shop_order VALUES (7, 'seven'), (42, 'forty-two')")
        database.execute("SELECT setval('shop_order_id_seq', 2)")
        database.disconnect()
        project.manage("dumpdb", "backup.dump")
        server.execute("ALTER DATABASE shop RENAME TO shop_made")
        database.name = "shop_made"
        yield project, database


def write_project(project: Project) -> None:
    project.write("manage.py", MANAGE)
    write_shop(
        project,
        MIGRATION_MODULES={"shop": None},
        STORAGES={"dumps": {"BACKEND": f"{FILES}.FileSystemStorage", "OPTIONS": {"location": "d"}}},
        TIME_ZONE="UTC",
    )
    orders = [{"model": "shop.order", "pk": 8, "fields": {"name": "eight"}}]
    project.write("shop/fixtures/orders.json", json.dumps(orders))
    for example in EXAMPLES.glob("*.py"):
        shutil.copy(example, project.folder)
    shutil.copytree(EXAMPLES / "hooks", project.folder / "hooks")
    for program, arguments in (("python", ""), ("restorehooks", " -m restorehooks")):
        script = project.write(f"programs/{program}", f'exec "{sys.executable}"{arguments} "$@"')
        script.write_text("#!/bin/sh\n" + script.read_text())
        script.chmod(0o755)


@pytest.fixture
def shop(made: tuple[Project, Database], make_database: MakeDatabase) -> Iterator[Database]:
    """A copy of the database, of this test's own."""
    original = made[1]
    database = make_database("shop", template=original.name)
    role = sql.Identifier(original.roles[0])
    database.server.execute(sql.SQL("ALTER DATABASE shop OWNER TO {}").format(role))
    yield database
    for name in neighbours(database):
        if name != original.name:
            database.server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.fixture
def project(made: tuple[Project, Database], tmp_path: Path) -> Project:
    """A copy of the project, of this test's own."""
    original = made[0]
    folder = shutil.copytree(original.folder, tmp_path / "project")
    return Project(folder, original.server, original.databases)


def run(project: Project, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a page in the project's folder; standard error comes with the output."""
    role = project.databases["default"]["USER"]
    url = project.server.url("shop", user=role)
    env = project.environ | {"DATABASE_URL": url, "COLUMNS": "120"}
    env["PRODUCTION_URL"] = url.replace("/shop?", "/production?")
    env["PATH"] = os.pathsep.join([str(project.folder / "programs"), env["PATH"]])
    program, *arguments = shlex.split(command)
    known = {"python": [], "restorehooks": ["-m", "restorehooks"]}
    if program in known and not set(command) & set("|<>&;$"):
        command_line = [sys.executable, *known[program], *arguments]
        return preloaded.run(command_line, project.folder, env, together=True)
    return subprocess.run(
        ["sh", "-c", command],
        cwd=project.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def readable(printed: str, project: Project) -> str:
    """Return the output with the names that a reader's server would have."""
    params = project.server.params
    printed = printed.replace(f"{params['host']}:{params['port']}", "localhost:5432")
    return printed.replace(project.databases["default"]["USER"], "app")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_its_commands_print(
    project: Project, shop: Database, make_database: MakeDatabase, page: Path
) -> None:
    text = page.read_text()
    if "PRODUCTION_URL" in text:
        make_database("production", template="shop")
    for command, output in list(commands(text, MARK)):
        done = run(project, command)
        # 1 is what --check says of the shop as it is; anything else is a failure.
        assert done.returncode in (0, 1 if "--check" in command else 0), done.stdout
        if os.environ.get("RESTOREHOOKS_RECORD"):
            printed = readable(done.stdout, project)
            text = text.replace(f"$ {command}\n{output}", f"$ {command}\n{printed}", 1)
        else:
            assert steady(done.stdout) == steady(output), command
    if os.environ.get("RESTOREHOOKS_RECORD"):
        page.write_text(text)


def scripts(name: str) -> list[str]:
    """Return the shell commands of a CI file, without those that install packages."""
    content: Any = yaml.safe_load((EXAMPLES / name).read_text())
    job = content["jobs"]["sequences"] if "jobs" in content else content["sequences"]
    if "steps" in job:
        found = [line for step in job["steps"] for line in step.get("run", "").splitlines()]
    else:
        found = job["script"]
    return [line for line in found if not line.startswith("pip install")]


@pytest.mark.parametrize("name", ["sequences.github.yml", "sequences.gitlab.yml"])
def test_the_scripts_of_the_ci_files_run(project: Project, shop: Database, name: str) -> None:
    shown = scripts(name)
    assert len(shown) == 3
    for command in shown:
        done = run(project, command)
        assert done.returncode == 0, done.stdout


def containers(name: str) -> Iterator[dict[str, Any]]:
    """Yield the containers that restorehooks runs in, of a manifest."""
    pod = yaml.safe_load((EXAMPLES / name).read_text())["spec"]["template"]["spec"]
    yield from (one for one in pod.get("initContainers", pod["containers"]) if "command" in one)


@pytest.mark.parametrize("name", ["repair.kubernetes.yml", "restore.kubernetes.yml"])
def test_the_commands_of_the_manifests_run(project: Project, shop: Database, name: str) -> None:
    (container,) = containers(name)
    words = [*container["command"], *container.get("args", [])]
    command = " ".join(words).replace("/backups/", "")
    done = run(project, command)
    assert done.returncode == 0, done.stdout


def test_every_page_is_in_the_site() -> None:
    listed = re.findall(r"^[\w/-]+$", (DOCS / "index.md").read_text(), re.MULTILINE)
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    assert pages - {"index"} == set(listed)
