"""Where the sequences of the database stand that ``resetsequences --from`` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error, connections
from django.db.utils import ConnectionHandler

from restorehooks.database_url import UrlError, settings_of
from restorehooks.management.base import WRONG_USAGE, postgresql_aliases
from restorehooks.sequences.source import SameDatabaseError, Source, read_source
from restorehooks.wording import first_line

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def positions_at(source: str, using: str, lock_timeout: float) -> Source:
    """Return the positions at a source, an alias or a URL, for the database of an alias.

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
    if "://" in source:
        database = settings_of(source, "--from")
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
