"""What several tests of the engine begin with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.databases import Database


@pytest.fixture
def behind(database: Database) -> Callable[..., None]:
    """Return a function that makes tables whose rows 1 to 5 no sequence has heard of."""

    def make(*tables: str) -> None:
        for table in tables:
            database.execute(
                f"CREATE TABLE {table} (id serial PRIMARY KEY, x text);"
                f" INSERT INTO {table} (id) SELECT generate_series(1, 5)"
            )

    return make
