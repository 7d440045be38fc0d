"""What a node of a Citus cluster looks like from within, made with plain PostgreSQL.

Citus itself is in no registry. Its catalogue, its functions and the ranges of its sequences are
made here as it makes them; the rows are the table's own, where Citus has them in shards.
"""

from __future__ import annotations

from tests.support.databases import Database

WORKER = 1 << 48
"""The first worker's sequences begin past this, and end at twice this and one."""

CATALOGUE = """
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass PRIMARY KEY);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int PRIMARY KEY);
CREATE TABLE pg_catalog.pg_dist_object (classid oid, objid oid, PRIMARY KEY (classid, objid));
CREATE TABLE pg_catalog.pg_dist_node (
    nodeid serial PRIMARY KEY, groupid int, nodename text, nodeport int,
    isactive bool DEFAULT true, noderole text DEFAULT 'primary');
CREATE FUNCTION pg_catalog.worker_nextval(sequence regclass) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'nextval(sequence) calls in worker nodes are not supported'; END $$;
CREATE FUNCTION pg_catalog.only_on_this_node() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('citus.enable_ddl_propagation', true) IS DISTINCT FROM 'off' THEN
        RAISE 'operation is not allowed on this node';
    END IF;
END $$;
CREATE OR REPLACE FUNCTION pg_catalog.pg_relation_size(regclass) RETURNS bigint LANGUAGE sql
    AS $$ SELECT CASE WHEN EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = $1)
                      THEN 0 ELSE pg_relation_size($1, 'main') END $$;
GRANT SELECT ON pg_dist_partition, pg_dist_local_group, pg_dist_object, pg_dist_node TO PUBLIC;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    VALUES (99999, 'citus', 10, 11, false, '14.0-1');
RESET allow_system_table_mods;
"""


def make_node(database: Database, group: int) -> None:
    """Make the database a node of this group: 0 is the coordinator."""
    database.execute(CATALOGUE)
    database.execute(f"INSERT INTO pg_dist_local_group VALUES ({group})")


def distribute(database: Database, *tables: str) -> None:
    """Make tables distributed ones: their own files count no page."""
    for table in tables:
        database.execute("INSERT INTO pg_dist_partition VALUES (%s::regclass)", table)
        database.execute("UPDATE pg_class SET relpages = 0 WHERE oid = %s::regclass", table)


def refuse_propagated_ddl(database: Database) -> None:
    """Refuse statements on sequences that Citus would send to other nodes, as a worker does."""
    database.execute(
        "CREATE EVENT TRIGGER on_this_node ON ddl_command_start WHEN TAG IN ('ALTER SEQUENCE')"
        " EXECUTE FUNCTION pg_catalog.only_on_this_node()"
    )


def on_worker(database: Database, sequence: str, group: int = 1) -> None:
    """Give a sequence the range that Citus gives it on a worker of this group."""
    first = group * WORKER + 1
    database.execute(
        f"ALTER SEQUENCE {sequence} START {first} MINVALUE {first} MAXVALUE {first + WORKER}"
        f" RESTART {first}"
    )


def used_up_on_worker(database: Database, *sequences: str) -> None:
    """Leave sequences of a small type as Citus leaves them on a worker: at their maximum."""
    for sequence in sequences:
        database.execute(
            "SELECT setval(seqrelid, seqmax) FROM pg_sequence WHERE seqrelid = %s::regclass",
            sequence,
        )


def in_cluster(database: Database, *sequences: str) -> None:
    """Name sequences among what the whole cluster has; Citus leaves those of identities out."""
    for sequence in sequences:
        database.execute(
            "INSERT INTO pg_dist_object VALUES ('pg_class'::regclass, %s::regclass)", sequence
        )
