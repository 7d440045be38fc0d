"""What the restore's own tests share: a live database whose neighbours go with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from tests.conftest import Database

MakeDatabase = Callable[..., Database]


def neighbours(database: Database) -> list[str]:
    """Return the databases whose names begin with this one's: sides, previous ones."""
    return [
        name
        for (name,) in database.server.execute("SELECT datname FROM pg_database ORDER BY 1")
        if name.startswith(database.name + "_")
    ]


def alone(database: Database) -> None:
    """Close the test's own session and wait until the server has noticed."""
    database.disconnect()
    deadline = time.monotonic() + 5
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    while database.server.execute(query, database.name) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def database(make_database: MakeDatabase) -> Iterator[Database]:
    """A fresh database, Django's alias ``default``; the databases beside it go with it."""
    database = make_database(alias="default")
    yield database
    for name in neighbours(database):
        database.server.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        )
