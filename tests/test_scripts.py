"""The shell scripts where something that they need is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python with nothing but its standard library."""
    python = tmp_path / "bare-python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return python


def clean(**variables: str) -> dict[str, str]:
    """Return the environment of somebody who has only a PATH, and these variables."""
    return {"PATH": os.environ["PATH"], **variables}


def test_the_source_without_django_is_one_sentence(bare_python: Path) -> None:
    done = subprocess.run(
        ["sh", "scripts/restore.sh", "backup.dump"],
        cwd=ROOT,
        env=clean(PYTHON=str(bare_python)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "The Python package django is missing."
        ' Install it with: pip install "django-restorehooks[binary]"\n'
    )


def run_in(folder: Path, argument: str) -> subprocess.CompletedProcess[str]:
    """Run the checkout's restore.sh in another folder."""
    return subprocess.run(
        ["sh", str(ROOT / "scripts" / "restore.sh"), argument],
        cwd=folder,
        env=clean(PYTHON=sys.executable),
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_that_lies_beside_a_dump_is_imported(tmp_path: Path) -> None:
    for name in ("runpy", "restorehooks", "rich", "django"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('it was')\n")
    done = run_in(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage:")


def test_a_python_without_restorehooks_is_one_sentence(bare_python: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script = shutil.copy(ROOT / "scripts" / "restore.sh", tmp_path / "bin")
    done = subprocess.run(
        ["sh", str(script), "backup.dump"],
        cwd=tmp_path,
        env=clean(PYTHON=str(bare_python)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"restore.sh: {bare_python} does not have restorehooks: pip install"
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("rich", "The Python package rich is missing."),
        ("psycopg", "psycopg 3 is not installed."),
    ],
)
def test_a_missing_package_is_one_sentence(tmp_path: Path, package: str, said: str) -> None:
    """As where somebody has put the source beside a Django of their own."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.modules[{package!r}] = sys.modules['psycopg2'] = None"
    )
    done = subprocess.run(
        [sys.executable, "-m", "restorehooks", "restoredb", "backup.dump"],
        cwd=tmp_path,
        env=clean(PYTHONPATH=f"{tmp_path}:{ROOT}", DATABASE_URL="postgresql://joe@localhost/shop"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'{said} Install it with: pip install "django-restorehooks[binary]"\n'


def test_a_psycopg_without_libpq_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text(
        'raise ImportError("no pq wrapper available.\\nAttempts:")'
    )
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['psycopg2'] = None")
    done = subprocess.run(
        [sys.executable, "-m", "restorehooks", "resetsequences"],
        cwd=tmp_path,
        env=clean(PYTHONPATH=f"{tmp_path}:{ROOT}", DATABASE_URL="postgresql://joe@localhost/shop"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "psycopg 3 cannot be used: no pq wrapper available. Install it with:"
        ' pip install "django-restorehooks[binary]"\n'
    )


def project_without_the_app(folder: Path, installed: str) -> None:
    (folder / "settings.py").write_text(f"SECRET_KEY = 'x'\nINSTALLED_APPS = {installed}\n")
    (folder / "manage.py").write_text(
        "import os, sys\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(sys.argv)\n"
    )


def test_a_project_without_the_app_is_told_where_to_add_it(tmp_path: Path) -> None:
    """Django itself says "Unknown command", and no more."""
    project_without_the_app(tmp_path, "[]")
    run: Any = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    restore = ["sh", str(ROOT / "scripts" / "restore.sh"), "backup.dump"]
    done: Any = subprocess.run(restore, env=clean(PYTHON=sys.executable), **run)
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (
        2,
        "",
        'restore.sh: "restorehooks" is not in INSTALLED_APPS of the project of manage.py: add it'
        " there.",
    )
    # What is wrong with the settings themselves is left to Django to say.
    project_without_the_app(tmp_path, "[1 / 0]")
    done = subprocess.run(restore, env=clean(PYTHON=sys.executable), **run)
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (1, True)
    project_without_the_app(tmp_path, "['restorehooks']")
    done = subprocess.run([*restore, "--help"], env=clean(PYTHON=sys.executable), **run)
    assert (done.returncode, "usage: manage.py restoredb" in done.stdout) == (0, True)


@pytest.mark.parametrize("name", ["argparse", "restorehooks", "django"])
def test_nothing_is_imported_from_a_folder_without_a_project(tmp_path: Path, name: str) -> None:
    """It may have come with the dump."""
    (tmp_path / f"{name}.py").write_text("open('RAN', 'w').close()")
    done = run_in(tmp_path, "backup.dump")
    assert (done.returncode, "DATABASE_URL is not set" in done.stderr) == (2, True)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_the_source_is_imported_where_no_other_user_can_put_a_module(
    tmp_path: Path, mode: int
) -> None:
    for name in ("scripts", "restorehooks"):
        (tmp_path / name).mkdir()
    script = shutil.copy(ROOT / "scripts/restore.sh", tmp_path / "scripts")
    for name in ("__init__", "__main__"):
        (tmp_path / "restorehooks" / f"{name}.py").write_text("print('of this folder')\n")
    tmp_path.chmod(mode)
    run: Any = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    done = subprocess.run(["sh", script, "x.dump"], env=clean(PYTHON=sys.executable), **run)
    assert ("of this folder" in done.stdout) == (mode == 0o755)


def test_the_script_can_be_printed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "restorehooks", "restore-script"],
        cwd=tmp_path,
        env=clean(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (ROOT / "scripts" / "restore.sh").read_text()


@pytest.mark.parametrize("version", ["3.10", "3.13", "3.14", "3.15"])
def test_every_supported_python_is_found(tmp_path: Path, version: str) -> None:
    (tmp_path / f"python{version}").symlink_to(sys.executable)
    those_that_run = 'for each in $(pythons); do works "$each" && echo "$each"; done; true'
    done = subprocess.run(
        ["/bin/sh", "-c", f"venv=unused; . scripts/venv.sh; {those_that_run}"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "PYENV_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"python{version}"]
