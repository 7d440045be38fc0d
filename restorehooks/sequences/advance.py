"""Moves a sequence past its rows while others draw from it, and never back.

A small gap is closed by drawing ``nextval``, which cannot go back. A large one is closed by a
``setval`` whose guard reads the sequence in the same statement: it could undo what others drew in
the moment between the two only if they drew the whole gap in it. With CACHE above 1 a draw moves
the sequence by so many numbers at once, so it may end up to CACHE - 1 of them further. Repairs of
one sequence take turns through an advisory lock that ends with the message.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, NamedTuple

from django.db import DatabaseError, transaction
from psycopg import sql

from .message import LOCKS, Failed, Patience, in_batches, in_transaction, send_each, undone
from .verdict import next_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper

    from .catalog import Sequence

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


class Move(NamedTuple):
    """A sequence that is behind: where it was read to stand, and what it should hand out next."""

    sequence: Sequence
    last_value: int
    target: int

    @property
    def final(self) -> int:
        """The ``last_value`` after which ``nextval`` hands out the target."""
        return self.target - self.sequence.increment

    @property
    def gap(self) -> int:
        """The number of increments from where it was read to stand to ``final``."""
        return (self.final - self.last_value) // self.sequence.increment

    @property
    def turn(self) -> int | None:
        """The ``last_value`` after which a cycle starts over, where it stands just there."""
        following = self.last_value + self.sequence.increment
        starts_over = next_value(self.sequence, self.last_value, True) != following
        return self.last_value if starts_over else None


def advance(
    connection: BaseDatabaseWrapper, moves: Many[Move], patience: Patience
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
        for items, result in send_each(connection, batch, _statements, patience):
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
    ahead = 1 if move.sequence.increment > 0 else -1
    if last_value is None or (last_value - move.final) * ahead < 0:
        return Failed("another session set it back at the same moment; repair again")
    return next_value(move.sequence, last_value, True)


def _statements(moves: Many[Move]) -> list[sql.Composable]:
    oids = sql.Literal([move.sequence.oid for move in moves])
    drawn = [draws_at_most(move.sequence) for move in moves]
    close_gaps = CLOSE_GAPS.format(
        oids,
        sql.Literal([move.final for move in moves]),
        sql.Literal([move.sequence.increment for move in moves]),
        sql.Literal([move.last_value for move in moves]),
        sql.Literal([idle for idle, _ in drawn]),
        sql.Literal([live for _, live in drawn]),
    )
    # What this session holds in advance would be drawn first, and moves the sequence nowhere.
    forget = [FORGET] if any(move.sequence.cache > 1 for move in moves) else []
    return [
        TAKE_TURNS.format(sql.Literal(ADVISORY_CLASS), oids),
        *forget,
        CALL_FIRST.format(oids, sql.Literal([move.turn for move in moves])),
        *forget,
        close_gaps,
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
TAKE_TURNS = sql.SQL(
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
    "SELECT pg_catalog.nextval(oid::regclass) FROM unnest({}::oid[], {}::bigint[]) AS t (oid, turn)"
    " CROSS JOIN LATERAL (SELECT pg_catalog.pg_sequence_last_value(oid) AS at OFFSET 0) AS s"
    " WHERE at IS NULL OR at = turn"
)
CLOSE_GAPS = sql.SQL(
    "SELECT CASE"
    " WHEN gap IS NULL OR gap <= 0 THEN NULL"
    " WHEN gap <= CASE WHEN at = seen THEN idle ELSE live END THEN"
    " (SELECT max(drawn) FROM (SELECT pg_catalog.nextval(oid::regclass) AS drawn"
    " FROM generate_series(1, least(gap, 1000000)::integer) OFFSET 0) AS d)"
    " ELSE pg_catalog.setval(oid::regclass, final, true) END"
    " FROM unnest({}::oid[], {}::bigint[], {}::bigint[], {}::bigint[], {}::integer[],"
    " {}::integer[]) AS t (oid, final, increment, seen, idle, live)"
    " CROSS JOIN LATERAL"
    " (SELECT pg_catalog.pg_sequence_last_value(oid) AS at OFFSET 0) AS s"
    " CROSS JOIN LATERAL (SELECT ceil((final::numeric - at) / increment) AS gap) AS g"
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
    patience: Patience,
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
        with undone(connection, "restorehooks_rewind") if within else own:
            _lock(connection, sequence, patience.for_one(), own=not within)
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
    tables = {c.table_oid: c.identifier for c in sequence.columns}
    with connection.cursor() as cursor:
        if own:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(f"SET LOCAL lock_timeout = {round(lock_timeout * 1000)}")
        cursor.execute(
            "SELECT pg_catalog.pg_advisory_xact_lock(%s::bigint << 32 | %s)",
            [ADVISORY_CLASS, sequence.oid],
        )
        for _, identifier in sorted(tables.items()):
            statement = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(identifier)
            cursor.execute(statement.as_string(connection.connection))


def _set(connection: BaseDatabaseWrapper, sequence: Sequence, target: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_catalog.setval(%s::oid::regclass, %s, false)", [sequence.oid, target]
        )
