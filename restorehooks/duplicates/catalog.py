"""What the catalogue says of a constraint: on which table and columns it is, and whose code it has.

Everything is asked with ``search_path`` set to ``pg_catalog``. So nobody's function or operator of
the same name is called, and the expressions that the server writes have the schema of each one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from restorehooks import conf
from restorehooks.driver import sql
from restorehooks.sequences.guard import guarded
from restorehooks.sequences.message import send
from restorehooks.sequences.planning import STRANGERS_OF_TABLES
from restorehooks.sequences.sending import Rows
from restorehooks.sequences.session import PATH
from restorehooks.sequences.strangers import IS_TRUSTED

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def ask(
    connection: BaseDatabaseWrapper,
    query: sql.Composable,
    *,
    reading: str | None = None,
    index: int | None = None,
) -> Rows:
    """Return the rows of a query; raises ``django.db.Error``, and leaves a transaction usable.

    ``reading`` is the quoted name of a table whose rows it reads, ``index`` the oid of the index
    whose expressions it has.
    """
    first = [guarded([reading], index=index)] if reading else []
    return send(connection, [*first, query], conf.lock_timeout())[-1]


def locate(connection: BaseDatabaseWrapper, table: str, constraint: str) -> tuple[str, str] | None:
    """Return schema and name of a table that is known by its own or its constraint's name alone.

    A table that the caller's path finds comes first, then the only one with that constraint.
    """
    found = ask(connection, LOCATE.format(*map(sql.Literal, (table, constraint))))
    by_table = [(schema, name) for schema, name, position, _ in found if position is not None]
    by_constraint = [(schema, name) for schema, name, _, is_named in found if is_named]
    if by_table:
        return by_table[0]
    return by_constraint[0] if len(by_constraint) == 1 else None


LOCATE = sql.SQL(f"""
SELECT n.nspname, t.relname, CASE WHEN t.relname = {{0}} THEN path.position END,
       x.indexrelid IS NOT NULL
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN {PATH} WITH ORDINALITY AS path (name, position) ON path.name = n.nspname
LEFT JOIN (pg_index x JOIN pg_class i ON i.oid = x.indexrelid AND i.relname = {{1}})
    ON x.indrelid = t.oid
WHERE t.relkind IN ('r', 'p') AND (t.relname = {{0}} AND path.position IS NOT NULL
                                   OR x.indexrelid IS NOT NULL)
ORDER BY 3, 1, 2
""")  # noqa: S608 - constants


def sequences_named(
    connection: BaseDatabaseWrapper, columns: Collection[tuple[str, str, str]]
) -> list[str]:
    """Return the quoted sequences whose names lead to these columns (schema, table, column)."""
    parts = [sql.Literal([*part]) for part in zip(*columns, strict=True)]
    return [name for (name,) in ask(connection, SEQUENCES_NAMED.format(*parts))] if parts else []


SEQUENCES_NAMED = sql.SQL("""
SELECT DISTINCT format('%I.%I', n.nspname, c.relname)
FROM unnest({}::name[], {}::name[], {}::name[]) AS wanted (schema, tab, att)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'S'
    AND lower(c.relname) IN (lower(tab || '_seq'), lower(tab || '_' || att || '_seq'))
""")

INDEXES = sql.SQL("""
SELECT n.nspname, c.relname, x.indisunique OR x.indisexclusion
FROM pg_index x
JOIN pg_class c ON c.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
""")
"""Every index, and whether it keeps rows apart."""

TABLE = sql.SQL(f"""
SELECT c.oid, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN {PATH} WITH ORDINALITY AS path (name, position) ON path.name = n.nspname
WHERE c.relname = {{table}} AND c.relkind IN ('r', 'p', 'f')
  AND CASE WHEN {{schema}}::name IS NULL THEN path.position IS NOT NULL
           ELSE n.nspname = {{schema}}::name END
