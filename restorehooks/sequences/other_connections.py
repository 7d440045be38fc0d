"""Hands out the loads of one run to several connections: the caller's, and some of its own.

A server answers each connection on a core of its own, so that thousands of tables are read sooner
over two of them. A helper is a connection like the caller's, in a thread. It takes part only where
it is certain to see and do the same: the same server, database and role, and another session. Where
there is none to be had, or one is lost, the caller's connection does the work alone.
"""

from __future__ import annotations

from collections import abc, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import ceil
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import Error

from restorehooks import driver

from .message import LOCKS, Failed, LockBudget, in_transaction, send, send_once

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

Load = TypeVar("Load")
Result = TypeVar("Result")

MANY = 2 * LOCKS
"""Locks of a run up to which one connection does it as fast, since another has to be opened."""
SHARE = 4
"""Of the connections that are free on the server, a run takes one in so many at most."""
CONNECT_TIMEOUT = 2
"""Seconds that a helper has to connect, the least that libpq takes."""
GRACE = 0.2
"""Seconds that a helper has to end by itself, and after a cancel, before its line is cut."""


CANCELS = 3
"""Tries to cancel what a helper runs: one that comes before the statement has no effect."""


class OtherConnections:
    """The connections of one run; to be closed.

    ``at_most`` is how many there may be, the caller's included. Within a transaction of the
    caller's its connection stays alone: others would not see its rows.
    """

    def __init__(self, connection: BaseDatabaseWrapper, at_most: int = 1) -> None:
        self._connection = connection
        self._at_most = at_most
        self._pile: _Pile[Any, Any] | None = None
        self._changed = Condition()
        self._helpers: list[_Other] | None = None
        self.is_closed = False

    def locks_to_a_load(self, locks: int) -> int:
        """Open helpers where so many locks are worth it, and return how many a load may take.

        All loads that are at work at once take no more than ``LOCKS`` together.
        """
        if locks > MANY and self._at_most > 1 and not in_transaction(self._connection):
            self._open()
        number = 1 + len(self._helpers or ())
        if number == 1 or not locks:
            return LOCKS
        loads = ceil(locks / max(LOCKS // number, 1))
        return ceil(locks / (loads + -loads % number))

    def map(
        self, work: Callable[[BaseDatabaseWrapper, Load], Result], loads: abc.Sequence[Load]
    ) -> Iterator[Result]:
        """Yield what ``work`` makes of each load, in order; any connection may be given any load.

        ``work`` runs in several threads at once, and once more for a load whose connection is lost.
        """
        pile = _Pile(loads, work, self._changed)
        with self._changed:
            self._pile = pile
            self._changed.notify_all()
        for number in range(len(loads)):
            while not pile.has(number):
                taken = pile.take(or_wait_for=number)
                if taken is not None:
                    pile.finish(taken, work(self._connection, loads[taken]))
            yield pile.result(number)

    def next_load(self) -> tuple[_Pile[Any, Any], int] | None:
        """Wait for a load, in the thread of a helper; None where there is no more to come."""
        with self._changed:
            while not self.is_closed:
                number = None if self._pile is None else self._pile.take()
                if self._pile is not None and number is not None:
                    return self._pile, number
                self._changed.wait()
        return None

    def close(self) -> None:
        """End the helpers, whatever they are at."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()
        for helper in self._helpers or ():
            helper.end()

    def _open(self) -> None:
        if self._helpers is not None:
            return
        self._helpers = []
        found = send_once(self._connection, [WHO, FREE], LockBudget(0))
        if isinstance(found, Failed):
            return
        ((who,),), ((free,),) = found
        for _ in range(min(self._at_most - 1, max(free, 0) // SHARE)):
            helper = _Other(self, self._connection, who)
            self._helpers.append(helper)
            helper.start()


class _Pile(Generic[Load, Result]):
    """Loads that wait to be taken, and what came of those that were; ``changed`` guards both."""

    def __init__(
        self,
        loads: abc.Sequence[Load],
        work: Callable[[BaseDatabaseWrapper, Load], Result],
        changed: Condition,
    ) -> None:
        self._loads, self._work, self._changed = loads, work, changed
        self._waiting = deque(range(len(loads)))
        self._done: dict[int, Result | Exception] = {}

    def take(self, or_wait_for: int | None = None) -> int | None:
        """Return the next load, None where all are taken, or when the one that is waited for is."""
        with self._changed:
            while not self._waiting:
                if or_wait_for is None or or_wait_for in self._done:
                    return None
                self._changed.wait(driver.SECONDS_A_WAIT)
            return self._waiting.popleft()

    def has(self, number: int) -> bool:
        return number in self._done

    def finish(self, number: int, result: Result | Exception) -> None:
        with self._changed:
            self._done[number] = result
            self._changed.notify_all()

    def do(self, number: int, connection: BaseDatabaseWrapper) -> bool:
        """Do a load on a helper's connection; put it back and return False where that is lost."""
        try:
            self.finish(number, self._work(connection, self._loads[number]))
        except Error:
            with self._changed:
                self._waiting.appendleft(number)
                self._changed.notify_all()
            return False
        except Exception as error:  # raised by result(), in the caller's thread
            self.finish(number, error)
        return True

    def result(self, number: int) -> Result:
        result = self._done.pop(number)
        if isinstance(result, Exception):
            raise result
        return result


class _Ended(Exception):  # noqa: N818 - nobody but a helper meets it
    """The run is over, or given up: what is left of a load need not be done."""


class _Other(Thread):
    """A connection of our own that takes loads, as long as there are any."""

    def __init__(
        self, helpers: OtherConnections, model: BaseDatabaseWrapper, who: list[str]
    ) -> None:
        super().__init__(name="restorehooks", daemon=True)
        self._helpers, self._model, self._who = helpers, model, who
        self._connection: BaseDatabaseWrapper | None = None

    def run(self) -> None:
        """Connect, and do loads; end without a word where that fails, for others to do them."""
        # Django lets a connection be used by the thread alone that has made it.
        connection = self._connection = self._model.copy()
        connection.execute_wrappers.append(self._unless_closed)
        options = connection.settings_dict["OPTIONS"]
        options.pop("pool", None)  # it may have no other connection to give
        options["connect_timeout"] = CONNECT_TIMEOUT
        try:
            if self._is_alike(connection):
                while (load := self._helpers.next_load()) is not None:
                    pile, number = load
                    if not pile.do(number, connection):
                        return
        except Exception:  # noqa: S110 - whatever prevents it, the loads wait for others
            pass
        finally:
            connection.close()

    def _unless_closed(self, execute: Callable[..., Any], *statement: Any) -> Any:
        if self._helpers.is_closed:
            raise _Ended
        return execute(*statement)

    def _is_alike(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether it is another session of the same role in the same database."""
        ((who,),) = send(connection, [WHO], 0)[0]
        return bool(who[0] != self._who[0] and who[1:] == self._who[1:])

    def end(self) -> None:
        """Wait for its end, and see to it: what it runs is cancelled, and the connection cut."""
        self.join(0.0 if self._is_at_work() else GRACE)
        for _ in range(CANCELS):
            if self.is_alive():
                self._cancel()
                self.join(GRACE)
        while self.is_alive():
            self._cut()
            self.join(GRACE)

    def _is_at_work(self) -> bool:
        bare = self._bare()
        return bare is not None and bare.info.transaction_status == driver.ACTIVE

    def _bare(self) -> Any:
        return None if self._connection is None else self._connection.connection

    def _cancel(self) -> None:
        with suppress(Exception):  # there is nothing to cancel, or nobody who takes it
            if driver.name == "psycopg":
                self._bare().cancel_safe(timeout=CONNECT_TIMEOUT)
            else:
                self._bare().cancel()

    def _cut(self) -> None:
        with suppress(Exception):  # it is closed already, or not yet open
            driver.hang_up(self._bare())


WHO = (
    "SELECT ARRAY[pg_backend_pid()::text, current_user::text, session_user::text,"
    " (SELECT oid::text FROM pg_database WHERE datname = current_database()),"
    " pg_postmaster_start_time()::text]"
)
"""Session, role, database and server: behind one name there may be several of each."""
FREE = """
SELECT least(
    current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
        - coalesce(current_setting('reserved_connections', true)::integer, 0) - used.of_all,
    CASE WHEN d.datconnlimit >= 0 THEN d.datconnlimit - used.of_database END,
    CASE WHEN r.rolconnlimit >= 0 THEN r.rolconnlimit - used.of_role END)
FROM pg_database d, pg_roles r, (
    SELECT count(*) AS of_all, count(*) FILTER (WHERE s.datname = current_database())
               AS of_database,
           count(*) FILTER (WHERE s.usename = session_user) AS of_role
    FROM pg_stat_activity s WHERE s.datid IS NOT NULL) used
WHERE d.datname = current_database() AND r.rolname = session_user
"""
"""How many connections the server, the database and the role have left."""
