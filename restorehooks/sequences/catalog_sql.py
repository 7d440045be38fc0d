"""The statements that read the catalogue; none of them locks a table.

They are sent with ``search_path`` set to ``pg_catalog``, so that names in them need no schema.
"""

from __future__ import annotations

from restorehooks.driver import sql

from .defaults import CALLS_NEXTVAL, IS_PLAIN_NEXTVAL, as_text
from .notes import FEEDS, REPLICATING
from .session import PATH
from .strangers import STRANGERS, is_strangers, may_draw


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


# What a default draws from is read off the stored expression: a sequence's dependency says that
# the default mentions it, not that the default is nothing more.
_DRAWING = f"""
drawing AS MATERIALIZED (
    SELECT kind, oid, tab, att, domain_owner, {_braces(IS_PLAIN_NEXTVAL)} AS simple
    FROM (
        SELECT 'pg_attrdef'::regclass AS kind, oid, adrelid AS tab, adnum AS att,
               NULL::oid AS domain_owner, {as_text("adbin")} AS expression
        FROM pg_attrdef
        UNION ALL  -- a column without a default of its own takes its domain's
        SELECT 'pg_type'::regclass, t.oid, attrelid, attnum, typowner, {as_text("typdefaultbin")}
        FROM pg_type t JOIN pg_attribute a
            ON a.atttypid = t.oid AND NOT a.atthasdef AND a.attnum > 0
        JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'f')
        WHERE t.typdefaultbin IS NOT NULL
          AND EXISTS (SELECT FROM pg_type WHERE typdefaultbin IS NOT NULL)
    ) d
    WHERE {CALLS_NEXTVAL}
)"""  # noqa: S608 - constants

