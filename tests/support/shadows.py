"""What a stranger has made for the search_path to find in place of pg_catalog's.

Each one writes into the server's log that it was called, by whom, and in which statement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from tests.support.databases import Database
from tests.support.servers import RunningServer

# What numbers, names and ids are compared as; exact types beat pg_catalog's polymorphic ones. No
# function is called with one of the first three.
TYPES = ("smallint", '"char"', "xid8",
         "oid", "integer", "bigint", "numeric", "text", "name", "boolean", "regclass")  # fmt: skip

PLANT = r"""
DO $do$
DECLARE
    found record;
    types text[] := %(types)s;
BEGIN
    -- pg_catalog has other signatures, or polymorphic ones: these win although it comes first.
    FOR found IN
        SELECT name, each, arguments, many, name = 'unnest' AS is_set
        FROM unnest(%(functions)s::text[]) AS name, unnest(types[4:]) AS each,
             LATERAL (VALUES (1, each), (1, each || '[]'), (2, each || ', ' || each))
                 AS one (many, arguments)
        WHERE NOT EXISTS (SELECT FROM pg_proc WHERE proname = name AND prokind = 'a')
            AND EXISTS (SELECT FROM pg_proc WHERE proname = name)
    LOOP
        PERFORM public.make(found.name, found.arguments,
                            CASE WHEN found.is_set THEN 'SETOF ' ELSE '' END || found.each,
                            found.many, found.is_set);
    END LOOP;
    -- Each aggregate of one argument or two: it notes its first row, and answers with nothing.
    FOR found IN
        SELECT DISTINCT proname AS name, each, many
        FROM pg_proc, unnest(types) AS each, generate_series(1, 2) AS many
        WHERE proname = ANY(%(functions)s) AND prokind = 'a'
    LOOP
        PERFORM public.make('agg_' || found.name,
                            concat_ws(', ', 'text', found.each,
                                      CASE found.many WHEN 2 THEN found.each END),
                            'text', 0, false, NULL, found.name);
        BEGIN
            EXECUTE format('CREATE AGGREGATE public.%%I (%%s) (SFUNC = public.%%I, STYPE = text)',
                           found.name,
                           concat_ws(', ', found.each, CASE found.many WHEN 2 THEN found.each END),
                           'agg_' || found.name);
        EXCEPTION WHEN duplicate_function THEN NULL;
        END;
    END LOOP;
    FOR found IN
        SELECT name, l, r, CASE WHEN name ~ '^(<|>|<=|>=|=|<>|!?~~?)$' THEN 'boolean'
                                WHEN name IN ('||', '->>') THEN 'text' ELSE l END AS result
        FROM unnest(%(operators)s::text[]) AS name, unnest(types) AS l, unnest(types) AS r
        WHERE EXISTS (SELECT FROM pg_operator WHERE oprname = name)
    LOOP
        PERFORM public.make('op_' || md5(found.name), found.l || ', ' || found.r, found.result, 2,
                            false, found.name);
        EXECUTE format(
            'CREATE OPERATOR public.%%s (LEFTARG = %%s, RIGHTARG = %%s, FUNCTION = public.%%I)',
            found.name, found.l, found.r, 'op_' || md5(found.name));
    END LOOP;
