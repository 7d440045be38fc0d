"""Several statements in one message to the server, leaving no lock behind.

One round trip for hundreds of statements is what makes thousands of tables fast (measured: a
thousand ``SELECT max(id)`` take 60 ms in messages of a few hundred, 450 ms one by one). Outside a
transaction the message is one implicit transaction; inside the caller's it runs under a savepoint
that is rolled back, which releases every lock taken since, while the effects of ``setval`` and
``nextval`` stay.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db import DatabaseError

from restorehooks.driver import IDLE, errors
from restorehooks.wording import first_line

from .sending import Rows, Statement, execute
from .session import REMEMBER_PATH, local_settings

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

BATCH = 200
"""Things to a message that take a lock or none each."""
LOCKS = 1_000
"""Locks to a message: enough to make round trips rare, few beside the 6,400 and more that a server
has room for with its own defaults, for all of its sessions."""
LAST_VALUES = "SELECT oid, pg_catalog.pg_sequence_last_value(oid) FROM unnest(%s::oid[]) AS t (oid)"
"""Where sequences stand, NULL for those never called or closed to this role."""
POSITIONS = (
    "SELECT oid, at.last_value, at.is_called FROM unnest(%s::oid[]) AS t (oid)"
    " CROSS JOIN LATERAL pg_catalog.pg_get_sequence_data(oid::regclass) AS at"
)
"""The same from PostgreSQL 18 on, which tells it of those never called, too."""


class LockBudget:
    """How long one run waits, in all, for locks that somebody else holds.

    The first tries, with a whole batch, wait for an eighth of ``seconds``; what a batch could not
    get is tried alone, for as long as is left. So one locked table costs ``seconds``, and a
    hundred of them little more.
    """

    SHORTEST = 0.05

    def __init__(self, seconds: float) -> None:
        self._batch = seconds / 8
        self._left = seconds
        self._lock = Lock()

    def for_batch(self) -> float:
        """Seconds that a message for many may wait for a lock."""
        return max(min(self._batch, self._left), self.SHORTEST)

    def for_one(self) -> float:
        """Seconds that a message for one may wait for a lock."""
        return max(self._left, self.SHORTEST)

    def spend(self, seconds: float) -> None:
        """Take off the time that was waited in vain; by any of several connections."""
        with self._lock:
            self._left -= seconds


class Failed(NamedTuple):
    """What the server said of a group of statements that it would not run."""

    message: str

    @classmethod
    def of(cls, connection: BaseDatabaseWrapper, error: DatabaseError) -> Failed:
        """Turn an error into what is reported, or raise it again where the connection is lost."""
        if not _is_open(connection):
            raise error
        cause: Any = error.__cause__
        unknown = errors.UndefinedFunction, errors.UndefinedObject  # the other one is a type
        is_unqualified = isinstance(cause, unknown) and cause.diag.internal_query
        return cls(first_line(error) + (UNQUALIFIED if is_unqualified else ""))


UNQUALIFIED = (
    ", which an SQL function in an index or the like uses without its schema: name that there,"
    " or give the function a SET search_path"
)


def in_batches(items: abc.Sequence[T], size: int = BATCH) -> Iterator[abc.Sequence[T]]:
    """Yield the items, ``size`` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def by_locks(
    items: Iterable[T], locks: Callable[[T], int], at_most: int = LOCKS
) -> Iterator[list[T]]:
    """Yield the items, as many at a time as take so many locks; a larger one by itself."""
    load: list[T] = []
    taken = 0
    for item in items:
        taken += locks(item)
        if load and taken > at_most:
            yield load
            load, taken = [], locks(item)
        load.append(item)
    if load:
        yield load


def lookup(table: str, column: str, *, up: bool = True, reach: str | None = None) -> str:
    """Return the query for the extreme of a column without NULLs that an index leads.

    It is planned faster than ``max``. The names are as PostgreSQL quotes them; ``reach`` is a
    condition that the rows must meet.
    """
    where = "" if reach is None else f" WHERE {reach}"
    order = "DESC" if up else "ASC"
    return f"SELECT {column} FROM {table}{where} ORDER BY {column} {order} LIMIT 1"  # noqa: S608


PLAN_LOOKUPS = (
    "SELECT pg_catalog.set_config('enable_indexonlyscan', 'off', true),"
    " pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)"
)
"""For a message that holds nothing but lookups. For the one row of each, planning is most of the
work, and an index-only scan opens one file more than it saves (measured: a seventh less in all)."""


