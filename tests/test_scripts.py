"""The shell scripts where something that they need is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_python_without_restorehooks_is_one_sentence(bare_python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", str(ROOT / "scripts" / "restore.sh"), "backup.dump"],
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
