"""One property of a database and the statement that gives it to another one."""

from __future__ import annotations

from typing import NamedTuple

import psycopg
from psycopg import sql

from restorehooks.wording import first_line

from .address import Connection


class Carry(NamedTuple):
    """One property of the live database and the statement that gives it to another one."""

    what: str
    statement: sql.Composed


def refusal(connection: Connection, statement: sql.Composed) -> str | None:
    """Run a statement under a savepoint; return why the server refused it, None if it did not."""
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return first_line(error)
    return None
