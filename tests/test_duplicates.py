"""What the exception of a unique violation says of itself, in real projects."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connections
from psycopg import sql

from restorehooks.duplicates.key import DuplicateKey, parse_key
from restorehooks.duplicates.statement import gives_value
from restorehooks.duplicates.watch import explained
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import set_back
from tests.support.servers import RunningServer

MODELS = """
    import uuid
    from django.db.models.functions import Lower

    class Tag(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    class Order(models.Model):
        name = models.CharField(max_length=20, default="")
        tags = models.ManyToManyField(Tag)

    class Seat(models.Model):
        row = models.IntegerField()
        place = models.IntegerField(db_column="Place no")

        class Meta:
            constraints = [models.UniqueConstraint(fields=["row", "place"], name="one_seat")]

    class Member(models.Model):
        email = models.CharField(max_length=20, unique=True)
        nick = models.CharField(max_length=20)

        class Meta:
            constraints = [models.UniqueConstraint(Lower("nick"), name="nick_any_case")]

    class Elsewhere(models.Model):
        class Meta:
            db_table = 'crm"."else where'
"""
SETUP = """
    import json, logging
    from django.core.management import call_command
    from django.db import IntegrityError, connection, connections, transaction
    from shop.models import *
    records = []
    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record)
    logging.getLogger("restorehooks").addHandler(Keep())
    def told(function, *args, **kwargs):
        try:
            function(*args, **kwargs)
        except IntegrityError as error:
            said = getattr(error, "__notes__", [])
        print(json.dumps([said, [record.levelname for record in records]]))
        records.clear()