END
$do$
"""
MAKE = r"""
CREATE FUNCTION public.make(name text, arguments text, result text, many int, is_set boolean,
                            operator text DEFAULT NULL, aggregate text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $make$
DECLARE
    call text := CASE WHEN aggregate IS NOT NULL THEN 'NULL::pg_catalog.text'
        WHEN operator IS NOT NULL
        THEN format('$1 OPERATOR(pg_catalog.%s) $2', operator)
        ELSE format('pg_catalog.%I(%s)', name,
                    (SELECT string_agg('$' || n, ', ') FROM generate_series(1, many) AS n)) END;
BEGIN
    EXECUTE format(
        'CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', name, arguments, result,
        format($$BEGIN RAISE LOG 'SHADOW of %%(%%) called by %% in [%%]', %L, %L, current_user,
                     pg_catalog.translate(pg_catalog.current_query(), E'\n', ' '); %s; END$$,
               coalesce(aggregate, operator, name), arguments,
               CASE WHEN is_set THEN 'RETURN QUERY SELECT * FROM ' || call
                    ELSE 'RETURN ' || call END));
EXCEPTION WHEN duplicate_function OR invalid_function_definition THEN
    NULL;
END
$make$
"""

# What has pg_catalog's own names and arguments, for a path that has public before pg_catalog.
FIRST = r"""
CREATE FUNCTION public.seen(what text) RETURNS boolean LANGUAGE plpgsql AS $seen$
BEGIN
    RAISE LOG 'SHADOW of %%(first) called by %% in [%%]', what, current_user,
        pg_catalog.translate(pg_catalog.current_query(), E'\n', ' ');
    RETURN true;
END
$seen$;
DO $do$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT relname, string_agg(attname::text, ', ' ORDER BY attnum) AS columns
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
            AND atttypid <> 'anyarray'::regtype AND has_table_privilege(c.oid, 'SELECT')
        GROUP BY relname
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE VIEW public.%%1$I AS SELECT %%2$s FROM pg_catalog.%%1$I '
            'WHERE public.seen(%%1$L)',
            found.relname, found.columns);
    END LOOP;
    FOR found IN SELECT typname FROM pg_type WHERE typname IN
        ('oid', 'text', 'name', 'json', 'jsonb', 'xid8', 'regclass', 'regtype', 'int4', 'int8')
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE DOMAIN public.%%1$I AS pg_catalog.%%1$I CHECK (public.seen(%%1$L))',
            found.typname);
    END LOOP;
    FOR found IN
        SELECT proname, pg_get_function_arguments(oid) AS arguments,
               pg_get_function_result(oid) AS result,
               CASE WHEN proretset THEN 'RETURN QUERY SELECT * FROM' ELSE 'RETURN' END AS answer,
               (SELECT string_agg('$' || n, ', ') FROM generate_series(1, pronargs) AS n) AS given
        FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0
            AND proname = ANY(%(functions)s) AND prorettype <> 'void'::regtype
            AND (proretset OR proargmodes IS NULL)
    LOOP
        BEGIN
            EXECUTE pg_catalog.format(
                'CREATE FUNCTION public.%%1$I(%%2$s) RETURNS %%3$s LANGUAGE plpgsql AS $made$ '
                'BEGIN PERFORM public.seen(%%1$L); %%4$s pg_catalog.%%1$I(%%5$s); END $made$',
                found.proname, found.arguments, found.result, found.answer, found.given);
        EXCEPTION WHEN OTHERS THEN NULL;  -- there is one, or plpgsql knows no such type
        END;
    END LOOP;
    FOR found IN
        SELECT oprname, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r,
               format_type(oprresult, NULL) AS result
        FROM pg_operator
        WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprname = ANY(%(operators)s)
            AND oprleft <> 0 AND NOT (oprleft::regtype::text = ANY(%(types)s)
                                      AND oprright::regtype::text = ANY(%(types)s))
    LOOP
        BEGIN
            EXECUTE pg_catalog.format(
                'CREATE FUNCTION public.%%1$I(%%3$s, %%4$s) RETURNS %%5$s LANGUAGE plpgsql AS '
                '$made$ BEGIN PERFORM public.seen(%%2$L); '
                'RETURN $1 OPERATOR(pg_catalog.%%2$s) $2; END $made$;'
                'CREATE OPERATOR public.%%2$s '
                '(LEFTARG = %%3$s, RIGHTARG = %%4$s, FUNCTION = public.%%1$I)',
                'first_' || md5(found.oprname), found.oprname, found.l, found.r, found.result);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END
$do$
"""


@dataclass(frozen=True)
class Call:
    """A stranger's function was called instead of pg_catalog's."""

    name: str
    by: str
    query: str


def plant(database: Database, names: Mapping[str, Sequence[str]]) -> None:
    """Let a role that may create in public make them there, and in the database postgres.

    ``names`` are those of functions and operators, by these words.
    """
    with database.connect(cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("CREATE ROLE stranger; GRANT CREATE ON SCHEMA public TO stranger")
        connection.execute("SET ROLE stranger; SET search_path = pg_catalog")
        connection.execute(MAKE)
        connection.execute(PLANT, {"types": list(TYPES), **names})
    with database.server.connect(dbname="template1") as connection:
        connection.execute("DROP DATABASE postgres WITH (FORCE)")
        connection.execute(f"CREATE DATABASE postgres TEMPLATE {database.name}")


def plant_first(database: Database, names: Mapping[str, Sequence[str]]) -> None:
    """Let the role make what is named like pg_catalog's own, with the same arguments."""
    database.execute("GRANT CREATE ON SCHEMA public TO stranger")
    with database.connect(cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("SET ROLE stranger; SET search_path = pg_catalog")
        connection.execute(FIRST, {"types": list(TYPES), **names})


def calls(server: RunningServer) -> list[Call]:
    """Return the calls that the server's log tells of."""
    assert server.process
    found = re.findall(
        r"SHADOW of (.*?\)) called by (\S+) in \[(.*)\]", server.process.log.read_text()
    )
    return [Call(*each) for each in found]
