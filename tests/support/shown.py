"""What README and docs show: the commands of their console blocks, and what they print."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support import ROOT
from tests.support.projects import Project

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(text: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield each command of the blocks marked with ``where``, and the output shown for it."""
    for block in re.findall(rf"<!-- run: {where} -->\n```console\n(.*?)```", text, re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


_VARYING = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "TIME"),
    (r"_\d{8}_\d{6}(_\d)?", "_TIME"),
    (r"_[0-9a-f]{6}_\d{8}T\d{6}Z", "_SERVER_TIME"),
    (r"\d+\.\d s", "N s"),
    (r"\d+ [kMG]B", "SIZE"),
    (r"on \S+:\d+", "on PLACE"),
    (r'as "?\w+"?(?=$|,| \()', "as ROLE"),
    (r"\d+ jobs", "N jobs"),
    (r"(pg_dump|pg_restore|PostgreSQL) [\d.]+\w*( \(.*?\))?", r"\1 VERSION"),
]


def steady(output: str) -> str:
    """Return the output with a word for each thing that differs from run to run."""
    for pattern, word in _VARYING:
        output = re.sub(pattern, word, output, flags=re.MULTILINE)
    return output.rstrip("\n")


def require_shown(
    project: Project,
    page: Path,
    where: str,
    *,
    number: int = 0,
    readable: Callable[[str], str] = str,
) -> None:
    """Run a command of a page in the project, and fail unless it prints what the page shows.

    ``number`` counts the page's commands that are marked with ``where``. ``readable`` puts a
    reader's names in. RESTOREHOOKS_RECORD=1 writes what was printed into the page.
    """
    text = page.read_text()
    command, output = list(commands(text, where))[number]
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = project.run([sys.executable, *arguments], check=False)
    printed = readable(done.stderr + done.stdout)
    if os.environ.get("RESTOREHOOKS_RECORD"):
        page.write_text(text.replace(f"$ {command}\n{output}", f"$ {command}\n{printed}", 1))
    else:
        assert steady(printed) == steady(output), command


def write_shop(project: Project, **settings: Any) -> None:
    """Write the project that the pages are about: an app ``shop`` with one model."""
    project.app(
        "shop",
        models="class Order(models.Model): name = models.CharField(max_length=9, default='')",
    )
    project.settings(
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "restorehooks",
            "shop",
        ],
        **settings,
    )
