"""Plain dumps as people really have them: with DROPs, of old servers, with text around them."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

import pytest
from django.db import connections

from restorehooks.programs import Program
from restorehooks.restore.dump.contents import read_contents
from restorehooks.restore.dump.facts import Format
from restorehooks.restore.dump.identify import identify
from restorehooks.restore.errors import (
    DeclinedError,
    ProgramError,
    RestoreError,
    TargetError,
    UsageError,
)
from restorehooks.restore.needs import Holds, held_by, require_program, require_server
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.script.oids import creates_without_oids
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, dumped, fill, plain, untrusted

SHOP = "CREATE TABLE shop (id serial PRIMARY KEY, v text); INSERT INTO shop (v) VALUES ('a'), ('b')"


def restored(database: Database, dump: Path | str, **wishes: object) -> RestoreReport:
    """Restore into the database of the alias ``default``, agreed to."""
    alone(database)
    request = Request(str(dump), **wishes)  # type: ignore[arg-type]
    return restore(request, confirm=lambda question: True)


def refused(database: Database, dump: Path, **wishes: object) -> str:
    """Return the sentence by which the dump is refused."""
    with pytest.raises(RestoreError) as caught:
        restored(database, dump, **wishes)
    said = str(caught.value)
    assert "\n" not in said
    return said


def rows(database: Database) -> int:
    ((count,),) = database.execute("SELECT count(*) FROM shop")
    alone(database)
    return int(count)


@pytest.fixture(scope="module")
def shop_sql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A plain dump of two rows, made with --clean and without --if-exists."""
    return dump_of(request, tmp_path_factory, SHOP, "--clean")


def dump_of(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory, sql: str, *flags: str
) -> str:
    server = request.getfixturevalue("server")
    database = Database(server, "real_dumps_source", None, [])
    server.execute(f"CREATE DATABASE {database.name}")
    database.execute(sql)
    text = plain(database, folders.mktemp("dumps") / "d.sql", *flags).read_text()
    database.disconnect()
    server.execute(f"DROP DATABASE {database.name}")
    return text


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "dump.sql"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def body(dump: str) -> str:
    """Return a dump without its comments and guards, as ``supabase db dump`` writes it."""
    return "".join(
        line
        for line in dump.splitlines(keepends=True)
        if not line.startswith(("--", "\\restrict", "\\unrestrict"))
    )


# --- pg_dump --clean without --if-exists -------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("ordinary", [False, True])
def test_a_drop_of_what_is_not_there_is_left_out_and_counted(
    database: Database, tmp_path: Path, shop_sql: str, in_place: bool, ordinary: bool
) -> None:
    if ordinary:
        owner = database.role("owner", "LOGIN CREATEDB")
        database.server.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
        connect_as(database, owner)
    report = restored(database, written(tmp_path, shop_sql), in_place=in_place)
    drops = [line for line in report.left_out if line.startswith("drop: ")]
    count = sum(
        line.startswith(("DROP ", "ALTER TABLE ONLY public.shop DROP"))
        for line in shop_sql.splitlines()
    )
    count += shop_sql.count("DROP DEFAULT;")
    why = "what it drops is not there"
    if in_place:
        why = "what the role owns was dropped before, and what others own stays"
    assert drops[0].startswith(f"drop: {why} ({count}, ")
    assert rows(database) == 2


def test_as_many_connections_load_as_the_role_may_have(
    database: Database, tmp_path: Path, shop_sql: str
) -> None:
    owner = database.role("few", "LOGIN CREATEDB CONNECTION LIMIT 5")
    database.server.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
    connect_as(database, owner)
    report = restored(database, written(tmp_path, shop_sql), jobs=9, analyze=False)
    assert [note for note in report.notes if "connections beside the first load it: " in note]
    assert rows(database) == 2


def connect_as(database: Database, role: str) -> None:
    """Let the alias connect as this role."""
    connections["default"].close()
    connections.settings["default"]["USER"] = role
    connections["default"].settings_dict["USER"] = role


