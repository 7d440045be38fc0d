"""Moves a sequence past its rows while others draw from it, and never back.

A small gap is closed by drawing ``nextval``, which cannot go back. For a large one the sequence is
held for a moment, by a statement that changes nothing and that only its owner may send: ``nextval``
of others waits, ``setval`` moves it, and the end of the message, or a savepoint that is rolled
back, lets it go. Holding waits for transactions that have drawn from it and keeps new draws
waiting behind, so it is tried for a few milliseconds at a time; where it is not to be had, and for
whoever is not the owner, as much is drawn as time allows. Repairs of one sequence run one after
the other, by an advisory lock that ends with the message. With CACHE above 1 a draw moves the
sequence by CACHE numbers at once, so it may end up to CACHE - 1 numbers further; where that may
leave none, it is only set.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterator
from itertools import chain
from math import ceil
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from django.db import DatabaseError, transaction

from restorehooks.driver import sql

from .guard import guarded, named
from .message import Failed, LockBudget, in_batches, in_transaction, rolled_back, send_each
from .other_connections import OtherConnections
from .sending import Rows
from .session import local_settings
from .statements import OWNERS_ARE_THE_SAME, Move, draw, hold, set_forward, table_name
from .verdict import next_value

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from .model import Sequence

ADVISORY_CLASS = 0x72686F6B
"""Upper half of the advisory lock's key ("rhok"); the sequence's oid is the lower half."""

DRAWN_AT_ONCE = 500
"""Largest gap, in increments, that is drawn without trying to hold the sequence."""
PIECE = 200_000
"""Numbers to a message where a larger gap is drawn (measured: 100,000 take 20 ms)."""
DRAWN_RATHER_THAN_WAITED_FOR = 1_000_000
"""Largest gap that is drawn as soon as a sequence cannot be held at once."""
DRAWN_A_SECOND = 5_000_000
"""What is assumed of drawing without trying: a larger gap than time allows for is not begun."""
PAUSE = 0.1
"""Seconds between two tries, in which others go on."""
LOCKS_A_MOVE = 2
"""That on the sequence, and the advisory one."""


class Postponed(NamedTuple):
    """Why a sequence could not be moved all the way without risk: it is still behind."""

    reason: str


Outcome = int | Failed | Postponed
"""What ``nextval`` hands out after a move, or why it was not made."""


def advance(
    connection: BaseDatabaseWrapper,
    moves: abc.Sequence[Move],
    budget: LockBudget,
    others: OtherConnections | None = None,
) -> Iterator[tuple[Move, Outcome]]:
    """Yield each move with what came of it; ``others`` take part in it."""
    others = others or OtherConnections(connection)
    possible = []
    for move in moves:
        sequence = move.sequence
        if sequence.may_draw or sequence.may_set:
            possible.append(move)
        else:
            grant = f"GRANT UPDATE ON SEQUENCE {sequence.quoted} to this role"
            yield move, Failed(f"no UPDATE privilege: {grant}")
    large = [move for move in possible if move.gap > DRAWN_AT_ONCE or move.may_use_up]
    small = [move for move in possible if move.gap <= DRAWN_AT_ONCE and not move.may_use_up]
    yield from _sent(others, small, _drawing, budget)
    held: list[Move] = []
    for move, outcome in _sent(
        others, [m for m in large if m.sequence.may_alter], _setting, LockBudget(0)
    ):
        if isinstance(outcome, Failed):
            held.append(move)
        else:
            yield move, outcome
    for move in [*held, *(move for move in large if not move.sequence.may_alter)]:
        yield move, _insist(connection, move, budget)


def _insist(connection: BaseDatabaseWrapper, move: Move, budget: LockBudget) -> Outcome:
    """Move a sequence that could not be held: wait for it or draw, as long as the budget lasts."""
    seconds = budget.for_one()
    until = monotonic() + seconds
    may_hold = move.sequence.may_alter and (
        move.gap > DRAWN_RATHER_THAN_WAITED_FOR or move.may_use_up
    )
    if not may_hold and (move.may_use_up or move.gap > DRAWN_A_SECOND * seconds):
        return _postponed(move, "there is no time to draw that many")
    while True:
        statements_for = _setting if may_hold else _drawing
        wait = LockBudget(0) if may_hold else budget
        ((_, outcome),) = _sent(OtherConnections(connection), [move], statements_for, wait)
        if isinstance(outcome, int) or (isinstance(outcome, Failed) and not may_hold):
            return outcome
        if monotonic() > until:
            budget.spend(seconds)
            return _postponed(move, outcome[0])
        if may_hold:
            sleep(PAUSE)


def _postponed(move: Move, why: str) -> Postponed:
    sequence = move.sequence
    if sequence.may_alter:
        return Postponed(f"others draw from it all the time, repair it again ({why})")
    done = f"move it {move.gap:,} numbers on at once"
    if move.may_use_up:
        done = f"move it without using up its last numbers (CACHE {sequence.cache})"
    return Postponed(f"only its owner can {done}: let {sequence.owner} repair it")


def _sent(
    others: OtherConnections,
    moves: abc.Sequence[Move],
    statements_for: Callable[[abc.Sequence[Move]], list[sql.Composable]],
    budget: LockBudget,
) -> Iterator[tuple[Move, Outcome]]:
    def work(
        connection: BaseDatabaseWrapper, load: abc.Sequence[Move]
    ) -> list[tuple[abc.Sequence[Move], list[Rows] | Failed]]:
        return [*send_each(connection, load, statements_for, budget, to_write=True)]

    locks = others.locks_to_a_load(LOCKS_A_MOVE * len(moves))
    loads = [*in_batches(moves, ceil(locks / LOCKS_A_MOVE))]
    for answers in others.map(work, loads):
        for items, result in answers:
            if isinstance(result, Failed):
                yield items[0], Failed(f"{items[0].sequence.quoted}: {result.message}")
                continue
            stands: dict[int, int | None] = dict(result[-1])
            for move in items:
                yield move, _outcome(move, stands)


def _outcome(move: Move, stands: dict[int, int | None]) -> Outcome:
    last_value = stands[move.sequence.oid]
    ahead = 1 if move.sequence.counts_up else -1
    if last_value is None or (last_value - move.final) * ahead < 0:
        return Postponed("it was set back, or has not been drawn far enough yet: repair it again")
    return next_value(move.sequence, last_value, True)


def _drawing(moves: abc.Sequence[Move]) -> list[sql.Composable]:
    oids = sql.Literal([move.sequence.oid for move in moves])
    forget = _forget(moves)
    return [
        LOCK_OTHER_REPAIRS_OUT.format(sql.Literal(ADVISORY_CLASS), oids),
        *forget,
        CALL_FIRST.format(
            oids,
            sql.Literal([move.sequence.increment for move in moves]),
            sql.Literal([move.end_of_cycle for move in moves]),
        ),
        *forget,
        draw(moves, PIECE),
        STAND.format(oids),
    ]


def _setting(moves: abc.Sequence[Move]) -> list[sql.Composable]:
    held = sorted((move.sequence for move in moves), key=lambda sequence: sequence.oid)
    return [
        *chain.from_iterable([hold(sequence), *_guard(sequence)] for sequence in held),
        OWNERS_ARE_THE_SAME.format(sql.Literal([s.oid for s in held if not s.is_rewritten])),
        *_forget(moves),
        set_forward(moves),
        STAND.format(sql.Literal([sequence.oid for sequence in held])),
    ]


def _forget(moves: abc.Sequence[Move]) -> list[sql.Composable]:
    # What this session holds in advance would be drawn first, and moves the sequence nowhere.
    return [FORGET] if any(move.sequence.cache > 1 for move in moves) else []


def _guard(sequence: Sequence) -> list[sql.Composable]:
    """Return what undoes a statement that has found another sequence by the name of a stranger's.

    What follows finds it by its oid.
    """
    found = named(sequence)
    return [guarded(sequences=[found], is_last=False)] if found else []


# Anybody can hold such a lock: after a while it goes on without, and draws some too far at worst.
# Not in a DO, which ends an error by itself: there may be no PL/pgSQL for this role.
LOCK_OTHER_REPAIRS_OUT = sql.SQL("""
SELECT FROM unnest({1}::oid[]) AS t (oid) CROSS JOIN LATERAL (
    SELECT FROM (SELECT generate_series(1, 10000)) AS tries
    WHERE CASE WHEN pg_try_advisory_xact_lock({0}::bigint << 32 | oid::bigint) THEN true
               WHEN clock_timestamp() - statement_timestamp()
                    < current_setting('lock_timeout')::interval
               THEN pg_sleep(0.005) IS NULL ELSE true END
    LIMIT 1) AS done""")
FORGET = sql.SQL("DISCARD SEQUENCES")
STAND = sql.SQL(
    "SELECT oid, pg_catalog.pg_sequence_last_value(oid) FROM unnest({}::oid[]) AS t (oid)"
)
# A sequence never called tells pg_sequence_last_value nothing, and the last number of a cycle is
# past its rows. The number that either hands out next is among the rows or before them, so drawing
# it loses nothing, and from then on the guard can read where it stands.
CALL_FIRST = sql.SQL(
    "SELECT pg_catalog.nextval(oid::regclass)"
    " FROM unnest({}::oid[], {}::bigint[], {}::bigint[]) AS t (oid, increment, end_of_cycle)"
    " CROSS JOIN LATERAL (SELECT pg_catalog.pg_sequence_last_value(oid) AS at OFFSET 0) AS s"
    " WHERE at IS NULL OR (end_of_cycle::numeric - at) / increment < 1"
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
        return Failed(f"no UPDATE privilege on sequence {sequence.quoted}")
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
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        version = connection.pg_version  # type: ignore[attr-defined]
        ours = local_settings(lock_timeout, within=not own, own_path=True, version=version)
        cursor.execute(f"SELECT {', '.join(ours)}")
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
