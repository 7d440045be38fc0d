"""The how-to pages: each command that one shows is run in a small shop, in the page's order.

RESTOREHOOKS_RECORD=1 writes what the commands print into the pages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import sql

from tests.support import ROOT
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import neighbours
from tests.support.projects import Project
from tests.support.shown import commands, steady

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
MARK = "howto"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if f"<!-- run: {MARK} -->" in page.read_text()]


@pytest.fixture
def shop(project: Project, make_database: MakeDatabase) -> Iterator[Database]:
    """A project with one app, its database owned by an ordinary role, and a dump of it."""
    database = make_database("shop")
    role = database.role("app", "LOGIN CREATEDB")
    database.execute(sql.SQL("ALTER DATABASE shop OWNER TO {}").format(sql.Identifier(role)))
    project.app(
        "shop",
        models="class Order(models.Model): name = models.CharField(max_length=9, default='')",
    )
    default = {**database.server.settings("shop"), "USER": role}
    project.settings(
        DATABASES={"default": default},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "restorehooks",
            "shop",
        ],
        MIGRATION_MODULES={"shop": None},
        TIME_ZONE="UTC",
    )
    project.manage("migrate", "--run-syncdb", "-v0")
    project.manage("dumpdb", "backup.dump")
    database.execute("INSERT INTO shop_order VALUES (7, 'seven'), (42, 'forty-two')")
    database.execute("SELECT setval('shop_order_id_seq', 2)")
    database.disconnect()
    orders = [{"model": "shop.order", "pk": 8, "fields": {"name": "eight"}}]
    project.write("shop/fixtures/orders.json", json.dumps(orders))
    for example in EXAMPLES.glob("*.py"):
        shutil.copy(example, project.folder)
    project.write("environment", database.server.url("shop", user=role))
    yield database
    for name in neighbours(database):
        database.server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def run(project: Project, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a page in the project's folder; standard error comes with the output."""
    programs = project.folder / "programs"
    programs.mkdir(exist_ok=True)
    restorehooks = programs / "restorehooks"
    restorehooks.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m restorehooks "$@"\n')
    restorehooks.chmod(0o755)
    if not (python := programs / "python").exists():
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    url = (project.folder / "environment").read_text()
    env = project.environ | {"DATABASE_URL": url, "COLUMNS": "120"}
    env["PATH"] = os.pathsep.join([str(programs), env["PATH"]])
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


def readable(printed: str, shop: Database) -> str:
    """Return the output with the names that a reader's server would have."""
    params = shop.server.params
    printed = printed.replace(f"{params['host']}:{params['port']}", "localhost:5432")
    return printed.replace(shop.roles[0], "app")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_its_commands_print(project: Project, shop: Database, page: Path) -> None:
    text = page.read_text()
    for command, output in list(commands(text, MARK)):
        done = run(project, command)
        # 1 is what --check says of the shop as it is; anything else is a failure.
        assert done.returncode in (0, 1 if "--check" in command else 0), done.stdout
        if os.environ.get("RESTOREHOOKS_RECORD"):
            printed = readable(done.stdout, shop)
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
