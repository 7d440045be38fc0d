"""Django's settings from the environment, for the command that needs no Django project."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import django
import environ
from django.conf import settings

from restorehooks.database_url import EMBEDDED, UrlError, database_settings
from restorehooks.trust import (
    belongs_to_us,
    others_may_lead,
    who_else_may_write,
    why_not_run,
)

MISSING = (
    "DATABASE_URL is not set: set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE, in the"
    " environment or in a file .env in the current folder."
)


class StandaloneError(Exception):
    """The environment names no database that can be used; the message is one sentence."""


@contextmanager
def configured(*, needs_database: bool = True) -> Iterator[None]:
    """Set Django up for the database that ``DATABASE_URL`` names, if need be in a file ``.env``.

    ``embedded:`` or ``embedded:NAME`` means a database of a private server, which runs while the
    block runs. Raises ``StandaloneError`` where the URL is missing or wrong. No message repeats the
    URL, which may hold a password.
    """
    note = _read_env_file()
    _leave_out_of_path()
    with ExitStack() as stack:
        url = os.environ.get("DATABASE_URL", "")
        if url.startswith(EMBEDDED):
            stack.enter_context(_embedded(url.removeprefix(EMBEDDED) or "restorehooks"))
        databases = {"default": _settings()} if url else {}
        if needs_database and not databases:
            raise StandaloneError(f"{note} {MISSING}" if note else MISSING)
        if note:
            sys.stderr.write(f"{note}\n")
        settings.configure(DATABASES=databases, INSTALLED_APPS=["restorehooks"], TIME_ZONE="UTC")
        django.setup()
        yield


_COMMENT = re.compile(
    r"^((?:export +)?(?:DATABASE_URL|RESTOREHOOKS_\w+)=.*?)(?<![ \t])[ \t]+(?:#.*)?$", re.MULTILINE
)
"""What follows a value of ours, as shells and Docker Compose read it. A URL holds no space."""
_LONGEST = 1 << 20
"""Characters of a file .env, which may have come with a dump."""


class _File(environ.Env):  # type: ignore[misc]
    """The variables of a file, apart from the environment's own."""

    ENVIRON: ClassVar[dict[str, str]] = {}


def _read_env_file() -> str | None:
    """Take this package's variables from a file .env, and none that would choose a program.

    Return why the file was not read; None where it was read, or where there is none.
    """
    path = Path(".env")
    if not path.is_file():
        return None
    try:
        if others_may_lead(path):
            return "The file .env is not read, since others may put another one in its place."
        with open(path, encoding="utf-8-sig", opener=_opened) as file:
            status = os.fstat(file.fileno())
            if not belongs_to_us(status):
                return "The file .env is not read, since it belongs to another user."
            if who := who_else_may_write(file.fileno()):
                return f"The file .env is not read, since {who} may write to it."
            text = file.read(_LONGEST + 1)
    except OSError as error:
        return f"The file .env cannot be read ({error.strerror})."
    except UnicodeDecodeError:
        text = "\0"
    if len(text) > _LONGEST:
        return "The file .env is not read, since it has more than 1 MB."
    if "\0" in text:
        raise StandaloneError("The file .env is not UTF-8 text.")
    has_other_lines = _read_variables(text)
    found = _File.ENVIRON
    if has_other_lines and "DATABASE_URL" not in {*found, *os.environ}:
        return "The file .env has lines that are not of the form NAME=VALUE."
    return _take(found)


def _opened(name: str, flags: int) -> int:
    """Open a file, and wait for nobody."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _read_variables(text: str) -> bool:
    """Read the text of a file .env; return whether it has lines that were not understood."""
    lines: list[logging.LogRecord] = []

    def keep_off(record: logging.LogRecord) -> bool:
        lines.append(record)
        return False

    logger = logging.getLogger("environ.environ")  # it repeats such lines, with what they hold
    logger.addFilter(keep_off)
    try:
        _File.read_env(StringIO(_COMMENT.sub(r"\1", text)))
    finally:
        logger.removeFilter(keep_off)
    return bool(lines)


def _take(found: dict[str, str]) -> str | None:
    """Put what is ours into the environment; return a sentence about what was not taken."""
    ours = {name: found[name] for name in found if name.startswith("RESTOREHOOKS_")}
    url = found.get("DATABASE_URL")
    if url is not None and not os.environ.get("DATABASE_URL"):
        os.environ["DATABASE_URL"] = url
    # They would send the password of another URL to a server that the file names.
    if ours and os.environ.get("DATABASE_URL") != url:
        names = ", ".join(ours)
        return f"{names} of the file .env is not taken, since DATABASE_URL is not the file's own."
    for name, value in ours.items():
        os.environ.setdefault(name, value)
    return None


def _leave_out_of_path() -> None:
    """Remove from PATH the folders in which another user could put a psql for dbshell.

    One that is not there yet may be made by whoever writes to the folder above. Of an empty PATH
    the current folder would be left.
    """
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = [entry for entry in path if os.path.isabs(entry) and _is_ours(Path(entry))]
    os.environ["PATH"] = os.pathsep.join(kept or [str(Path(sys.executable).parent)])


def _is_ours(folder: Path) -> bool:
    # The program itself may be a link out of the folder.
    program = folder / "psql"
    places = [folder, program] if os.path.exists(program) else [folder]
    return os.path.isdir(folder) and not any(map(why_not_run, places))


@contextmanager
def _embedded(name: str) -> Iterator[None]:
    """Let ``DATABASE_URL`` name a private server while the block runs, and use its programs."""
    from .embedded import ServerError, embedded_server

    # libpq's lead to another server, or tell this one what only another may know (PGOPTIONS).
    for each in [each for each in os.environ if each.startswith("PG") and each != "PG_BINDIR"]:
        del os.environ[each]
    try:
        with embedded_server() as server:
            server.create_database(name)
            os.environ["DATABASE_URL"] = server.url(name)
            os.environ["PG_BINDIR"] = str(server.bindir)
            os.environ["PATH"] = f"{server.bindir}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            yield
    except ServerError as error:
        raise StandaloneError(str(error)) from None


def _settings() -> dict[str, Any]:
    try:
        return database_settings()
    except UrlError as error:
        raise StandaloneError(str(error)) from None