"""


@pytest.fixture
def shop(project: Project, database: Database) -> Project:
    """A project with the tables of its models, and an order 1 that its sequence does not know."""
    database.execute("CREATE SCHEMA crm")
    project.app("shop", models=MODELS)
    settings(project)
    project.manage("migrate", "--run-syncdb", "-v0")
    database.execute("INSERT INTO shop_order VALUES (1, '')")
    return project


def settings(project: Project, **more: Any) -> None:
    apps = ["restorehooks", "shop"]
    project.settings(INSTALLED_APPS=apps, MIGRATION_MODULES={"shop": None}, **more)


def run(project: Project, code: str) -> list[tuple[list[str], list[str]]]:
    """Run code after SETUP and return the notes and log levels of each ``told``."""
    setup = "\n".join(line.removeprefix("    ") for line in SETUP.splitlines())
    body = "\n".join(line.removeprefix("    ") for line in code.splitlines())
    return [tuple(json.loads(line)) for line in project.shell(f"{setup}\n{body}").splitlines()]


BEHIND = (
    "restorehooks: The data are fine: the sequence that numbers shop.Order.id (shop_order_id_seq,"
    " unless renamed) was behind the rows of public.shop_order. This mends it: python manage.py"
    " resetsequences shop.Order"
)


def test_a_sequence_behind_is_named_with_what_mends_it(shop: Project, database: Database) -> None:
    (told,) = run(shop, "told(Order.objects.create)")
    assert told == ([BEHIND], ["WARNING"])

    command = told[0][0].rpartition("This mends it: python ")[2].split()
    set_back(database, "shop_order")
    shop.run([sys.executable, *command])
    assert shop.shell("from shop.models import *; print(Order.objects.create().pk)") == "2\n"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes are shown from Python 3.11 on")
def test_the_shell_shows_it_under_the_traceback(shop: Project) -> None:
    code = "from shop.models import *; Order.objects.create()"
    done = shop.manage("shell", "-c", code, check=False)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-3:] == [
        "django.db.utils.IntegrityError: duplicate key value violates unique constraint"
        ' "shop_order_pkey"',
        "DETAIL:  Key (id)=(1) already exists.",
        BEHIND,
    ]


def test_the_warning_is_seen_without_any_logging_configured(shop: Project) -> None:
    code = "from shop.models import *; Order.objects.create()"
    done = shop.manage("shell", "-c", code, check=False)
    assert done.stderr.splitlines()[0] == BEHIND.removeprefix("restorehooks: ")


def test_every_way_to_insert(shop: Project, database: Database) -> None:
    database.execute("INSERT INTO shop_order SELECT n, '' FROM generate_series(2, 20) n")
    insert = "INSERT INTO shop_order (name) VALUES (%s)"
    told = run(
        shop,
        f"""
    told(Order().save)
    told(Order.objects.bulk_create, [Order(), Order()])
    with connection.cursor() as cursor:
        told(cursor.execute, "{insert}", ["x"])
        told(cursor.executemany, "{insert}", [["x"], ["y"]])
    with transaction.atomic():
        try:
            with transaction.atomic():
                told(Order.objects.create)
                transaction.set_rollback(True)
        finally:
            Order.objects.count()
    told(lambda: Order.objects.get_or_create(name="new"))
    told(lambda: Order.objects.update_or_create(name="new"))
    from asgiref.sync import async_to_sync
    told(async_to_sync(Order.objects.acreate))
    """,
    )
    assert len(told) == 8
    assert all(each == ([BEHIND], ["WARNING"]) for each in told)


def test_what_is_no_sequence_s_fault_gets_a_note_and_no_warning(
    shop: Project, database: Database
) -> None:
    told = run(
        shop,
        """
    told(Order.objects.create, id=1)
    told(Order.objects.bulk_create, [Order(id=1)])
    other = Order.objects.create(id=50)
    told(Order.objects.filter(id=50).update, id=1)
    tag = Tag.objects.create()
    told(Tag(pk=tag.pk).save, force_insert=True)
    Seat.objects.create(row=1, place=2)
    told(Seat.objects.create, row=1, place=2)
    Member.objects.create(email="a, (b)=(c", nick="Al")
    told(Member.objects.create, email="a, (b)=(c", nick="x")
    told(Member.objects.create, email="x", nick="AL")
    """,
    )
    assert all(levels == [] for _, levels in told)
    no_sequence = "no sequence is to blame, the data really are duplicated. A row of"
    by_hand = (
        f"restorehooks: The statement itself set id: {no_sequence} shop.Order (table"
        ' public.shop_order) with the same id is there already (constraint "shop_order_pkey").'
    )
    assert [notes for notes, _ in told[:3]] == [[by_hand]] * 3
    said = [note.removeprefix("restorehooks: N") for (note,), _ in told[3:]]
    rest = no_sequence.removeprefix("n")
    assert said == [
        f"{rest} shop.Tag (table public.shop_tag) with the same id is there already (constraint"
        ' "shop_tag_pkey").',
        f"{rest} shop.Seat (table public.shop_seat) with the same row, place is there already"
        ' (constraint "one_seat").',
        f"{rest} shop.Member (table public.shop_member) with the same email is there already"
        ' (constraint "shop_member_email_key").',
        f"{rest} shop.Member (table public.shop_member) with the same lower(nick::text) is there"
        ' already (constraint "nick_any_case").',
    ]


def test_tables_with_odd_owners(shop: Project, database: Database) -> None:
    """A many-to-many field's table, one in a schema of its own, and one with no model."""
    database.execute(
        """
        INSERT INTO shop_tag VALUES ('00000000-0000-0000-0000-000000000001');
        INSERT INTO shop_order_tags (id, order_id, tag_id)
            VALUES (1, 1, '00000000-0000-0000-0000-000000000001');
        INSERT INTO crm."else where" VALUES (1);
        CREATE TABLE legacy (id serial PRIMARY KEY, code text UNIQUE);
        INSERT INTO legacy VALUES (1, 'a');
        """
    )
    by_many, by_schema, by_serial, by_code = run(
        shop,
        """
    link = Order.tags.through.objects
    told(link.create, order_id=1, tag=Tag.objects.create())
    told(Elsewhere.objects.create)
    told(connection.cursor().execute, "INSERT INTO legacy (code) VALUES ('b')")
    told(connection.cursor().execute, "INSERT INTO legacy (id, code) VALUES (7, 'a')")
    """,
    )
    assert by_many[0][0].endswith("This mends it: python manage.py resetsequences shop.Order")
    assert "numbers shop.Order_tags.id (shop_order_tags_id_seq" in by_many[0][0]
    assert by_schema[0][0].endswith("python manage.py resetsequences shop.Elsewhere")
    assert "was behind the rows of crm.else where." in by_schema[0][0]
    assert by_serial == (
        [
            "restorehooks: Either a sequence is behind or the data really are duplicated"
            ' (constraint "legacy_pkey" of table public.legacy). This shows which: python'
            " manage.py explainduplicate legacy_pkey"
        ],
        [],
    )
    assert by_code[0][0].startswith("restorehooks: No sequence is to blame")


