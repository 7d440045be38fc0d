"""Where the sequences of another database stand, so that this one can take their place.

It is read in one message, in a transaction that may write nothing, and in the same way from every
server: a publisher, a node of a cluster, a standby.
"""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from restorehooks.driver import sql
from restorehooks.wording import printable

from .citus import RANGE
from .lone_rows import is_far
from .model import Reading, Sequence
from .sending import Statement, execute
from .session import local_settings
from .strangers import DATABASES_OWNER, IS_TRUSTED, may_draw
from .verdict import Verdict

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

NO_PARTNER = "the source has no sequence of this name, and none that numbers the same columns"

WORKERS_COPY = (
    "the source is a worker of a Citus cluster: its {} does not show where the coordinator's"
    " stands; take the coordinator as the source"
)


PLANTED = (
    "sequence {0.name} of the source, which belongs to {0.owner} there, has come to {0.taken}, far"
    " past all that is here: to follow it, connect to the source as {0.owner}"
)


class SameDatabaseError(Exception):
    """The source is the very database that is to be repaired; one sentence."""


class Position(NamedTuple):
    """A sequence of the source.

    ``name`` has its schema and is quoted, as the names in ``columns`` are. ``last_value`` is None
    where this role may not read it. ``is_ours``: no extension brought it. ``is_copy``: it is on a
    worker of a Citus cluster and stands for the coordinator's there; it draws from the worker's
    range where it is a bigint, and otherwise stands at its end and draws nothing. ``owner`` is the
    quoted name of its owner, and ``is_believed``: that one is a superuser, owns the database, or is
    the role that reads it.
    """

    name: str
    columns: tuple[str, ...]
    last_value: int | None
    is_called: bool | None
    increment: int
    minimum: int
    maximum: int
    start: int
    cycle: bool
    is_ours: bool
    is_copy: bool
    owner: str
    is_believed: bool

    @property
    def taken(self) -> int | None:
        """The last number that is the source's: what it hands out next, as soon as it is used.

        None where that is not known.
        """
        if self.last_value is None:
            return None
        if not self.is_called:
            return self.last_value - (self.increment if self.last_value == self.start else 0)
        upcoming = self.last_value + self.increment
        if self.cycle and not self.minimum <= upcoming <= self.maximum:
            return self.minimum if self.increment > 0 else self.maximum
        return upcoming

    def is_elsewhere(self, reading: Reading) -> bool:
        """Whether its numbers are a worker's, and the sequence beside it is not among those."""
        farthest = max(filter(None, [reading.extreme, reading.last_value]), default=0)
        return self.is_copy and not RANGE < self.minimum <= farthest


@dataclass(frozen=True)
class Source:
    """The sequences of another database; ``name`` is how a sentence calls it."""

    name: str
    positions: tuple[Position, ...]

    def partner(self, sequence: Sequence) -> Position | None:
        """Return the sequence that numbers the same column, or else the one of the same name."""
        found = [self._by_column.get(column.quoted) for column in sequence.columns]
        found += [self._by_name.get(sequence.quoted)]
        for each in filter(None, found):
            if (each.increment > 0) is sequence.counts_up:
                return each
        return None

    @cached_property
    def _by_name(self) -> dict[str, Position]:
        return {position.name: position for position in self.positions}

    @cached_property
    def _by_column(self) -> dict[str, Position]:
        return {column: position for position in self.positions for column in position.columns}

    def without_partner(self, sequences: abc.Iterable[Sequence]) -> tuple[str, ...]:
        """Return the names of those that stand for none of these sequences."""
        taken = {partner.name for partner in map(self.partner, sequences) if partner}
        return tuple(p.name for p in self.positions if p.is_ours and p.name not in taken)

    def beside(self, sequence: Sequence, reading: Reading) -> Reading:
        """Return a reading with where the sequence's partner stands, if it has one."""
        position = self.partner(sequence)
        if position is None:
            return reading
        if position.is_elsewhere(reading):
            why = WORKERS_COPY.format(position.name)
            return reading._replace(unseen=(*reading.unseen, why))
        if position.taken is None:
            why = f"no SELECT privilege on sequence {position.name} of the source, or it is locked"
            return reading._replace(unseen=(*reading.unseen, why))
        if self._may_be_planted(position, sequence, reading):
            why = PLANTED.format(position)
            return reading._replace(unseen=(*reading.unseen, why))
        return reading._replace(taken_at_source=position.taken)

    def _may_be_planted(self, position: Position, sequence: Sequence, reading: Reading) -> bool:
        """Whether following a position would use up a sequence, and its owner may want just that.

        Whoever may create things at the source can give one of theirs the name of one of ours.
        """
        if position.is_believed or position.owner == sequence.owner or position.taken is None:
            return False
        farthest = max if sequence.counts_up else min
        stands = reading.last_value if reading.last_value is not None else sequence.start
        base = stands if reading.extreme is None else farthest(stands, reading.extreme)
        return is_far(sequence, base, position.taken)

    def remark_on(self, sequence: Sequence, verdict: Verdict) -> Verdict:
        """Return a verdict that says so where the sequence has no partner."""
        if self.partner(sequence) is not None:
            return verdict
        return verdict._replace(reason="; ".join(filter(None, [verdict.reason, NO_PARTNER])))


