"""What planning a query calls: functions that another role has made, or lets be called.

Index expressions and predicates, partition keys and extended statistics are evaluated as far as
they are constant whenever a table is planned for, with the rights of whoever plans
(``eval_const_expressions`` in PostgreSQL's planner). ``SET ROLE`` to the table's owner is no
remedy: the function can reset it. So a table with a function of another role, who is no
superuser, is not read; its owner can read it. CHECK constraints are left out of planning by
``constraint_exclusion = off``. What is partitioned is planned with its own bounds, which are
conditions on the partition keys of its parents.

Estimates call functions, too: how many rows meet a predicate is estimated with the function of an
operator, of its negator or commutator (``neqsel``), and with a range type's SUBTYPE_DIFF
(``rangesel``). For NOT and an operator its negator is called (``negate_clause``). A cast to a
domain plans that domain's CHECK constraints (``load_domaintype_info``).

Some of it leaves no dependency, and is read off the stored expressions: types, such as those of a
whole row or of what JSON_VALUE returns, and ``satisfies_hash_partition``, which is IMMUTABLE and
opens whatever table has the oid that it is given, so that the key of that one is evaluated. What is
made JSON of is cast to it, and a function for any type may cast what it is given to any other: all
casts of such types count, but not those to a type that nothing names. A virtual generated column is
planned as its expression, which may call no function of a user's, but that one.

A function of ours is no safer where another role decides that it is called, and with what: its text
finds functions and operators by their names, and the other role may have made better matches. So in
that role's tables, and with its types and operators, only PostgreSQL's own functions count as
harmless, those of well-known extensions in C, and those in SQL whose names were resolved when they
were made, which read no table and call none but IMMUTABLE ones; not those for any type, which find
more by the type that they are given, nor those that run a function that they are given; and none
that is not IMMUTABLE, as a domain's CHECK may have it, or an operator that an estimate calls: one
that runs a query, or ends a session.
"""

from __future__ import annotations

from restorehooks.driver import sql

from .defaults import as_text
from .strangers import IS_TRUSTED, STRANGERS

FIRST_OF_USERS = 16384
"""The first oid that is no object of PostgreSQL's own (FirstNormalObjectId in transam.h)."""
_KNOWN = ", ".join(
    f"'{extension}'"
    for extension in (
        *("btree_gin", "btree_gist", "citext", "cube", "fuzzystrmatch", "hstore", "intarray"),
        *("isn", "ltree", "pg_trgm", "pgcrypto", "plpgsql", "postgis", "seg", "unaccent"),
        *("uuid-ossp", "vector"),
    )
)
"""Extensions of which no function in C that is IMMUTABLE, and has a value, runs text as SQL.

Others have such: PostGIS's ``postgis_raster`` runs SQL, ``address_standardizer`` queries the table
of a name. Nothing in the catalogue shows that.
"""
_OF_KNOWN = f"""
    SELECT FROM pg_depend JOIN pg_extension e ON e.oid = refobjid
    WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND refclassid = 'pg_extension'::regclass
        AND deptype = 'e' AND e.extname IN ({_KNOWN})
        AND NOT (p.provolatile = 'i' AND (p.prorettype = 'void'::regtype OR p.proname = 'isn_weak'))
"""
"""A function ``p`` of one of them, but not one that is called for what it does. Such have no value,
as PostGIS's ``ST_FromFlatGeobufToTable``, which makes a table; or isn's, which sets how the session
reads numbers.
"""
_OF_TYPE = """
    SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid
        AND refclassid = 'pg_type'::regclass AND deptype = 'i'
"""
"""A function that makes a value of a range type: PostgreSQL's own, made with the type."""
ANY_FUNCTION_OR_TYPE = (
    f"(EXISTS (SELECT FROM pg_proc p WHERE oid >= {FIRST_OF_USERS}"  # noqa: S608
    f" AND (proowner IN ({STRANGERS}) OR NOT EXISTS ({_OF_KNOWN})))"
    f" OR EXISTS (SELECT FROM pg_type WHERE oid >= {FIRST_OF_USERS}"
    f" AND typtype IN ('d', 'e', 'r') AND typowner IN ({STRANGERS}))"
    f" OR EXISTS (SELECT FROM pg_operator WHERE oid >= {FIRST_OF_USERS}"
    f" AND oprowner IN ({STRANGERS})))"
)
"""Without it there is no function that planning could call, and no type that could be given one."""
SATISFIES_HASH_PARTITION = 5028  # pg_proc.dat
_IS_RISKY = (
    f"own.oid < {FIRST_OF_USERS}"
    f" AND (own.provolatile <> 'i' OR own.oid = {SATISFIES_HASH_PARTITION})"
)
"""The condition that ``own`` is a function of PostgreSQL's own for which no dependency is kept."""

