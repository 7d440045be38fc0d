"""Moves a sequence past its rows while others draw from it, and never back.

A small gap is closed by drawing ``nextval``, which cannot go back. A large one is closed by a
``setval`` whose guard reads the sequence in the same statement: it could undo what others drew in
the moment between the two only if they drew the whole gap in it. With CACHE above 1 a draw moves
the sequence by so many numbers at once, so it may end up to CACHE - 1 of them further. Repairs of
one sequence run one after the other, by an advisory lock that ends with the message.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db import DatabaseError, transaction
from psycopg import sql

from .message import LOCKS, Failed, LockBudget, in_batches, in_transaction, rolled_back, send_each
from .statements import Move, close_gaps, table_name
from .verdict import next_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper

    from .model import Sequence

ADVISORY_CLASS = 0x72686F6B
"""Upper half of the advisory lock's key ("rhok"); the sequence's oid is the lower half."""

DRAWN_WHEN_IDLE = 500
"""Largest gap, in increments, that is drawn where the sequence has not moved since it was read."""
DRAWN_WHEN_LIVE = 100_000
"""The same where somebody draws from it at this moment (measured: that many take 20 ms).

Between guard and ``setval`` this session may be put off while others go on: with eight sessions
that did nothing but draw, on two processors, 10,000 numbers went by in that time, once in 30,000
repairs; 100,000 never.
"""
DRAWN_WITHOUT_UPDATE = 1_000_000
"""The same where this role may draw (USAGE) but not set (UPDATE)."""


LOCKS_A_MOVE = 2
"""That on the sequence, and the advisory one."""


def advance(
    connection: BaseDatabaseWrapper, moves: abc.Sequence[Move], budget: LockBudget
) -> Iterator[tuple[Move, int | Failed]]:
    """Yield each move with what ``nextval`` would hand out afterwards, or with why it failed."""
    possible = []
    for move in moves:
        refusal = _refusal(move.sequence, move.gap)
        if refusal is None:
            possible.append(move)
        else:
            yield move, refusal
    for batch in in_batches(possible, LOCKS // LOCKS_A_MOVE):
        for items, result in send_each(connection, batch, _statements, budget):
            if isinstance(result, Failed):
                yield items[0], Failed(f"{items[0].sequence.quoted}: {result.message}")
                continue
            stands: dict[int, int | None] = dict(result[-1])
            for move in items:
                yield move, _outcome(move, stands)


def _refusal(sequence: Sequence, gap: int = 0) -> Failed | None:
    if sequence.may_set or (sequence.may_draw and gap <= DRAWN_WITHOUT_UPDATE):
        return None
    return Failed(f"no UPDATE privilege: GRANT UPDATE ON SEQUENCE {sequence.quoted} to this role")


def _outcome(move: Move, stands: dict[int, int | None]) -> int | Failed:
    last_value = stands[move.sequence.oid]
    ahead = 1 if move.sequence.counts_up else -1
    if last_value is None or (last_value - move.final) * ahead < 0:
        return Failed("another session set it back at the same moment; repair again")
    return next_value(move.sequence, last_value, True)


def _statements(moves: abc.Sequence[Move]) -> list[sql.Composable]:
    oids = sql.Literal([move.sequence.oid for move in moves])
    draws = [draws_at_most(move.sequence) for move in moves]
    # What this session holds in advance would be drawn first, and moves the sequence nowhere.
    forget = [FORGET] if any(move.sequence.cache > 1 for move in moves) else []
    return [
        LOCK_OTHER_REPAIRS_OUT.format(sql.Literal(ADVISORY_CLASS), oids),
        *forget,
        CALL_FIRST.format(oids, sql.Literal([move.last_of_cycle for move in moves])),
        *forget,
        close_gaps(moves, draws),
        STAND.format(oids),
    ]


def draws_at_most(sequence: Sequence) -> tuple[int, int]:
    """Return the largest gap that is drawn, not set: where the sequence is idle, and where live."""
    most = DRAWN_WITHOUT_UPDATE
    if not sequence.may_set:
        return most, most
    # One draw of somebody else's takes as many numbers as are cached.
    return min(DRAWN_WHEN_IDLE * sequence.cache, most), min(DRAWN_WHEN_LIVE * sequence.cache, most)


# In order of oid, so that two runs over the same sequences cannot deadlock.
LOCK_OTHER_REPAIRS_OUT = sql.SQL(
    "SELECT pg_catalog.pg_advisory_xact_lock({}::bigint << 32 | oid::bigint)"
    " FROM (SELECT oid FROM unnest({}::oid[]) AS t (oid) ORDER BY oid OFFSET 0) AS t"
)
FORGET = sql.SQL("DISCARD SEQUENCES")
STAND = sql.SQL(
    "SELECT oid, pg_catalog.pg_sequence_last_value(oid) FROM unnest({}::oid[]) AS t (oid)"
)
# A sequence never called tells pg_sequence_last_value nothing, and the last number of a cycle is
# past its rows. The number that either hands out next is among the rows or before them, so drawing
# it loses nothing, and from then on the guard can read where it stands.
CALL_FIRST = sql.SQL(
    "SELECT pg_catalog.nextval(oid::regclass) FROM unnest({}::oid[], {}::bigint[]) AS t (oid, last)"
    " CROSS JOIN LATERAL (SELECT pg_catalog.pg_sequence_last_value(oid) AS at OFFSET 0) AS s"
    " WHERE at IS NULL OR at = last"
)


def forget_cached_numbers(connection: BaseDatabaseWrapper) -> None:
    """Drop the numbers that this session holds in advance of sequences with CACHE above 1.

    They may lie among rows that have come since; other sessions keep theirs.
    """
    with connection.cursor() as cursor:
        cursor.execute(FORGET)


def rewind(
    connection: BaseDatabaseWrapper,
    sequence: Sequence,
    find_target: Callable[[], int | None],
    budget: LockBudget,
) -> int | Failed | None:
    """Set a sequence back while its tables take no inserts; return what it then hands out.

    ``find_target`` reads the rows again under the lock and says where to go; None leaves the
    sequence where it is. ``LOCK ... IN SHARE MODE`` waits for open inserts and holds back new
    ones before they draw; it is released at the end, within a caller's transaction too.
    """
    if not sequence.may_set:
        return _refusal(sequence) or Failed(f"no UPDATE privilege on sequence {sequence.quoted}")
    if sequence.cache > 1:
        return Failed(f"CACHE {sequence.cache}: other sessions may hold numbers not yet used")
    within = in_transaction(connection)
    if within and _isolation(connection) != "read committed":
        return Failed("a rewind needs to see every row, which this transaction's snapshot hides")
    own = transaction.atomic(using=connection.alias)
    try:
        with rolled_back(connection, "restorehooks_rewind") if within else own:
            _lock(connection, sequence, budget.for_one(), own=not within)
            target = find_target()
            if target is not None:
                _set(connection, sequence, target)
    except DatabaseError as error:
        tables = ", ".join(sorted({column.quoted_table for column in sequence.columns}))
        return Failed(f"locking {tables}: {Failed.of(connection, error).message}")
    return target


def _isolation(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        return str(cursor.fetchone()[0])


def _lock(
    connection: BaseDatabaseWrapper, sequence: Sequence, lock_timeout: float, *, own: bool
) -> None:
    tables = {c.table_oid: table_name(c) for c in sequence.columns}
    with connection.cursor() as cursor:
        if own:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(f"SET LOCAL lock_timeout = {round(lock_timeout * 1000)}")
        cursor.execute(
            "SELECT pg_catalog.pg_advisory_xact_lock(%s::bigint << 32 | %s)",
            [ADVISORY_CLASS, sequence.oid],
        )
        for _, name in sorted(tables.items(), key=lambda item: item[0]):
            statement = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(name)
            cursor.execute(statement.as_string(connection.connection))


def _set(connection: BaseDatabaseWrapper, sequence: Sequence, target: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_catalog.setval(%s::oid::regclass, %s, false)", [sequence.oid, target]
        )
