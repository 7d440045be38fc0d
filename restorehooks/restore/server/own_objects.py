"""What a role owns in a database, and how it is dropped in one transaction."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from restorehooks.restore.errors import TargetError
from restorehooks.sequences.strangers import IS_TRUSTED

from .address import Connection
from .session_settings import own_names

OWN_SCHEMAS = """
SELECT n.nspname FROM pg_catalog.pg_namespace n
WHERE n.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp)'
  AND pg_catalog.pg_get_userbyid(n.nspowner) = current_user
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e'
                  AND d.classid = 'pg_namespace'::regclass AND d.objid = n.oid)
"""

OWNED = """
SELECT 'pg_class'::regclass AS catalog, oid, relowner AS owner FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_catalog.pg_proc
UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_catalog.pg_type AS t
    WHERE typtype IN ('d', 'e', 'r') OR typtype = 'b' AND typcategory <> 'A'
       OR typtype = 'p' AND NOT typisdefined  -- CREATE TYPE name, and no more
       OR typtype = 'c' AND EXISTS (SELECT FROM pg_catalog.pg_class c
                                    WHERE c.oid = t.typrelid AND c.relkind = 'c')
UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner FROM pg_catalog.pg_operator
UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner FROM pg_catalog.pg_opfamily
UNION ALL SELECT 'pg_collation'::regclass, oid, collowner FROM pg_catalog.pg_collation
UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner FROM pg_catalog.pg_conversion
UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner FROM pg_catalog.pg_ts_config
UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner FROM pg_catalog.pg_ts_dict
UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner FROM pg_catalog.pg_statistic_ext
UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner FROM pg_catalog.pg_publication
UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner FROM pg_catalog.pg_event_trigger
UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner
    FROM pg_catalog.pg_foreign_server
UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwowner
    FROM pg_catalog.pg_foreign_data_wrapper
"""
"""All that roles own, but schemas and large objects, on which nothing depends. Temporary tables
come and go with other sessions meanwhile."""

IS_PART = """EXISTS (SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = catalog AND d.objid = object.oid
      -- a partitioned table depends on its own columns like that
      AND (d.deptype = 'e' OR d.deptype = 'i' AND d.refobjid <> d.objid))"""
"""Of something else that is listed: of an extension, or a function that a range type has come with.
Whose it is says nothing: both are a superuser's where any role has made the whole."""

OWN_REST = f"""
SELECT type, identity FROM (
    {OWNED}
    UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomowner
        FROM pg_catalog.pg_largeobject_metadata
) AS object CROSS JOIN LATERAL pg_catalog.pg_identify_object(catalog, oid, 0)
WHERE (oid >= 16384 OR catalog = 'pg_largeobject'::regclass)  -- users choose their numbers
  AND pg_catalog.pg_get_userbyid(owner) = current_user AND NOT {IS_PART}
"""  # noqa: S608 - a constant

OF_OTHERS = f"""
WITH relation AS (
    SELECT oid, relowner AS owner, relkind FROM pg_catalog.pg_class
    WHERE oid >= 16384 AND pg_catalog.pg_get_userbyid(relowner) <> current_user
      AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I', 'c') AND relpersistence <> 't'
)
SELECT pg_catalog.format('%s %s of "%s"', type, identity, pg_catalog.pg_get_userbyid(owner)) FROM (
    SELECT 'pg_class'::regclass AS catalog, oid, 0 AS part, owner FROM relation
    UNION ALL SELECT 'pg_class'::regclass, r.oid, attnum, owner
        FROM relation r JOIN pg_catalog.pg_attribute ON attrelid = r.oid
        WHERE relkind IN ('r', 'p', 'f', 'c') AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT 'pg_attrdef'::regclass, d.oid, 0, owner
        FROM relation r JOIN pg_catalog.pg_attrdef d ON adrelid = r.oid
    UNION ALL SELECT 'pg_constraint'::regclass, c.oid, 0, owner
        FROM relation r JOIN pg_catalog.pg_constraint c ON conrelid = r.oid
    UNION ALL SELECT 'pg_constraint'::regclass, c.oid, 0, typowner
        FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_type t ON contypid = t.oid
    UNION ALL SELECT 'pg_trigger'::regclass, t.oid, 0, owner
        FROM relation r JOIN pg_catalog.pg_trigger t ON tgrelid = r.oid AND NOT tgisinternal
    UNION ALL SELECT 'pg_policy'::regclass, p.oid, 0, owner
        FROM relation r JOIN pg_catalog.pg_policy p ON polrelid = r.oid
    UNION ALL SELECT 'pg_rewrite'::regclass, w.oid, 0, owner
        FROM relation r JOIN pg_catalog.pg_rewrite w ON ev_class = r.oid
    UNION ALL SELECT classid, objid, 0, pubowner FROM pg_catalog.pg_depend
        JOIN pg_catalog.pg_publication p ON refclassid = 'pg_publication'::regclass
            AND refobjid = p.oid AND deptype = 'a'
    UNION ALL SELECT 'pg_opclass'::regclass, oid, 0, opcowner FROM pg_catalog.pg_opclass
    UNION ALL SELECT 'pg_extension'::regclass, oid, 0, extowner FROM pg_catalog.pg_extension
    UNION ALL SELECT catalog, oid, 0, owner FROM ({OWNED}) AS owned
) AS object CROSS JOIN LATERAL pg_catalog.pg_identify_object(catalog, oid, part)
WHERE oid >= 16384 AND pg_catalog.pg_get_userbyid(owner) <> current_user AND NOT {IS_PART}
"""  # noqa: S608 - a constant
"""What others own, and all that it consists of: a column goes with its type, and a table leaves the
publication that it is in."""