def test_every_kind_of_drop_may_miss(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    source, target = make_database(), database
    fill(source)
    source.execute(
        "CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER far FOREIGN DATA WRAPPER fdw;"
        "CREATE VIEW grouped AS SELECT id, name, count(*) FROM person GROUP BY id;"
        "CREATE SCHEMA own; CREATE TYPE own.kind AS ENUM ('a');"
        "CREATE TABLE own.thing (id int PRIMARY KEY, kind own.kind);"
        "CREATE VIEW own.things AS SELECT id, kind, count(*) FROM own.thing GROUP BY id"
    )
    report = restored(target, plain(source, tmp_path / "d.sql", "--clean"))
    assert any(line.startswith("drop: ") for line in report.left_out)
    assert target.execute("SELECT count(*) FROM own.things") == [(0,)]
    assert target.execute("SELECT count(*) FROM pg_largeobject_metadata") == [(2,)]


@pytest.mark.parametrize("in_place", [False, True])
def test_a_partitioned_table_takes_its_own_place(
    database: Database, tmp_path: Path, in_place: bool
) -> None:
    """The dump drops the partition's key by itself, which the server refuses."""
    database.execute(
        "CREATE TABLE shop (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE shop_rest PARTITION OF shop DEFAULT; INSERT INTO shop VALUES (1)"
    )
    dump = plain(database, tmp_path / "d.sql", "--clean", "--if-exists")
    restored(database, dump, in_place=in_place)
    assert rows(database) == 1


def test_in_place_a_wrapper_makes_way_for_the_one_of_the_dump(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    source = make_database()
    source.execute(
        f"{SHOP}; CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER far FOREIGN DATA WRAPPER fdw"
    )
    dump = plain(source, tmp_path / "d.sql")
    for _ in range(2):
        restored(database, dump, in_place=True)
        assert database.execute("SELECT srvname FROM pg_foreign_server") == [("far",)]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE public.nowhere ADD COLUMN x int",
        "ALTER TABLE public.nowhere DROP COLUMN x, ADD COLUMN y int",
        "COMMENT ON TABLE public.nowhere IS 'DROP'",
        "CREATE VIEW public.v AS SELECT * FROM public.nowhere",
        "INSERT INTO public.nowhere VALUES (1)",
        "SELECT pg_catalog.setval('public.nowhere', 1)",
        "DROP TABLE pg_catalog.pg_class",
    ],
)
def test_anything_else_that_is_missing_fails(
    database: Database, tmp_path: Path, shop_sql: str, statement: str
) -> None:
    dump = written(tmp_path, shop_sql.replace("COPY public", f"{statement};\nCOPY public", 1))
    assert statement[:30] in refused(database, dump)


# --- Old servers -------------------------------------------------------------------------------

OLD = """--
-- PostgreSQL database dump
--

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = {strings};
SET check_function_bodies = false;

DROP PROCEDURAL LANGUAGE plpgsql;
CREATE PROCEDURAL LANGUAGE plpgsql;


ALTER PROCEDURAL LANGUAGE plpgsql OWNER TO postgres;
SET search_path = public, pg_catalog;
SET default_with_oids = true;

CREATE TABLE shop (
    id integer NOT NULL,
    v text
) WITH OIDS;

CREATE TABLE two (id integer) WITH (fillfactor=70, oids=true);
CREATE TABLE three (id integer) WITHOUT OIDS;

COPY shop (id, v) WITH OIDS FROM stdin;
16400\t1\tone\\ttab
16401\t2\t\\N
\\.
COPY two (id) FROM stdin;
7
\\.

--
-- PostgreSQL database dump complete
--
"""


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("ordinary", [False, True])
def test_a_dump_of_an_old_server(
    database: Database, tmp_path: Path, in_place: bool, ordinary: bool
) -> None:
    if ordinary:
        owner = database.role("owner", "LOGIN CREATEDB")
        database.server.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
        connect_as(database, owner)
    strings = "on" if database.server.version >= 190000 else "off"
    report = restored(database, written(tmp_path, OLD.format(strings=strings)), in_place=in_place)
    said = "\n".join(report.left_out)
    assert "language: the language is there already (1, " in said
    assert "language: an extension keeps it (1, " in said
    assert "object ids: rows have none of their own since PostgreSQL 12 (4, " in said
    assert database.execute("SELECT id, v FROM shop ORDER BY id") == [(1, "one\ttab"), (2, None)]
    assert database.execute("SELECT id FROM two") == [(7,)]


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        ("CREATE TABLE t (a int) WITH OIDS", "CREATE TABLE t (a int)"),
        ("CREATE TABLE t (a int)\nWITH (fillfactor=70, oids=true)", "oids=false)"),
        ("CREATE TABLE t (a int) WITH (OIDS = on) TABLESPACE x", "(oids=false) TABLESPACE x"),
        ("CREATE TABLE t (a int) WITH (oids)", "(oids=false)"),
        ("CREATE TABLE t (oids boolean, CONSTRAINT c CHECK ((oids = true)))", None),
        (
            "CREATE TABLE t (oids boolean DEFAULT true, CHECK (oids = true)) WITH (fillfactor=9)",
            None,
        ),
    ],
)
def test_object_ids_are_taken_out_of_options_alone(statement: str, sent: str | None) -> None:
    assert creates_without_oids(statement.encode()).decode().endswith(sent or statement)