def read_source(
    connection: BaseDatabaseWrapper, target: BaseDatabaseWrapper, lock_timeout: float
) -> Source:
    """Return the positions of all sequences of a database; ``lock_timeout`` is in seconds.

    Raises :exc:`SameDatabaseError` where it is the target's own, and ``django.db.DatabaseError``
    where it cannot be read.
    """
    version = connection.pg_version  # type: ignore[attr-defined]
    settings = local_settings(lock_timeout, within=True, own_path=True, version=version)
    prepare = f"SELECT {', '.join(settings)}"
    message: list[Statement] = [BEGIN, prepare, READ_EACH, POSITIONS, IDENTITY, "COMMIT"]
    *_, positions, (identity,), _ = execute(connection, message, within=True)
    *_, (own,) = execute(target, [IDENTITY], within=True)
    name = f'database "{printable(identity[0])}"'
    if identity == own:
        raise SameDatabaseError(f"The source is {name} itself, which is to be repaired.")
    return Source(name, tuple(_position(row) for row in positions))


def _position(row: abc.Sequence[object]) -> Position:
    name, columns, *rest = row
    return Position(name, tuple(columns), *rest)  # type: ignore[arg-type]


BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# As a number: psycopg does not read dates in every DateStyle.
IDENTITY = (
    "SELECT pg_catalog.current_database(),"
    " pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())"
)
# Where a sequence stands that was never called is in its own row alone: pg_sequences and
# pg_sequence_last_value say nothing of it. Each row is read in a block that ends in an error, since
# that gives the lock back: the server's lock table may have no room for all of them. Only a node of
# a Citus cluster has the tables that say which sequences are a worker's copies. Those of identity
# columns are not among the cluster's objects (seen in Citus 13.2).
READ_EACH = sql.SQL("""
DO $restorehooks$
DECLARE
    each record;
    position text;
    found text[] := array[]::text[];
    copies text;
BEGIN
    IF to_regclass('pg_catalog.pg_dist_object') IS NOT NULL THEN
        EXECUTE $copies$
            SELECT json_agg(q.seqrelid) FROM pg_sequence q
            WHERE EXISTS (SELECT FROM pg_catalog.pg_dist_local_group WHERE groupid > 0)
              AND (EXISTS (SELECT FROM pg_catalog.pg_dist_object o
                           WHERE o.classid = 'pg_class'::regclass AND o.objid = q.seqrelid)
                   OR EXISTS (SELECT FROM pg_depend d JOIN pg_catalog.pg_dist_partition p
                                  ON p.logicalrelid = d.refobjid
                              WHERE d.classid = 'pg_class'::regclass AND d.objid = q.seqrelid
                                AND d.refclassid = 'pg_class'::regclass))
            $copies$ INTO copies;
    END IF;
    PERFORM set_config('restorehooks.copies', coalesce(copies, '[]'), true);
    FOR each IN
        SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid AND c.relpersistence <> 't'
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE has_schema_privilege(n.oid, 'USAGE')
          AND has_sequence_privilege(q.seqrelid, 'SELECT')
    LOOP
        BEGIN
            EXECUTE 'PREPARE restorehooks AS SELECT FROM ' || each.name;
            DEALLOCATE restorehooks;
            IF each.name::regclass <> each.oid THEN
                RAISE 'another role has put something else in its place';
            END IF;
            EXECUTE format('SELECT json_build_array(%s, last_value, is_called)::text FROM %s',
                           each.oid, each.name) INTO position;
            RAISE SQLSTATE 'RH000';
        EXCEPTION WHEN SQLSTATE 'RH000' THEN
            found := array_append(found, position);
        WHEN OTHERS THEN  -- it is locked, dropped or replaced
            PERFORM set_config('lock_timeout', '50', true);
        END;
    END LOOP;
    PERFORM set_config(
        'restorehooks.positions', '[' || array_to_string(found, ',') || ']', true);
END
$restorehooks$""")
POSITIONS = sql.SQL(f"""
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       ARRAY(SELECT quote_ident(tn.nspname) || '.' || quote_ident(t.relname) || '.'
                    || quote_ident(a.attname)
             FROM (SELECT d.refobjid AS tab, d.refobjsubid AS att FROM pg_depend d
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                     AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                     AND d.refobjsubid > 0
                     AND (d.deptype = 'i' OR NOT EXISTS (  -- an owner that draws elsewhere
                         SELECT FROM pg_attrdef e JOIN pg_depend drawn ON drawn.objid = e.oid
                             AND drawn.classid = 'pg_attrdef'::regclass
                             AND drawn.refclassid = 'pg_class'::regclass
                         JOIN pg_sequence other
                             ON other.seqrelid = drawn.refobjid AND other.seqrelid <> c.oid
                         WHERE e.adrelid = d.refobjid AND e.adnum = d.refobjsubid))
                   UNION SELECT e.adrelid, e.adnum FROM pg_depend d
                   JOIN pg_attrdef e ON e.oid = d.objid AND d.classid = 'pg_attrdef'::regclass
                   WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid) numbered
             JOIN pg_class t ON t.oid = numbered.tab
                 AND {may_draw("t.relowner", "c.oid", "c.relowner")}
             JOIN pg_namespace tn ON tn.oid = t.relnamespace
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = numbered.att),
       (p.position ->> 1)::bigint, (p.position ->> 2)::boolean,
       q.seqincrement, q.seqmin, q.seqmax, q.seqstart, q.seqcycle,
       NOT EXISTS (SELECT FROM pg_depend d
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                     AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
       c.oid IN (SELECT copy::oid FROM json_array_elements_text(
                     current_setting('restorehooks.copies')::json) AS copy),
       quote_ident(r.rolname), {IS_TRUSTED} OR r.oid = {DATABASES_OWNER}
FROM pg_sequence q
JOIN pg_class c ON c.oid = q.seqrelid AND c.relpersistence <> 't'
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles r ON r.oid = c.relowner
LEFT JOIN json_array_elements(current_setting('restorehooks.positions')::json) AS p (position)
    ON (p.position ->> 0)::oid = c.oid
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY 1
""")  # noqa: S608 - constants