TOO_LONG = "an expression that is too long to look at"


def _named_in(expression: str) -> str:
    """Return the query, by the name of ``named``, for an expression's types and functions."""
    return f"""(
        SELECT CASE WHEN oids[2] IS NULL THEN 'pg_proc'::regclass
                    WHEN oids[1] = 'var' THEN 'pg_attribute'::regclass
                    ELSE 'pg_type'::regclass END AS class, coalesce(oids[2], oids[3])::oid AS obj
        FROM regexp_matches({expression},
            ':([a-z_]*)type?(?:id|Id)? ([0-9]+) |:(?:op)?funcid ([0-9]+) ', 'g') AS oids
        WHERE coalesce(oids[2], oids[3])::oid >= {FIRST_OF_USERS}
            OR oids[3]::oid IN (SELECT oid FROM risky)) named"""  # noqa: S608


_PLANNED = f"""
WITH RECURSIVE keyed (tab, key) AS (  -- a partitioned one's bounds are in its parents' keys
    SELECT partrelid, partrelid FROM pg_partitioned_table WHERE {{of_key}}
    UNION SELECT keyed.tab, i.inhparent FROM keyed JOIN pg_inherits i ON i.inhrelid = keyed.key
),
planned (tab, rel, class, obj, expression) AS MATERIALIZED (
    SELECT indrelid, indrelid, 'pg_class'::regclass, indexrelid,
           {as_text("indexprs", "indpred")}
    FROM pg_index WHERE (indexprs IS NOT NULL OR indpred IS NOT NULL) AND {{of_index}}
        -- few databases have one, and to look at every index takes longest
        AND {ANY_FUNCTION_OR_TYPE}
    UNION ALL
    SELECT keyed.tab, partrelid, 'pg_class'::regclass, partrelid, {as_text("partexprs")}
    FROM keyed JOIN pg_partitioned_table ON partrelid = keyed.key WHERE partexprs IS NOT NULL
    UNION ALL
    SELECT stxrelid, stxrelid, 'pg_statistic_ext'::regclass, oid, {as_text("stxexprs")}
    FROM pg_statistic_ext WHERE stxexprs IS NOT NULL AND {{of_statistics}}
    UNION ALL SELECT adrelid, adrelid, 'pg_attrdef'::regclass, e.oid, {as_text("adbin")}
    FROM pg_attrdef e JOIN pg_attribute a ON a.attrelid = adrelid AND a.attnum = adnum
    WHERE a.attgenerated = 'v' AND {{of_column}}
        AND current_setting('server_version_num')::int >= 180000  -- asked once, not of each
)"""  # noqa: S608 - constants
_GIVEN_ANY = """EXISTS (SELECT FROM pg_type WHERE oid = ANY(p.proargtypes)
                        AND (typtype = 'p' OR typname IN ('regproc', 'regprocedure')))"""
