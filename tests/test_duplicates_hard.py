"""Violations that are hard to explain: other columns than the key, shards, overlaps, strangers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections
from django.test import override_settings
from psycopg import sql
from psycopg.errors import UniqueViolation

from restorehooks import retry_after_repair
from restorehooks.duplicates.diagnosis import Diagnosis, Situation, diagnose
from restorehooks.duplicates.key import DuplicateKey, parse_key
from restorehooks.duplicates.statement import columns_in, gives_value
from tests.support.citus import WORKER, distribute, make_node
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import next_of


@pytest.fixture
def healing() -> Iterator[None]:
    with override_settings(RESTOREHOOKS={"REPAIR_ON_DUPLICATE": True}):
        yield


def notes_of(statement: Any, *values: Any) -> list[str]:
    """Return the notes of the violation that a statement ends with."""
    with connections["default"].cursor() as cursor, pytest.raises(IntegrityError) as caught:
        cursor.execute(statement, values)
    return [note.removeprefix("restorehooks: ") for note in getattr(caught.value, "__notes__", [])]


def explain(what: str) -> list[Diagnosis]:
    return diagnose(connections["default"], what)


# Numbers beside the key.

INVOICES = """
    CREATE TABLE invoice (id bigserial PRIMARY KEY, number serial UNIQUE, code text UNIQUE,
                          name text);
    CREATE SEQUENCE codes;
    ALTER TABLE invoice ALTER code SET DEFAULT 'INV' || nextval('codes');
    INSERT INTO invoice SELECT n, n, 'x' || n FROM generate_series(1, 7) n;
    SELECT setval('invoice_id_seq', 7);
"""


@pytest.fixture
def invoices(database: Database) -> Database:
    """A second number that is behind; the primary key's is not, nor that of the codes."""
    database.execute(INVOICES)
    return database


@pytest.mark.usefixtures("healing")
def test_a_second_number_that_no_model_knows_is_told_and_healed(invoices: Database) -> None:
    unsure, moved = notes_of("INSERT INTO invoice (name) VALUES (%s)", "x")
    assert unsure == (
        "Either a sequence is behind or the data really are duplicated (constraint"
        ' "invoice_number_key" of table public.invoice). This shows which: python manage.py'
        " explainduplicate invoice_number_key"
    )
    assert moved == ("public.invoice_number_seq has been moved on to 8; the next attempt works.")
    with connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO invoice (name) VALUES ('x')")


def test_the_command_of_a_second_number_shows_its_sequence(invoices: Database) -> None:
    (found,) = explain("invoice_number_key")
    assert found.situation is Situation.BEHIND
    assert found.sequence is not None
    assert found.sequence.sequence == "public.invoice_number_seq"
    invoices.execute("SELECT setval('invoice_number_seq', 3)")

    @retry_after_repair()
    def work() -> None:
        run("INSERT INTO invoice (name) VALUES ('')")

    work()
    assert next_of(invoices, "invoice_number_seq") == 9


