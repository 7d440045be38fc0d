"""The driver of PostgreSQL: which one there is, what is missing, and what SQL is made with.

Django takes psycopg 3 wherever it can be imported, and psycopg2 where it cannot; so does this
module, and nothing here makes a project change its driver. The sequences, hooks and notes work with
both. A restore needs psycopg 3. Projects on another engine need neither.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Literal

import django
from django.db import connections

from restorehooks.wording import first_line, sentence

INSTALL = 'pip install "django-restorehooks[binary]"'
OLDEST_DJANGO = (5, 2)
OLDEST_PSYCOPG = (3, 2)
IDLE, ACTIVE = 0, 1
"""The status of a connection without a transaction, and of one that runs a statement: libpq's, and
so the same in both drivers."""
SECONDS_A_WAIT = 0.3
"""How long a thread that signals may interrupt waits at a time. Python does not notice a signal
that comes just before a call that waits, or to another thread, until that call ends; psycopg 3
itself waits 0.1 s at a time."""


class _Absent:
    """Stands where a driver's ``sql`` would, so that modules with statements can be imported.

    Without a driver Django opens no connection to PostgreSQL, so that none is ever sent.
    """

    def __getattr__(self, name: str) -> _Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> _Absent:
        return self

    def __or__(self, other: Any) -> Any:
        return other


name: Literal["psycopg", "psycopg2"] | None
"""The driver that Django uses; None where neither can be imported."""
_problem = ""
if TYPE_CHECKING:
    import psycopg
    from psycopg import Error, errors, sql
else:
    try:
        import psycopg
        from psycopg import Error, errors, sql

        name = "psycopg"
    except ImportError as error:  # it is not installed, or finds no libpq
        found = not isinstance(error, ModuleNotFoundError) or error.name != "psycopg"
        _problem = f"psycopg 3 cannot be used: {sentence(first_line(error))}" if found else ""
        try:
            from psycopg2 import Error, errors, sql

            name = "psycopg2"
        except ImportError:
            errors = sql = _Absent()
            Error = ConnectionError  # there is none that anything could raise
            name = None

__all__ = ["Error", "errors", "sql"]


def why_not_at_all() -> str | None:
    """Return one sentence where the app can do nothing in this project; None where it can work."""
    if django.VERSION < OLDEST_DJANGO:
        there = django.get_version()
        return f"restorehooks needs Django 5.2 or later, and this is Django {there}: upgrade it."
    return _too_old()


def why_no_restore() -> str | None:
    """Return one sentence that says what to install before a restore or a dump; None if nothing."""
    if why := why_not_at_all():
        return why
    if name == "psycopg":
        return None
    problem = _problem or "psycopg 3 is not installed."
    if name == "psycopg2":
        return (
            f"{problem} A restore needs it, and Django would use it instead of psycopg2: install"
            f" it in an environment of its own, {INSTALL}, and run restorehooks there."
        )
    return f"{problem} Install it with: {INSTALL}"


def hang_up(connection: Any) -> None:
    """End the line of a driver's connection, for whoever waits for a server that does not answer.

    Raises OSError or an error of the driver's where there is none.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _too_old() -> str | None:
    there = psycopg.__version__ if name == "psycopg" else "3.2"
    if tuple(map(int, there.split(".")[:2])) >= OLDEST_PSYCOPG:
        return None
    return (
        f"restorehooks needs psycopg 3.2 or later, and this is {there}. Upgrade it with: {INSTALL}"
    )


def text(statement: sql.Composable) -> str:
    """Return a statement as text, for people to run; psycopg2 needs an open connection for it."""
    if name == "psycopg":
        return statement.as_string(None)
    opened = (each.connection for each in connections.all(initialized_only=True))
    return statement.as_string(next(each for each in opened if each is not None))
