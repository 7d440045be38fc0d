"""The one rule by which a sequence moves, as each of three SQL statements that apply it.

A sequence moves to the first number past its rows that keeps its phase, and only forward; what
sets it holds it, so that nobody draws in between. :func:`draw`, :func:`hold` and
:func:`set_forward` move sequences on a live server. :func:`move_for_dba` prints a decision that was
made here. :func:`decide_and_move` is run elsewhere and later (``sqlmigrate``), so that it finds
sequence and rows only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from restorehooks.driver import sql, text

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
    def may_use_up(self) -> bool:
        """Whether drawing may leave no number, since a draw takes ``CACHE`` of them at once."""
        farthest = self.target + (self.sequence.cache - 1) * self.sequence.increment
        limit = self.sequence.limit
        return farthest > limit if self.sequence.counts_up else farthest < limit

    @property
    def end_of_cycle(self) -> int | None:
        """The bound past which its numbers start over, None where they do not."""
        sequence = self.sequence
        if not sequence.cycle:
            return None
        return sequence.maximum if sequence.counts_up else sequence.minimum


def draw(moves: abc.Iterable[Move], at_most: int) -> sql.Composed:
    """Return the query that draws from each sequence until it has passed its rows.

    It needs no lock, and cannot go back. Where others draw at the same moment it goes up to the
    gap too far. ``at_most`` numbers are drawn from each; then it has to be sent again.
    """
    moves = list(moves)
    return DRAW.format(
        most=sql.Literal(at_most),
        oids=sql.Literal([move.sequence.oid for move in moves]),
        finals=sql.Literal([move.final for move in moves]),
        increments=sql.Literal([move.sequence.increment for move in moves]),
    )


DRAW = sql.SQL(
    "SELECT (SELECT max(drawn) FROM (SELECT nextval(oid::regclass) AS drawn"
    " FROM generate_series(1, least(gap, {most})::integer) OFFSET 0) AS d)"
    " FROM unnest({oids}::oid[], {finals}::bigint[], {increments}::bigint[])"
    " AS t (oid, final, increment)"
    " CROSS JOIN LATERAL (SELECT pg_sequence_last_value(oid) AS at OFFSET 0) AS s"
    " CROSS JOIN LATERAL (SELECT ceil((final::numeric - at) / increment) AS gap) AS g"
    " WHERE gap > 0"
)


def hold(sequence: Sequence) -> sql.SQL:
    """Return the statements after which nobody else draws until the transaction ends.

    They give the sequence to the role that has it already, which changes and rewrites nothing, and
    take the lock that ``LOCK TABLE`` refuses to take on a sequence.
    """
    before = ON_THIS_NODE_ALONE if sequence.on_node else ""
    return sql.SQL(f"{before}ALTER SEQUENCE {sequence.quoted} OWNER TO {sequence.owner}")


ON_THIS_NODE_ALONE = "SET LOCAL citus.enable_ddl_propagation = off; "
"""Without it Citus sends the statement to the workers, and refuses it on a worker."""
# Holding one whose owner has changed since it was read would give it back to the former one. That
# alone writes its row; a caller's own transaction undoes it anyway.
OWNERS_ARE_THE_SAME = sql.SQL(
    "SELECT format('the owner of %s is another one by now', oid::regclass)::integer FROM pg_class"
    " WHERE oid = ANY({}::oid[]) AND xmin = pg_current_xact_id_if_assigned()::xid"
)


def set_forward(moves: abc.Iterable[Move]) -> sql.Composed:
    """Return the query that sets sequences, all of which are held, where they have not passed rows.

    One for all takes a sixth of the time of one for each. The session must hold no numbers of
    theirs in advance.
    """
    moves = list(moves)
    return SET_FORWARD.format(
        oids=sql.Literal([move.sequence.oid for move in moves]),
        finals=sql.Literal([move.final for move in moves]),
        increments=sql.Literal([move.sequence.increment for move in moves]),
        ends=sql.Literal([move.end_of_cycle for move in moves]),
    )


# pg_sequence_last_value says nothing of a sequence never called, but nextval does. What it drew is
# not lost: nobody else draws meanwhile, and where the sequence is past its rows it is put back.
SET_FORWARD = sql.SQL(
    "SELECT setval(oid::regclass, CASE WHEN is_behind THEN final ELSE at END, is_behind)"
    " FROM unnest({oids}::oid[], {finals}::bigint[], {increments}::bigint[], {ends}::bigint[])"
    " AS t (oid, final, increment, end_of_cycle)"
    " CROSS JOIN LATERAL (SELECT pg_sequence_last_value(oid) AS called OFFSET 0) AS s"
    " CROSS JOIN LATERAL (SELECT coalesce(called, nextval(oid::regclass)) AS at OFFSET 0) AS n"
    " CROSS JOIN LATERAL (SELECT (final::numeric - at) / increment >= 0"
    " OR coalesce((end_of_cycle::numeric - called) / increment < 1, false) AS is_behind) AS b"
    " WHERE is_behind OR called IS NULL"
)


def _setval(
    sequence: Sequence,
    target: int,
    *,
    back: bool = False,
    verb: Literal["SELECT", "PERFORM"] = "SELECT",
) -> sql.Composed:
    """Return the query that sets a sequence where its next number is on the other side of target.

    Whoever sends it sees to it that nobody draws between the condition and ``setval``.
    """
    is_past = "<" if sequence.counts_up == back else ">"
    return (
        sql.SQL(f"{verb} pg_catalog.setval(")
        + sql.Literal(sequence.quoted)
        + sql.SQL(
            f", {target}, false) FROM {sequence.quoted}"
            f" WHERE {target} {is_past} {_upcoming(sequence)}"
        )
    )


def move_for_dba(sequence: Sequence, verdict: Verdict) -> str:
    """Return the statements for a DBA, which do nothing where they have become needless.

    Whoever does not own the sequence cannot hold it, and gets one that draws, as far as it does.
    """
    target = verdict.target
    if target is None:
        return ""
    if verdict.rewinds:
        return _rewind_for_dba(sequence, verdict, target)
    gap = Move(sequence, verdict.next or 0, target)
    steps = [HELD, hold(sequence), _setval(sequence, target), LET_GO]
    if not (sequence.may_alter or gap.may_use_up or gap.gap > AT_MOST):
        steps = [_draw_up_to(sequence, target)]
    return text(IN_OWN_PATH.format(sql.SQL("; ").join(steps)))


HELD, LET_GO = sql.SQL("SAVEPOINT held"), sql.SQL("ROLLBACK TO SAVEPOINT held")
"""What ``setval`` did stays; an owner that has changed since these were printed does, too."""
IN_OWN_PATH = sql.SQL("BEGIN; SET LOCAL search_path = pg_catalog, pg_temp; {}; COMMIT;")
"""So that no operator of somebody else's is taken for one of PostgreSQL's own."""
AT_MOST = 1_000_000
"""Numbers that one printed statement draws."""


def _draw_up_to(sequence: Sequence, target: int) -> sql.Composed:
    """Return the query that draws until a sequence hands out the target; it cannot go back."""
    return sql.SQL(
        "SELECT pg_catalog.count(pg_catalog.nextval({})) FROM {} CROSS JOIN LATERAL"
        " pg_catalog.generate_series(1, least({}, ({} - ({})) / {})::integer)"
    ).format(
        sql.Literal(sequence.quoted),
        sql.SQL(sequence.quoted),
        sql.Literal(AT_MOST),
        sql.Literal(target),
        sql.SQL(_upcoming(sequence)),
        sql.Literal(sequence.increment),
    )


def _rewind_for_dba(sequence: Sequence, verdict: Verdict, target: int) -> str:
    move = _setval(sequence, target, back=True, verb="PERFORM")
    names = {c.table_oid: table_name(c) for c in sequence.columns}.values()
    body = sql.SQL("BEGIN {} {}; END").format(
        sql.SQL(" ").join(sql.SQL("LOCK TABLE {} IN SHARE MODE;").format(name) for name in names),
        move + _before_all_rows(sequence, verdict),
    )
    return text(IN_OWN_PATH.format(sql.SQL("DO {}").format(sql.Literal(text(body)))))


def _upcoming(sequence: Sequence) -> str:
    """Return the expression for what the sequence would hand out, as numeric: it may not fit."""
    bounds = (sequence.minimum, sequence.maximum)
    first = bounds[0 if sequence.counts_up else 1]
    following = f"last_value::numeric + {sequence.increment}"
    starts_over = f"WHEN {following} NOT BETWEEN {bounds[0]} AND {bounds[1]} THEN {first} "
    return (
        f"CASE WHEN NOT is_called THEN last_value {starts_over if sequence.cycle else ''}"
        f"ELSE {following} END"
    )


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
    return text(DECIDE_AND_MOVE.format(table=sql.Literal(quoted_table), column=sql.Literal(column)))


DECIDE_AND_MOVE = sql.SQL("""\
DO $restorehooks$
DECLARE
    tab regclass := {table};
    path text := pg_catalog.current_setting('search_path');
    upcoming CONSTANT text :=
        'SELECT last_value::numeric + CASE WHEN is_called THEN %s ELSE 0 END FROM %s';
    col smallint;
    seq record;
    top numeric;
    stands numeric;
    target numeric;
    node int;
    own_end bigint;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT attnum INTO col FROM pg_attribute WHERE attrelid = tab AND attname = {column};
    IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN  -- a node of a Citus cluster
        PERFORM set_config('citus.enable_ddl_propagation', 'off', true);
        EXECUTE 'SELECT groupid FROM pg_dist_local_group, pg_dist_partition'
            ' WHERE logicalrelid = $1' INTO node USING tab;
        own_end := CASE node WHEN 0 THEN (1::bigint << 48) - 1 ELSE (node + 1)::bigint << 48 END;
    END IF;
    FOR seq IN
        SELECT q.*, q.seqrelid::regclass AS name, r.rolname
        FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid
        JOIN pg_roles r ON r.oid = c.relowner
        LEFT JOIN pg_attrdef e ON e.adrelid = tab AND e.adnum = col
        WHERE CASE WHEN e.oid IS NULL THEN EXISTS (
                  SELECT FROM pg_depend WHERE objid = q.seqrelid AND refobjid = tab
                      AND refobjsubid = col AND deptype IN ('a', 'i'))
              ELSE pg_get_expr(e.adbin, tab) ~ '^[(]*nextval[(]''.*''::regclass[)]+(::[a-z ]+)*$'
                  AND EXISTS (SELECT FROM pg_depend
                              WHERE objid = e.oid AND refobjid = q.seqrelid) END
    LOOP
        IF seq.seqtypid = 'bigint'::regtype THEN
            seq.seqmax := least(seq.seqmax, own_end);
        END IF;
        EXECUTE format(upcoming, seq.seqincrement, seq.name) INTO stands;
        EXECUTE format(
            'SELECT %s(%I) FROM %s WHERE %I BETWEEN %s AND %s',
            CASE WHEN seq.seqincrement > 0 THEN 'max' ELSE 'min' END,
            {column}, tab, {column}, seq.seqmin, seq.seqmax) INTO top;
        target := stands + (floor((top - stands) / seq.seqincrement) + 1) * seq.seqincrement;
        CONTINUE WHEN target IS NULL OR (target - stands) / seq.seqincrement <= 0
            OR target NOT BETWEEN seq.seqmin AND seq.seqmax;
        BEGIN  -- held while it is set, so that nobody draws in between
            EXECUTE format('ALTER SEQUENCE %s OWNER TO %I', seq.name, seq.rolname);
            EXECUTE format(upcoming, seq.seqincrement, seq.name) INTO stands;
            IF (target - stands) / seq.seqincrement > 0 THEN
                PERFORM setval(seq.name, target::bigint, false);
            END IF;
            RAISE SQLSTATE 'RH000';  -- lets it go; what setval did stays
        EXCEPTION
            WHEN SQLSTATE 'RH000' THEN NULL;
            WHEN insufficient_privilege OR lock_not_available THEN
                PERFORM nextval(seq.name) FROM generate_series(
                    1, least((target - stands) / seq.seqincrement, 1000000)::int);
        END;
    END LOOP;
    PERFORM set_config('search_path', path, true);
END
$restorehooks$""")


def table_name(column: Column) -> sql.Identifier:
    """Return the qualified name of a column's table, for use in a statement."""
    return sql.Identifier(column.schema, column.table)
