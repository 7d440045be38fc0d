"""The statements that read the catalogue; none of them locks a table."""

from __future__ import annotations

from psycopg import sql

from .defaults import CALLS_NEXTVAL, IS_PLAIN_NEXTVAL


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


# What a default draws from is read off the stored expression: a sequence's dependency says that
# the default mentions it, not that the default is nothing more.
_DRAWING = f"""
drawing AS MATERIALIZED (
    SELECT kind, oid, tab, att, {_braces(IS_PLAIN_NEXTVAL)} AS simple
    FROM (
        SELECT 'pg_catalog.pg_attrdef'::regclass AS kind, oid, adrelid AS tab, adnum AS att,
               adbin::text AS expression
        FROM pg_catalog.pg_attrdef
        UNION ALL  -- a column without a default of its own takes its domain's
        SELECT 'pg_catalog.pg_type'::regclass, t.oid, a.attrelid, a.attnum, t.typdefaultbin::text
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_attribute a
            ON a.atttypid = t.oid AND NOT a.atthasdef AND a.attnum > 0
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'f')
        WHERE t.typdefaultbin IS NOT NULL
          AND EXISTS (SELECT FROM pg_catalog.pg_type WHERE typdefaultbin IS NOT NULL)
    ) d
    WHERE {CALLS_NEXTVAL}
)"""  # noqa: S608  constants

ODD_DEFAULTS = sql.SQL(f"""
SELECT oid FROM pg_catalog.pg_attrdef
WHERE oid IN (
    SELECT oid FROM (SELECT oid, adbin::text AS expression FROM pg_catalog.pg_attrdef) d
    WHERE {CALLS_NEXTVAL} AND NOT ({_braces(IS_PLAIN_NEXTVAL)}))
""").format()  # noqa: S608
"""The defaults of columns that call ``nextval`` in no simple form."""

