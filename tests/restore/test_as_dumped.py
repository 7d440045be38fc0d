"""What is restored is what was dumped, whatever the live database or its roles set by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from restorehooks.restore.errors import RestoreError
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from tests.support.databases import Database, pointed
from tests.support.dumps import alone, contents, dumped, plain

HOW: dict[str, dict[str, Any]] = {
    "whole": {"in_place": True},
    "one table": {"in_place": True, "tables": ("secret",)},
    "one schema": {"in_place": True, "schemas": ("shut",)},
}


def restored(live: Database, dump: Path, **options: Any) -> RestoreReport:
    alone(live)
    return restore(Request(str(dump), **options), confirm=lambda question: True)


# --- Default privileges ------------------------------------------------------------------------

DEFAULTS = """
CREATE SCHEMA shut;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {0} WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA shut GRANT INSERT ON TABLES TO {0};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT INSERT ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
CREATE TABLE secret (id int); REVOKE ALL ON secret FROM {0}, PUBLIC;
CREATE TABLE shut.secret (id int); REVOKE ALL ON shut.secret FROM {0};
CREATE TABLE open (id int);
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION f() TO PUBLIC;
"""
PRIVILEGES = """
SELECT name, acl::text FROM (
    SELECT relname AS name, coalesce(relacl, acldefault('r', relowner)) AS acls FROM pg_class
    WHERE relname IN ('secret', 'open')
    UNION ALL SELECT proname, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
    WHERE proname = 'f'
    UNION ALL SELECT (defaclnamespace::regnamespace::text || defaclobjtype::text)::name, defaclacl
    FROM pg_default_acl
) AS one CROSS JOIN LATERAL unnest(acls) AS acl ORDER BY 1, 2
"""


@pytest.mark.parametrize("how", HOW)
def test_in_place_default_privileges_add_nothing_to_those_of_the_dump(
    database: Database, tmp_path: Path, how: str
) -> None:
    database.execute(DEFAULTS.format(database.role("intern")))
    other, dump = database.role("other"), dumped(database, tmp_path / "shop.dump")
    database.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {other} GRANT SELECT ON TABLES TO PUBLIC")
    before = database.execute(PRIVILEGES)
    theirs = "SELECT ctid::text FROM pg_default_acl WHERE defaclrole = %s::regrole"
    untouched = database.execute(theirs, other)
    report = restored(database, dump, **HOW[how])
    assert database.execute(PRIVILEGES) == before
    # Who is about to change what is theirs would be waited for, and so hold up the restore.
    assert database.execute(theirs, other) == untouched
    assert any("default privileges" in note for note in report.notes)


def test_in_place_default_privileges_hold_where_the_dump_s_are_not_wanted(
    database: Database, tmp_path: Path
) -> None:
    intern = database.role("intern")
    database.execute(DEFAULTS.format(intern))
    restored(database, plain(database, tmp_path / "shop.sql"), in_place=True, privileges=False)
    asked = "SELECT has_table_privilege(%s, 'secret', 'SELECT')"
    assert database.execute(asked, intern) == [(True,)]


def test_in_place_default_privileges_of_a_role_that_the_dump_has_make_tables_add_nothing(
    database: Database, tmp_path: Path
) -> None:
    intern, maker = database.role("intern"), database.role("maker")
    database.execute(f"""
        CREATE TABLE secret (id int); ALTER TABLE secret OWNER TO {maker};
        GRANT CREATE ON SCHEMA public TO {maker}""")
    dump = plain(database, tmp_path / "shop.sql", "--use-set-session-authorization")
    database.execute(f"""
        DROP TABLE secret;
        ALTER DEFAULT PRIVILEGES FOR ROLE {maker} GRANT SELECT ON TABLES TO {intern}""")
    before = database.execute(PRIVILEGES)
    restored(database, dump, in_place=True)
    asked = "SELECT has_table_privilege(%s, 'secret', 'SELECT')"
    assert database.execute(asked, maker) == [(True,)]
    assert database.execute(asked, intern) == [(False,)]
    database.execute("DROP TABLE secret")
    assert database.execute(PRIVILEGES) == before


def test_in_place_default_privileges_of_a_role_that_is_not_inherited_add_nothing(
    database: Database, tmp_path: Path
) -> None:
    intern, maker = database.role("intern"), database.role("maker")
    user = database.role("user", "LOGIN NOINHERIT")
    database.execute(f"""
        CREATE TABLE secret (id int); ALTER TABLE secret OWNER TO {maker};
        GRANT CREATE ON SCHEMA public TO {maker}; GRANT {maker} TO {user}""")
    dump = plain(database, tmp_path / "shop.sql", "--use-set-session-authorization")
    database.execute(f"""
        DROP TABLE secret;
        ALTER DEFAULT PRIVILEGES FOR ROLE {maker} GRANT SELECT ON TABLES TO {intern}""")
    before = database.execute(PRIVILEGES)
    with pointed("default", {**database.settings, "USER": user}):
        restored(database, dump, in_place=True, owner=True)
    asked = "SELECT has_table_privilege(%s, 'secret', 'SELECT')"
    assert database.execute(asked, maker) == [(True,)]
    assert database.execute(asked, intern) == [(False,)]
    database.execute("DROP TABLE secret")
    assert database.execute(PRIVILEGES) == before


def test_in_place_what_the_dump_s_default_privileges_revoke_stays_revoked(
    database: Database, tmp_path: Path
) -> None:
    intern = database.role("intern")
    database.execute("ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC")
    dump = plain(database, tmp_path / "shop.sql")
    database.execute(f"""
        ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
        ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO {intern}""")
    restored(database, dump, in_place=True)
    granted = [acl for _, acl in database.execute(PRIVILEGES)]
    assert any(acl.startswith(intern) for acl in granted)
    assert not any(acl.startswith("=") for acl in granted)


# --- Rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taking", "before"),
    [
        ("TRUNCATE t", False),
        ("DELETE FROM ONLY t", False),
        ("UPDATE t SET x = 'b'", False),
        ("-- first\nTRUNCATE t", True),
    ],
)
def test_where_rows_are_added_none_is_taken_away(
    database: Database, tmp_path: Path, taking: str, before: bool
) -> None:
    database.execute("CREATE TABLE t (x text); INSERT INTO t VALUES ('new')")
    dump = plain(database, tmp_path / "rows.sql", "--data-only")
    copied, text = "COPY public.t", dump.read_text()
    dump.write_text(
        f"{taking};\n{text}" if before else text.replace(copied, f"{taking};\n{copied}")
    )
    database.execute("UPDATE t SET x = 'live'")
    kept = contents(database)
    with pytest.raises(RestoreError, match="only added"):
        restored(database, dump, data_only=True)
    assert contents(database) == kept


def test_rows_that_the_dump_s_role_could_not_see_are_said_to_be_missing(
    database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    dump = plain(database, tmp_path / "shop.sql", "--enable-row-security")
    said = restored(database, dump, dry_run=True).notes
    assert any("NO OTHERS" in note for note in said)
    assert not any("NO OTHERS" in note for note in restored(database, plain(database, dump)).notes)


def test_where_rows_are_added_none_is_overwritten(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t VALUES (1, 'a')")
    dump = plain(database, tmp_path / "rows.sql", "--data-only", "--inserts")
    inserted, text = "VALUES (1, 'a');", dump.read_text()
    database.execute("UPDATE t SET x = 'live'")
    kept = contents(database)
    overwriting = "VALUES (1, 'b') ON Conflict (id) DO\nUPDATE SET x = EXCLUDED.x;"
    dump.write_text(text.replace(inserted, overwriting))
    with pytest.raises(RestoreError, match="only added"):
        restored(database, dump, data_only=True)
    assert contents(database) == kept
    harmless = "VALUES (1, 'b') ON CONFLICT DO NOTHING;\nINSERT INTO public.t "
    harmless += "VALUES (2, 'on conflict do update');"
    dump.write_text(text.replace(inserted, harmless))
    restored(database, dump, data_only=True)
    assert database.execute("SELECT x FROM t WHERE id = 1") == [("live",)]


def test_where_rows_are_added_triggers_are_as_they_were(database: Database, tmp_path: Path) -> None:
    named = [f"g{how}" for how in "adorx"]
    made = (f"CREATE TRIGGER {name} BEFORE INSERT ON t EXECUTE FUNCTION f()" for name in named)
    database.execute(f"""
        CREATE TABLE one (id int PRIMARY KEY); INSERT INTO one VALUES (1);
        CREATE TABLE "T" (id int REFERENCES one); INSERT INTO "T" VALUES (1);
        CREATE TABLE t (id int) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (2); INSERT INTO t VALUES (1);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        {"; ".join(one.replace(" t ", " t1 ") for one in made)};
        ALTER TABLE t1 ENABLE ALWAYS TRIGGER ga, DISABLE TRIGGER gd, ENABLE REPLICA TRIGGER gr;
        ALTER TABLE "T" DISABLE TRIGGER ALL; DROP TRIGGER gx ON t1""")
    asked = "SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger"
    before = database.execute(asked)
    dump = plain(database, tmp_path / "t.sql", "-a", "--disable-triggers", "-t", "t*", "-t", '"T"')
    assert "ENABLE TRIGGER ALL" in dump.read_text()
    restored(database, dump, data_only=True)
    assert sorted(database.execute(asked)) == sorted(before)


def test_a_rule_of_a_table_that_keeps_its_structure_takes_no_row(
    database: Database, tmp_path: Path
) -> None:
    database.execute("""
        CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2);
        CREATE TABLE p (id int) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9); INSERT INTO p VALUES (3);
        CREATE VIEW seen AS SELECT id FROM t UNION ALL SELECT id FROM p;
        CREATE RULE away AS ON INSERT TO t DO INSTEAD NOTHING;
        CREATE RULE "a way" AS ON INSERT TO p DO INSTEAD NOTHING;
        CREATE RULE away AS ON INSERT TO p1 DO INSTEAD NOTHING;
        CREATE RULE off AS ON UPDATE TO t DO INSTEAD NOTHING; ALTER TABLE t DISABLE RULE off;
        ALTER TABLE p1 ENABLE ALWAYS RULE away""")
    before = contents(database)
    dump = dumped(database, tmp_path / "t.dump", "--inserts")
    restored(database, dump, in_place=True, tables=("t", "p"))
    assert database.execute("SELECT id FROM seen ORDER BY id") == [(1,), (2,), (3,)]
    assert contents(database) == before


def test_in_place_no_drop_of_a_dump_takes_what_is_somebody_elses(
    database: Database, tmp_path: Path
) -> None:
    database.execute("""
        CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
        CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE VIEW v AS SELECT id, count(*) FROM t GROUP BY t.id; CREATE TYPE mood AS ENUM ('a');
        SELECT lo_create(99); CREATE CAST (mood AS t) WITH INOUT""")
    dump = plain(database, tmp_path / "t.sql", "--clean", "--if-exists")
    restored(database, dump, in_place=True)  # over what is ours
    database.execute(f"ALTER TABLE t OWNER TO {database.role('other')}; UPDATE t SET id = 2")
    kept = contents(database)
    with pytest.raises(RestoreError, match=r"already exists.*what other roles own stays"):
        restored(database, dump, in_place=True)
    assert contents(database) == kept


@pytest.mark.parametrize(
    ("made", "written"),
    [
        ("TABLE t (id int)", "TABLE IF NOT EXISTS public.t (id int)"),
        ("VIEW t AS SELECT 1 AS id", 'OR REPLACE VIEW "public"."t" AS SELECT 2 AS id'),
        ("SEQUENCE t", "SEQUENCE IF NOT EXISTS public.t"),
        (
            "FUNCTION t(out id int) LANGUAGE sql AS 'SELECT 1'",
            "OR REPLACE FUNCTION public.t(OUT id int) LANGUAGE sql AS 'SELECT 2'",
        ),
    ],
)
def test_in_place_no_create_of_a_dump_takes_over_what_is_somebody_elses(
    database: Database, tmp_path: Path, made: str, written: str
) -> None:
    database.execute("CREATE TABLE own (id int)")
    dump = plain(database, tmp_path / "t.sql")
    text = dump.read_text().replace("CREATE TABLE public.own", f"CREATE {written};\n\\g<0>")
    dump.write_text(text.replace("\\g<0>", "CREATE TABLE public.own"))
    restored(database, dump, in_place=True)
    restored(database, dump, in_place=True)  # over what is ours
    kind, _, _ = made.partition(" ")
    database.execute(
        f"DROP {kind} t; CREATE {made};"
        f"ALTER {kind} t OWNER TO {database.role('other', 'SUPERUSER')}"
    )
    rows = f"SELECT * FROM t{'()' * (kind == 'FUNCTION')}"
    before = database.execute(rows)
    said = r"t(\(\))?. is there already; what other roles own stays"
    with pytest.raises(RestoreError, match=said):
        restored(database, dump, in_place=True)
    assert database.execute(rows) == before


def test_in_place_extensions_stay_with_what_others_have_of_them(
    database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE EXTENSION citext; CREATE TABLE t (name citext)")
    dump = plain(database, tmp_path / "t.sql", "--clean")
    other = database.role("other")
    database.execute(f"CREATE TABLE theirs (name citext); ALTER TABLE theirs OWNER TO {other}")
    restored(database, dump, in_place=True)
    assert database.execute("SELECT name::text FROM t UNION SELECT name::text FROM theirs") == []


def test_in_place_a_dump_drops_what_it_has_made_itself(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (id int, secret text); CREATE TABLE secret (id int)")
    dump, end = plain(database, tmp_path / "t.sql"), "--\n-- PostgreSQL database dump complete"
    scrubs = """
        ALTER TABLE public.t DROP COLUMN secret; DROP TABLE public.secret;
        CREATE SCHEMA "Shut"; CREATE TABLE "Shut".secret (id int);
        CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE MATERIALIZED VIEW public.v AS SELECT 1; ALTER TABLE public.t ADD CHECK (id > 0);
        DROP SCHEMA IF EXISTS "Shut" CASCADE; DROP FUNCTION public.f(int);
        DROP MATERIALIZED VIEW public.v; ALTER TABLE ONLY public.t DROP CONSTRAINT t_id_check;
        """
    dump.write_text(dump.read_text().replace(end, scrubs + end))
    report = restored(database, dump, in_place=True)
    assert report.left_out == []
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
    assert database.execute(f"{columns} AND NOT attisdropped") == [("id",)]
    assert database.execute("SELECT to_regclass('secret')") == [(None,)]


# --- Settings ----------------------------------------------------------------------------------

DAYS = """
CREATE TABLE t (id int PRIMARY KEY, at timestamptz, x text,
    b text GENERATED ALWAYS AS ('\\x00'::bytea::text || (1 / 3.0)::float8::text) STORED);
