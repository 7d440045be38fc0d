"""``manage.py resetsequences``: what it does, shows and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.sequences import next_of, set_back, upcoming

APPS = ["django.contrib.contenttypes", "restorehooks", "shop", "stock"]
MODELS = """
    class Order(models.Model):
        pass

    class OrderLine(models.Model):
        pass
"""
ODD_SCHEMA = """Sch"e'ma % ü"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A migrated project with two apps."""
    project.app("shop", models=MODELS)
    project.app("stock", models="class Item(models.Model):\n    pass\n")
    project.settings(INSTALLED_APPS=APPS, MIGRATION_MODULES={"shop": None, "stock": None})
    project.manage("migrate", "--run-syncdb")
    return project


def fill(database: Database, *tables: str, last: int = 7) -> None:
    """Put a row into each table, and leave its sequence behind it."""
    for table in tables:
        database.execute(f"TRUNCATE {table}; INSERT INTO {table} (id) VALUES ({last})")
    set_back(database, *tables)


def test_ctrl_c_is_one_word(project: Project) -> None:
    project.app(
        "shop",
        """
        from django.db.backends.signals import connection_created

        def receiver(**kwargs):
            raise KeyboardInterrupt

        connection_created.connect(receiver, weak=False)
        """,
    )
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    for arguments in (["resetsequences"], ["explainduplicate", "shop_pkey"]):
        done = project.manage(*arguments, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_everything_is_repaired_and_what_is_shown(shop: Project, database: Database) -> None:
    database.execute(
        """
        CREATE SCHEMA "Sch""e'ma % ü";
        CREATE TABLE "Sch""e'ma % ü"."T ä" ("I d" serial);
        INSERT INTO "Sch""e'ma % ü"."T ä" VALUES (40);
        CREATE TABLE no_model (id serial);
        CREATE SEQUENCE lonely;
        """
    )
    fill(database, "shop_order", "no_model")
    done = shop.manage("resetsequences")
    heading, *rows, last = done.stdout.splitlines()
    assert heading.split("  ")[0] == "sequence"
    assert [line.split("  ")[0].strip() for line in rows] == [
        '"Sch""e\'ma % ü"."T ä_I d_seq"',
        "public.no_model_id_seq",
        "public.shop_order_id_seq",
    ]
    assert all("advanced" in line for line in rows)
    assert last == 'Database "default": 8 sequences: 5 ok, 3 advanced.'
    assert done.stderr == ""
    assert upcoming(database, "shop_order") == upcoming(database, "no_model") == 8
    assert next_of(database, f'"{ODD_SCHEMA.replace(chr(34), chr(34) * 2)}"."T ä_I d_seq"') == 41

    assert shop.manage("resetsequences").stdout == 'Database "default": 8 sequences: 8 ok.\n'
    quiet = shop.manage("resetsequences", "-v0")
    assert quiet.stdout == quiet.stderr == ""
    assert "\x1b[" in shop.manage("resetsequences", "-v2", "--force-color").stdout
    everything = shop.manage("resetsequences", "--verbosity", "2").stdout.splitlines()
    assert len(everything) == 1 + 8 + 1
    assert "numbers no column" in next(line for line in everything if "lonely" in line)

    fill(database, "shop_order")
    database.execute("""SELECT setval('"Sch""e''ma % ü"."T ä_I d_seq"', 1, false)""")
    done = shop.manage("resetsequences", "--schema", ODD_SCHEMA)
    assert done.stdout.splitlines()[-1] == 'Database "default": 1 sequence: 1 advanced.'
    assert upcoming(database, "shop_order") == 1
    done = shop.manage("resetsequences", "--schema", "public", "--schema", ODD_SCHEMA)
    assert done.stdout.splitlines()[-1] == 'Database "default": 8 sequences: 7 ok, 1 advanced.'


def test_plans_change_nothing(shop: Project, database: Database) -> None:
    fill(database, "shop_order", "stock_item")
    database.execute("SELECT setval('shop_orderline_id_seq', 50)")
    check = shop.manage("resetsequences", "--check", check=False)
    assert check.returncode == 1
    assert check.stdout.splitlines()[-1] == 'Database "default": 5 sequences: 3 ok, 2 behind.'
    quiet = shop.manage("resetsequences", "--check", "-v0", check=False)
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert quiet.stderr.splitlines()[0] == (
        'In database "default", sequence public.shop_order_id_seq is behind:'
        " its rows have passed it."
    )
    dry = shop.manage("resetsequences", "--dry-run")
    assert "should be" in dry.stdout.splitlines()[0]
    assert dry.stdout.splitlines()[-1] == check.stdout.splitlines()[-1]
    rewind = shop.manage("resetsequences", "--dry-run", "--rewind")
    assert "would be rewound to 1" in rewind.stdout
    printed = shop.manage("resetsequences", "--sql")
    assert printed.stderr == ""
    assert upcoming(database, "shop_order") == upcoming(database, "stock_item") == 1
    assert upcoming(database, "shop_orderline") == 51

    database.psql(printed.stdout)
    assert upcoming(database, "shop_order") == upcoming(database, "stock_item") == 8
    assert upcoming(database, "shop_orderline") == 51
    assert database.execute("SELECT nextval('shop_order_id_seq')") == [(8,)]
    database.psql(printed.stdout)
    assert upcoming(database, "shop_order") == 9
    assert shop.manage("resetsequences", "--check").returncode == 0

    printed = shop.manage("resetsequences", "--sql", "--rewind", "--headroom", "5")
    database.psql(printed.stdout)
    assert upcoming(database, "shop_order") == upcoming(database, "stock_item") == 13
    assert upcoming(database, "shop_orderline") == 1


def test_rewind_and_headroom(shop: Project, database: Database) -> None:
    fill(database, "shop_order")
    for _ in range(2):
        shop.manage("resetsequences", "--headroom", "100")
        assert upcoming(database, "shop_order") == 108
    behind = shop.manage("resetsequences", "--check", "--headroom", "101", check=False)
    assert behind.returncode == 1
    assert "ahead" not in shop.manage("resetsequences", "--check").stdout

    database.execute("SELECT setval('shop_orderline_id_seq', 50)")
    done = shop.manage("resetsequences", "shop", "--rewind")
    assert done.stdout.splitlines()[-1] == 'Database "default": 2 sequences: 2 rewound.'
    assert upcoming(database, "shop_order") == 8
    assert upcoming(database, "shop_orderline") == 1
    again = shop.manage("resetsequences", "shop", "--rewind")
    assert again.stdout == 'Database "default": 2 sequences: 2 ok.\n'
    shop.manage("resetsequences", "shop", "--rewind", "--headroom", "3")
    assert upcoming(database, "shop_order") == 11


def test_json(shop: Project, database: Database) -> None:
    fill(database, "shop_order")
    fill(database, "stock_item", last=2**63 - 1)
    done = shop.manage("resetsequences", "--format", "json", check=False)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    (found,) = answer["databases"]
    assert set(found) == {"database", "sequences", "summary"}
    by_name: dict[str, dict[str, Any]] = {each["sequence"]: each for each in found["sequences"]}
    assert by_name["public.shop_order_id_seq"] == {
        "sequence": "public.shop_order_id_seq",
        "columns": ["public.shop_order.id"],
        "status": "advanced",
        "next_before": 1,
        "next_after": 8,
        "extreme": 7,
        "limit": 2**63 - 1,
        "used_percent": 0.0,
        "reason": None,
    }
    assert by_name["public.stock_item_id_seq"]["status"] == "exhausted"
    assert by_name["public.stock_item_id_seq"]["reason"]
    assert found["summary"] == {
        "total": 5,
        "ok": 3,
        "behind": 0,
        "advanced": 1,
        "rewound": 0,
        "exhausted": 1,
        "unverified": 0,
        "failed": 0,
    }
    checked = shop.manage("resetsequences", "--format=json", "--check", "-v0", "shop")
    assert json.loads(checked.stdout)["databases"][0]["summary"]["ok"] == 2


def test_labels(shop: Project, database: Database) -> None:
    def last_line(*arguments: str) -> str:
        return shop.manage("resetsequences", *arguments).stdout.splitlines()[-1]

    fill(database, "shop_order", "shop_orderline", "stock_item")
    assert last_line("shop.order") == 'Database "default": 1 sequence: 1 advanced.'
    assert upcoming(database, "shop_orderline") == 1
    assert last_line("shop.ORDERLINE", "stock") == 'Database "default": 2 sequences: 2 advanced.'
    assert last_line("shop", "shop.Order") == 'Database "default": 2 sequences: 2 ok.'


ONE_AFTER_ANOTHER = """
    import json, sys
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO
    from django.core.management import execute_from_command_line

    for arguments in json.loads({!r}):
        out, errors, code = StringIO(), StringIO(), 0
        with redirect_stdout(out), redirect_stderr(errors):
            try:
                execute_from_command_line(["manage.py", "resetsequences", *arguments])
            except SystemExit as error:
                code = error.code
        print(json.dumps([code, out.getvalue(), errors.getvalue()]))