def test_a_name_that_looks_like_an_option_is_none(shop: Project, database: Database) -> None:
    """A command in a note is to be copied: ``--pythonpath`` in it would choose what is run."""
    database.execute(
        """
        CREATE TABLE legacy (id serial CONSTRAINT "--settings=evil" PRIMARY KEY);
        INSERT INTO legacy VALUES (1);
        CREATE SCHEMA "--pythonpath=evil"; CREATE TABLE "--pythonpath=evil".t (LIKE legacy);
        CREATE SEQUENCE "--pythonpath=evil".s OWNED BY "--pythonpath=evil".t.id;
        ALTER TABLE "--pythonpath=evil".t ADD PRIMARY KEY (id),
            ALTER id SET DEFAULT nextval('"--pythonpath=evil".s');
        INSERT INTO "--pythonpath=evil".t VALUES (1)
        """
    )
    code = """
    def insert():
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO legacy SELECT 1")
    told(insert)
    """
    (((note,), _),) = run(shop, f"from django.db import connection\n{code}")
    command = shlex.split(note.rpartition("This shows which: python ")[2])
    assert command[-2:] == ["--", "--settings=evil"]
    assert "is on id of public.legacy" in shop.run([sys.executable, *command]).stdout

    said = shop.manage("explainduplicate", "--", "--pythonpath=evil.t_pkey").stdout
    command = shlex.split(said.rpartition("$ python ")[2])
    assert '"--pythonpath=evil".s' in shop.run([sys.executable, *command]).stdout


def test_a_model_s_shard(shop: Project, database: Database) -> None:
    """A violation as Citus passes it on: without the server's fields, with the shard's name."""
    database.execute(
        """
        CREATE FUNCTION as_citus() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE unique_violation USING DETAIL = 'Key (id)=(1) already exists.',
                MESSAGE = 'duplicate key violates unique constraint "shop_order_pkey_102008"';
        END $$;
        CREATE TRIGGER as_citus BEFORE INSERT ON shop_order
            FOR EACH ROW EXECUTE FUNCTION as_citus()
        """
    )
    behind, by_hand = run(shop, "told(Order.objects.create)\n    told(Order.objects.create, id=1)")
    assert behind == ([BEHIND.replace("public.shop_order", "shop_order")], ["WARNING"])
    assert by_hand[0][0].startswith("restorehooks: The statement itself set id: no sequence")
    assert by_hand[0][0].endswith('is there already (constraint "shop_order_pkey").')


def test_no_query_is_run_and_the_exception_is_the_same(shop: Project) -> None:
    out = shop.shell(
        """
        from django.db import IntegrityError, connection
        from django.test.utils import CaptureQueriesContext
        import psycopg
        from shop.models import Order
        with CaptureQueriesContext(connection) as queries:
            try:
                Order.objects.create()
            except IntegrityError as error:
                assert type(error) is IntegrityError
                assert type(error.__cause__) is psycopg.errors.UniqueViolation
                assert error.__context__ is error.__cause__
                print(error.args[0])
        print(len(queries))
        """
    )
    said = 'duplicate key value violates unique constraint "shop_order_pkey"'
    assert out == f"{said}\nDETAIL:  Key (id)=(1) already exists.\n1\n"


def test_a_role_that_may_not_see_the_key(shop: Project, database: Database) -> None:
    """PostgreSQL leaves the DETAIL out; the model knows what the constraint is on."""
    role = database.role("blind")
    database.execute(
        sql.SQL(
            "GRANT INSERT ON shop_order, shop_seat TO {0};"
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {0};"
            "INSERT INTO shop_seat VALUES (9, 1, 2)"
        ).format(sql.Identifier(role))
    )
    databases = {"default": {**shop.databases["default"], "USER": role}}
    settings(shop, DATABASES=databases)
    insert = "INSERT INTO shop_order (name) VALUES ('')"
    order, seat = run(
        shop,
        f"""
    told(connection.cursor().execute, "{insert}")
    insert = 'INSERT INTO shop_seat ("row", "Place no") VALUES (1, 2)'
    told(connection.cursor().execute, insert)
    """,
    )
    assert order == ([BEHIND], ["WARNING"])
    assert "No sequence is to blame" in seat[0][0]
    assert "the same row, place is there" in seat[0][0]