CALLED = f"""
SELECT n.nspname::text, made.name::text FROM (
    SELECT proname AS name, pronamespace AS schema, proowner AS owner FROM pg_catalog.pg_proc
    UNION ALL SELECT oprname, oprnamespace, oprowner FROM pg_catalog.pg_operator
) AS made
JOIN pg_catalog.pg_namespace n ON n.oid = made.schema
JOIN pg_catalog.pg_roles r ON r.oid = made.owner
WHERE NOT {IS_TRUSTED}
"""  # noqa: S608 - a constant


def called_of_others(connection: psycopg.Connection[Any]) -> frozenset[tuple[str, str]]:
    """Return schema and name of the functions and operators that are not to be called for us."""
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        return frozenset(cursor.execute(CALLED.encode()).fetchall())


STANDING = """
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
UNION ALL SELECT n.nspname::text, proname::text OPERATOR(pg_catalog.||) '()'::text
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = pronamespace
WHERE p.oid >= 16384
"""


def standing(connection: psycopg.Connection[Any]) -> frozenset[tuple[str, str]]:
    """Return schema and name of the tables, views, sequences and functions that are there.

    The name of a function, a procedure or an aggregate ends in "()".
    """
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        return frozenset(cursor.execute(STANDING).fetchall())


_WORDS = {"statistics object": "STATISTICS", "foreign-data wrapper": "FOREIGN DATA WRAPPER"}
"""What SQL calls a kind of object where pg_identify_object has other words."""


def drop_own(connection: Connection) -> None:
    """Drop all that the current role owns in this database, inside the caller's transaction.

    Extensions stay with what they made. Raises TargetError where something that belongs to
    somebody else would have to go too.
    """
    with own_names(connection):
        _drop_own(connection)


def _drop_own(connection: Connection) -> None:
    others = {row[0] for row in connection.execute(OF_OTHERS)}
    # Dropping one thing takes others along: look again until nothing is left.
    while found := connection.execute(OWN_SCHEMAS).fetchmany(100):
        for (name,) in found:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
    while found := connection.execute(OWN_REST).fetchall():
        for kind, identity in found:
            _drop_object(connection, kind, identity)
    if gone := others - {row[0] for row in connection.execute(OF_OTHERS)}:
        raise TargetError(
            f"{min(gone)} depends on what would be dropped and would go with it; drop it first, "
            "or restore without --in-place."
        )


def _drop_object(connection: Connection, kind: str, identity: str) -> None:
    if kind == "large object":
        connection.execute("SELECT pg_catalog.lo_unlink(%s)", [int(identity)])
        return
    # Both words are the server's own, the identity quoted by it (pg_identify_object).
    if kind == "aggregate" and identity.endswith("()"):
        identity = f"{identity.removesuffix('()')}(*)"
    what = _WORDS.get(kind, kind.upper())
    statement = f"DROP {what} IF EXISTS {identity} CASCADE"
    connection.execute(statement.encode())
