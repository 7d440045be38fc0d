"""Settings from the environment, for use with no Django project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import django
import environ
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

MISSING = (
    "DATABASE_URL is not set: set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE, in the"
    " environment or in a file .env here."
)
EXAMPLE = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
EMBEDDED = "embedded:"


class StandaloneError(Exception):
    """The environment does not say which database; one sentence."""


@contextmanager
def configured(*, needs_database: bool = True) -> Iterator[None]:
    """Set Django up for the database that ``DATABASE_URL`` names, or a ``.env`` file here.

    ``embedded:`` or ``embedded:NAME`` stands for a database of a private server, which runs while
    the block does. Raises ``StandaloneError`` where there is no URL or it cannot be read; the URL
    itself, which may hold a password, is never repeated.
    """
    env = environ.Env()
    if Path(".env").is_file():
        env.read_env(".env", overwrite=False)
    with ExitStack() as stack:
        url = os.environ.get("DATABASE_URL", "")
        if url.startswith(EMBEDDED):
            stack.enter_context(_embedded(url.removeprefix(EMBEDDED) or "restorehooks"))
        databases = {"default": _database(env)} if url else {}
        if needs_database and not databases:
            raise StandaloneError(MISSING)
        settings.configure(DATABASES=databases, INSTALLED_APPS=["restorehooks"], USE_TZ=True)
        django.setup()
        yield


@contextmanager
def _embedded(name: str) -> Iterator[None]:
    """Point ``DATABASE_URL`` at a private server, and the client programs at its own."""
    from .embedded import ServerError, embedded_server

    try:
        with embedded_server() as server:
            server.create_database(name)
            os.environ["DATABASE_URL"] = server.url(name)
            os.environ["PG_BINDIR"] = str(server.bindir)
            os.environ["PATH"] = f"{server.bindir}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            yield
    except ServerError as error:
        raise StandaloneError(str(error)) from None


def _database(env: environ.Env) -> dict[str, Any]:
    try:
        database = env.db_url("DATABASE_URL")
    except (ImproperlyConfigured, ValueError, KeyError):
        raise StandaloneError(f"DATABASE_URL is not of the form {EXAMPLE}.") from None
    if not database.get("ENGINE"):
        raise StandaloneError(f"DATABASE_URL is not of the form {EXAMPLE}.")
    if "postgis" in database["ENGINE"]:  # needs GDAL, which sequences do not
        database["ENGINE"] = "django.db.backends.postgresql"
    for key in ("host", "port"):  # where a socket's folder stands; psql is told by HOST and PORT
        if key in database.get("OPTIONS", {}):
            database[key.upper()] = database["OPTIONS"].pop(key)
    return dict(database)