# --- Text around a dump ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pg_dump: warning: there are circular foreign-key constraints on this table:\n"
         "pg_dump: detail: shop\npg_dump: hint: You might not be able to restore it.\n", ""),
        ("Password: \n", ""),
        ("Password for user postgres: \r\n", ""),
        ('Defaulted container "postgres" out of: postgres, init (init)\n', ""),
        ("WARNING: Error loading config file: it's \"odd\"\n\n", ""),
        ("BEGIN;\n", "COMMIT;\n"),
        ("START TRANSACTION;\n", "END;\n"),
        ("\\set ON_ERROR_STOP on\nBEGIN TRANSACTION;\n", "\nCOMMIT WORK;\n\\q\n"),
        ("", "RESET ALL;\n"),
        ("", "\nANALYZE;\n"),
        ("", "VACUUM ANALYZE;\nSET session_replication_role = 'origin';\n"),
        ("", "DISCARD ALL;\nCHECKPOINT;\nSHOW server_version;\n"),
        ("\ufeff", "-- made by somebody\n\n"),
    ],
)  # fmt: skip
def test_text_around_a_dump_does_no_harm(
    database: Database, tmp_path: Path, shop_sql: str, before: str, after: str
) -> None:
    dump = written(tmp_path, before + shop_sql + after)
    report = restored(database, dump)
    assert report.restored
    assert rows(database) == 2
    if before.strip("\ufeff"):
        assert report.left_out


def test_lines_that_end_as_on_windows(database: Database, tmp_path: Path, shop_sql: str) -> None:
    text = ("Password: \n" + shop_sql + "COMMIT;\n").replace("\n", "\r\n")
    report = restored(database, written(tmp_path, text))
    assert rows(database) == 2
    assert any("carriage return" in note for note in report.notes)


def test_what_pg_dump_said_in_the_middle_is_named_as_what_it_is(
    database: Database, tmp_path: Path, shop_sql: str
) -> None:
    said = 'pg_dump: dumping contents of table "public.shop"\n'
    for place in ("CREATE TABLE", "    v text", "SELECT pg_catalog.setval"):
        dump = written(tmp_path, shop_sql.replace(place, said + place, 1))
        assert "standard error stands in the middle of the dump" in refused(database, dump)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_dump_without_its_end_names_the_option_where_that_is_allowed(
    database: Database, tmp_path: Path, shop_sql: str, compressed: bool
) -> None:
    text = shop_sql.partition("--\n-- PostgreSQL database dump complete")[0].encode()
    dump = written(tmp_path, gzip.compress(text) if compressed else text)
    for wishes in ({}, {"dry_run": True}):
        assert "cut off" in (said := refused(database, dump, **wishes))
        assert "accept it as it is with --accept-unfinished-dump" in said
    for wishes in ({"in_place": True}, {"data_only": True, "dry_run": True}):
        assert "cut off" in (said := refused(database, dump, **wishes))
        assert "--accept-unfinished-dump" not in said
    assert restored(database, dump, accept_unfinished=True).restored
    assert rows(database) == 2


@pytest.mark.parametrize("after", ["INSERT INTO public.shop VALUES (3);\n", "TRUNCATE shop;\n"])
def test_more_after_the_last_line_is_the_reason_given(
    database: Database, tmp_path: Path, shop_sql: str, after: str
) -> None:
    dump = written(tmp_path, shop_sql + after)
    said = refused(database, dump)
    assert "after pg_dump's last line" in said
    assert "--accept-unfinished-dump" in said
    assert "cut off" not in said


RAILS = """SET search_path TO "$user", public;

INSERT INTO "schema_migrations" (version) VALUES
('20260102030405'),
('9');
"""


@pytest.mark.parametrize("compressed", [False, True])
def test_the_list_of_migrations_that_rails_adds_belongs_to_the_dump(
    database: Database, tmp_path: Path, shop_sql: str, compressed: bool
) -> None:
    text = shop_sql.replace(
        "COPY public", "CREATE TABLE public.schema_migrations (version text);\n\nCOPY public", 1
    )
    text = body(text) + f"--\n-- PostgreSQL database dump complete\n--\n\n{RAILS}"

    def packed(dump: str) -> bytes:
        return gzip.compress(dump.encode()) if compressed else dump.encode()

    for cut in (RAILS.index("\n") + 1, RAILS.index(",\n('9'") + 1, len(RAILS) - 2):
        shorter = text[: len(text) - len(RAILS) + cut]
        said = refused(database, written(tmp_path, packed(shorter)))
        assert "line" in said
        assert "database dump is whole" not in said
    assert restored(database, written(tmp_path, packed(text))).restored
    assert database.execute("SELECT count(*) FROM schema_migrations") == [(2,)]
    assert rows(database) == 2
    again = written(tmp_path, packed(text + 'INSERT INTO "schema_migrations" VALUES (1);\n'))
    assert "pg_dump's last line" in refused(database, again)


