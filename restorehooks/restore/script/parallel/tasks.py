"""What one of several connections is given to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from restorehooks.restore.script.lexer import Statement
from restorehooks.restore.script.session import change_settings, read_settings
from restorehooks.restore.script.wire import StatementFailed, Wire

from .builds import Build
from .inserts import Collected

# Parallel workers take more time in all, and gain none where every core is busy without them.
_IN_ONE_PROCESS = (
    b"SELECT pg_catalog.set_config('max_parallel_maintenance_workers', '0', false),"
    b" pg_catalog.set_config('max_parallel_workers_per_gather', '0', false)"
)
_IN_SEVERAL_PROCESSES = (
    b"SELECT pg_catalog.set_config('max_parallel_maintenance_workers', NULL, false),"
    b" pg_catalog.set_config('max_parallel_workers_per_gather', NULL, false)"
)
SessionSettings = Mapping[str, str]
KEPT = ("deadlock_timeout",)
"""Settings of a worker's own, which the owner of what it loads may not put back."""


class Worker:
    """One connection, its settings, and the COPY that is open there.

    others_fill_the_cores: there is enough to do beside the task that it is given.
    """

    def __init__(self, connection: psycopg.Connection[Any]):
        self.connection = connection
        self.wire = Wire(connection)
        self.copying: Copy | None = None
        self.others_fill_the_cores = False
        self._by_itself = False
        self._settings: SessionSettings | None = None
        own = read_settings(connection)
        self._kept = {name: own[name] for name in KEPT if name in own}
        self._pieces: list[tuple[int, int]] = []
        self._lines = 0

    def adopt(self, settings: SessionSettings) -> None:
        """Take the settings that a statement was read under, once no COPY is open any more."""
        self.end_copy()
        if self._settings is not settings:
            wanted = {**self._kept, **settings}
            change_settings(self.connection, read_settings(self.connection), wanted)
            self._settings, self._by_itself = settings, False

    def build(self, statement: Statement, settings: SessionSettings, *, by_itself: bool) -> None:
        """Run a statement that builds something, in this process alone where ``by_itself``."""
        self.adopt(settings)
        if self._by_itself is not by_itself:
            self.wire.command(_IN_ONE_PROCESS if by_itself else _IN_SEVERAL_PROCESSES)
            self._by_itself = by_itself
        self.wire.run(statement)

    def put(self, copy: Copy, block: bytes, first: int) -> None:
        """Send rows of a COPY, which stays open; ``first`` is the first line's number in it."""
        if self.copying is not copy:
            self.adopt(copy.settings)
            self.wire.begin_copy(copy.statement)
            self.copying, self._pieces, self._lines = copy, [], 0
        self._pieces.append((self._lines, first))
        self._lines += block.count(b"\n")
        self.wire.put(block)

    def end_copy(self) -> None:
        """End the COPY that is open, if one is; its rows are committed by that."""
        if copy := self.copying:
            try:
                self.wire.end_copy(copy.statement)
            except StatementFailed as error:
                raise copy.with_line_of_dump(error, self._pieces) from None
            self.copying = None


@dataclass(frozen=True)
class Copy:
    """A COPY of the dump whose rows several connections send, each by a COPY of its own."""

    statement: Statement
    settings: SessionSettings
    table: str

    def with_line_of_dump(
        self, error: StatementFailed, pieces: Sequence[tuple[int, int]]
    ) -> StatementFailed:
        """Return an error with the number that its line has among all rows of the COPY.

        ``pieces`` are, for each piece that was sent, the lines before it in this connection's
        COPY, and the number of its first line among all rows.
        """

        message = str(error)
        found = re.search(rf"\(COPY {re.escape(self.table)}, \D*(\d+)", message)
        if not found:
            return error
        line = int(found[1])
        before, first = next(piece for piece in reversed(pieces) if piece[0] < line)
        row = first + line - before - 1
        message = f"{message[: found.start(1)]}{row}{message[found.end(1) :]}"
        return StatementFailed(error.statement, message, error.sqlstate, row)


@dataclass(frozen=True, eq=False)
class Task:
    """Something to do; ``run`` raises StatementFailed.

    size: the bytes of rows in it.
    reads, locks: tables that no other task may lock at the same time, or use at all.
    is_last: it also wants everything done with these tables that is not.
    done: called once it was run, by one thread at a time.
    repeatable: it may be done once more where a deadlock has ended it, and nothing else then runs:
        ``repeated``.
    """

    run: Callable[[Worker], None]
    size: int = 0
    reads: frozenset[int] = frozenset()
    locks: frozenset[int] = frozenset()
    is_last: bool = False
    done: Callable[[], None] = lambda: None
    repeatable: bool = False
    repeated: bool = False

    def is_hindered(self, running: Iterable[Task], waiting: Iterable[Task]) -> bool:
        """Return whether it has to wait for one of these others."""
        for other in running:
            if self.repeated or other.repeated:
                return True
            if self.locks & (other.reads | other.locks) or self.reads & other.locks:
                return True
        return self.is_last and any(
            not other.is_last and self.locks & (other.reads | other.locks) for other in waiting
        )

    def once_more(self) -> Task:
        """Return what is to be done where a deadlock has ended it."""
        return replace(self, repeatable=False, repeated=True)


def rows(copy: Copy, block: bytes, first: int) -> Task:
    """Return the task to add rows, whole lines of a COPY."""
    return Task(lambda worker: worker.put(copy, block, first), len(block))


def inserts(collected: Collected, settings: SessionSettings) -> Task:
    """Return the task to add the rows of INSERT statements, in one transaction."""

    def run(worker: Worker) -> None:
        worker.adopt(settings)
        try:
            worker.wire.run(collected.as_one())
        except StatementFailed:
            # One by one they tell which of them it is, if there is any.
            worker.wire.command(b"BEGIN")
            for statement in collected.statements:
                worker.wire.queue(statement)
            worker.wire.command(b"COMMIT")

    return Task(run, collected.size)


def building(build: Build, settings: SessionSettings, done: Callable[[], None]) -> Task:
    """Return the task to run a statement that builds something, and to call ``done`` then."""

    def run(worker: Worker) -> None:
        worker.build(build.statement, settings, by_itself=worker.others_fill_the_cores)

    return Task(
        run,
        reads=build.reads,
        locks=build.locks,
        is_last=build.is_foreign_key,
        done=done,
        repeatable=True,
    )


def end_of_copy() -> Task:
    """Return the task to end the COPY that a connection has open."""
    return Task(Worker.end_copy)