def test_another_alias_another_thread_and_a_pool(
    shop: Project, database: Database, other_database: Database
) -> None:
    pooled = {**database.settings, "OPTIONS": {"pool": {"min_size": 1, "max_size": 2}}}
    settings(shop, DATABASES={"default": pooled, "other": other_database.settings})
    other_database.execute("CREATE SCHEMA crm")
    here, there, elsewhere = run(
        shop,
        """
    from threading import Thread
    call_command("migrate", database="other", run_syncdb=True, verbosity=0)
    connections["other"].cursor().execute("INSERT INTO shop_order VALUES (1, '')")
    told(Order.objects.create)
    told(Order.objects.using("other").create)
    Order.objects.create()
    connection.cursor().execute("ALTER SEQUENCE shop_order_id_seq RESTART")
    thread = Thread(target=lambda: (told(Order.objects.create), connections.close_all()))
    thread.start(); thread.join()
    connections.close_all(); connection.close_pool()
    """,
    )
    assert here == elsewhere == ([BEHIND], ["WARNING"])
    assert there == ([f"{BEHIND} --database other"], ["WARNING"])


def test_switched_off(shop: Project) -> None:
    settings(shop, RESTOREHOOKS={"EXPLAIN_DUPLICATES": False})
    code = "told(Order.objects.create)\nassert connection.execute_wrappers == []"
    assert run(shop, code) == [([], [])]


def test_a_wrong_setting_hides_no_violation(shop: Project) -> None:
    settings(shop, RESTOREHOOKS={"EXPLAIN_DUPLICATES": "yes"})
    assert run(shop, "told(Order.objects.create)") == [([], [])]


def test_wrappers_of_others_are_left_as_they_are(database: Database) -> None:
    connection = connections["default"]
    assert connection.connection is None

    def own(execute: Any, *arguments: Any) -> Any:
        return execute(*arguments)

    with connection.execute_wrapper(own):
        connection.ensure_connection()  # ours comes while theirs is there
        assert connection.execute_wrappers == [explained, own]
    assert connection.execute_wrappers == [explained]
    connection.close()
    connection.ensure_connection()
    assert connection.execute_wrappers == [explained]