INSERT INTO t VALUES (1, '2026-01-01 20:00+00', 'die Katzen');
CREATE MATERIALIZED VIEW days AS
    SELECT at::date AS day, to_tsvector(x) AS words, at::text AS at,
           current_setting('shop.tenant', true) AS tenant, b FROM t
"""
DAY = "SELECT day::text, words::text, at, tenant, b FROM days"


@pytest.mark.parametrize("form", ["plain", "custom"])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_materialized_view_is_filled_under_the_settings_of_the_database(
    database: Database, tmp_path: Path, form: str, in_place: bool
) -> None:
    for setting in (
        "timezone = 'Asia/Tokyo'",
        "DateStyle = 'German'",
        "default_text_search_config = 'german'",
        "shop.tenant = 'acme'",
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
    ):
        database.execute(f'ALTER DATABASE "{database.name}" SET {setting}')
    with database.connect() as connection:  # which the settings are made for
        connection.execute(DAYS.encode())
        before = connection.execute(DAY).fetchall()
    make = plain if form == "plain" else dumped
    dump = make(database, tmp_path / "shop.dump")
    assert "05:00:00 JST" in str(before)
    restored(database, dump, in_place=in_place)
    assert database.execute(DAY) == before


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_where_the_database_is_missing_what_is_its_own_is_said_to_be_left_out(
    database: Database, tmp_path: Path, form: str
) -> None:
    database.execute(f'ALTER DATABASE "{database.name}" SET search_path = crm')
    database.execute("CREATE TABLE t (id int)")
    dump = dumped(database, tmp_path / "shop.dump", "--create", form=form)
    alone(database)
    there = restore(Request(str(dump), dry_run=True)).notes
    database.server.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')
    missing = restore(Request(str(dump), dry_run=True)).notes
    assert any("settings" in note and "left out" in note for note in missing)
    assert form == "plain" or not any("settings" in note for note in there)


@pytest.mark.parametrize("by_hand", [False, True])
def test_the_schema_public_keeps_what_all_may_do_in_it(
    database: Database, tmp_path: Path, by_hand: bool
) -> None:
    reader = database.role("reader")
    database.execute("CREATE TABLE t (id int)")
    flags = () if by_hand else ("--schema=public", "--clean")
    dump = plain(database, tmp_path / "shop.sql", *flags)
    if by_hand:
        dump.write_text(
            f'DROP SCHEMA IF EXISTS "public" CASCADE;\nCREATE SCHEMA public;\n{dump.read_text()}'
        )
    acl = "SELECT nspowner::regrole::text, nspacl::text FROM pg_namespace WHERE nspname = 'public'"
    before = database.execute(acl)
    restored(database, dump)
    assert database.execute(acl) == before
    assert database.execute("SELECT has_schema_privilege(%s, 'public', 'USAGE')", reader) == [
        (True,)
    ]


def test_the_schema_public_may_be_quoted(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (id int)")
    for form in ("plain", "custom"):
        flags = ("--schema=public", "--quote-all-identifiers")
        restored(database, dumped(database, tmp_path / "shop.dump", *flags, form=form))
        assert database.execute("SELECT count(*) FROM t") == [(0,)]