"""


def test_wrong_usage_is_one_sentence(shop: Project) -> None:
    there = "contenttypes, restorehooks, shop, stock"
    sentences = {
        ("shopp",): f'There is no app "shopp"; installed are: {there}.',
        ("postgres://u:secret@h/shop",): f"There is no such app; installed are: {there}.",
        ("--from", "env:postgres://u:secret@h/shop"): (
            "There is no such variable: it has to hold a URL."
        ),
        ("Shop.Order",): f'There is no app "Shop"; installed are: {there}.',
        ("shop.Oder",): 'App "shop" has no model "Oder"; it has: Order, OrderLine.',
        ("shop.Order.id",): 'App "shop" has no model "Order.id"; it has: Order, OrderLine.',
        ("--database", "replica"): (
            'There is no database "replica" in DATABASES; there are: default.'
        ),
        ("--schema", "publik"): 'Database "default" has no schema "publik"; it has: public.',
        ("--headroom", "-1"): "Argument --headroom: '-1' is not a whole number of at least 0.",
        ("--headroom", "x"): "Argument --headroom: 'x' is not a whole number of at least 0.",
        ("--format", "xml"): "Argument --format: invalid choice: 'xml' (choose from ",
        ("--frobnicate",): "There is no option --frobnicate; --help lists all.",
        ("--chekc",): "There is no option --chekc: did you mean --check? --help lists all.",
        ("--check", "--dry-run"): "Argument --dry-run: not allowed with argument --check.",
        ("--check", "--sql"): "Argument --sql: not allowed with argument --check.",
        ("--sql", "--format", "json"): "Give --sql or --format json, not both.",
        ("--all-databases", "--database", "default"): (
            "Give --database or --all-databases, not both."
        ),
    }
    printed = shop.shell(ONE_AFTER_ANOTHER.format(json.dumps([*sentences]))).splitlines()
    for (arguments, sentence), line in zip(sentences.items(), printed, strict=True):
        code, out, errors = json.loads(line)
        assert (code, out) == (2, ""), arguments
        assert errors.count("\n") == 1
        assert errors.removeprefix("CommandError: ").startswith(sentence)

    shop.settings(INSTALLED_APPS=APPS, RESTOREHOOKS={"LOCK_TIMEOUT": 0})
    done = shop.manage("resetsequences", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "CommandError: RESTOREHOOKS['LOCK_TIMEOUT'] must be a number of seconds above 0,"
        " up to 24 days, not 0.\n"
    )


def test_headroom_larger_than_any_sequence(shop: Project, database: Database) -> None:
    fill(database, "shop_order")
    done = shop.manage("resetsequences", "shop.Order", "--headroom", str(2**64), check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"ask for less headroom than {2**64}" in done.stdout
    assert upcoming(database, "shop_order") == 1


def test_several_databases(project: Project, database: Database, other_database: Database) -> None:
    other = other_database
    lite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(project.folder / "lite")}
    project.databases["lite"] = lite
    project.settings()
    for each in (database, other):
        each.execute("CREATE TABLE t (id serial)")
        fill(each, "t")

    project.manage("resetsequences")
    assert (upcoming(database, "t"), upcoming(other, "t")) == (8, 1)
    done = project.manage("resetsequences", "--database", "other", "--database", "default")
    assert [line for line in done.stdout.splitlines() if line.startswith("Database")] == [
        'Database "other": 1 sequence: 1 advanced.',
        'Database "default": 1 sequence: 1 ok.',
    ]
    assert project.manage("resetsequences", "--all-databases", "-v0").stderr == ""
    on_lite = project.manage("resetsequences", "--database", "lite", check=False)
    assert on_lite.returncode == 2
    assert on_lite.stderr == (
        'CommandError: Database "lite" is on sqlite; restorehooks works on PostgreSQL only.\n'
    )


def test_a_database_that_is_gone_does_not_stop_the_others(
    project: Project, database: Database, make_database: Callable[..., Database]
) -> None:
    other = make_database()
    project.databases |= {
        "gone": database.server.settings("no_such_database"),
        "other": other.settings,
    }
    project.settings()
    for each in (database, other):
        each.execute("CREATE TABLE t (id serial)")
        fill(each, "t")
    done = project.manage("resetsequences", "--all-databases", check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith('CommandError: Database "gone" cannot be asked: ')
    assert (upcoming(database, "t"), upcoming(other, "t")) == (8, 8)
    done = project.manage("resetsequences", "--all-databases", "--format=json", check=False)
    assert [each["database"] for each in json.loads(done.stdout)["databases"]] == [
        "default",
        "other",
    ]
    assert done.returncode == 1
    only = project.manage("resetsequences", "--database", "gone", check=False)
    assert (only.returncode, only.stdout) == (1, "")
    assert only.stderr.startswith('CommandError: Database "gone" cannot be asked: ')
    assert only.stderr.count("\n") == 1


def test_a_label_with_several_databases_where_one_has_no_such_table(
    shop: Project, database: Database, make_database: Callable[..., Database]
) -> None:
    shop.databases["empty"] = make_database().settings
    shop.settings(INSTALLED_APPS=APPS)
    fill(database, "shop_order")
    done = shop.manage("resetsequences", "shop.Order", "--all-databases", check=False)
    assert upcoming(database, "shop_order") == 8
    assert 'There is no table in database "empty" for shop.Order; run migrate first.' in done.stderr
    assert done.returncode == 1
    database.execute("DROP TABLE shop_orderline")
    done = shop.manage("resetsequences", "shop")
    assert done.stderr == 'shop.OrderLine has no table in database "default".\n'


def test_an_engine_whose_driver_is_missing(project: Project) -> None:
    project.databases["legacy"] = {"ENGINE": "django.db.backends.oracle", "NAME": "x"}
    project.settings()
    for option in ("--database=legacy", "--all-databases"):
        done = project.manage("resetsequences", option, check=False)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith('CommandError: Database "legacy" cannot be used: ')
        assert "oracledb" in line


def test_settings_that_name_no_database(project: Project) -> None:
    project.databases["default"]["NAME"] = ""
    project.settings()
    done = project.manage("resetsequences", check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith('CommandError: Database "default" cannot be asked: ')
    assert "NAME" in line


def test_what_cannot_be_verified(shop: Project, database: Database) -> None:
    database.execute("CREATE TABLE no_model (id serial PRIMARY KEY)")
    role = database.role("partly")
    database.execute(
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role};"
        f"REVOKE ALL ON no_model FROM {role}"
    )
    shop.databases["default"] |= {"USER": role}
    shop.settings(INSTALLED_APPS=APPS)
    done = shop.manage("resetsequences")  # no model's table: a warning
    assert "no SELECT privilege on public.no_model.id" in done.stdout
    assert done.stdout.splitlines()[-1] == 'Database "default": 6 sequences: 5 ok, 1 unverified.'
    assert shop.manage("resetsequences", "--check").returncode == 0
    assert shop.manage("resetsequences", "-v0").stderr == ""

    database.execute(f"REVOKE SELECT ON shop_order FROM {role}")
    fill(database, "stock_item")
    done = shop.manage("resetsequences", check=False)
    assert done.returncode == 1
    assert "no SELECT privilege on public.shop_order.id" in done.stdout
    assert upcoming(database, "stock_item") == 8
    for mode in ("--check", "--sql"):
        assert shop.manage("resetsequences", mode, check=False).returncode == 1
    assert shop.manage("resetsequences", "--dry-run").returncode == 0
    assert shop.manage("resetsequences", "stock").returncode == 0
    quiet = shop.manage("resetsequences", "-v0", check=False)
    assert "shop_order_id_seq is unverified" in quiet.stderr


def test_a_read_only_database(shop: Project, database: Database) -> None:
    fill(database, "shop_order")
    shop.databases["default"]["OPTIONS"] = {"options": "-c default_transaction_read_only=on"}
    shop.settings(INSTALLED_APPS=APPS)
    done = shop.manage("resetsequences", check=False)
    assert done.returncode == 1
    assert done.stderr == (
        'Database "default": nothing was changed, since transactions are read-only here.\n'
    )
    assert upcoming(database, "shop_order") == 1
    assert shop.manage("resetsequences", "stock").stderr == ""


def test_an_automatic_field_that_no_sequence_numbers_is_named(
    shop: Project, database: Database
) -> None:
    database.execute("ALTER TABLE shop_order ALTER id DROP IDENTITY")
    done = shop.manage("resetsequences", "shop.Order")
    assert done.stderr == (
        'No sequence numbers shop.Order.id in database "default": an insert has to bring its own'
        " number.\n"
    )
    done = shop.manage("resetsequences", "shop")
    assert "shop.Order.id" in done.stderr
    assert "shop.OrderLine" not in done.stderr


def test_the_model_of_a_detached_partition_is_named(shop: Project, database: Database) -> None:
    """It has lost its identity: NOT NULL, and nothing that numbers it."""
    database.execute(
        "DROP TABLE shop_order CASCADE;"
        "CREATE TABLE kept (id int GENERATED BY DEFAULT AS IDENTITY, k int) PARTITION BY LIST (k);"
        "CREATE TABLE shop_order PARTITION OF kept FOR VALUES IN (1);"
        "INSERT INTO kept VALUES (DEFAULT, 1); ALTER TABLE kept DETACH PARTITION shop_order"
    )
    said = 'No sequence numbers shop.Order.id in database "default"'
    done = shop.manage("resetsequences")
    assert done.stderr == f"{said}: an insert has to bring its own number.\n"
    check = ("check", "--deploy", "--tag", "database", "--database", "default")
    assert f"(restorehooks.W007) {said}" in shop.manage(*check).stderr

    # Whatever else gives it a number is enough.
    database.execute("CREATE SEQUENCE s")
    database.execute("ALTER TABLE shop_order ALTER id SET DEFAULT nextval('s')")
    assert shop.manage("resetsequences").stderr == ""
    assert "W007" not in shop.manage(*check).stderr


TENANTS = """
    from django.db import connections
    from django.db.backends.signals import connection_created

    class Router:
        def allow_migrate(self, db, app_label, **hints):
            return app_label != "shop"

    def tenant(connection, **kwargs):
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = shared")

    connection_created.connect(tenant)
"""


def test_a_model_in_the_schemas_of_tenants(shop: Project, database: Database) -> None:
    database.execute("CREATE SCHEMA shared")
    for schema in ("acme", "globex"):
        database.execute(
            f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.shop_order (id serial PRIMARY KEY);"
            f"INSERT INTO {schema}.shop_order VALUES (7)"
        )
    shop.manage("resetsequences", "--schema", "acme", "shop.Order")
    assert next_of(database, "acme.shop_order_id_seq") == 8
    assert next_of(database, "globex.shop_order_id_seq") == 1

    shop.write("tenants.py", TENANTS)
    shop.write("stock/models.py", "import tenants  # as an app for tenants is loaded early")
    shop.settings(
        INSTALLED_APPS=APPS,
        MIGRATION_MODULES={"shop": None, "stock": None},
        DATABASE_ROUTERS=["tenants.Router"],
    )
    done = shop.manage("resetsequences", "--check", "shop.Order", check=False)
    assert done.returncode == 1
    assert "globex.shop_order_id_seq" in done.stdout
    shop.manage("resetsequences", "shop.Order")
    assert next_of(database, "globex.shop_order_id_seq") == 8
