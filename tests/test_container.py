"""The image's steps and the compose file, as far as they can be tried without Docker."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT
from tests.support.databases import Database

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def instructions(kind: str) -> Iterator[str]:
    """Yield the arguments of every instruction of one kind."""
    for line in DOCKERFILE.splitlines():
        if line.startswith(f"{kind} "):
            yield line.removeprefix(f"{kind} ")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which what the Dockerfile copies and installs stands where it says."""
    root = tmp_path_factory.mktemp("image")
    for copy in instructions("COPY"):
        *sources, target = shlex.split(copy)
        for source in sources:
            into = root / target.strip("/") / (Path(source).name if target.endswith("/") else "")
            into.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, into)
    for run in instructions("RUN"):
        if "venv /opt" in run:  # the other installs Debian's python3-venv
            command = run.replace("/opt/", f"{root}/opt/").replace("/usr/src/", f"{root}/usr/src/")
            done = subprocess.run(
                ["sh", "-c", command.replace("python3 -m", f"{sys.executable} -m")],
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"PIP_NO_COMPILE": "1"},  # what is never run takes most of it
            )
            assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.mark.slow
def test_the_image_s_command_restores_a_dump(
    image: Path, make_database: Callable[..., Database], tmp_path: Path
) -> None:
    database = make_database()
    backups = tmp_path / "backups"
    backups.mkdir()
    shutil.copy(ROOT / "scripts/demo/shop.dump", backups)
    for name in ("manage.py", "runpy.py", "django.py"):
        (backups / name).write_text("raise SystemExit('what lies beside a dump was run')\n")
    (backups / "manage.py").chmod(0o666)
    program, *arguments = json.loads(next(instructions("ENTRYPOINT")))
    programs = next(instructions("ENV")).split()[0].removeprefix("PATH=")
    done = subprocess.run(
        [f"{image}{program}", *arguments, "shop.dump"],
        cwd=backups,
        env={
            "PATH": programs.replace("/opt/", f"{image}/opt/").replace("$PATH", os.defpath),
            "PG_BINDIR": str(database.server.bindir or ""),
            "DATABASE_URL": database.url,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert database.execute("INSERT INTO shop_order (customer_id) VALUES (1) RETURNING id") == [
        (1001,)
    ]


def test_only_what_the_image_needs_is_sent_to_the_builder() -> None:
    let_in = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {source for copy in instructions("COPY") for source in shlex.split(copy)[:-1]}
    assert copied == let_in
    assert all((ROOT / source).exists() for source in copied)


def test_the_compose_file_makes_restore_one_command() -> None:
    db, restore = COMPOSE["services"]["db"], COMPOSE["services"]["restore"]
    assert restore["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert "pg_isready" in db["healthcheck"]["test"]
    assert "data:/var/lib/postgresql" in db["volumes"]
    assert db["environment"]["PGDATA"].startswith("/var/lib/postgresql/")
    assert "data" in COMPOSE["volumes"]
    # Image and server are of one version.
    version = restore["build"]["args"]["POSTGRES_VERSION"]
    assert db["image"] == f"postgres:{version}"
    assert "FROM postgres:${POSTGRES_VERSION}" in DOCKERFILE
    # Both know the same role, password and database; the password stands in no URL.
    environment = db["environment"]
    assert restore["environment"] == {
        "DATABASE_URL": f"postgresql://{environment['POSTGRES_USER']}@db:5432/"
        f"{environment['POSTGRES_DB']}",
        "PGPASSWORD": environment["POSTGRES_PASSWORD"],
    }


def test_what_is_mounted_where() -> None:
    restore, dump = COMPOSE["services"]["restore"], COMPOSE["services"]["dump"]
    (workdir,) = instructions("WORKDIR")
    (made,) = (each for each in instructions("RUN") if each.startswith("mkdir "))
    assert {workdir, "/hooks", "/scratch"} <= set(made.split())
    assert restore["read_only"] is True
    assert restore["volumes"] == [
        f"./backups:{workdir}:ro",
        "./hooks:/hooks:ro",
        # What comes on standard input and has to be copied first goes to a disk.
        "scratch:/scratch",
    ]
    assert "TMPDIR=/scratch" in " ".join(instructions("ENV"))
    assert "scratch" in COMPOSE["volumes"]
    assert dump["volumes"][0] == f"./backups:{workdir}"
    assert dump["entrypoint"] == ["restorehooks", "dumpdb"]
    assert dump["environment"] == restore["environment"]
    assert dump["user"] == restore["user"]  # what one writes, readable by its user alone, both read
