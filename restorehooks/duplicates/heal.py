"""Repairs a sequence right after it drew a number that was taken."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from threading import Event, Lock, Timer
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections

from restorehooks import conf
from restorehooks.announce import announce
from restorehooks.sequences.repair import reset_table
from restorehooks.sequences.report import Entry, Report
from restorehooks.sequences.scope import Limits
from restorehooks.sequences.verdict import Status
from restorehooks.wording import first_line, printable

from . import is_unique_violation
from .catalog import locate
from .note import Cause, Violation

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("restorehooks")
F = TypeVar("F", bound=Callable[..., Any])

INTERVAL = 10.0
"""Seconds in which one process tries to repair the sequences of one table no more than once."""
LOCK_TIMEOUT = 0.1
"""Seconds to wait for locks in all: the caller, who waits for the repair, may hold them."""
CONNECT_TIMEOUT = 2
"""Seconds to wait for the connection; the least that libpq takes."""
ANSWER_TIMEOUT = 3.0
"""Seconds that a repair may take in all. A pooler without a session to spare lets it wait for
minutes, and that session may be the caller's own."""

_tried: dict[tuple[str, ...], float] = {}
_lock = Lock()


def heal(connection: BaseDatabaseWrapper, violation: Violation) -> Report:
    """Repair the sequences of the violated table through a short connection of its own.

    The repair reads the database, so a wrong guess changes nothing. The report is empty where one
    was tried less than ``INTERVAL`` ago, or could not be done, which is logged.
    """
    database = str(connection.settings_dict["NAME"])
    place = (violation.schema, violation.table or violation.constraint)
    if not _is_due((connection.alias, database, *place)):
        return Report(connection.alias)
    own = _separate(connection)
    try:
        with _answering(own):
            limits = replace(conf.limits(hook=True), lock_timeout=LOCK_TIMEOUT)
            report = _reset(own, violation, limits)
    except Exception as error:
        why = printable(first_line(error))
        logger.warning("After a unique violation, no sequence was repaired: %s", why)
        return Report(connection.alias)
    finally:
        own.close()
    announce(report, "duplicate")
    return report


def _reset(connection: BaseDatabaseWrapper, violation: Violation, limits: Limits) -> Report:
    schema, table = violation.schema, violation.table
    if not (schema and table):
        schema, table = locate(connection, table, violation.constraint) or ("", "")
    return reset_table(connection, schema, table, limits)


def _is_due(table: tuple[str, ...]) -> bool:
    now = monotonic()
    with _lock:
        if now - _tried.get(table, -INTERVAL) < INTERVAL:
            return False
        _tried[table] = now
        return True


def _separate(connection: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """Return a connection to the same database that is not open yet.

    Not out of the pool: the caller holds a place in it, and it may have been the last one.
    """
    own = connection.copy()
    own.settings_dict["AUTOCOMMIT"] = True
    options = own.settings_dict["OPTIONS"]
    options.pop("pool", None)
    options["connect_timeout"] = CONNECT_TIMEOUT
    return own


@contextmanager
def _answering(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Cut a connection that has not done its work in time; raises TimeoutError then."""
    connection.ensure_connection()
    cut = Event()
    # A duplicate of the socket: the number of a closed one may be another file's by then.
    ours = socket.fromfd(connection.connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)

    def end() -> None:
        cut.set()
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)

    timer = Timer(ANSWER_TIMEOUT, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if cut.is_set():
            raise TimeoutError(f"no answer within {ANSWER_TIMEOUT:g} seconds") from error
        raise
    finally:
        timer.cancel()
        timer.join()
        ours.close()


class retry_after_repair:  # noqa: N801 - used as a function
    """Do work again when a sequence that was behind made it fail, once that is repaired.

    ::

        @retry_after_repair()
        def take_order(name):
            return Order.objects.create(name=name)

        for attempt in retry_after_repair(using="default"):
            with attempt:
                Order.objects.create(name="new")

    For work that may be done twice, outside transactions: within one, the violation has broken it
    and is raised as it is. So is one for which no sequence is to blame. ``using`` is the alias,
    ``attempts`` how often the work is done at most. Works on ``async def``, and as ``async with
    attempt``, too. It needs no setting.
    """

    def __init__(self, *, using: str = DEFAULT_DB_ALIAS, attempts: int = 3) -> None:
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {attempts}")
        self.using = using
        self.attempts = attempts

    def __iter__(self) -> Iterator[_Attempt]:
        met: set[str] = set()
        for number in range(1, self.attempts + 1):
            attempt = _Attempt(self.using, met, is_last=number == self.attempts)
            yield attempt
            if not attempt.again:
                return

    def __call__(self, function: F) -> F:
        """Return the function, called again where that is worth it; not for generators."""
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            name = function.__qualname__
            raise TypeError(f"{name} is a generator: it cannot be started again half-way")
        if iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                for attempt in self:
                    async with attempt:
                        return await cast("Callable[..., Awaitable[Any]]", function)(
                            *args, **kwargs
                        )
                raise AssertionError("the last attempt returns or raises")

            return cast("F", awaited)

        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            for attempt in self:
                with attempt:
                    return function(*args, **kwargs)
            raise AssertionError("the last attempt returns or raises")

        return cast("F", called)


class _Attempt:
    """One time that the work is done; ``again`` afterwards says whether to do it once more."""

    def __init__(self, using: str, met: set[str], *, is_last: bool) -> None:
        self.using = using
        self.met = met
        self.is_last = is_last
        self.again = False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, IntegrityError) and is_unique_violation(error) and not self.is_last:
            self.again = self._is_repaired(error)
        return self.again

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *raised: Any) -> bool:
        return bool(await sync_to_async(self.__exit__)(*raised))

    def _is_repaired(self, error: IntegrityError) -> bool:
        connection = connections[self.using]
        violation = Violation.of(error, self.using)
        if connection.in_atomic_block or not connection.get_autocommit():
            return False
        if violation.cause is Cause.DATA:
            return False
        try:
            limits = replace(conf.limits(), follows_lone_rows=False)  # nobody has been asked
            report = _reset(connection, violation, limits)
        except Exception:
            logger.warning("After a unique violation, no sequence was repaired", exc_info=True)
            return False
        announce(report, "duplicate")
        # Another process may have repaired it; but the same violation twice is no sequence's.
        is_new = violation.constraint not in self.met
        self.met.add(violation.constraint)
        concerned = [entry for entry in report if _may_number(entry, violation.columns)]
        if any(entry.changed for entry in concerned):
            return True
        return is_new and bool(concerned) and all(e.status is Status.OK for e in concerned)


def _may_number(entry: Entry, columns: Collection[str]) -> bool:
    """Return whether a sequence numbers one of these columns; with none known, it may."""
    numbered = {column.name for column in entry.found[0].columns} if entry.found else set()
    return not columns or not numbered.isdisjoint(columns)