@pytest.mark.parametrize(
    "script",
    [
        "-- Made by hand\nBEGIN;\nCREATE TABLE shop (id int);\nINSERT INTO shop VALUES (1), (2);\n"
        "ANALYZE shop;\nCOMMIT;\n",
        "/* A port\n   of another database */\ncreate table shop (id int);\n"
        "insert into shop values (1);\nINSERT INTO shop\n VALUES (2);\n",
    ],
)
def test_a_script_of_another_program_is_taken_when_that_is_accepted(
    database: Database, tmp_path: Path, script: str
) -> None:
    dump = written(tmp_path, script)
    assert "--accept-unfinished-dump" in refused(database, dump)
    assert restored(database, dump, accept_unfinished=True).restored
    assert rows(database) == 2


@pytest.mark.parametrize("content", [b"garbage\n", b"SET\0x;\n", b"SQLite format 3\0 CREATE x;"])
def test_what_is_no_script_is_not_taken_for_any_option(
    database: Database, tmp_path: Path, content: bytes
) -> None:
    assert refused(database, written(tmp_path, content), accept_unfinished=True)


@pytest.mark.parametrize("end", ["", "RESET ALL;\n"])
def test_a_dump_without_comments_is_taken_when_that_is_accepted(
    database: Database, tmp_path: Path, shop_sql: str, end: str
) -> None:
    dump = written(tmp_path, body(shop_sql) + end)
    said = refused(database, dump)
    assert "--accept-unfinished-dump" in said
    assert "cut off" not in said
    for wishes in ({"in_place": True}, {"data_only": True}):
        with pytest.raises(UsageError, match="beside the live one"):
            restored(database, dump, accept_unfinished=True, **wishes)
    questions: list[str] = []
    database.execute("CREATE TABLE live (x int)")
    alone(database)

    def ask(question: str) -> bool:
        questions.append(question)
        return True

    report = restore(Request(str(dump), accept_unfinished=True), confirm=ask)
    assert "nothing tells whether its end is there" in questions[0]
    assert any("pg_dump's last line is missing" in note for note in report.notes)
    assert rows(database) == 2
    assert report.previous
    database.server.execute(f'DROP DATABASE "{report.previous}"')


def test_a_dump_cut_in_the_middle_of_a_row_is_not_taken_for_any_option(
    database: Database, tmp_path: Path, shop_sql: str
) -> None:
    dump = written(tmp_path, shop_sql[: shop_sql.index("\\.\n") - 1])
    assert "ends in the middle of COPY data" in refused(database, dump, accept_unfinished=True)


# --- Whose the objects are ---------------------------------------------------------------------


