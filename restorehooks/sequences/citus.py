"""A node of a Citus cluster: which numbers are its own, and which tables have their rows elsewhere.

Every node numbers the rows of a distributed table from its own sequence. Citus gives a worker of
group g the range from (g << 48) + 1 to ((g + 1) << 48) + 1, whose last number is the first one of
the next group, and leaves the coordinator's range as it was, with all of the workers' in it. What
the other nodes number is seen in the same table from every node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from restorehooks.driver import sql

from .message import Failed, LockBudget, send, send_once
from .model import Column, Sequence

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

RANGE = 1 << 48
"""How many numbers each group has (AlterSequenceMinMax in Citus's worker_data_fetch_protocol.c)."""
COORDINATOR = 0
"""The group of the coordinator."""
ON_COORDINATOR = "the coordinator makes its numbers"
ROWS_ELSEWHERE = "has its rows on other nodes, where reading it may call another role's function"


class Node(NamedTuple):
    """What this node knows of the cluster.

    ``group`` is its number, 0 for the coordinator, None where it cannot be read. ``tables`` are the
    oids of the distributed, reference and managed local tables, ``drawn_elsewhere`` those of the
    sequences that a default mentions which draws no number on a worker: such a sequence stands at
    its end on purpose. ``copies`` are those that a worker has because the cluster has them, without
    those of identity columns.
    """

    group: int | None
    tables: frozenset[int]
    drawn_elsewhere: frozenset[int]
    copies: frozenset[int] = frozenset()

    def own_part(self, sequence: Sequence) -> Sequence:
        """Return a sequence with the end of what is this node's, and whose rows are elsewhere."""
        columns = tuple(map(self._with_rows_elsewhere, sequence.columns))
        own_end = sequence.own_end
        is_shared = any(column.table_oid in self.tables for column in columns)
        if self.group is not None and sequence.type == "bigint" and is_shared:
            own_end = RANGE - 1 if self.group == COORDINATOR else (self.group + 1) * RANGE
        drawn_elsewhere = sequence.oid in self.drawn_elsewhere and not any(c.draws for c in columns)
        # Citus sets one of a smaller type to its end; no default says so where none draws from it.
        is_copy = bool(self.group) and (is_shared or sequence.oid in self.copies)
        is_at_end = is_copy and sequence.type != "bigint"
        ignored = ON_COORDINATOR if drawn_elsewhere or is_at_end else sequence.ignored
        return sequence._replace(columns=columns, own_end=own_end, ignored=ignored, on_node=True)

    def _with_rows_elsewhere(self, column: Column) -> Column:
        if column.table_oid not in self.tables:
            return column
        unseen = column.unseen
        if unseen is None and column.of_stranger:  # of what is there, this catalogue shows nothing
            unseen = f"{column.quoted_table} {ROWS_ELSEWHERE}: let the table's owner repair it"
        return column._replace(may_be_empty=False, sized=False, unseen=unseen)


class OtherNode(NamedTuple):
    """Another node of the cluster, as this one knows it."""

    group: int
    host: str
    port: int

    @property
    def place(self) -> str:
        """Where it answers."""
        return f"{self.host}:{self.port}"


def other_nodes(connection: BaseDatabaseWrapper, lock_timeout: float) -> list[OtherNode] | None:
    """Return the other nodes that take part, None where the database is in no cluster."""
    if node_group(connection, lock_timeout) is None:
        return None
    (rows,) = send(connection, [OTHERS], lock_timeout)
    return [OtherNode(*row) for row in rows]


def node_group(connection: BaseDatabaseWrapper, lock_timeout: float) -> int | None:
    """Return the group of the node that answers, None where it is none."""
    (((is_node,),),) = send(connection, [IS_NODE], lock_timeout)
    if not is_node:
        return None
    (((group,),),) = send(connection, [GROUP], lock_timeout)
    return int(group)


IS_NODE = "SELECT to_regclass('pg_catalog.pg_dist_node') IS NOT NULL"
GROUP = "SELECT coalesce(max(groupid), 0) FROM pg_catalog.pg_dist_local_group"
OTHERS = """
SELECT groupid, nodename, nodeport FROM pg_catalog.pg_dist_node
WHERE isactive AND noderole::text = 'primary'
  AND groupid NOT IN (SELECT groupid FROM pg_catalog.pg_dist_local_group)
ORDER BY groupid
"""


def read_node(connection: BaseDatabaseWrapper, budget: LockBudget) -> Node:
    """Return what a database says of itself that has Citus's catalogue."""
    ((row,),) = send(connection, [NODE], budget.for_one())
    group = send_once(connection, [GROUP], budget)
    tables, elsewhere = row
    number = None if isinstance(group, Failed) else group[0][0][0]
    copies = send_once(connection, [COPIES], budget) if number else [[]]
    oids = [] if isinstance(copies, Failed) else [oid for (oid,) in copies[0]]
    return Node(number, frozenset(tables), frozenset(elsewhere), frozenset(oids))


NODE = sql.SQL("""
SELECT ARRAY(SELECT logicalrelid::oid FROM pg_catalog.pg_dist_partition),
       ARRAY(SELECT DISTINCT drawn.refobjid FROM pg_depend call
             JOIN pg_depend drawn ON drawn.classid = call.classid AND drawn.objid = call.objid
                 AND drawn.refclassid = 'pg_class'::regclass AND drawn.refobjsubid = 0
             WHERE call.classid = 'pg_attrdef'::regclass AND call.refclassid = 'pg_proc'::regclass
               AND call.refobjid = to_regprocedure('pg_catalog.worker_nextval(regclass)'))
""")
COPIES = sql.SQL("""
SELECT q.seqrelid::oid FROM pg_sequence q JOIN pg_catalog.pg_dist_object o
    ON o.classid = 'pg_class'::regclass AND o.objid = q.seqrelid
""")