HARMLESS = f"""(
    p.provolatile = 'i' AND NOT {_GIVEN_ANY}
    AND (EXISTS ({_OF_TYPE})
         OR EXISTS ({_OF_KNOWN} AND (p.prolang IN (12, 13) OR e.extname = 'citext'))
         OR p.prosqlbody IS NOT NULL AND NOT EXISTS (  -- pg_depend has what it calls of users'
             SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid
                 AND refclassid = 'pg_class'::regclass
             UNION ALL SELECT FROM regexp_matches(
                 p.prosqlbody::text, ':(?:op)?funcid ([0-9]+) ', 'g') AS oids
             JOIN pg_proc own ON own.oid = oids[1]::oid AND {_IS_RISKY}))
)"""  # noqa: S608 - constants
"""The condition that a function ``p`` calls nothing of another role's, whoever has it called."""
_CODE = f"""
{_PLANNED},
risky AS MATERIALIZED (  -- PostgreSQL's own that are not harmless, whoever lets them be called
    SELECT oid FROM pg_proc own WHERE {_IS_RISKY}
),
reached (tab, class, obj) AS (
    SELECT tab, d.refclassid, d.refobjid
    FROM planned JOIN pg_depend d ON d.classid = class AND d.objid = obj AND d.objsubid = 0
    WHERE d.refclassid <> 'pg_class'::regclass AND d.refobjid >= {FIRST_OF_USERS}
    UNION ALL  -- the types of columns: of all, where the dependency is on the table
    SELECT tab, 'pg_attribute'::regclass, a.atttypid
    FROM planned
    JOIN pg_attribute a ON a.attrelid = rel AND a.attnum > 0 AND a.atttypid >= {FIRST_OF_USERS}
    JOIN pg_depend d ON d.classid = class AND d.objid = obj AND d.objsubid = 0
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = rel
        AND d.refobjsubid IN (0, a.attnum)
    UNION ALL
    SELECT tab, named.class, named.obj FROM planned CROSS JOIN LATERAL {_named_in("expression")}
    WHERE num_nulls(tab) = 0  -- always; else 19 expects millions, and takes memory for them
    UNION
    SELECT reached.tab, edge.class, edge.obj
    FROM reached CROSS JOIN LATERAL (
        SELECT 'pg_proc'::regclass::oid AS class, oprcode::oid AS obj
        FROM pg_operator WHERE reached.class = 'pg_operator'::regclass AND oid = reached.obj
        UNION ALL  -- estimates are made with these, and NOT is done by the negator
        SELECT 'pg_operator'::regclass, unnest(ARRAY[oprcom, oprnegate])
        FROM pg_operator WHERE reached.class = 'pg_operator'::regclass AND oid = reached.obj
        UNION ALL
        SELECT refclassid, refobjid FROM pg_depend JOIN pg_proc p ON p.oid = objid
        WHERE reached.class = classid AND classid = 'pg_proc'::regclass AND objid = reached.obj
            AND refobjid <> prosupport
        UNION ALL  -- a value of a domain has met its CHECK constraints
        SELECT CASE typtype WHEN 'd' THEN reached.class ELSE 'pg_type'::regclass END,
               CASE typtype WHEN 'd' THEN typbasetype ELSE oid END
        FROM pg_type WHERE reached.class = 'pg_attribute'::regclass AND oid = reached.obj
        UNION ALL
        SELECT 'pg_type'::regclass, unnest(ARRAY[typbasetype, typelem, typarray])
        FROM pg_type WHERE reached.class = 'pg_type'::regclass AND oid = reached.obj
        UNION ALL
        SELECT 'pg_type'::regclass, a.atttypid
        FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
        WHERE reached.class = 'pg_type'::regclass AND t.oid = reached.obj
        UNION ALL
        SELECT part.class, part.obj FROM pg_range
        CROSS JOIN LATERAL (
            VALUES ('pg_proc'::regclass::oid, rngsubdiff::oid), ('pg_type'::regclass, rngsubtype),
                   -- multirange() and range_merge() make one of the other
                   ('pg_type'::regclass, rngtypid), ('pg_type'::regclass, rngmultitypid)
        ) part (class, obj)
        WHERE reached.class = 'pg_type'::regclass AND reached.obj IN (rngtypid, rngmultitypid)
        UNION ALL  -- a cast to a domain plans its CHECK constraints; conrelid is for the index
        SELECT part.class, part.obj FROM pg_constraint con CROSS JOIN LATERAL (
            SELECT refclassid AS class, refobjid AS obj FROM pg_depend
            WHERE classid = 'pg_constraint'::regclass AND objid = con.oid
            UNION ALL
            SELECT named.class, named.obj FROM {_named_in(as_text("con.conbin"))}
        ) part
        WHERE reached.class = 'pg_type'::regclass AND contypid = reached.obj AND conrelid = 0
        UNION ALL
        SELECT 'pg_cast'::regclass, oid FROM pg_cast  -- as many columns may depend on the type
        WHERE reached.class = 'pg_type'::regclass AND oid >= {FIRST_OF_USERS}
            AND reached.obj IN (castsource, casttarget)
    ) edge
    WHERE edge.obj >= {FIRST_OF_USERS}
        OR edge.class = 'pg_proc'::regclass AND edge.obj IN (SELECT oid FROM risky)
),
theirs (tab, decide) AS MATERIALIZED (  -- what is called; an enum or a row is only given to it
    SELECT tab, true FROM planned JOIN pg_class c ON c.oid = rel WHERE relowner IN ({STRANGERS})
    UNION
    SELECT tab, o.oid IS NOT NULL OR t.typtype IN ('d', 'r') AND class = 'pg_type'::regclass
    FROM reached
    LEFT JOIN pg_type t ON class IN ('pg_type'::regclass, 'pg_attribute'::regclass) AND t.oid = obj
    LEFT JOIN pg_operator o ON class = 'pg_operator'::regclass AND o.oid = obj
    WHERE coalesce(t.typowner, o.oprowner) IN ({STRANGERS})
)
SELECT reached.tab, quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS function
FROM reached
LEFT JOIN pg_cast c ON reached.class = 'pg_cast'::regclass AND c.oid = reached.obj
LEFT JOIN pg_proc p
    ON p.oid = CASE reached.class WHEN 'pg_proc'::regclass THEN reached.obj ELSE c.castfunc END
LEFT JOIN pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_type t
    ON reached.class IN ('pg_type'::regclass, 'pg_attribute'::regclass) AND t.oid = reached.obj
LEFT JOIN pg_operator o ON reached.class = 'pg_operator'::regclass AND o.oid = reached.obj
JOIN pg_roles r ON r.oid = coalesce(p.proowner, t.typowner, o.oprowner)
WHERE (NOT {IS_TRUSTED} OR p.oid = {SATISFIES_HASH_PARTITION}
       OR NOT {HARMLESS} AND reached.tab IN (SELECT tab FROM theirs WHERE decide)
       OR {_GIVEN_ANY} AND reached.tab IN (SELECT tab FROM theirs))
  AND NOT EXISTS (  -- a cast between a type and a user's that nothing names
      SELECT FROM unnest(ARRAY[c.castsource, c.casttarget]) AS other (oid)
      WHERE other.oid >= {FIRST_OF_USERS} AND (reached.tab, other.oid) NOT IN (
          SELECT tab, obj FROM reached WHERE class = 'pg_type'::regclass))
UNION ALL SELECT tab, '{TOO_LONG}' FROM (
    SELECT tab FROM planned WHERE expression IS NULL
    UNION ALL SELECT tab FROM reached JOIN pg_constraint con ON contypid = obj AND conrelid = 0
    WHERE class = 'pg_type'::regclass AND {as_text("conbin")} IS NULL
) unread WHERE tab IN (SELECT tab FROM theirs)
"""  # noqa: S608 - constants


