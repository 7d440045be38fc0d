"""The server's own address, given beside a pooler's: whether both lead to the same database."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from restorehooks.restore.errors import AddressError

from .address import SECONDS_TO_ANSWER, Address, Connection
from .pooler import DIRECT_URL

IDENTITY = """
SELECT c.system_identifier, d.oid
FROM pg_catalog.pg_control_system() AS c
LEFT JOIN pg_catalog.pg_database AS d ON d.datname OPERATOR(pg_catalog.=)
    coalesce(%s::pg_catalog.text, pg_catalog.current_database()::pg_catalog.text)
"""
"""The same for two addresses of one database, and for no other but a copy of the whole server."""


def require_same_database(address: Address, connection: Connection) -> None:
    """Raise AddressError where the server's own address is not that of the alias's database.

    ``connection`` is one to any database at ``address``. An alias that does not answer, and one
    that nobody gave another address for, are not asked.
    """
    if not os.environ.get(DIRECT_URL):
        return
    alias = Address.of(address.using, direct=False)
    named = _asked(alias)
    if named and named != connection.execute(IDENTITY, [address.name]).fetchone():
        raise AddressError(
            f"{DIRECT_URL} leads to {address}, and that is not the database that the alias "
            f'"{address.using}" leads to at {alias.host}:{alias.port}: give the address of that '
            "one."
        )


def _asked(alias: Address) -> tuple[Any, ...] | None:
    asked = {**alias.parameters, **alias.secrets, "dbname": alias.name}
    asked["connect_timeout"] = SECONDS_TO_ANSWER
    with (
        suppress(psycopg.Error),
        psycopg.connect(make_conninfo(**asked), autocommit=True) as connection,
    ):
        return connection.execute(IDENTITY, [None]).fetchone()
    return None
