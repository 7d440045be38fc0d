"""The server's own address, for an alias that leads through a pooler."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from restorehooks.restore.errors import AddressError

DIRECT_URL = "RESTOREHOOKS_DIRECT_URL"
"""The variable that holds it, as a URL of the same database."""


def direct_parameters(using: str, database: str | None) -> dict[str, Any]:
    """Return libpq's keywords of the server's own address, none where it is not given.

    Raises AddressError where it is no URL, or names another database than the alias does.
    """
    if not (url := os.environ.get(DIRECT_URL)):
        return {}
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise AddressError(f"{DIRECT_URL} is no URL of a PostgreSQL database.") from None
    if found.get("dbname") != database:
        raise AddressError(
            f'{DIRECT_URL} names the database "{found.get("dbname")}", and the alias "{using}" '
            f'names "{database}": give the address of that one.'
        )
    return {"hostaddr": None, **found}
