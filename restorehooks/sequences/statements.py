"""The one rule by which a sequence moves, as each of three SQL statements that apply it.

A sequence moves to the first number past its rows that keeps its phase, and only forward.
:func:`close_gaps` moves many at once on a live server. :func:`move_for_dba` prints a decision that
was made here, and guards it. :func:`decide_and_move` is run elsewhere and later (``sqlmigrate``),
so that it finds sequence and rows only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from .verdict import next_value

if TYPE_CHECKING:
    from collections import abc

    from .model import Column, Sequence
    from .verdict import Verdict


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
    def last_of_cycle(self) -> int | None:
        """The ``last_value`` after which a cycle starts over, where it stands just there."""
        following = self.last_value + self.sequence.increment
        starts_over = next_value(self.sequence, self.last_value, True) != following
        return self.last_value if starts_over else None


def close_gaps(moves: abc.Sequence[Move], draws: abc.Sequence[tuple[int, int]]) -> sql.Composed:
    """Return the query that moves each sequence by ``nextval`` or by a guarded ``setval``.

    ``draws`` are the largest gaps that are drawn where the sequence is idle, and where it is live.
    """
    return CLOSE_GAPS.format(
        sql.Literal([move.sequence.oid for move in moves]),
        sql.Literal([move.final for move in moves]),
        sql.Literal([move.sequence.increment for move in moves]),
        sql.Literal([move.last_value for move in moves]),
        sql.Literal([idle for idle, _ in draws]),
        sql.Literal([live for _, live in draws]),
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


def move_for_dba(sequence: Sequence, verdict: Verdict) -> str:
    """Return the statement for a DBA, which does nothing where it has become needless."""
    move = sql.SQL("pg_catalog.setval({}, {}, false) FROM {} WHERE {} {} {}").format(
        sql.Literal(sequence.quoted),
        sql.Literal(verdict.target),
        _name(sequence),
        sql.Literal(verdict.target),
        sql.SQL("<" if sequence.counts_up == verdict.rewinds else ">"),
        _upcoming(sequence),
    )
    if not verdict.rewinds:
        return sql.SQL("SELECT {};").format(move).as_string()
    body = sql.SQL("BEGIN {} PERFORM {}; END").format(
        sql.SQL(" ").join(
            sql.SQL("LOCK TABLE {} IN SHARE MODE;").format(name)
            for name in {c.table_oid: table_name(c) for c in sequence.columns}.values()
        ),
        move + _before_all_rows(sequence, verdict),
    )
    return sql.SQL("DO {};").format(sql.Literal(body.as_string())).as_string()


def _upcoming(sequence: Sequence) -> sql.Composable:
    """Return the expression for what the sequence would hand out, as numeric: it may not fit."""
    bounds = (sequence.minimum, sequence.maximum)
    first = bounds[0 if sequence.counts_up else 1]
    starts_over = sql.SQL("WHEN last_value::numeric + {} NOT BETWEEN {} AND {} THEN {} ").format(
        sql.Literal(sequence.increment), *map(sql.Literal, (*bounds, first))
    )
    return sql.SQL(
        "CASE WHEN NOT is_called THEN last_value {}ELSE last_value::numeric + {} END"
    ).format(starts_over if sequence.cycle else sql.SQL(""), sql.Literal(sequence.increment))


def _before_all_rows(sequence: Sequence, verdict: Verdict) -> sql.Composed:
    reached = sql.SQL(">=" if sequence.counts_up else "<=")
    return sql.SQL("").join(
        sql.SQL(" AND NOT EXISTS (SELECT FROM {} WHERE {} {} {})").format(
            table_name(column), sql.Identifier(column.name), reached, sql.Literal(verdict.target)
        )
        for column in sequence.columns
    )


def decide_and_move(quoted_table: str, column: str) -> str:
    """Return the statement that moves the sequences of one column which are behind when it is run.

    ``quoted_table`` is the name as Django quotes it, ``column`` is raw.
    """
    return DECIDE_AND_MOVE.format(
        table=sql.Literal(quoted_table), column=sql.Literal(column)
    ).as_string()


DECIDE_AND_MOVE = sql.SQL("""\
DO $restorehooks$
DECLARE
    tab regclass := {table};
    col smallint := (SELECT attnum FROM pg_catalog.pg_attribute
                     WHERE attrelid = tab AND attname = {column} AND NOT attisdropped);
    seq record;
    top numeric;
    upcoming numeric;
BEGIN
    FOR seq IN
        SELECT q.*, q.seqrelid::regclass AS name FROM pg_catalog.pg_sequence q
        WHERE q.seqrelid IN (
            SELECT objid FROM pg_catalog.pg_depend
            WHERE refobjid = tab AND refobjsubid = col AND deptype IN ('a', 'i')
            UNION
            SELECT d.refobjid FROM pg_catalog.pg_attrdef e
            JOIN pg_catalog.pg_depend d ON d.objid = e.oid
            WHERE e.adrelid = tab AND e.adnum = col)
    LOOP
        EXECUTE pg_catalog.format(
            'SELECT last_value::numeric + CASE WHEN is_called THEN %s ELSE 0 END FROM %s',
            seq.seqincrement, seq.name) INTO upcoming;
        EXECUTE pg_catalog.format(
            'SELECT %s(%I) FROM %s WHERE %I BETWEEN %s AND %s',
            CASE WHEN seq.seqincrement > 0 THEN 'max' ELSE 'min' END,
            {column}, tab, {column}, seq.seqmin, seq.seqmax) INTO top;
        IF (top - upcoming) * pg_catalog.sign(seq.seqincrement) >= 0 THEN
            upcoming := upcoming
                + (pg_catalog.floor((top - upcoming) / seq.seqincrement) + 1) * seq.seqincrement;
            IF upcoming BETWEEN seq.seqmin AND seq.seqmax THEN
                PERFORM pg_catalog.setval(seq.name, upcoming::bigint, false);
            END IF;
        END IF;
    END LOOP;
END
$restorehooks$""")


def table_name(column: Column) -> sql.Identifier:
    """Return the qualified name of a column's table, for use in a statement."""
    return sql.Identifier(column.schema, column.table)


def _name(sequence: Sequence) -> sql.Identifier:
    return sql.Identifier(sequence.schema, sequence.name)
