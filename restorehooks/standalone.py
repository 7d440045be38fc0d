"""Settings from the environment, for use with no Django project."""

from __future__ import annotations

import os
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


class StandaloneError(Exception):
    """The environment does not say which database; one sentence."""


def configure(*, needs_database: bool = True) -> None:
    """Set Django up for the database that ``DATABASE_URL`` names, or a ``.env`` file here.

    Raises ``StandaloneError`` where there is none or it cannot be read; the URL itself, which may
    hold a password, is never repeated.
    """
    env = environ.Env()
    if Path(".env").is_file():
        env.read_env(".env", overwrite=False)
    databases = {}
    if os.environ.get("DATABASE_URL"):
        databases = {"default": _database(env)}
    elif needs_database:
        raise StandaloneError(MISSING)
    settings.configure(
        DATABASES=databases,
        INSTALLED_APPS=["restorehooks"],
        USE_TZ=True,
    )
    django.setup()


def _database(env: environ.Env) -> dict[str, Any]:
    try:
        database = env.db_url("DATABASE_URL")
    except (ImproperlyConfigured, ValueError, KeyError):
        raise StandaloneError(f"DATABASE_URL is not of the form {EXAMPLE}.") from None
    if not database.get("ENGINE"):
        raise StandaloneError(f"DATABASE_URL is not of the form {EXAMPLE}.")
    if "postgis" in database["ENGINE"]:  # needs GDAL, which sequences do not
        database["ENGINE"] = "django.db.backends.postgresql"
    return dict(database)