def array(oids: Iterable[int]) -> str:
    """Return oids as a literal."""
    return f"'{{{','.join(map(str, oids))}}}'"


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether what is sent now becomes part of a transaction of the caller's, a raw BEGIN's too."""
    if connection.in_atomic_block or not connection.get_autocommit():
        return True
    return bool(connection.connection.info.transaction_status != IDLE)


@contextmanager
def rolled_back(connection: BaseDatabaseWrapper, savepoint: str) -> Iterator[None]:
    """Work within the caller's transaction under a savepoint that is rolled back.

    What ``setval`` and ``nextval`` did survives that; locks, and an error's damage, do not.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SAVEPOINT {savepoint}")
        try:
            yield
        finally:
            if _is_open(connection):
                cursor.execute(f"ROLLBACK TO SAVEPOINT {savepoint}")
                cursor.execute(f"RELEASE SAVEPOINT {savepoint}")


def send(
    connection: BaseDatabaseWrapper,
    statements: abc.Sequence[Statement],
    lock_timeout: float,
    *,
    in_own_path: bool = True,
    remembering: abc.Sequence[str] = (),
    to_write: bool = False,
) -> list[Rows]:
    """Send the statements as one message and return the rows of each.

    Names and operators in them resolve in ``pg_catalog`` alone, so that nobody's function of the
    same name is called; ``PATH`` has the schemas that the caller's names resolve in. With
    ``in_own_path`` False the caller's path stays: for what must be found there, all else qualified.
    ``remembering`` are expressions to evaluate while it still holds. ``to_write``: a transaction of
    our own writes, whatever ``default_transaction_read_only`` says.

    Raises ``django.db.DatabaseError`` when one of them fails; none of them then has had an effect
    but for numbers drawn from sequences, and the caller's transaction goes on.
    """
    within = in_transaction(connection)
    version = connection.pg_version  # type: ignore[attr-defined]
    settings = local_settings(lock_timeout, within=within, own_path=in_own_path, version=version)
    prepare = f"SELECT {', '.join([REMEMBER_PATH, *remembering, *settings])}"
    if not within:  # these modes can be set before the first query only
        first = [READ_COMMITTED + (READ_WRITE if to_write else ""), prepare]
        return execute(connection, [*first, *statements], within=within)[len(first) :]
    try:
        return execute(connection, [SAVEPOINT, prepare, *statements, *UNDO], within=within)[2:-2]
    except DatabaseError:
        if _is_open(connection):
            execute(connection, UNDO, within=within)
        raise


READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""An older snapshot of the catalogue does not show what others have made of a table since."""
READ_WRITE = ", READ WRITE"
SAVEPOINT = "SAVEPOINT restorehooks"
UNDO = ("ROLLBACK TO SAVEPOINT restorehooks", "RELEASE SAVEPOINT restorehooks")


def send_each(
    connection: BaseDatabaseWrapper,
    items: abc.Sequence[T],
    statements_for: Callable[[abc.Sequence[T]], abc.Sequence[Statement]],
    budget: LockBudget,
    **how: Any,
) -> Iterator[tuple[abc.Sequence[T], list[Rows] | Failed]]:
    """Send the statements for all items in one message; if that fails, item by item.

    Yields the items that a message was for, with the rows of each of its statements or with what
    the server said. One bad item so never costs the others. ``how`` is what :func:`send` takes.
    """
    if not items:
        return
    first = _send(connection, statements_for(items), budget, budget.for_batch(), **how)
    if not isinstance(first, Failed):
        yield items, first
        return
    for item in items:
        statements = statements_for([item])
        wait = budget.for_one()
        yield [item], _send(connection, statements, budget, wait, **how)


def send_once(
    connection: BaseDatabaseWrapper,
    statements: abc.Sequence[Statement],
    budget: LockBudget,
    **how: Any,
) -> list[Rows] | Failed:
    """Send the statements as one message; do not insist where a lock is in the way."""
    return _send(connection, statements, budget, budget.for_batch(), **how)


def send_for_one(
    connection: BaseDatabaseWrapper, statements: abc.Sequence[Statement], budget: LockBudget
) -> list[Rows] | Failed:
    """Send statements that stand for one item, and wait for its lock as long as may be."""
    return _send(connection, statements, budget, budget.for_one())


def _send(
    connection: BaseDatabaseWrapper,
    statements: abc.Sequence[Statement],
    budget: LockBudget,
    lock_timeout: float,
    **how: Any,
) -> list[Rows] | Failed:
    began = monotonic()
    try:
        return send(connection, statements, lock_timeout, **how)
    except DatabaseError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable):
            budget.spend(min(lock_timeout, monotonic() - began))
        return Failed.of(connection, error)


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection is not None and not connection.connection.closed
