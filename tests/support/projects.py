"""Django projects in files, run in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from pprint import pformat
from typing import Any

from tests.support import preloaded
from tests.support.servers import RunningServer, environment


@dataclass
class Project:
    """A Django project in files, run in processes of its own."""

    folder: Path
    server: RunningServer
    databases: dict[str, dict[str, Any]]

    def write(self, path: str, text: str) -> Path:
        """Write a file of the project; ``text`` may be indented as the test is."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
        # Python tells a new source by its size and its second, which may be the old ones.
        Path(cache_from_source(file)).unlink(missing_ok=True)
        return file

    def settings(self, extra: str = "", **overrides: Any) -> None:
        """Write the settings anew: Django's contrib apps and restorehooks, and ``overrides``.

        ``extra`` is Python text that goes at the end. DATABASES hold ``default``, and ``other``
        where the test uses ``other_database``.
        """
        values = {
            "SECRET_KEY": "tests",
            "USE_TZ": True,
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "INSTALLED_APPS": [
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "restorehooks",
            ],
            "DATABASES": self.databases,
            **overrides,
        }
        lines = [f"{name} = {pformat(value)}\n" for name, value in values.items()]
        self.write("settings.py", "".join(lines) + textwrap.dedent(extra))

    def app(
        self, label: str, models: str = "", migrations: Mapping[str, str] | None = None
    ) -> None:
        """Write an app; ``models`` follows ``from django.db import models``.

        ``migrations`` maps a name (``0001_initial``) to a whole file's text; an app without any
        has an empty migrations package, for ``makemigrations`` to fill.
        """
        self.write(f"{label}/__init__.py", "")
        self.write(f"{label}/models.py", "from django.db import models\n" + textwrap.dedent(models))
        self.write(f"{label}/migrations/__init__.py", "")
        for name, text in (migrations or {}).items():
            self.write(f"{label}/migrations/{name}.py", text)

    def manage(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py`` and wait; with ``check`` an exit code other than 0 fails the test."""
        return self.run([sys.executable, "manage.py", *arguments], check, stdin, env)

    def shell(self, code: str, env: Mapping[str, str] | None = None) -> str:
        """Run Python code with Django set up, and return what it printed."""
        setup = "import manage, django; django.setup()\n"
        return self.run([sys.executable, "-c", setup + textwrap.dedent(code)], env=env).stdout

    def run(
        self,
        command: list[str],
        check: bool = True,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run any command in the project's folder."""
        done = preloaded.run(command, self.folder, self.environ | dict(env or {}), stdin or "")
        if check and done.returncode:
            raise AssertionError(
                f"{command[1:]} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the project's processes, for a Popen of the test's own."""
        return environment(self.server, DJANGO_SETTINGS_MODULE="settings")


MANAGE = """
    import os, sys, warnings
    # What this package does is an error when it is worth a warning; other packages are not ours.
    warnings.filterwarnings("error", module=r"restorehooks(\\.|$)")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    if __name__ == "__main__":
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""