def run(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


def test_a_text_made_of_a_number_is_not_called_the_statement_s(invoices: Database) -> None:
    invoices.execute("INSERT INTO invoice (id, number, code) VALUES (90, 90, 'INV1')")
    invoices.execute("SELECT setval('invoice_number_seq', 90), setval('invoice_id_seq', 90)")
    (note,) = notes_of("INSERT INTO invoice (name) VALUES ('x')")
    assert note.startswith("Either a sequence is behind")
    assert note.endswith("explainduplicate invoice_code_key")
    (by_hand,) = notes_of("INSERT INTO invoice (name, code) VALUES ('x', 'INV1')")
    assert by_hand.startswith("No sequence is to blame, the data really are duplicated.")
    (by_function,) = notes_of("UPDATE invoice SET number = length(repeat('x', 5)) WHERE id = 3")
    assert by_function.startswith("Either a sequence is behind")


MODELS = """
    from django.db.models import F, Func, Value

    class Nextval(Func):
        function = "nextval"

    class Serial(models.IntegerField):
        db_returning = True

        def get_internal_type(self):
            return "IntegerField"

        def pre_save(self, instance, add):
            value = getattr(instance, self.attname)
            return models.expressions.DatabaseDefault(Nextval(Value("numbers"))) \\
                if value is None else value

    class Invoice(models.Model):
        number = Serial(unique=True, null=True, db_default=Nextval(Value("numbers")))
        code = models.CharField(max_length=20, unique=True,
            db_default=models.functions.Concat(Value("INV"), models.functions.Cast(
                Nextval(Value("codes")), models.TextField())))
        name = models.CharField(max_length=9, default="")
"""
NOTES = """
    from django.db import IntegrityError
    from shop.models import *
    for values in ({}, {"number": 1}, {"number": 50, "code": "INV1"}, {"number": 51}):
        try:
            Invoice.objects.create(**values)
        except IntegrityError as error:
            print(error.__notes__[0][:41], error.args[0].split('"')[1])
"""


def test_database_defaults_of_models_are_never_called_the_statement_s(
    project: Project, database: Database
) -> None:
    database.execute("CREATE SEQUENCE numbers; CREATE SEQUENCE codes START 2")
    project.app("shop", models=MODELS)
    project.settings(INSTALLED_APPS=["restorehooks", "shop"], MIGRATION_MODULES={"shop": None})
    project.manage("migrate", "--run-syncdb", "-v0")
    database.execute("INSERT INTO shop_invoice VALUES (90, 1, 'INV1', ''), (91, 2, 'INV3', '')")
    unsure, certain = (
        "restorehooks: Either a sequence is behind",
        "restorehooks: No sequence is to blame, th",
    )
    assert project.shell(NOTES).splitlines() == [
        f"{unsure} shop_invoice_number_key",
        f"{certain} shop_invoice_number_key",
        f"{certain} shop_invoice_code_key",
    ]


GIVEN: list[tuple[str, bool | None]] = [
    ("INSERT INTO t (a, id) VALUES (nextval('s'), 5)", True),
    ("INSERT INTO t (a, id) VALUES ('x', next_id())", None),
    ("INSERT INTO t (a, id) VALUES ('next(', 5), ('(', 6)", True),
    ("INSERT INTO t (a, id) VALUES ('x', 5), ('y', DEFAULT)", None),
    ("INSERT INTO t (id) OVERRIDING USER VALUE VALUES (5)", None),
    ("INSERT INTO t (id) OVERRIDING SYSTEM VALUE VALUES (5)", True),
    ("INSERT INTO t (id) SELECT * FROM UNNEST((%s)::bigint[])", True),
    ("INSERT INTO t (id) SELECT s.next_id() FROM x", None),
    ('INSERT INTO "t" ("id") VALUES (%s) ON CONFLICT ("id") DO NOTHING', True),
    ("UPDATE t SET a = 1 WHERE id = 5", False),
    ("UPDATE t SET id = coalesce(NULL, 5) WHERE f(id)", True),
    ("UPDATE t SET id = next_id()", None),
]


@pytest.mark.parametrize(("statement", "given"), GIVEN)
def test_what_a_statement_gives(statement: str, given: bool | None) -> None:
    assert gives_value(statement, "t", "id") is given


def test_the_columns_that_an_expression_may_be_made_of() -> None:
    assert columns_in("lower(nick::text)") == ["nick"]
    assert columns_in("(COALESCE(\"A b\", 'x y'::character varying(9)) || c)") == ["A b", "c"]


# The worst of several sequences.


def test_of_two_sequences_of_a_column_the_one_behind_is_shown(database: Database) -> None:
    database.execute(
        "CREATE TABLE books (id bigserial PRIMARY KEY, t text); CREATE SEQUENCE zz_books_seq;"
        "ALTER TABLE books ALTER id SET DEFAULT nextval('zz_books_seq');"
        "INSERT INTO books SELECT g, 'x' FROM generate_series(1, 50) g;"
        "SELECT setval('books_id_seq', 50)"
    )
    (found,) = explain("books_pkey")
    assert found.situation is Situation.BEHIND
    assert found.sequence is not None
    assert found.sequence.sequence == "public.zz_books_seq"


def test_a_sequence_that_only_its_name_leads_to_is_not_acquitted(database: Database) -> None:
    """As SQLAlchemy and Hibernate have them: the client draws, and the table has no default."""
    database.execute(
        "CREATE TABLE owner (id int PRIMARY KEY); CREATE SEQUENCE owner_seq;"
        "INSERT INTO owner SELECT generate_series(1, 50)"
    )
    (found,) = explain("owner_pkey")
    assert found.situation is Situation.UNSEEN
    assert "by its name it numbers public.owner.id, where it is behind" in found.sentences
    (command,) = found.commands
    call_command(*command.split()[2:], verbosity=0)
    assert next_of(database, "owner_seq") == 51


# Violations of a Citus shard: the server's fields are empty, and the name has the shard's number.

SHARDED = """
    CREATE TABLE "Order lines" (id bigserial PRIMARY KEY, name text);
    INSERT INTO "Order lines" SELECT n, '' FROM generate_series(1, 7) n;
    CREATE FUNCTION as_citus() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM "Order lines" WHERE id = NEW.id) THEN
            RAISE unique_violation USING
                MESSAGE = 'duplicate key violates unique constraint "Order lines_pkey_102008"',
                DETAIL = format('Key (id)=(%s) already exists.', NEW.id);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER as_citus BEFORE INSERT ON "Order lines" FOR EACH ROW EXECUTE FUNCTION as_citus();
"""
ON_A_SHARD = 'duplicate key value violates unique constraint "Order lines_pkey_102008"'


@pytest.mark.usefixtures("healing")
def test_a_shard_s_violation_is_explained_and_healed(database: Database) -> None:
    database.execute(SHARDED)
    insert = "INSERT INTO \"Order lines\" (name) VALUES ('x')"
    unsure, moved = notes_of(insert)
    assert '""' not in unsure
    assert '(constraint "Order lines_pkey" of table Order lines)' in unsure
    assert unsure.endswith("explainduplicate 'Order lines_pkey'")
    assert moved.startswith('public."Order lines_id_seq" has been moved on to 8')
    (found,) = explain(ON_A_SHARD)
    assert found.situation is Situation.PASSED
    assert found.target.name == "Order lines_pkey"


@pytest.mark.usefixtures("healing")
@pytest.mark.parametrize(
    "statement",
    [
        "/* app:shop */ INSERT INTO \"Order lines\" (name) VALUES ('x')",
        sql.SQL("INSERT INTO {} (name) VALUES ('x')").format(sql.Identifier("Order lines")),
        'MERGE INTO "Order lines" USING (SELECT 1) n ON false'
        " WHEN NOT MATCHED THEN INSERT (name) VALUES ('x')",
    ],
)
def test_a_coordinator_heals_within_its_own_range(database: Database, statement: Any) -> None:
    if "MERGE" in str(statement) and database.server.version < 150000:
        pytest.skip("MERGE came with PostgreSQL 15")
    make_node(database, 0)
    database.execute(SHARDED)
    database.execute(f'INSERT INTO "Order lines" VALUES ({WORKER + 1})')
    distribute(database, '"Order lines"')
    unsure, moved = notes_of(statement)
    assert '(constraint "Order lines_pkey" of table Order lines)' in unsure
    assert moved.startswith('public."Order lines_id_seq" has been moved on to 8')


@pytest.mark.usefixtures("healing")
def test_a_shard_on_the_same_node_is_named_by_its_table(database: Database) -> None:
    fields = "SCHEMA = 'public', TABLE = 'Order lines_102008',"
    fields += " CONSTRAINT = 'Order lines_pkey_102008', MESSAGE"
    database.execute(SHARDED.replace("MESSAGE", fields))
    unsure, moved = notes_of("INSERT INTO \"Order lines\" (name) VALUES ('x')")
    assert '(constraint "Order lines_pkey" of table public.Order lines)' in unsure
    assert moved.startswith('public."Order lines_id_seq" has been moved on to 8')


def test_a_table_with_a_month_in_its_name_is_no_shard(database: Database) -> None:
    database.execute("CREATE TABLE log_202401 (id serial PRIMARY KEY)")
    database.execute("INSERT INTO log_202401 VALUES (1)")
    (unsure,) = notes_of("INSERT INTO log_202401 DEFAULT VALUES")
    assert '(constraint "log_202401_pkey" of table public.log_202401)' in unsure


def test_a_long_name_that_citus_shortens_is_found(database: Database) -> None:
    name = "a_constraint_whose_name_is_as_long_as_postgresql_lets_it_be_key"
    database.execute(f"CREATE TABLE t (id serial, CONSTRAINT {name} UNIQUE (id))")
    shown = f'duplicate key value violates unique constraint "{name[:47]}_1a2b3c4d_102008"'
    (found,) = explain(shown)
    assert found.target.name == name


def test_a_shard_s_violation_is_worth_another_attempt(database: Database) -> None:
    database.execute(SHARDED)

    @retry_after_repair()
    def work() -> None:
        run("INSERT INTO \"Order lines\" (name) VALUES ('x')")

    work()
    assert next_of(database, 'public."Order lines_id_seq"') == 9


def test_a_violation_that_names_nothing_has_no_empty_quotes(database: Database) -> None:
    database.execute("CREATE TABLE t (a int)")
    raised = "DO $$ BEGIN RAISE unique_violation USING MESSAGE = 'no way'; END $$"
    assert notes_of(raised) == [
        "Either a sequence is behind or the data really are duplicated. This shows which: python"
        " manage.py resetsequences --check"
    ]


# Keys that must not overlap have a SQLSTATE of their own.

CONFLICT = "Key (id, at)=(1, [1,3)) conflicts with existing key (id, at)=(1, [2,9))."


def test_the_key_of_a_conflict_is_the_new_row_s() -> None:
    assert parse_key(CONFLICT) == DuplicateKey(("id", "at"), "1, [1,3)")


@pytest.mark.usefixtures("healing")
@pytest.mark.parametrize("temporal", [False, True])
def test_a_key_without_overlaps_is_explained_and_healed(
    project: Project, database: Database, temporal: bool
) -> None:
    if not database.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'btree_gist'"):
        pytest.skip("this server has no btree_gist")
    if temporal and database.server.version < 180000:
        pytest.skip("WITHOUT OVERLAPS is there from PostgreSQL 18 on")
    key = "PRIMARY KEY (id, at WITHOUT OVERLAPS)"
    if not temporal:
        key = "EXCLUDE USING gist (id WITH =, at WITH &&)"
    database.execute(
        "CREATE EXTENSION btree_gist; CREATE TABLE stay (id serial, at int4range,"
        f" CONSTRAINT one_stay {key}); INSERT INTO stay VALUES (1, '[2,9)'), (4, '[2,9)')"
    )
    unsure, moved = notes_of("INSERT INTO stay (at) VALUES ('[1,3)')")
    assert unsure.startswith("Either a sequence is behind")
    assert moved.startswith("public.stay_id_seq has been moved on to 5")
    assert notes_of("INSERT INTO stay (id, at) VALUES (4, '[1,3)')") == []
    database.execute("SELECT setval('stay_id_seq', 1)")
    (found,) = explain(f'conflicting key value violates exclusion constraint "one_stay" {CONFLICT}')
    assert found.situation is Situation.BEHIND


# Names and code of other roles.

PLANTED = {
    "a partial index": "CREATE UNIQUE INDEX shop_pkey ON m.t (id) WHERE m.f(1)",
    "an expression": "CREATE UNIQUE INDEX shop_pkey ON m.t (m.g(id))",
    "an invalid one": "CREATE UNIQUE INDEX CONCURRENTLY shop_pkey ON m.t ((m.g(id) % 1))",
    "another index": "CREATE INDEX ON m.t (id) WHERE m.f(1)",
    "a domain": "CREATE DOMAIN m.d AS int CHECK (m.f(VALUE)); CREATE UNIQUE INDEX shop_pkey ON m.t"
    " ((id::m.d))",
    "statistics": "CREATE STATISTICS m.s ON (m.g(id)), (m.g(1)) FROM m.t",
    "an operator": "CREATE INDEX ON m.t ((1 OPERATOR(m.##) 1)) WHERE 1 OPERATOR(m.##) 1",
    "a partition": "CREATE TABLE m.c () INHERITS (m.t); CREATE INDEX ON m.c (id) WHERE m.f(1)",
}
HARMLESS = {
    "a check": "ALTER TABLE m.t ADD CHECK (m.f(1))",
    "a policy": "ALTER TABLE m.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON m.t USING (m.f(1))",
}
"""What is not called as these are read."""
STRANGER = """
    CREATE TABLE m.log (who text); GRANT ALL ON m.log TO PUBLIC; GRANT USAGE ON SCHEMA m TO PUBLIC;
    CREATE FUNCTION m.note() RETURNS void LANGUAGE sql AS $$ INSERT INTO m.log VALUES (user) $$;
    CREATE FUNCTION m.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN true; END $$;
    CREATE FUNCTION m.g(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN $1; END $$;
    CREATE FUNCTION m.h(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM m.note(); RETURN true; END $$;
    CREATE OPERATOR m.## (LEFTARG = int, RIGHTARG = int, FUNCTION = m.h);
    CREATE TABLE m.t (id serial CONSTRAINT t_pkey PRIMARY KEY);
    INSERT INTO m.t VALUES (5), (6);
"""


@pytest.fixture
def mallory(database: Database) -> Iterator[Any]:
    """A role that owns a schema with functions that write down who calls them."""
    role = database.role("mallory")
    database.execute(f"CREATE SCHEMA m AUTHORIZATION {role}")
    with database.connect(user=role) as connection:
        connection.execute(STRANGER)
        yield connection


@pytest.mark.parametrize("how", PLANTED)
def test_a_planted_index_runs_nobody_s_function(mallory: Any, database: Database, how: str) -> None:
    database.execute("CREATE TABLE shop (id serial PRIMARY KEY); INSERT INTO shop VALUES (5)")
    for statement in PLANTED[how].split("; "):
        with suppress(UniqueViolation):  # what cannot be built stays there, invalid
            mallory.execute(statement)
    mallory.execute("DELETE FROM m.log")
    name = "shop_pkey" if "shop_pkey" in PLANTED[how] else "t_pkey"
    found = explain(f'duplicate key value violates unique constraint "{name}" Key (id)=(5) already')
    assert mallory.execute("SELECT count(*) FROM m.log").fetchone() == (0,)
    (planted,) = [each for each in found if each.target.schema == "m"]
    assert planted.situation is Situation.UNSEEN
    assert planted.sentences.startswith(
        "m.t is not read, since that could run another role's code, through m."
    )
    if name == "shop_pkey":
        (ours,) = [each for each in found if each.target.schema == "public"]
        assert ours.situation is Situation.BEHIND
        assert ours.rows == ("",)


@pytest.mark.parametrize("how", HARMLESS)
def test_what_is_not_called_is_no_reason_to_read_nothing(mallory: Any, how: str) -> None:
    for statement in HARMLESS[how].split("; "):
        mallory.execute(statement)
    mallory.execute("DELETE FROM m.log")
    (found,) = explain('"t_pkey" Key (id)=(5) already exists.')
    assert found.situation is Situation.BEHIND
    assert found.rows == ("",)
    assert mallory.execute("SELECT count(*) FROM m.log").fetchone() == (0,)


def test_shadows_in_the_path_are_not_called(mallory: Any, database: Database) -> None:
    shadows = {
        "unnest": ("oid[]", "SETOF oid", "QUERY SELECT 1::oid"),
        "format": ("text, bigint", "text", "''"),
        "quote_ident": ("name", "text", "''"),
        "count": ("bigint", "bigint", "1"),
    }
    for name, (takes, gives, value) in shadows.items():
        mallory.execute(
            f"CREATE FUNCTION m.{name}({takes}) RETURNS {gives} LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM m.note(); RETURN {value}; END $$"
        )
    for operator, left, right in (
        ("=", "oid", "int"),
        ("=", "name", "text"),
        ("=", "int8", "int8"),
    ):
        mallory.execute(
            f"CREATE FUNCTION m.eq({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM m.note(); RETURN true; END $$;"
            f" CREATE OPERATOR m.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = m.eq)"
        )
    database.execute("CREATE TABLE shop (id bigserial PRIMARY KEY); INSERT INTO shop VALUES (5)")
    with connections["default"].cursor() as cursor:
        cursor.execute("SET search_path = m, pg_catalog, public")
    (found,) = explain('"shop_pkey" Key (id)=(5) already exists.')
    assert found.situation is Situation.BEHIND
    assert mallory.execute("SELECT count(*) FROM m.log").fetchone() == (0,)


def test_a_cast_that_somebody_made_is_not_called(mallory: Any, database: Database) -> None:
    mallory.execute(
        "CREATE TYPE m.pair AS (a int, b int);"
        "CREATE FUNCTION m.as_text(m.pair) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM m.note(); RETURN 'x'; END $$;"
        "CREATE CAST (m.pair AS text) WITH FUNCTION m.as_text(m.pair);"
        "CREATE DOMAIN m.small AS int CHECK (m.f(VALUE));"
        "CREATE TABLE m.pairs (p m.pair, d int);"
        "INSERT INTO m.pairs VALUES ((1, 2), 1), ((1, 2), 1);"
        "CREATE INDEX pairs_p ON m.pairs (p);"
        "CREATE TABLE m.smalls (d m.small UNIQUE); INSERT INTO m.smalls VALUES (1);"
        "DELETE FROM m.log"
    )
    (found,) = explain("pairs_p")
    assert found.duplicates is not None
    assert found.duplicates.worst == ((("(1,2)",), 2),)
    (found,) = explain('"smalls_d_key" Key (d)=(1) already exists.')
    assert found.rows == ("",)
    assert mallory.execute("SELECT count(*) FROM m.log").fetchone() == (0,)


def test_rows_are_compared_as_the_index_does(database: Database) -> None:
    if not database.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("this server has no citext")
    database.execute(
        "CREATE EXTENSION citext; CREATE TABLE member (id int PRIMARY KEY, mail citext UNIQUE);"
        "INSERT INTO member VALUES (1, 'Al@example.com')"
    )
    (found,) = explain('"member_mail_key" Key (mail)=(al@EXAMPLE.com) already exists.')
    assert found.rows == ("(id)=(1)",)
    (shown,) = found.commands
    assert [row[0] for row in database.execute(shown)] == [1]
