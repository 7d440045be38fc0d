"""The wheel, installed into projects of every kind: each stays as it was.

It builds the wheel and four virtual environments, so that it runs by itself: ``nox -s installed``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.databases import Database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("RESTOREHOOKS_INSTALLED" not in os.environ, reason="nox -s installed"),
]
VERSIONS = "import django; print(django.VERSION[:2])"
SETTINGS = """
SECRET_KEY = "tests"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "restorehooks"]
"""
SQLITE = 'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db"}}\n'


def pip(python: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *arguments],
        check=True,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that would be uploaded."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*build, "--wheel-dir", folder, "."], check=True, cwd=ROOT)
    (found,) = folder.glob("*.whl")
    return found


Manage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def installed(tmp_path: Path, wheel: Path) -> Callable[..., Manage]:
    """Return a function: a project on these packages, after ``pip install`` of the wheel.

    It returns what runs manage.py there, or Python code after ``-c``.
    """

    def install(
        before: list[str],
        databases: str,
        extra: str = "",
        startup: str = "",
        base: str = sys.executable,
    ) -> Manage:
        venv = tmp_path / "venv"
        subprocess.run([base, "-m", "venv", "--without-pip", venv], check=True)
        python = venv / "bin" / "python"
        pip(python, *before)
        (tmp_path / "settings.py").write_text(SETTINGS + databases)
        (tmp_path / "sitecustomize.py").write_text(startup)
        pip(python, f"{wheel}{extra}")

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [] if arguments[0] == "-c" else ["-m", "django"]
            variables = {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(tmp_path)}
            return subprocess.run(
                [python, *command, *arguments],
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"], **variables},
                capture_output=True,
                text=True,
                check=False,
            )

        return run

    return install


def test_a_project_on_psycopg2(installed: Callable[..., Manage], database: Database) -> None:
    manage = installed(
        ["Django~=5.2.0", "psycopg2-binary"], f'DATABASES = {{"default": {database.settings!r}}}\n'
    )
    assert manage("-c", VERSIONS).stdout == "(5, 2)\n"
    assert "No module named 'psycopg'" in manage("-c", "import psycopg").stderr
    assert manage("migrate").returncode == 0
    database.execute("INSERT INTO auth_group VALUES (1, 'a')")
    assert "moved 1 of" in manage("migrate").stdout
    assert "A restore needs it" in manage("restoredb", "x").stderr
    main = "from restorehooks.__main__ import main; main(['restore-script'])"
    assert manage("-c", main).stdout == (ROOT / "scripts" / "restore.sh").read_text()


def test_psycopg_without_libpq(installed: Callable[..., Manage]) -> None:
    no_libpq = "import ctypes.util; ctypes.util.find_library = lambda name: None"
    manage = installed(["Django~=5.2.0"], SQLITE, "[psycopg]", no_libpq)
    assert "no pq wrapper available" in manage("-c", "import psycopg").stderr
    assert manage("check").stdout == "System check identified no issues (0 silenced).\n"
    assert (manage("migrate").returncode, manage("migrate").stderr) == (0, "")
    said = manage("restoredb", "x").stderr
    assert said.startswith("psycopg 3 cannot be used: no pq wrapper available.")
    assert (said.count("\n"), "[binary]" in said) == (1, True)


def test_a_project_on_sqlite(installed: Callable[..., Manage]) -> None:
    manage = installed(["Django"], SQLITE)
    assert "No module named 'psycopg'" in manage("-c", "import psycopg").stderr
    assert manage("check").stdout == "System check identified no issues (0 silenced).\n"
    assert (manage("migrate").returncode, manage("migrate").stderr) == (0, "")
    assert manage("restoredb", "x").stderr.startswith("psycopg 3 is not installed. Install it")


def test_a_project_on_django_4_2(installed: Callable[..., Manage]) -> None:
    if not (python := os.environ["RESTOREHOOKS_INSTALLED"]):
        pytest.skip("Django 4.2 knows Python 3.12 and older")
    manage = installed(["Django~=4.2.0"], SQLITE, "[binary]", base=python)
    assert manage("-c", VERSIONS).stdout == "(4, 2)\n"
    check = manage("check")
    assert (check.returncode, "(restorehooks.W008)" in check.stderr) == (0, True)
    assert (manage("migrate").returncode, manage("resetsequences").returncode) == (0, 2)
    assert "restorehooks needs Django 5.2 or later" in manage("resetsequences").stderr
