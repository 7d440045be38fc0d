"""What ties a database to other servers: a Citus cluster, and replication that extensions do.

PostgreSQL's own slots and subscriptions stand in shared catalogues and are found from outside (see
:mod:`restorehooks.restore.server.obstacles`). These are known within the database alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from psycopg import sql

from restorehooks.restore.errors import TargetError

from .address import Address, Connection
from .live import Live
from .obstacles import ACCEPTED, Obstacle


class Cluster(NamedTuple):
    """The Citus cluster that a database is a node of: its group there, and what it knows of.

    ``group`` is 0 on the coordinator. ``nodes`` counts the others.
    """

    group: int
    nodes: int
    tables: int


class Ties(NamedTuple):
    """What ties a database to other servers; ``replicates`` are the names of what would be lost."""

    cluster: Cluster | None = None
    replicates: tuple[str, ...] = ()

    @property
    def obstacles(self) -> list[Obstacle]:
        """What a swap would lose of it."""
        return [
            Obstacle("lost", f"the {what} would stay with the old database", ACCEPTED)
            for what in self.replicates
        ]

    @property
    def notes(self) -> list[str]:
        """What is to be done after a restore into it."""
        return [] if self.cluster is None else [AFTER]


def read_ties(address: Address, live: Live) -> Ties:
    """Return what the live database says of itself; nothing of one that is missing."""
    if live.missing:
        return Ties()
    with address.connect(address.name) as inside:
        return Ties(_cluster(inside), tuple(_replicating(inside)))


def refuse_to_break(address: Address, ties: Ties) -> None:
    """Raise TargetError where a restore would take a node out of its cluster."""
    cluster = ties.cluster
    if cluster is None or not (cluster.nodes or cluster.tables):
        return
    if cluster.group:
        raise TargetError(
            f"{address} is a worker of a Citus cluster: what it holds is restored through the"
            " coordinator."
        )
    raise TargetError(
        f"{address} is the coordinator of a Citus cluster ({_count(cluster.nodes, 'other node')},"
        f" {_count(cluster.tables, 'table')} of Citus): a restored database would know of neither,"
        " while the other nodes go on answering from the old shards. Make a new database on every"
        " node, with the extension, the nodes, the tables and their distribution; restore the rows"
        " into it with --data-only; then run resetsequences --every-node."
    )


AFTER = (
    "this is a node of a Citus cluster: the other nodes have sequences of their own, which"
    " resetsequences --every-node repairs"
)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cluster(inside: Connection) -> Cluster | None:
    row = inside.execute(IS_CITUS).fetchone()
    if row is None or not row[0]:
        return None
    found = inside.execute(CITUS).fetchone()
    return None if found is None else Cluster(*found)


IS_CITUS = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
CITUS = """
SELECT coalesce((SELECT pg_catalog.max(groupid) FROM pg_catalog.pg_dist_local_group), 0),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_dist_node WHERE groupid NOT IN (
            SELECT groupid FROM pg_catalog.pg_dist_local_group)),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_dist_partition)
"""


def _replicating(inside: Connection) -> Iterator[str]:
    for extension, schema, columns in inside.execute(EXTENSIONS).fetchall():
        named = False
        for table, column, noun in NAMED:
            if f"{table}.{column}" in columns:
                query = sql.SQL("SELECT {} FROM {} ORDER BY 1").format(
                    sql.Identifier(column), sql.Identifier(schema, table)
                )
                for (name,) in inside.execute(query).fetchall():
                    named = True
                    yield f'{extension} {noun} "{name}"'
        if not named and extension not in BY_NAME:
            yield f"replication of the extension {extension}"


BY_NAME = ("pglogical", "spock", "bdr")
"""The extensions whose nodes and subscriptions have names in tables of one form."""
NAMED = [("node", "node_name", "node"), ("subscription", "sub_name", "subscription")]
# Read are a superuser's plain tables of the extension's own: an extension's owner may add others.
EXTENSIONS = """
SELECT e.extname, n.nspname, ARRAY(
    SELECT c.relname || '.' || a.attname
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid
    JOIN pg_catalog.pg_roles o ON o.oid = c.relowner AND o.rolsuper
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
      AND c.relkind = 'r' AND c.relnamespace = n.oid
      AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.nspname = e.extname
WHERE e.extname IN ('pglogical', 'spock', 'bdr', 'pgq', 'pgq_node', 'londiste')
ORDER BY 1
"""