ORDER BY path.position LIMIT 1
""")  # noqa: S608 - constants

TABLE_OF = sql.SQL("""
SELECT t.relname, format('%I.%I', n.nspname, t.relname)
FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class t ON t.oid = x.indrelid
WHERE n.nspname = {schema} AND c.relname = {name}
""")
"""The table of an index, which stands in its schema; no lock is in the way of that."""

# nullsnotdistinct is there since PostgreSQL 15. Equality is the operator of the index's own class,
# which only a superuser can make; a type or function of another role is never called.
INDEX = sql.SQL(f"""
WITH RECURSIVE x AS (
    SELECT x.*, cn.nspname AS schema, c.relname AS name, c.relam
    FROM unnest({{schemas}}::name[], {{names}}::name[]) AS wanted (schema, name)
    JOIN pg_namespace cn ON cn.nspname = wanted.schema
    JOIN pg_class c ON c.relnamespace = cn.oid AND c.relname = wanted.name
    JOIN pg_index x ON x.indexrelid = c.oid
),
part AS (
    SELECT x.indexrelid, k, pg_get_indexdef(x.indexrelid, k, false) AS expression,
           a.attname AS column, b.oid AS type, parts.are_trusted AS trusted,
           CASE WHEN op.oid IS NULL THEN ''
                ELSE format('OPERATOR(%I.%s)', opn.nspname, op.oprname) END AS equals
    FROM x CROSS JOIN generate_series(1, x.indnkeyatts::integer) AS k
    LEFT JOIN pg_attribute a
        ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k - 1] AND a.attnum > 0
    JOIN pg_attribute ia ON ia.attrelid = x.indexrelid AND ia.attnum = k
    CROSS JOIN LATERAL (
        WITH RECURSIVE base (oid, typbasetype, typowner, typtype) AS (
            SELECT oid, typbasetype, typowner, typtype FROM pg_type WHERE oid = ia.atttypid
            UNION ALL SELECT t.oid, t.typbasetype, t.typowner, t.typtype
            FROM base JOIN pg_type t ON base.typtype = 'd' AND t.oid = base.typbasetype)
        SELECT oid, typowner FROM base WHERE typtype <> 'd') b
    CROSS JOIN LATERAL (  -- a value is read by the types of its fields, too
        WITH RECURSIVE part (oid) AS (
            SELECT b.oid
            UNION
            SELECT inner_part.oid FROM part JOIN pg_type t ON t.oid = part.oid
            CROSS JOIN LATERAL (
                SELECT unnest(ARRAY[t.typbasetype, t.typelem])
                UNION ALL SELECT atttypid FROM pg_attribute
                WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped
                UNION ALL SELECT rngsubtype FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)
            ) AS inner_part (oid)
            WHERE inner_part.oid <> 0)
        SELECT bool_and({IS_TRUSTED}) AS are_trusted
        FROM part JOIN pg_type t ON t.oid = part.oid JOIN pg_roles r ON r.oid = t.typowner) parts
    JOIN pg_opclass oc ON oc.oid = x.indclass[k - 1]
    LEFT JOIN pg_amop o
        ON o.amopfamily = oc.opcfamily AND o.amoplefttype = oc.opcintype
           AND o.amoprighttype = oc.opcintype AND o.amopstrategy = 3 AND x.relam = 403
    LEFT JOIN pg_operator op ON op.oid = o.amopopr
    LEFT JOIN pg_namespace opn ON opn.oid = op.oprnamespace
),
parts AS (
    SELECT indexrelid, array_agg(expression ORDER BY k) AS expressions,
           array_agg(part.column::text ORDER BY k) AS columns,
           array_agg(format_type(type, NULL) ORDER BY k) AS types,
           array_agg(equals ORDER BY k) AS equals, bool_and(trusted) AS trusted
    FROM part GROUP BY indexrelid
)
SELECT x.name, t.oid, n.nspname, t.relname, format('%I.%I', n.nspname, t.relname),
       x.indisunique OR x.indisexclusion, x.indisvalid, x.indisexclusion OR NOT parts.trusted,
       coalesce((to_jsonb(x) ->> 'indnullsnotdistinct')::boolean, false),
       pg_get_expr(x.indpred, x.indrelid), expressions, columns, types, equals,
       ARRAY(SELECT quote_ident(a.attname) FROM pg_index p
             JOIN pg_attribute a ON a.attrelid = p.indrelid AND a.attnum = ANY(p.indkey::smallint[])
             WHERE p.indrelid = x.indrelid AND p.indisprimary ORDER BY a.attnum),
       x.indexrelid
FROM x JOIN parts ON parts.indexrelid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
ORDER BY x.schema, x.name
""")  # noqa: S608 - constants

LINEAGE = sql.SQL("""
WITH RECURSIVE kin (root, oid) AS (
    SELECT oid, oid FROM unnest({tables}::oid[]) AS t (oid)
    UNION SELECT kin.root, i.inhparent FROM kin JOIN pg_inherits i ON i.inhrelid = kin.oid
)
SELECT kin.root, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname)
FROM kin JOIN pg_class c ON c.oid = kin.oid JOIN pg_namespace n ON n.oid = c.relnamespace
""")
"""Tables, each with what it is a partition or child of."""


def lineages(
    connection: BaseDatabaseWrapper, tables: Collection[int]
) -> dict[int, tuple[tuple[str, str, str], ...]]:
    """Return each table, and what it is a partition or child of: schema, name and both quoted."""
    found: dict[int, tuple[tuple[str, str, str], ...]] = {}
    for root, *names in ask(connection, LINEAGE.format(tables=sql.Literal([*tables]))):
        found[root] = (*found.get(root, ()), (names[0], names[1], names[2]))
    return found


def strangers(connection: BaseDatabaseWrapper, tables: Collection[int]) -> dict[int, str]:
    """Return another role's function that reading a table would call, by the table."""
    return dict(ask(connection, STRANGERS_OF_TABLES.format(tables=sql.Literal([*tables]))))