def test_what_goes_wrong_while_explaining_stays_out_of_the_way(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise LookupError("on purpose")

    monkeypatch.setattr("restorehooks.duplicates.note.model_of", broken)
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    with connections["default"].cursor() as cursor, pytest.raises(IntegrityError, match="t_pkey"):
        cursor.execute("INSERT INTO t VALUES (1)")
    assert caplog.messages == ["A unique violation could not be explained"]


def test_other_integrity_errors_are_left_alone(database: Database) -> None:
    database.execute("CREATE TABLE t (id int NOT NULL CHECK (id > 0))")
    for value in ("NULL", "-1"):
        with (
            connections["default"].cursor() as cursor,
            pytest.raises(IntegrityError) as caught,
        ):
            cursor.execute(f"INSERT INTO t VALUES ({value})")
        assert not hasattr(caught.value, "__notes__")


DEBIAN = Path("/usr/lib/postgresql/15/bin")
LOCALES = Path("/usr/share/locale")


@pytest.mark.parametrize("language", ["de", "es", "fr", "ja", "ru", "zh_CN"])
def test_a_server_that_speaks_another_language(
    make_server: Any, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    if not (LOCALES / language / "LC_MESSAGES" / "postgres-15.mo").exists() or not DEBIAN.exists():
        pytest.skip("no server here speaks it")
    monkeypatch.setenv("LANGUAGE", language)  # gettext's, which C.UTF-8 lets through
    server: RunningServer = make_server(bindir=DEBIAN)
    with server.connect() as connection:
        connection.execute("SET lc_messages = 'C.UTF-8'")
        connection.execute('CREATE TABLE t (id int, "B c" text, UNIQUE (id, "B c"))')
        connection.execute("INSERT INTO t VALUES (1, 'x')")
        with pytest.raises(Exception, match="t_id_B c_key") as caught:
            connection.execute("INSERT INTO t VALUES (1, 'x')")
    detail = caught.value.diag.message_detail  # type: ignore[attr-defined]
    if "already exists" in detail:
        pytest.skip("this server has only English")
    assert parse_key(detail) == DuplicateKey(("id", "B c"), "1, x")


KEYS = {
    "Key (id)=(1) already exists.": (("id",), "1"),
    "Schlüssel »(id, name)=(1, x)« existiert bereits.": (("id", "name"), "1, x"),
    "La clé « (id)=(1) » existe déjà.": (("id",), "1"),
    'Ключ "(id)=(1)" уже существует.': (("id",), "1"),
    "キー (id)=(1) はすでに存在します。": (("id",), "1"),
    '键值"(id)=(1)" 已经存在': (("id",), "1"),
    'Key ("a, ""b"")=(")=(x) already exists.': (('a, "b")=(',), "x"),
    "Key (lower(email::text), b)=(a@b, 2) already exists.": (("lower(email::text)", "b"), "a@b, 2"),
    "Key ((a || ')=('::text))=(x)=(y) already exists.": (("(a || ')=('::text)",), "x)=(y"),
    "Key (a)=(it's (really) odd) is duplicated.": (("a",), "it's (really) odd"),
    '"Key (id)=(1) already exists.",,,"INSERT INTO t (id) VALUES (1)"': (("id",), "1"),
}


@pytest.mark.parametrize("message", KEYS)
def test_the_key_in_a_message(message: str) -> None:
    assert parse_key(message) == DuplicateKey(*KEYS[message])


@pytest.mark.parametrize("message", ["", "no key", "(a)=", "((a)=(b)", "f(x) (y"])
def test_no_key_in_a_message(message: str) -> None:
    found = parse_key(message)
    assert found is None or found.columns == ("a",)


STATEMENTS: list[tuple[object, bool | None]] = [
    ('INSERT INTO "t" ("name") VALUES (%s) RETURNING "t"."id"', False),
    ('INSERT INTO "t" ("id", "name") VALUES (%s, %s)', True),
    ("insert into public.t (ID) select 1", True),
    ('INSERT INTO "s"."t" AS x ("name") VALUES (1)', False),
    ("INSERT INTO t (id) VALUES (DEFAULT)", None),
    ("INSERT INTO t (id) SELECT nextval('s')", None),
    ("INSERT INTO t VALUES (1)", None),
    ("INSERT INTO t DEFAULT VALUES", None),
    ("INSERT INTO other (name) VALUES (1)", None),
    ('UPDATE "t" SET "id" = 1', True),
    ("UPDATE other SET id = 1", None),
    ("WITH x AS (SELECT 1) INSERT INTO t (id) SELECT 1", None),
    (sql.SQL("INSERT INTO t (id) VALUES (1)"), True),
    (sql.SQL("INSERT INTO {} (name) VALUES (1)").format(sql.Identifier("t")), False),
    (b"INSERT INTO t (id) VALUES (1)", True),
    (42, None),
]


@pytest.mark.parametrize(("statement", "gives"), STATEMENTS)
def test_whether_a_statement_gives_the_id_itself(statement: object, gives: bool | None) -> None:
    assert gives_value(statement, "t", "id") is gives


@pytest.mark.skipif(sys.version_info < (3, 14), reason="t-strings are there from Python 3.14 on")
@pytest.mark.parametrize(
    ("statement", "gives"),
    [
        ('t"INSERT INTO t (id, name) VALUES ({number}, {name})"', True),
        ('t"INSERT INTO {table:i} ({column:i}) VALUES ({number})"', True),
        ('t"INSERT INTO t (name) VALUES ({name})"', False),
        ('t"{insert:q} (id) VALUES ({number:l})"', True),
    ],
)
def test_a_t_string_is_a_statement_too(database: Database, statement: str, gives: bool) -> None:
    database.execute("CREATE TABLE t (id serial PRIMARY KEY, name text)")
    database.execute("INSERT INTO t SELECT n FROM generate_series(1, 7) n")
    words = {"number": 7, "name": "x", "table": "t", "column": "id"}
    words["insert"] = eval('t"INSERT INTO t"')
    template = eval(statement, words)
    with pytest.raises(IntegrityError) as caught, connections["default"].cursor() as cursor:
        cursor.execute(template)
    assert gives_value(template, "t", "id") is gives
    (note,) = caught.value.__notes__
    assert ("No sequence is to blame" in note) is gives