# The names of the columns are those of catalog.Row.
SEQUENCES = sql.SQL(f"""
WITH RECURSIVE {_DRAWING},
by_text AS (
    SELECT drawing.tab, drawing.att, t.seq, t.exact
    FROM unnest({{by_text}}::oid[], {{by_text_sequences}}::oid[], {{by_text_exact}}::bool[])
         AS t (attrdef, seq, exact)
    JOIN drawing ON drawing.oid = t.attrdef AND drawing.kind = 'pg_catalog.pg_attrdef'::regclass
),
in_scope AS MATERIALIZED (
    SELECT objid AS seq FROM pg_catalog.pg_depend
    WHERE refclassid = 'pg_catalog.pg_class'::regclass AND refobjid = ANY({{tables}}::oid[])
          AND classid = 'pg_catalog.pg_class'::regclass AND deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid FROM drawing JOIN pg_catalog.pg_depend d
        ON d.classid = drawing.kind AND d.objid = drawing.oid
           AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid = 0
    WHERE drawing.tab = ANY({{tables}}::oid[])
    UNION
    SELECT seq FROM by_text WHERE tab = ANY({{tables}}::oid[])
),
me AS MATERIALIZED (
    SELECT oid, rolsuper AS may_all, rolsuper OR rolbypassrls AS passes
    FROM pg_catalog.pg_roles WHERE rolname = current_user
),
sequence AS MATERIALIZED (
    SELECT q.seqrelid AS oid, n.nspname AS schema, c.relname AS name,
           pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS quoted,
           pg_catalog.format_type(q.seqtypid, NULL) AS type, q.seqstart AS start,
           q.seqincrement AS increment, q.seqmin AS minimum, q.seqmax AS maximum,
           q.seqcache AS cache, q.seqcycle AS cycle,
           (me.may_all OR pg_catalog.has_schema_privilege(n.oid, 'USAGE'))
               AND (mine.may_all OR pg_catalog.has_sequence_privilege(q.seqrelid, 'SELECT'))
               AS may_read,
           mine.may_all OR pg_catalog.has_sequence_privilege(q.seqrelid, 'USAGE, UPDATE')
               AS may_draw,
           mine.may_all OR pg_catalog.has_sequence_privilege(q.seqrelid, 'UPDATE') AS may_set
    FROM pg_catalog.pg_sequence q
    JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN me
    CROSS JOIN LATERAL (
        SELECT me.may_all OR (c.relacl IS NULL AND c.relowner = me.oid) AS may_all) mine
    WHERE c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND ({{tables}}::oid[] IS NULL OR q.seqrelid IN (SELECT seq FROM in_scope))
      AND q.seqrelid NOT IN (
          SELECT objid FROM pg_catalog.pg_depend
          WHERE refclassid = 'pg_catalog.pg_extension'::regclass
                AND classid = 'pg_catalog.pg_class'::regclass AND deptype = 'e')
),
link AS MATERIALIZED (
    SELECT seq, tab, att, bool_and(exact) AS exact
    FROM (
        SELECT d.objid AS seq, d.refobjid AS tab, d.refobjsubid AS att, true AS exact
        FROM pg_catalog.pg_depend d
        WHERE d.objid = ANY(ARRAY(SELECT oid FROM sequence))
          AND d.classid = 'pg_catalog.pg_class'::regclass
          AND d.refclassid = 'pg_catalog.pg_class'::regclass
          AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
        UNION ALL
        SELECT d.refobjid, drawing.tab, drawing.att,
               drawing.simple OR drawing.oid = ANY({{exact}}::oid[])
        FROM drawing JOIN pg_catalog.pg_depend d
            ON d.classid = drawing.kind AND d.objid = drawing.oid
               AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid = 0
        UNION ALL
        SELECT seq, tab, att, exact FROM by_text
    ) l
    GROUP BY seq, tab, att
),
domain (oid, base, typmod) AS (
    SELECT oid, typbasetype, typtypmod FROM pg_catalog.pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT domain.oid, t.typbasetype, t.typtypmod
    FROM domain JOIN pg_catalog.pg_type t ON t.oid = domain.base AND t.typtype = 'd'
),
kin (root, member) AS (
    SELECT inhparent, inhparent FROM pg_catalog.pg_inherits
    WHERE inhparent IN (SELECT tab FROM link)
    UNION
    SELECT kin.root, i.inhrelid FROM kin JOIN pg_catalog.pg_inherits i ON i.inhparent = kin.member
),
numbered AS MATERIALIZED (
    SELECT link.seq, link.exact, c.oid AS table_oid, n.nspname AS table_schema,
           c.relname AS table_name, a.attname AS column_name,
           pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
               AS quoted_table,
           pg_catalog.quote_ident(a.attname) AS quoted_column,
           coalesce(pg_catalog.format_type(b.base, NULL), pg_catalog.format_type(a.atttypid, NULL))
               AS column_type,
           CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE b.typmod END AS typmod,
           c.relkind = 'v' AS is_view,
           c.relkind = 'f' OR EXISTS (
               SELECT FROM kin JOIN pg_catalog.pg_class f ON f.oid = kin.member
               WHERE kin.root = c.oid AND f.relkind = 'f') AS is_foreign,
           me.may_all OR (
               pg_catalog.has_schema_privilege(n.oid, 'USAGE')
               AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) AS may_read_rows,
           c.relrowsecurity AND NOT me.passes
               AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(c.relowner, 'USAGE'))
               AS is_filtered,
           EXISTS (
               SELECT FROM pg_catalog.pg_index x
               WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid
                     AND x.indkey[0] = a.attnum
                     AND NOT c.relhassubclass)
           OR c.relkind IN ('r', 'p') AND NOT EXISTS (
               SELECT FROM (SELECT c.oid AS member
                            UNION SELECT kin.member FROM kin WHERE kin.root = c.oid) m
               JOIN pg_catalog.pg_class t ON t.oid = m.member AND t.relkind IN ('r', 'p')
               JOIN pg_catalog.pg_attribute ta
                   ON ta.attrelid = t.oid AND ta.attname = a.attname
               WHERE NOT EXISTS (
                   SELECT FROM pg_catalog.pg_index x
                   JOIN pg_catalog.pg_class xc ON xc.oid = x.indexrelid AND xc.relam = 403
                   WHERE x.indrelid = t.oid AND x.indkey[0] = ta.attnum
                     AND x.indisvalid AND x.indpred IS NULL)) AS indexed,
           c.relkind = 'r' AND NOT c.relhassubclass AS plain,
           NOT a.attnotnull AS nullable, c.relpages = 0 AS may_be_empty,
           pg_catalog.pg_table_is_visible(c.oid) AS visible,
           CASE WHEN c.relhassubclass THEN (SELECT count(*) FROM kin WHERE kin.root = c.oid)
                ELSE 1 END
           * (1 + (SELECT count(*) FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid)) AS locks
    FROM link
    JOIN pg_catalog.pg_class c ON c.oid = link.tab AND c.relpersistence <> 't'
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a
        ON a.attrelid = c.oid AND a.attnum = link.att AND NOT a.attisdropped
    LEFT JOIN domain b
        ON b.oid = a.atttypid AND b.base NOT IN (SELECT d.oid FROM domain d)
    CROSS JOIN me
    WHERE a.attinhcount = 0 OR NOT EXISTS (  -- what a parent's rows include is not read twice
        SELECT FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_attribute pa ON pa.attrelid = i.inhparent AND pa.attname = a.attname
        JOIN link parent ON parent.seq = link.seq
            AND parent.tab = i.inhparent AND parent.att = pa.attnum
        WHERE i.inhrelid = link.tab)
)
SELECT {{columns}}
FROM sequence LEFT JOIN numbered ON numbered.seq = sequence.oid
ORDER BY schema, name, oid, table_schema, table_name, column_name
""")  # noqa: S608
"""Every sequence in scope, once for each column that it numbers."""
