"""Several connections that work at once, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from restorehooks.driver import SECONDS_A_WAIT, hang_up
from restorehooks.restore.interrupts import uninterrupted
from restorehooks.restore.script.wire import SECONDS_TO_CANCEL, StatementFailed

from .tasks import Task, Worker, end_of_copy

BYTES_AHEAD = 2 * 1024 * 1024
"""Bytes of rows for each worker that may wait, or be on their way."""
_FEW = 50
"""Tasks that are looked at to see whether there are enough."""
_CANCELLED = "57014"
_DEADLOCK = "40P01"


class Workers:
    """Runs tasks, the first that can be run first.

    Tasks whose locks are in each other's way are not run at the same time. The first failure ends
    everything; it is raised by whatever is called next.
    """

    def __init__(self, connections: Sequence[psycopg.Connection[Any]]):
        self._workers = [Worker(connection) for connection in connections]
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._tasks: list[Task] = []
        self._running: list[Task] = []
        self._bytes = 0
        self._finishing = self._stopping = False
        self._failures: list[BaseException] = []

    @property
    def rows(self) -> int:
        """The rows that were added so far."""
        return sum(worker.wire.rows for worker in self._workers)

    def give(self, task: Task) -> None:
        """Give a task to whoever is free; wait while too many rows are waiting."""
        most = BYTES_AHEAD * len(self._workers)
        with self._changed:
            while self._bytes and self._bytes + task.size > most and not self._failures:
                self._changed.wait(SECONDS_A_WAIT)
            self._bytes += task.size
            self._tasks.append(task)
            self._changed.notify_all()
        self._raise_failure()
        self._start()

    def finish(self) -> None:
        """Wait until all is done and committed."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
            while self._busy() and not self._failures:
                self._changed.wait(SECONDS_A_WAIT)
            self._finishing = False
        self._raise_failure()

    def stop(self) -> None:
        """End what is under way, and wait for that; a signal meanwhile counts afterwards."""
        with uninterrupted() as signals:
            with self._changed:
                self._stopping = True
                self._changed.notify_all()
            for worker in self._workers:
                if worker.connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    with suppress(psycopg.Error):
                        worker.connection.cancel_safe(timeout=SECONDS_TO_CANCEL)
            for thread, worker in zip(self._threads, self._workers, strict=False):
                thread.join(SECONDS_TO_CANCEL)
                if thread.is_alive():
                    with suppress(OSError):
                        hang_up(worker.connection)
                    thread.join()
                worker.wire.abandon()
            self._threads.clear()
        if signals.came:
            raise KeyboardInterrupt

    # --- In the thread that gives --------------------------------------------------------------

    def _start(self) -> None:
        if not self._threads:
            for number, worker in enumerate(self._workers, 1):
                name = f"restorehooks-load-{number}"
                thread = threading.Thread(target=self._work, args=[worker], name=name)
                self._threads.append(thread)
                thread.start()

    def _busy(self) -> bool:
        return bool(self._tasks or self._running or any(worker.copying for worker in self._workers))

    def _raise_failure(self) -> None:
        """Raise what has failed; of several failures the one that comes first in the dump."""
        if not self._failures:
            return
        first = self._failures[0]
        if _of_a_row(first):
            for thread in self._threads:
                thread.join(SECONDS_TO_CANCEL)
        self.stop()
        refused = [
            each
            for each in self._failures
            if isinstance(each, StatementFailed) and (each is first or each.sqlstate != _CANCELLED)
        ]
        raise min(refused, key=lambda each: (each.statement.line, each.row), default=first)

    # --- In the workers' threads ---------------------------------------------------------------

    def _work(self, worker: Worker) -> None:
        try:
            while task := self._next(worker):
                self._run(worker, task)
            if self._failures and _of_a_row(self._failures[0]):
                worker.end_copy()  # an earlier row may be refused, too
        except BaseException as error:  # it is raised in the thread that gives
            with self._changed:
                self._failures.append(error)
                self._stopping = True
                self._changed.notify_all()

    def _run(self, worker: Worker, task: Task) -> None:
        again = None
        try:
            task.run(worker)
        except StatementFailed as error:
            # Functions in two indexes may each read the table that is locked for the other one.
            if error.sqlstate != _DEADLOCK or not task.repeatable:
                raise
            again = task.once_more()
        with self._changed:
            self._running.remove(task)
            self._bytes -= task.size
            if again:
                self._tasks.append(again)
            else:
                task.done()
            self._changed.notify_all()

    def _next(self, worker: Worker) -> Task | None:
        """Return the next task that can be run now, None when there are none any more."""
        with self._changed:
            while not self._stopping:
                for task in self._tasks:
                    if not task.is_hindered(self._running, self._tasks):
                        self._tasks.remove(task)
                        self._running.append(task)
                        worker.others_fill_the_cores = self._cores_are_filled()
                        return task
                if self._finishing and worker.copying:
                    self._running.append(end := end_of_copy())
                    return end
                self._changed.wait()
        return None

    def _cores_are_filled(self) -> bool:
        """Return whether what runs, and what can be run beside it, keeps the cores busy.

        There is one worker more than there are cores, unless somebody wants it otherwise.
        """
        few = islice(self._tasks, _FEW)
        beside = sum(not task.is_hindered(self._running, self._tasks) for task in few)
        return len(self._running) + beside >= max(2, len(self._workers) - 1)


def _of_a_row(failure: BaseException) -> bool:
    return isinstance(failure, StatementFailed) and failure.row > 0