# The names of the columns are those of row.Row.
SEQUENCES = sql.SQL(f"""
WITH RECURSIVE {_DRAWING},
drawn AS MATERIALIZED (
    SELECT d.refobjid AS seq, drawing.tab, drawing.att, domain_owner,
           drawing.simple OR (drawing.kind, drawing.oid) IN (
               SELECT * FROM unnest({{exact_kinds}}::oid[], {{exact}}::oid[])) AS exact,
           domain_owner IS NULL OR {may_draw("domain_owner", "s.oid", "s.relowner")} AS may_draw
    FROM drawing JOIN pg_depend d
        ON d.classid = drawing.kind AND d.objid = drawing.oid
           AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid = 0
    JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
    UNION ALL
    SELECT t.seq, drawing.tab, drawing.att, domain_owner, t.exact,
           domain_owner IS NULL OR {may_draw("domain_owner", "s.oid", "s.relowner")}
    FROM unnest({{by_text_kinds}}::oid[], {{by_text}}::oid[], {{by_text_sequences}}::oid[],
                {{by_text_exact}}::bool[]) AS t (kind, oid, seq, exact)
    JOIN drawing ON drawing.kind = t.kind AND drawing.oid = t.oid
    JOIN pg_class s ON s.oid = t.seq AND s.relkind = 'S'
),
default_of AS MATERIALIZED (SELECT seq, tab, att, exact FROM drawn WHERE may_draw),
owner AS MATERIALIZED (
    SELECT d.objid AS seq, d.refobjid AS tab, d.refobjsubid AS att, d.deptype = 'i' AS is_identity
    FROM pg_depend d JOIN pg_sequence q ON q.seqrelid = d.objid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
),
climb (seq, tab, att, is_identity) AS (  -- rows come through the parent that a partition belongs to
    SELECT seq, tab, att, is_identity FROM owner
    UNION
    SELECT climb.seq, i.inhparent, pa.attnum, climb.is_identity
    FROM climb JOIN pg_inherits i ON i.inhrelid = climb.tab
    JOIN pg_attribute a ON a.attrelid = climb.tab AND a.attnum = climb.att AND a.attinhcount > 0
    JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class s ON s.oid = climb.seq
        AND {may_draw("p.relowner", "s.oid", "s.relowner")}
    JOIN pg_attribute pa ON pa.attrelid = i.inhparent AND pa.attname = a.attname
        AND pa.attidentity = ''
    WHERE NOT EXISTS (  -- then the parent's numbers are made by another sequence than the child's
        SELECT FROM default_of d
        WHERE d.tab = i.inhparent AND d.att = pa.attnum AND d.seq <> climb.seq AND d.exact)
),
listed AS MATERIALIZED (
    SELECT seq, tab, att
    FROM unnest({{listed_sequences}}::oid[], {{listed_tables}}::oid[], {{listed_columns}}::int[])
         AS t (seq, tab, att)
),
in_scope AS MATERIALIZED (
    SELECT seq FROM climb WHERE tab = ANY({{tables}}::oid[])
    UNION SELECT seq FROM default_of WHERE tab = ANY({{tables}}::oid[])
    UNION SELECT seq FROM listed WHERE tab = ANY({{tables}}::oid[])
),
in_schemas AS MATERIALIZED (
    SELECT seq FROM (SELECT seq, tab FROM climb UNION ALL SELECT seq, tab FROM default_of
                     UNION ALL SELECT seq, tab FROM listed) numbers
    JOIN pg_class c ON c.oid = numbers.tab JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY({{schemas}}::name[])
),
me AS MATERIALIZED (
    SELECT oid, rolsuper AS may_all, rolsuper OR rolbypassrls AS passes,
           pg_current_xact_id_if_assigned() IS NOT NULL AS writes
    FROM pg_roles WHERE rolname = current_user
),
stranger AS MATERIALIZED ({STRANGERS}),
dumped AS MATERIALIZED (SELECT unnest(extconfig) AS oid FROM pg_extension),
sequence AS MATERIALIZED (
    SELECT q.seqrelid AS oid, n.nspname AS schema, c.relname AS name,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS quoted,
           format_type(q.seqtypid, NULL) AS type, q.seqstart AS start,
           q.seqincrement AS increment, q.seqmin AS minimum, q.seqmax AS maximum,
           q.seqcache AS cache, q.seqcycle AS cycle,
           (me.may_all OR has_schema_privilege(n.oid, 'USAGE'))
               AND (mine.may_all OR has_sequence_privilege(q.seqrelid, 'SELECT')) AS may_read,
           mine.may_all OR has_sequence_privilege(q.seqrelid, 'USAGE, UPDATE') AS may_draw,
           mine.may_all OR has_sequence_privilege(q.seqrelid, 'UPDATE') AS may_set,
           mine.may_all OR pg_has_role(c.relowner, 'USAGE') AS may_alter,
           quote_ident(o.rolname) AS owner, c.relowner,
           {is_strangers("c", "n", "SELECT oid FROM stranger")} AS sequence_of_stranger,
           me.writes AND (
               SELECT CASE WHEN xact.full > 2
                      THEN coalesce(pg_xact_status(xact.full::text::xid8) = 'in progress', false)
                      ELSE false END  -- by us: others' open changes are not seen
               FROM (  -- xmin with the epoch that is nearest
                   SELECT now + mod(mod(c.xmin::text::numeric - now + 2147483648, 4294967296)
                                    + 4294967296, 4294967296) - 2147483648 AS full
                   FROM (SELECT pg_current_xact_id_if_assigned()::text::numeric AS now) n) xact
           ) AS is_rewritten
    FROM pg_sequence q
    JOIN pg_class c ON c.oid = q.seqrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_roles o ON o.oid = c.relowner
    CROSS JOIN me
    CROSS JOIN LATERAL (SELECT me.may_all OR c.relacl IS NULL AND relowner = me.oid) mine (may_all)
    WHERE c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND ({{tables}}::oid[] IS NULL OR q.seqrelid IN (SELECT seq FROM in_scope))
      AND ({{schemas}}::name[] IS NULL OR n.nspname = ANY({{schemas}}::name[])
           OR q.seqrelid IN (SELECT seq FROM in_schemas))
      AND (q.seqrelid NOT IN (
              SELECT objid FROM pg_depend
              WHERE refclassid = 'pg_extension'::regclass
                AND classid = 'pg_class'::regclass AND deptype = 'e')
           OR q.seqrelid IN (  -- what an extension's members hold is dumped where it says so
              SELECT oid FROM dumped
              UNION SELECT seq FROM owner JOIN dumped ON dumped.oid = owner.tab
              UNION SELECT seq FROM default_of JOIN dumped ON dumped.oid = default_of.tab))
),
link AS MATERIALIZED (
    SELECT seq, tab, att, bool_or(is_owner) AS is_owner, bool_or(is_identity) AS is_identity,
           bool_or(draws) AS draws, bool_or(draws_more) AS draws_more,
           bool_or(is_listed) AS is_listed, c.relowner = sequence.relowner AS of_sequences_owner
    FROM (
        SELECT climb.seq, climb.tab, climb.att, true AS is_owner, climb.is_identity,
               false AS draws, false AS draws_more, false AS is_listed
        FROM climb
        UNION ALL
        SELECT seq, tab, att, false, false, exact, NOT exact, false FROM default_of
        UNION ALL
        SELECT seq, tab, att, false, false, false, false, true FROM listed
    ) l JOIN sequence ON sequence.oid = l.seq
    JOIN pg_class c ON c.oid = l.tab AND c.relpersistence <> 't'
    GROUP BY seq, sequence.relowner, tab, att, c.relowner
    HAVING bool_or(is_owner OR is_listed)  -- else an insert fails
        OR {may_draw("c.relowner", "seq", "sequence.relowner")}
),
included AS MATERIALIZED (  -- what the rows of a parent that counts include is not read twice
    SELECT parent.seq, a.attrelid, a.attnum
    FROM link parent JOIN pg_inherits i ON i.inhparent = parent.tab
    JOIN pg_attribute pa ON pa.attrelid = parent.tab AND pa.attnum = parent.att
        AND (parent.draws OR parent.draws_more OR parent.is_listed OR NOT pa.atthasdef)
    JOIN pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = pa.attname
        AND a.attinhcount > 0
),
top AS MATERIALIZED (
    SELECT * FROM link WHERE (seq, tab, att) NOT IN (SELECT * FROM included)
),
domain (oid, base, typmod) AS (
    SELECT oid, typbasetype, typtypmod FROM pg_type WHERE typtype = 'd' AND oid IN (
        SELECT atttypid FROM top JOIN pg_attribute ON attrelid = tab AND attnum = att)
    UNION ALL
    SELECT domain.oid, t.typbasetype, t.typtypmod
    FROM domain JOIN pg_type t ON t.oid = domain.base AND t.typtype = 'd'
),
kin (root, member) AS (
    SELECT tab, tab FROM top UNION
    SELECT kin.root, i.inhrelid FROM kin JOIN pg_inherits i ON i.inhparent = kin.member
),
code AS MATERIALIZED ({{code}}),
tree AS MATERIALIZED (  -- once for all, since there may be thousands, each with thousands
    SELECT kin.root, array_agg(kin.member) AS members, min(code.function) AS calls,
           bool_or(m.relkind = 'f') AS is_foreign,
           bool_or(m.relkind = 'r' AND m.relam <> 2) AS has_other_files,
           bool_or(m.relowner IN (SELECT oid FROM stranger) OR code.tab IS NOT NULL) AS of_stranger
    FROM kin JOIN pg_class m ON m.oid = kin.member
    LEFT JOIN (SELECT tab, min(function) AS function FROM code GROUP BY tab) code
        ON code.tab = kin.member
    GROUP BY kin.root
),
path AS MATERIALIZED (
    SELECT n.oid, p.position
    FROM {PATH} WITH ORDINALITY AS p (name, position) JOIN pg_namespace n ON n.nspname = p.name
),
numbered AS MATERIALIZED (
    SELECT top.*, c.oid AS table_oid, n.nspname AS table_schema,
           c.relname AS table_name, a.attname AS column_name,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS quoted_table,
           quote_ident(a.attname) AS quoted_column,
           coalesce(format_type(b.base, NULL), format_type(a.atttypid, NULL)) AS column_type,
           CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE b.typmod END AS typmod,
           CASE WHEN a.atthasdef THEN (
               SELECT e.oid FROM pg_attrdef e WHERE e.adrelid = c.oid AND e.adnum = a.attnum)
               END AS attrdef,
           a.atthasdef OR b.oid IS NOT NULL AND EXISTS (
               SELECT FROM pg_type ty WHERE ty.oid = b.oid AND ty.typdefaultbin IS NOT NULL)
               AS has_default,
           CASE WHEN top.is_owner AND NOT top.draws AND NOT top.is_identity THEN (
               SELECT min(quote_ident(dn.nspname) || '.' || quote_ident(dc.relname))
               FROM default_of d JOIN pg_class dc ON dc.oid = d.seq
               JOIN pg_namespace dn ON dn.oid = dc.relnamespace
               WHERE d.tab = c.oid AND d.att = a.attnum AND d.seq <> top.seq AND d.exact) END
               AS draws_from,
           c.relhastriggers AND EXISTS (  -- before each row that is inserted
               SELECT FROM pg_trigger t
               WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 7 = 7)
               AS has_trigger,
           c.relkind = 'v' AS is_view, tree.is_foreign, tree.calls,
           me.may_all OR (has_schema_privilege(n.oid, 'USAGE')
                          AND has_column_privilege(c.oid, a.attnum, 'SELECT')) AS may_read_rows,
           c.relrowsecurity AND NOT me.passes
               AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE')) AS is_filtered,
           tree.of_stranger OR {is_strangers("c", "n", "SELECT oid FROM stranger")} AS of_stranger,
           keys.lead AND NOT c.relhassubclass OR c.relkind IN ('r', 'p') AND NOT EXISTS (
               SELECT FROM unnest(tree.members) AS m (oid)
               JOIN pg_class t ON t.oid = m.oid AND t.relkind IN ('r', 'p')
               JOIN pg_attribute ta ON ta.attrelid = t.oid AND ta.attname = a.attname
               WHERE NOT EXISTS (
                   SELECT FROM pg_index x
                   JOIN pg_class xc ON xc.oid = x.indexrelid AND xc.relam = 403
                   WHERE x.indrelid = t.oid AND x.indkey[0] = ta.attnum
                     AND x.indisvalid AND x.indpred IS NULL)) AS indexed,
           c.relkind = 'r' AND NOT c.relhassubclass AS plain,
           NOT a.attnotnull OR NOT keys.lead AND EXISTS (  -- from PostgreSQL 18 on: NOT VALID
               SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'n'
                   AND NOT k.convalidated AND a.attnum = ANY(k.conkey)) AS nullable,
           -- 2 is heap; on a standby an unlogged table has no file
           c.relpages = 0 AND c.relam = 2 AND c.relpersistence = 'p' AS may_be_empty,
           NOT tree.has_other_files AS sized,
           EXISTS (
               SELECT FROM path WHERE path.oid = c.relnamespace AND NOT EXISTS (
                   SELECT FROM path e JOIN pg_class o ON o.relnamespace = e.oid
                   WHERE o.relname = c.relname AND e.position < path.position)) AS visible,
           cardinality(tree.members) * (1 + keys.number) AS locks
    FROM top JOIN tree ON tree.root = top.tab
    JOIN pg_class c ON c.oid = top.tab
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (  -- by the index: to hash every column of the database takes longer
        SELECT attname, attnum, atttypid, atttypmod, attnotnull, atthasdef
        FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum = top.att AND NOT a.attisdropped OFFSET 0) a
    LEFT JOIN domain b ON b.oid = a.atttypid
        AND b.base NOT IN (SELECT oid FROM pg_type WHERE typtype = 'd')
    CROSS JOIN me
    CROSS JOIN LATERAL (
        SELECT count(*) AS number,
               coalesce(bool_or(  -- a temporal key, which excludes, has no order
                   x.indisprimary AND x.indisvalid AND NOT x.indisexclusion
                   AND x.indkey[0] = a.attnum), false) AS lead
        FROM pg_index x WHERE x.indrelid = c.oid) keys
),
barred AS MATERIALIZED (
    SELECT drawn.seq, min(ARRAY[
               quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.'
               || quote_ident(a.attname), quote_ident(r.rolname)]) AS barred
    FROM drawn JOIN pg_class c ON c.oid = drawn.tab AND c.relpersistence <> 't'
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = drawn.tab AND a.attnum = drawn.att AND NOT a.attisdropped
    JOIN pg_roles r ON r.oid = CASE WHEN drawn.may_draw THEN c.relowner ELSE domain_owner END
    WHERE drawn.seq NOT IN (SELECT seq FROM numbered)
    GROUP BY drawn.seq
)
SELECT {{columns}}
FROM sequence LEFT JOIN numbered ON numbered.seq = sequence.oid
LEFT JOIN barred ON barred.seq = sequence.oid
ORDER BY schema, name, oid, table_schema, table_name, column_name
""")  # noqa: S608
"""Every sequence in scope, once for each column that it may number."""

CONDITIONS = f"""
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
       current_setting('transaction_isolation'),
       CASE current_setting('transaction_isolation') WHEN 'serializable' THEN (
           SELECT coalesce(array_agg(relation), array[]::oid[]) FROM pg_locks
           WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode = 'RowExclusiveLock'
       ) END,
       to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL, ({FEEDS}),
       CASE current_setting('default_transaction_read_only') WHEN 'on' THEN (
           SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only') END,
       ({REPLICATING})
"""  # noqa: S608 - constants
"""What holds for all that a run reads, in the order of catalog.Conditions."""
