"""Real dumps for the tests: a database with every kind of object, and its dump as SQL."""

from __future__ import annotations

import subprocess
from pathlib import Path

from psycopg import sql

from restorehooks.restore.dump import identify, open_plain
from restorehooks.restore.script import Policy, ScriptResult, run_script
from tests.conftest import Database
from tests.restore.conftest import dumped

OBJECTS = r"""
CREATE SCHEMA "Zöe's; schema";
CREATE TYPE public.mood AS ENUM ('sad', 'it''s; ok', 'back\slash');
CREATE DOMAIN public.positive AS integer CHECK (VALUE > 0);
CREATE TYPE public.pair AS (a integer, "b;c" text);
CREATE SEQUENCE public.odd INCREMENT BY 2 START WITH 7 CACHE 5;

CREATE TABLE public.person (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL DEFAULT 'semi;colon ''quoted'' \back',
    mood public.mood,
    age public.positive,
    shouted text GENERATED ALWAYS AS (upper(name) || ';') STORED,
    data jsonb,
    raw bytea,
    bits bit varying(8),
    seen timestamptz DEFAULT '2024-01-02 03:04:05+00',
    ratio double precision,
    tags text[],
    EXCLUDE (age WITH =) WHERE (age > 1000)
);
CREATE TABLE "Zöe's; schema"."a ""quoted"" table" ("col;umn" integer REFERENCES public.person);
INSERT INTO public.person (name, mood, age, data, raw, bits, ratio, tags)
SELECT CASE n % 7
           WHEN 0 THEN 'plain ' || n
           WHEN 1 THEN E'tab\there, line\nbreak, return\r, \\. and \\'
           WHEN 2 THEN '\.'
           WHEN 3 THEN ''
           WHEN 4 THEN '\N'
           WHEN 5 THEN 'Grüße; 日本語 ''''; -- DROP'
           ELSE '$$ $a$ /* "' END,
       (ARRAY['sad', 'it''s; ok', 'back\slash']::public.mood[])[1 + n % 3], n,
       jsonb_build_object('n', n, 'text', E'"quoted" \\ ; '''), decode(md5(n::text), 'hex'),
       B'101', n / 3.0, ARRAY['a;b', 'c''d', NULL, E'e\\f']
FROM generate_series(1, 300) AS n;
INSERT INTO "Zöe's; schema"."a ""quoted"" table" SELECT n FROM generate_series(1, 5) AS n;

CREATE TABLE public.log (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE public.log_2024 PARTITION OF public.log
    FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE public.log_rest PARTITION OF public.log DEFAULT;
INSERT INTO public.log VALUES ('2024-05-05', 'in; 2024'), ('2001-01-01', 'long ago');
CREATE TABLE public.nothing ();
CREATE UNLOGGED TABLE public.quick (id serial, x text);
CREATE TABLE public.parent (x integer);
CREATE TABLE public.child (y integer DEFAULT nextval('public.odd')) INHERITS (public.parent);
INSERT INTO public.child (x) VALUES (1), (2);

CREATE FUNCTION public.quoted() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    -- it's a comment; with 'a quote
    NEW.name := NEW.name || $x$;$x$ || E'\'';
    RETURN NEW;
END;
$body$;
CREATE FUNCTION public.standard(x integer, y integer DEFAULT 2) RETURNS integer
    LANGUAGE sql
    BEGIN ATOMIC
        SELECT CASE WHEN x > 1 THEN CASE WHEN $1 > 2 THEN 3 ELSE 2 END ELSE y END AS "end";
        SELECT count(*)::integer AS "begin" FROM public.person WHERE name <> 'END; it''s';
    END;
CREATE PROCEDURE public.several() LANGUAGE sql BEGIN ATOMIC
    INSERT INTO public.parent VALUES (99);
    DELETE FROM public.parent WHERE x = 99;
END;
CREATE FUNCTION public.begin() RETURNS integer LANGUAGE sql RETURN 1;
CREATE FUNCTION public.old_style(text) RETURNS text LANGUAGE sql
    AS 'SELECT ''it''''s; '' || $1; SELECT ''\'' || ''b''';
CREATE AGGREGATE public.total (integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE OPERATOR public.@+@ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4pl);
CREATE CAST (public.pair AS text) WITH INOUT;
CREATE TRIGGER before_person BEFORE INSERT ON public.person
    FOR EACH ROW WHEN (NEW.name <> 'it''s; not') EXECUTE FUNCTION public.quoted();
CREATE VIEW public.people AS SELECT id, name || '; --' AS name FROM public.person;
CREATE RULE several AS ON INSERT TO public.people
    DO INSTEAD (INSERT INTO public.parent VALUES (1); DELETE FROM public.child; SELECT 3);
CREATE MATERIALIZED VIEW public.moods AS SELECT mood, count(*) FROM public.person GROUP BY mood;
CREATE INDEX by_name ON public.person (lower(name), (data ->> 'n;'));
CREATE STATISTICS public.stats ON age, mood FROM public.person;
ALTER TABLE public.person ENABLE ROW LEVEL SECURITY;
CREATE POLICY "own; rows" ON public.person USING (name <> ';');
CREATE PUBLICATION everything FOR TABLE public.person;
CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION public.dropped();
COMMENT ON TABLE public.person IS E'It''s; a "comment" \\ with\nlines -- and /* marks';
COMMENT ON COLUMN public.person.name IS 'ends with a backslash \';
SELECT lo_from_bytea(4242, '\xdeadbeef5c2e0a');
SELECT lo_from_bytea(4343, decode(repeat('00ff5c27', 20000), 'hex'));
COMMENT ON LARGE OBJECT 4242 IS 'it''s; large';
SELECT setval('public.odd', 33);
"""
_DROPPED = """
CREATE FUNCTION public.dropped() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
"""
EXTENSIONS = ("hstore", "citext", "pg_trgm")


def fill(database: Database) -> None:
    """Put every kind of object into the database."""
    there = "SELECT name FROM pg_available_extensions WHERE name = ANY(%s)"
    for (name,) in database.execute(there, list(EXTENSIONS)):
        database.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)))
    database.execute(_DROPPED + OBJECTS)


def plain(database: Database, to: Path, *flags: str) -> Path:
    """Return a plain dump of the database."""
    return dumped(database, to, *flags, form="plain")


def as_sql(database: Database, folder: Path) -> str:
    """Return all that is in the database as pg_dump writes it, the same each time."""
    text = plain(database, folder / "as.sql").read_text(errors="surrogateescape")
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not line.startswith(("\\restrict", "\\unrestrict"))
    )


def restored(path: Path, into: Database, **wishes: object) -> ScriptResult:
    """Send the dump into the database in one transaction, and commit."""
    dump = identify(path)
    with into.connect() as connection, open_plain(dump) as stream:
        policy = Policy.for_connection(connection, **wishes)
        with connection.transaction():
            result = run_script(stream, connection, policy=policy)
            assert result.complete
        return result


def shell(*command: str | Path) -> None:
    """Run a program that has to succeed."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