def test_owners_set_by_session_authorization_are_kept_where_they_exist(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    source = make_database()
    owner, gone = database.role("owner"), source.role("gone")
    source.execute(f"GRANT CREATE ON SCHEMA public TO {owner}, {gone}")
    database.server.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
    for role in (owner, gone):
        with source.connect(user=role) as connection:
            connection.execute(f"CREATE TABLE of_{role} (x int)")
    source.execute("CREATE TABLE zz_mine (x int)")
    dump = plain(source, tmp_path / "d.sql", "--use-set-session-authorization")
    source.execute(f"DROP OWNED BY {gone}; DROP ROLE {gone}")
    source.roles.remove(gone)
    report = restored(database, dump)
    owners = dict(
        database.execute("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'")
    )
    superuser = database.server.params["user"]
    # What belonged to a role that is not here is the database owner's, and never a superuser's.
    assert owners == {f"of_{owner}": owner, f"of_{gone}": owner, "zz_mine": superuser}
    assert any(f'the role "{gone}" does not exist here' in line for line in report.left_out)


# --- Rows alone --------------------------------------------------------------------------------


def test_a_dump_of_rows_alone_names_the_option(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    source = make_database()
    source.execute(SHOP)
    for number, flags in enumerate((("--data-only",), ("--data-only", "--inserts"))):
        dump = plain(source, tmp_path / f"{number}.sql", *flags)
        assert "--data-only" in refused(database, dump)


def test_disabled_triggers_need_a_superuser_and_the_way_is_named(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    source = make_database()
    source.execute(SHOP)
    owner = database.role("owner", "LOGIN CREATEDB")
    database.server.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
    with database.connect(user=owner) as connection:
        connection.execute(
            SHOP.partition(";")[0] + "; CREATE TABLE item (shop int REFERENCES shop)"
        )
    dump = plain(source, tmp_path / "d.sql", "--data-only", "--disable-triggers")
    connect_as(database, owner)
    said = refused(database, dump, data_only=True)
    assert "only a superuser may switch off the triggers" in said
    assert "without --disable-triggers" in said


LOGGED = """
CREATE TABLE log (v text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO log VALUES (NEW.v); RETURN NEW; END $$;
CREATE TRIGGER noted AFTER INSERT ON shop FOR EACH ROW EXECUTE FUNCTION note();
"""


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_trigger_that_names_no_schema_is_named_and_so_are_both_ways_out(
    make_database: MakeDatabase, database: Database, tmp_path: Path, form: str
) -> None:
    source = make_database()
    source.execute(SHOP + ";" + LOGGED)
    database.execute(SHOP.partition(";")[0] + ";" + LOGGED)
    dump = dumped(source, tmp_path / "d", "--data-only", form=form)
    said = refused(database, dump, data_only=True)
    assert 'relation "log" does not exist' in said
    assert "public.note()" in said
    assert "give --data-only" not in said
    assert rows(database) == 0

    database.execute("ALTER TABLE shop DISABLE TRIGGER USER")
    restored(database, dump, data_only=True)
    assert rows(database) == 2
    database.execute("TRUNCATE shop; ALTER TABLE shop ENABLE TRIGGER USER")
    dump = plain(source, tmp_path / "d.sql", "--data-only", "--disable-triggers")
    restored(database, dump, data_only=True)
    assert rows(database) == 2


SWITCHED = """
CREATE TRIGGER "o""ff" AFTER INSERT ON shop EXECUTE FUNCTION note();
CREATE TRIGGER "always" AFTER INSERT ON shop EXECUTE FUNCTION note();
CREATE TRIGGER copies AFTER INSERT ON shop EXECUTE FUNCTION note();
ALTER TABLE shop
    DISABLE TRIGGER "o""ff", ENABLE ALWAYS TRIGGER "always", ENABLE REPLICA TRIGGER copies;
ALTER TABLE item DISABLE TRIGGER ALL;
"""
STATES = "SELECT tgname, tgenabled::text FROM pg_trigger ORDER BY oid"


def test_triggers_are_afterwards_as_they_were(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    tables = SHOP.partition(";")[0] + "; CREATE TABLE item (id int, shop int REFERENCES shop);"
    source = make_database()
    source.execute(f"{tables} INSERT INTO shop (v) VALUES ('a'); INSERT INTO item VALUES (1, 1)")
    database.execute(tables + LOGGED + SWITCHED)
    before = database.execute(STATES)
    assert {state for _, state in before} == set("OADR")
    dump = plain(source, tmp_path / "d.sql", "--data-only", "--disable-triggers")
    restored(database, dump, data_only=True)
    assert database.execute("SELECT count(*) FROM item") == [(1,)]
    assert database.execute("SELECT count(*) FROM log") == [(0,)]
    assert database.execute(STATES) == before


PARENT_LAST = """
CREATE TABLE z (id int PRIMARY KEY);
CREATE TABLE a (z int REFERENCES z);
"""


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_rows_of_a_whole_dump_that_come_before_their_parents_name_the_way_out(
    make_database: MakeDatabase, database: Database, tmp_path: Path, form: str
) -> None:
    source = make_database()
    source.execute(PARENT_LAST + "INSERT INTO z VALUES (1); INSERT INTO a VALUES (1)")
    database.execute(PARENT_LAST)
    said = refused(database, dumped(source, tmp_path / "whole", form=form), data_only=True)
    assert "SQLSTATE 23503" in said
    assert "pg_dump --data-only" in said
    restored(database, dumped(source, tmp_path / "rows", "-a", form=form), data_only=True)
    assert database.execute("SELECT count(*) FROM a") == [(1,)]


def test_a_partition_with_an_identity_of_its_own_names_the_way_out(
    database: Database, tmp_path: Path, shop_sql: str
) -> None:
    if database.server.version < 170000:
        pytest.skip("servers up to 16 take it")
    attached = """
CREATE TABLE public.log (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE public.log_1 (id bigint NOT NULL);
ALTER TABLE public.log_1 ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;
ALTER TABLE ONLY public.log ATTACH PARTITION public.log_1 FOR VALUES FROM ('1') TO ('9');

CREATE TABLE public.shop ("""
    text = shop_sql.replace("\nCREATE TABLE public.shop (", attached, 1)
    assert text != shop_sql
    said = refused(database, written(tmp_path, text))
    assert "ALTER COLUMN ... DROP IDENTITY" in said


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_constraint_whose_name_a_not_null_has_taken_names_the_way_out(
    make_database: MakeDatabase, database: Database, tmp_path: Path, form: str
) -> None:
    if database.server.version < 180000:
        pytest.skip("up to 17 a NOT NULL has no name")
    source = make_database()
    source.execute(
        "CREATE TABLE b (x int); ALTER TABLE b ADD CONSTRAINT b_x_not_null CHECK (x > 0) NOT VALID;"
        "ALTER TABLE b ALTER COLUMN x SET NOT NULL"
    )
    named = b"CONSTRAINT b_x_not_null1 NOT NULL"
    dump = dumped(source, tmp_path / "d", form=form)
    restored(database, dump)
    # As the server that was dumped would have it, were it a 17.
    content, unnamed = dump.read_bytes(), b"NOT NULL".rjust(len(named))
    assert named in content
    dump.write_bytes(content.replace(named, unnamed))
    assert "ALTER TABLE ... RENAME CONSTRAINT" in refused(database, dump)


def test_a_function_that_names_no_schema_is_named(
    make_database: MakeDatabase, database: Database, tmp_path: Path
) -> None:
    source = make_database()
    source.execute(
        f"{SHOP}; CREATE TABLE allowed (v text); INSERT INTO allowed VALUES ('a'), ('b');"
        "CREATE FUNCTION is_allowed(text) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN EXISTS (SELECT FROM allowed WHERE v = $1); END $$;"
        "ALTER TABLE shop ADD CHECK (is_allowed(v))"
    )
    said = refused(database, plain(source, tmp_path / "d.sql"))
    assert "public.is_allowed(text)" in said
    assert "SET search_path" in said


# --- Rows alone, and none ----------------------------------------------------------------------


def declining(questions: list[str], question: str) -> bool:
    questions.append(question)
    return False


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_dump_without_rows_says_so_before_anything_is_replaced(
    make_database: MakeDatabase, database: Database, tmp_path: Path, form: str
) -> None:
    source = make_database()
    source.execute(SHOP)
    for number, flag in enumerate(("--schema-only", "--section=pre-data")):
        dump = dumped(source, tmp_path / f"{number}", flag, form=form)
        questions: list[str] = []
        database.execute("CREATE TABLE IF NOT EXISTS live (x int)")
        alone(database)
        with pytest.raises(DeclinedError):
            restore(Request(str(dump)), confirm=partial(declining, questions))
        assert "holds NO ROWS" in questions[0]
        plan = restore(Request(str(dump), dry_run=True)).plan
        assert plan
        assert any("holds NO ROWS" in missing for missing in plan.missing)


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_rows_alone_are_refused_before_anything_is_loaded(
    make_database: MakeDatabase, database: Database, tmp_path: Path, form: str
) -> None:
    source = make_database()
    source.execute(SHOP)
    dump = dumped(source, tmp_path / "rows", "--data-only", form=form)
    said = refused(database, dump)
    assert said.startswith("The dump holds rows and creates no table")
    assert "--data-only" in said


# --- What only a superuser may make ------------------------------------------------------------

FOR_SUPERUSERS = """
CREATE SCHEMA _provider;
CREATE FUNCTION _provider.log() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION _provider.log();
ALTER EVENT TRIGGER log_ddl DISABLE;
COMMENT ON EVENT TRIGGER log_ddl IS 'the provider''s';
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE FOREIGN DATA WRAPPER far;
CREATE SERVER away FOREIGN DATA WRAPPER far;
CREATE FOREIGN TABLE remote (x int) SERVER away;
CREATE FUNCTION in_c(text) RETURNS text LANGUAGE internal AS 'upper';
CREATE OPERATOR CLASS odd FOR TYPE int4 USING hash AS OPERATOR 1 =;
CREATE VIEW from_afar AS SELECT x FROM remote; COMMENT ON VIEW from_afar IS 'gone';
GRANT SELECT ON from_afar TO PUBLIC;
"""


@pytest.fixture
def ordinary(database: Database) -> str:
    """An ordinary role that owns the database, which the alias connects as."""
    owner = database.role("owner", "LOGIN CREATEDB")
    database.server.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
    connect_as(database, owner)
    return owner


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_it_is_named_before_loading_and_left_out_when_asked(
    make_database: MakeDatabase, database: Database, ordinary: str, tmp_path: Path, form: str
) -> None:
    source = make_database()
    source.execute(SHOP)
    source.execute(FOR_SUPERUSERS)
    dump = dumped(source, tmp_path / "dump", form=form)
    for wishes in ({}, {"dry_run": True}, {"in_place": True}):
        said = refused(database, dump, **wishes)
        for made in (
            "event trigger log_ddl",
            "publication of all tables everything",
            "foreign-data wrapper far",
            "function in C public.in_c",
            "operator class public.odd",
            "--skip-superuser-only",
        ):
            assert made in said
    for in_place in (False, True):
        report = restored(database, dump, skip_superuser_only=True, in_place=in_place)
        assert rows(database) == 2
        left_out = "\n".join(report.left_out)
        assert "only a superuser may make the event trigger log_ddl" in left_out
        assert "it depends on something that was left out" in left_out
        alone(database)


MORE_FOR_SUPERUSERS = """
CREATE FUNCTION tight() RETURNS int LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT 1';
CREATE FUNCTION handle() RETURNS language_handler
    LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE LANGUAGE lost HANDLER handle; COMMENT ON LANGUAGE lost IS 'gone';
CREATE FUNCTION in_lost() RETURNS int LANGUAGE lost AS 'BEGIN RETURN 1; END';
CREATE TYPE own; CREATE FUNCTION own_in(cstring) RETURNS own LANGUAGE internal AS 'int4in';
CREATE FUNCTION own_out(own) RETURNS cstring LANGUAGE internal AS 'int4out';
CREATE TYPE own (INPUT = own_in, OUTPUT = own_out, LIKE = int4);
"""


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_languages_base_types_and_leakproof_functions_are_named_too(
    make_database: MakeDatabase, database: Database, ordinary: str, tmp_path: Path, form: str
) -> None:
    source = make_database()
    source.execute(f"{SHOP};{MORE_FOR_SUPERUSERS}")
    dump = dumped(source, tmp_path / "dump", form=form)
    said = refused(database, dump)
    for made in ("leakproof function public.tight", "base type public.own", "language lost"):
        assert made in said
    restored(database, dump, skip_superuser_only=True)
    assert rows(database) == 2


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_trigger_goes_with_its_function(
    make_database: MakeDatabase, database: Database, ordinary: str, tmp_path: Path, form: str
) -> None:
    source = make_database()
    source.execute(SHOP)
    source.execute(
        "CREATE FUNCTION in_c() RETURNS trigger LANGUAGE internal"
        "   AS 'suppress_redundant_updates_trigger';"
        "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER a BEFORE UPDATE ON shop FOR EACH ROW EXECUTE FUNCTION in_c();"
        "CREATE TRIGGER b BEFORE UPDATE ON shop FOR EACH ROW EXECUTE FUNCTION own();"
        "COMMENT ON TRIGGER a ON shop IS 'gone'; COMMENT ON TRIGGER b ON shop IS 'kept'"
    )
    report = restored(
        database, dumped(source, tmp_path / "dump", form=form), skip_superuser_only=True
    )
    there = database.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
    assert there == [("b",)]
    assert any("CREATE TRIGGER a" in line for line in report.left_out)
    assert rows(database) == 2


LACKING = """
CREATE TYPE public.odd;
CREATE FUNCTION public.odd_in(cstring) RETURNS public.odd
    LANGUAGE c IMMUTABLE STRICT AS '$libdir/not_here', 'odd_in';
CREATE FUNCTION public.odd_out(public.odd) RETURNS cstring
    LANGUAGE c IMMUTABLE STRICT AS '$libdir/not_here', 'odd_out';
CREATE TYPE public.odd (
    INTERNALLENGTH = 8,
    INPUT = public.odd_in,
    OUTPUT = public.odd_out
);
COMMENT ON FUNCTION public.odd_in(cstring) IS 'gone';
CREATE FUNCTION public.gone() RETURNS text LANGUAGE internal AS 'no_such_function';
CREATE EXTENSION IF NOT EXISTS not_installed WITH SCHEMA public;
COMMENT ON EXTENSION not_installed IS 'gone';

"""


def test_what_the_server_has_no_library_for_is_left_out_when_asked(
    database: Database, tmp_path: Path, shop_sql: str
) -> None:
    dump = written(tmp_path, shop_sql.replace("CREATE TABLE", f"{LACKING}CREATE TABLE", 1))
    said = refused(database, dump)
    assert '"not_installed"' in said
    assert "--skip-superuser-only" in said
    for in_place in (False, True):
        report = restored(database, dump, skip_superuser_only=True, in_place=in_place)
        assert rows(database) == 2
        left_out = "\n".join(report.left_out)
        assert "the server has no library with it (3, " in left_out
        assert '"not_installed": it, or one that it needs, is not installed (1, ' in left_out
    without = LACKING.partition("CREATE EXTENSION")[0]
    dump = written(tmp_path, shop_sql.replace("CREATE TABLE", f"{without}CREATE TABLE", 1))
    assert "--skip-superuser-only" in refused(database, dump)


def test_in_place_the_question_names_the_role_that_sessions_act_as(
    database: Database, ordinary: str, tmp_path: Path, shop_sql: str
) -> None:
    """As ALTER ROLE sets it, for users that a vault makes for some hours."""
    login = database.role("login", f"LOGIN IN ROLE {ordinary}")
    database.execute(f"CREATE TABLE theirs (x int); ALTER TABLE theirs OWNER TO {ordinary}")
    database.server.execute(f"ALTER ROLE {login} IN DATABASE {database.name} SET role = {ordinary}")
    connect_as(database, login)
    alone(database)
    asked: list[str] = []
    request = Request(str(written(tmp_path, shop_sql)), in_place=True)

    def no(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.raises(DeclinedError):
        restore(request, confirm=no)
    assert f'What "{ordinary}" owns in it will be DROPPED' in asked[0]


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_labels_of_a_provider_that_is_not_loaded_are_left_out_when_asked(
    make_database: MakeDatabase, database: Database, tmp_path: Path, form: Format
) -> None:
    source = make_database()
    comment = f"COMMENT ON COLUMN public.shop.id IS '{'x' * 40}';".encode()
    source.execute(f"{SHOP};{comment.decode()}")
    dump = dumped(source, tmp_path / "dump", form=form)
    label = b"SECURITY LABEL FOR anon ON COLUMN public.shop.id IS 'MASKED'"
    content = dump.read_bytes()
    assert comment in content
    dump.write_bytes(content.replace(comment, label.ljust(len(comment) - 1) + b";"))
    assert "leave out its labels with --skip-superuser-only" in refused(database, dump)
    for in_place in (False, True):
        report = restored(database, dump, skip_superuser_only=True, in_place=in_place)
        assert rows(database) == 2
        assert "provider of such labels (1, the first: SECURITY" in "\n".join(report.left_out)


def test_a_table_is_never_left_out_for_that(
    make_database: MakeDatabase, database: Database, ordinary: str, tmp_path: Path
) -> None:
    source = make_database()
    source.execute(SHOP)
    source.execute(
        "CREATE FUNCTION in_c(text) RETURNS text LANGUAGE internal IMMUTABLE AS 'upper';"
        "CREATE TABLE upper (x text, y text GENERATED ALWAYS AS (in_c(x)) STORED)"
    )
    dump = plain(source, tmp_path / "d.sql")
    assert "in_c" in refused(database, dump, skip_superuser_only=True)


def test_an_extension_that_is_there_already_sends_a_plain_dump_in_place(
    make_database: MakeDatabase, database: Database, ordinary: str, tmp_path: Path
) -> None:
    extension = untrusted(database)
    source = make_database()
    source.execute(f'{SHOP}; CREATE EXTENSION "{extension}"')
    dump = plain(source, tmp_path / "d.sql")
    assert extension in refused_over_data(database, dump)
    database.execute(f'CREATE EXTENSION "{extension}"')
    report = restored(database, dump)
    assert (report.mode, rows(database)) == ("in place", 2)


def refused_over_data(database: Database, dump: Path) -> str:
    database.execute("CREATE TABLE precious (x int)")
    said = refused(database, dump)
    database.execute("DROP TABLE precious")
    assert "--skip-superuser-only" in said
    return said


def test_no_rows_for_a_table_of_somebody_else_are_no_failure(
    database: Database, ordinary: str, tmp_path: Path, shop_sql: str
) -> None:
    database.execute("CREATE TABLE theirs (x int); ALTER EXTENSION plpgsql ADD TABLE theirs")
    for data, fails in (("", False), ("1\n", True)):
        text = f"COPY public.theirs (x) FROM stdin;\n{data}\\.\n"
        dump = written(tmp_path, shop_sql.replace("COPY public.shop", f"{text}COPY public.shop", 1))
        if fails:
            assert "permission denied" in refused(database, dump, in_place=True)
        else:
            assert restored(database, dump, in_place=True).left_out
            assert rows(database) == 2


# --- Programs and versions ---------------------------------------------------------------------


def test_what_the_server_refuses_is_found_before_loading() -> None:
    off = Holds(strings_off=True)
    with pytest.raises(TargetError, match=r"PGOPTIONS='-c standard_conforming_strings=on' pg_dump"):
        require_server(190000, "default", off)
    require_server(189999, "default", off)
    (needed, *_) = connections["default"].features.minimum_database_version or (0,)
    with pytest.raises(TargetError, match=f"works with PostgreSQL {needed} and later"):
        require_server((needed - 1) * 10000 + 5, "default", Holds())


def test_a_pg_restore_that_refuses_the_server_is_found_before_loading() -> None:
    def of(major: int) -> Program:
        return Program("pg_restore", Path("/x/pg_restore"), major, f"{major}.6")

    with pytest.raises(ProgramError, match=r"18\.6 and refuses a server of 19: install"):
        require_program(of(18), 190000, "beside")
    require_program(of(18), 190000, "in place")
    require_program(of(17), 190000, "beside")
    require_program(of(18), 180000, "beside")
    require_program(None, 190000, "beside")


@pytest.mark.parametrize("form", ["custom", "directory", "tar", "plain"])
def test_strings_that_are_not_standard_are_seen_in_every_format(
    make_database: MakeDatabase, tmp_path: Path, form: str
) -> None:
    source = make_database()
    if not source.server.backslashes_escape:
        pytest.skip("the server knows standard strings only")
    for value in ("on", "off"):
        source.execute(f"ALTER DATABASE {source.name} SET standard_conforming_strings = {value}")
        dump = identify(dumped(source, tmp_path / value, form=form))
        entries = [] if form == "plain" else read_contents(dump)
        assert held_by(dump, entries, to_the_end=False).strings_off is (value == "off")