def _for(tables: str | None = None, query: str = _CODE) -> str:
    """Return the query for the tables that an array of oids holds, or for all."""
    columns = {
        "of_index": "indrelid",
        "of_key": "partrelid",
        "of_statistics": "stxrelid",
        "of_column": "adrelid",
    }
    return query.format(
        **{
            name: f"{column} = ANY({tables})" if tables else "true"
            for name, column in columns.items()
        }
    )


STRANGERS_CODE = _for()
"""The query for them: the table, and the quoted name of a function, theirs or one that could run
theirs. NULL where it is a type, or an operator, that another role has made: its owner can let it
call a function at any time."""
ANY_CODE = f"SELECT EXISTS ({_for(query=f'{_PLANNED} SELECT FROM planned')})"  # noqa: S608 - constants
"""Whether it can find anything at all: to plan the whole of it takes longer."""
NO_CODE = "SELECT NULL::oid AS tab, NULL::text AS function WHERE false"
"""The query that finds nothing."""


STRANGERS_OF_TABLES = sql.SQL(f"""
WITH RECURSIVE member (root, oid) AS (
    SELECT oid, oid FROM unnest({{tables}}::oid[]) AS t (oid)
    UNION SELECT member.root, i.inhrelid FROM member JOIN pg_inherits i ON i.inhparent = member.oid
), code AS ({_for("ARRAY(SELECT oid FROM member)")})
SELECT member.root, min(code.function) FROM member JOIN code ON code.tab = member.oid
WHERE code.function IS NOT NULL GROUP BY member.root
""")  # noqa: S608 - constants
"""The same for some tables (oids) and what is below them: a table, and one such function."""


NAMESAKE = f"""
SELECT min(namesake.oid::regprocedure::text) FROM pg_depend d
CROSS JOIN LATERAL (
    SELECT p.oid, p.proowner AS owner, f.proargtypes::oid[] || p.proargtypes::oid[] AS types
    FROM pg_proc f JOIN pg_proc p ON p.proname = f.proname AND p.pronamespace = f.pronamespace
    WHERE d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid
    UNION ALL
    SELECT p.oprcode, p.oprowner, ARRAY[o.oprleft, o.oprright, p.oprleft, p.oprright]
    FROM pg_operator o JOIN pg_operator p
        ON p.oprname = o.oprname AND p.oprnamespace = o.oprnamespace
    WHERE d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
) namesake
WHERE d.classid = 'pg_class'::regclass AND d.objid = {{index}}
  AND namesake.owner IN ({STRANGERS})
  AND EXISTS (SELECT FROM pg_type t WHERE t.oid = ANY(namesake.types) AND t.typtype = 'p')
"""  # noqa: S608 - constants
"""The query for a function of theirs that the text of an index's expressions may mean.

One for any type stands in the index, and one for the very type, of the same name and in the same
schema, is the better match. Or theirs is for any row: the text does not name the type of one.
"""
