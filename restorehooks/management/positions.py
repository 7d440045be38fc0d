"""Where the sequences of the database stand that ``resetsequences --from`` names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error, connections
from django.db.utils import ConnectionHandler

from restorehooks.database_url import UrlError, settings_of
from restorehooks.exit_codes import WRONG_USAGE
from restorehooks.management.base import postgresql_aliases
from restorehooks.sequences.source import SameDatabaseError, Source, read_source
from restorehooks.wording import first_line, no

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


VARIABLE = "env:"
"""How a source names an environment variable that holds a URL."""
_SECRET = re.compile("password|secret|scram", re.IGNORECASE)
"""What libpq's keywords for secrets have in them; psycopg2 does not say which they are."""


def positions_at(source: str, using: str, lock_timeout: float) -> Source:
    """Return the positions at a source for the database of an alias.

    A source is an alias, a URL without a password, or a variable that holds a URL (``env:NAME``).

    Raises ``CommandError`` in one sentence, which never repeats a URL.
    """
    try:
        with _connected(source) as connection:
            return read_source(connection, connections[using], lock_timeout)
    except (UrlError, SameDatabaseError) as error:
        raise CommandError(str(error), returncode=WRONG_USAGE) from None
    except (Error, ImproperlyConfigured) as error:
        raise CommandError(f"The source cannot be read: {first_line(error)}") from None


@contextmanager
def _connected(source: str) -> Iterator[BaseDatabaseWrapper]:
    """Give a connection of its own, which is closed in the end."""
    if source.startswith(VARIABLE) or "://" in source:
        database = _settings(source)
        connection = ConnectionHandler({"default": {}, "source": database})["source"]
    else:
        (alias,) = postgresql_aliases([source], every=False)
        connection = connections[alias].copy()
    # What Django needs of a server is for its models: the old one of a cutover may be older.
    connection.features.minimum_database_version = None
    try:
        yield connection
    finally:
        connection.close()


def _settings(source: str) -> dict[str, Any]:
    """Return what a URL, or the variable that holds one, names; raises UrlError."""
    if source.startswith(VARIABLE):
        name = source.removeprefix(VARIABLE)
        if not (url := os.environ.get(name)):
            raise UrlError(f"There is {no('variable', name)}: it has to hold a URL.")
        return settings_of(url, f"The variable {name}")
    database = settings_of(source, "--from")
    if database["PASSWORD"] or any(map(_SECRET.search, database.get("OPTIONS", {}))):
        raise UrlError(
            "--from holds a password, which every user of this machine can read in the list of "
            f"processes: put the URL into an environment variable, and give {VARIABLE}NAME."
        )
    return database
