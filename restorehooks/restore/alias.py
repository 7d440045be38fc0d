"""Which database an alias means: another one for a while, and never by assumption.

The server is asked where a connection leads, so that a hook that scrubs a copy can never scrub
production.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from .errors import HookError


@contextmanager
def pointed_at(using: str, database: str) -> Iterator[None]:
    """Let the alias, and every other one for the same database, mean ``database`` in the block.

    Connections and pools are closed before and after: a pool keeps the NAME that it was made
    with. Raises HookError when the server says that the alias still leads elsewhere.
    """
    before = {alias: connections[alias].settings_dict["NAME"] for alias in _same_place(using)}
    try:
        for alias in before:
            close_connections(alias)
            connections[alias].settings_dict["NAME"] = database
        require_database(using, database)
        yield
    finally:
        for alias, name in before.items():
            connections[alias].settings_dict["NAME"] = name
        for alias in before:
            close_connections(alias)


def close_connections(using: str) -> None:
    """Close this thread's connection of the alias, and the pool if it has one."""
    connection: Any = connections[using]
    connection.close()
    if connection.settings_dict["OPTIONS"].get("pool"):
        connection.close_pool()


def _same_place(using: str) -> list[str]:
    def place(alias: str) -> tuple[Any, ...]:
        found = connections[alias].settings_dict
        return (
            found["ENGINE"],
            found["NAME"],
            found["HOST"],
            str(found["PORT"]),
            found["OPTIONS"].get("host"),
            found["OPTIONS"].get("service"),
        )

    wanted = place(using)
    return [alias for alias in connections if place(alias) == wanted]


def require_database(using: str, database: str) -> None:
    """Ask the server where the alias leads; raise HookError unless that is ``database``."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT current_database()")
        found = cursor.fetchone()[0]
    if found != database:
        raise HookError(
            f'The alias "{using}" leads to the database "{found}" and not to the restored one, '
            f'"{database}": nothing was run there.'
        )
