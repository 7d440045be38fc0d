"""The hooks in migrate and flush, through the real commands."""

from __future__ import annotations

import pytest

from tests.support.databases import Database
from tests.support.locks import lock_waits
from tests.support.projects import Project
from tests.support.sequences import said, set_back, upcoming

DJANGO = ["django.contrib.auth", "django.contrib.contenttypes"]
KEPT_BY_DJANGO = ["django_migrations", "django_content_type", "auth_permission"]
SHOP = "class Order(models.Model):\n    name = models.CharField(max_length=9)\n"
INITIAL = """
    from django.db import migrations, models

    class Migration(migrations.Migration):
        initial = True
        operations = [
            migrations.CreateModel("Order", [
                ("id", models.BigAutoField(
                    auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=9)),
            ]),
        ]
"""
OFF = {"PRE_MIGRATE": False, "POST_MIGRATE": False}


@pytest.fixture
def shop(project: Project) -> Project:
    """A migrated project with one app of its own."""
    project.app("shop", models=SHOP, migrations={"0001_initial": INITIAL})
    project.settings(INSTALLED_APPS=[*DJANGO, "restorehooks", "shop"])
    project.manage("migrate")
    return project


INVOICE = """
    from django.db import migrations, models

    class Migration(migrations.Migration):
        dependencies = [("shop", "0001_initial")]
        operations = [
            migrations.CreateModel("Invoice", [
                ("id", models.BigAutoField(
                    auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ]),
        ]
"""


def add_model(project: Project) -> None:
    """Add a model, whose migration needs a number in each of Django's own tables."""
    models = project.folder / "shop" / "models.py"
    models.write_text(f"{models.read_text()}\nclass Invoice(models.Model):\n    pass\n")
    project.write("shop/migrations/0002_invoice.py", INVOICE)


def settings(project: Project, **options: object) -> None:
    project.settings(INSTALLED_APPS=[*DJANGO, "restorehooks", "shop"], RESTOREHOOKS=options)


def create_order(project: Project) -> int:
    code = "from shop.models import Order; print(Order.objects.create(name='x').pk)"
    return int(project.shell(code))


@pytest.mark.parametrize("table", KEPT_BY_DJANGO)
def test_migrate_dies_on_a_restored_database_without_us_and_not_with_us(
    shop: Project, database: Database, table: str
) -> None:
    add_model(shop)
    set_back(database, table)
    settings(shop, **OFF)
    died = shop.manage("migrate", check=False)
    assert died.returncode != 0
    assert f'duplicate key value violates unique constraint "{table}_pkey"' in died.stderr

    settings(shop)
    set_back(database, *KEPT_BY_DJANGO)
    done = shop.manage("migrate")
    (line,) = said(done.stdout)
    assert line.startswith('restorehooks: In database "default", moved 3 of ')
    assert all(f"public.{each}_id_seq to " in line for each in KEPT_BY_DJANGO)
    assert done.stderr == ""


def test_rows_by_plain_sql_and_what_is_said_of_them(shop: Project, database: Database) -> None:
    database.execute("INSERT INTO shop_order (id, name) VALUES (1, 'a'), (7, 'b')")
    silent = shop.manage("migrate", "-v0")
    assert silent.stdout == silent.stderr == ""
    assert upcoming(database, "shop_order") == 8
    assert create_order(shop) == 8

    assert said(shop.manage("migrate").stdout) == []
    (before, after) = said(shop.manage("migrate", "-v2").stdout)
    assert before == after == 'restorehooks: Database "default": 9 sequences: 9 ok.'

    set_back(database, "shop_order")
    (line,) = said(shop.manage("migrate").stdout)
    assert line == (
        'restorehooks: In database "default", moved 1 of 9 sequences past their rows:'
        " public.shop_order_id_seq to 9."
    )

    set_back(database, "shop_order")
    settings(shop, PRE_MIGRATE=False)
    assert len(said(shop.manage("migrate", "-v2").stdout)) == 1
    assert upcoming(database, "shop_order") == 9

    set_back(database, "shop_order")
    settings(shop, **OFF)
    assert said(shop.manage("migrate", "-v2").stdout) == []
    assert upcoming(database, "shop_order") == 1


def test_an_integer_that_becomes_automatic(project: Project, database: Database) -> None:
    header = "from django.db import migrations, models\n\nclass Migration(migrations.Migration):\n"
    first = f"""{header}
    initial = True
    operations = [
        migrations.CreateModel("Thing", [("id", models.IntegerField(primary_key=True))]),
        migrations.RunSQL("INSERT INTO things_thing VALUES (1), (2), (40)", ""),
    ]
"""
    second = f"""{header}
    dependencies = [("things", "0001_initial")]
    operations = [migrations.AlterField("Thing", "id", models.AutoField(primary_key=True))]
"""
    project.app(
        "things",
        models="class Thing(models.Model):\n    id = models.AutoField(primary_key=True)\n",
        migrations={"0001_initial": first, "0002_automatic": second},
    )
    create = "from things.models import Thing; print(Thing.objects.create().pk)"
    project.settings(INSTALLED_APPS=["restorehooks", "things"], RESTOREHOOKS=OFF)
    project.manage("migrate")
    with pytest.raises(AssertionError, match='unique constraint "things_thing_pkey"'):
        project.shell(create)

    project.manage("migrate", "things", "zero")
    project.settings(INSTALLED_APPS=["restorehooks", "things"])
    project.manage("migrate")
    assert project.shell(create) == "41\n"


SEED_APP = """
    from django.apps import AppConfig
    from django.db.models.signals import post_migrate


    def seed(sender, using, **kwargs):
        from {label}.models import Place
        Place.objects.using(using).get_or_create(pk=1)


    class Config(AppConfig):
        name = "{label}"

        def ready(self):
            post_migrate.connect(seed, sender={sender})
"""
PLACES = "from places.models import Place; print(Place.objects.create().pk)"


def seeding_app(project: Project, sender: str = "self") -> None:
    project.app("places", models="class Place(models.Model):\n    pass\n")
    project.write("places/apps.py", SEED_APP.format(label="places", sender=sender))
    project.app("empty")
    (project.folder / "empty" / "models.py").unlink()


@pytest.mark.parametrize(
    ("apps", "sender"),
    [
        (["restorehooks", *DJANGO, "empty", "places.apps.Config"], "None"),
        ([*DJANGO, "restorehooks", "places.apps.Config", "empty"], "self"),
        (["restorehooks", "places.apps.Config"], "self"),
        (["places.apps.Config", "empty", "restorehooks"], "self"),
    ],
    ids=["first", "middle", "one app", "last"],
)
def test_another_receiver_that_inserts_comes_before_ours(
    project: Project, apps: list[str], sender: str
) -> None:
    seeding_app(project, sender)
    project.settings(INSTALLED_APPS=apps, MIGRATION_MODULES={"places": None})
    done = project.manage("migrate", "--run-syncdb", "-v2")
    assert len(said(done.stdout)) == 2  # once before, once after
    assert project.shell(PLACES) == "2\n"

    flushed = project.manage("flush", "--no-input", "-v2")
    assert len(said(flushed.stdout)) == 1
    assert project.shell(PLACES) == "2\n"


def test_a_receiver_connected_in_the_middle_of_a_run(project: Project) -> None:
    seeding_app(project)
    project.settings(
        INSTALLED_APPS=["restorehooks", "places.apps.Config", *DJANGO],
        MIGRATION_MODULES={"places": None},
    )
    made = project.shell(
        f"""
        from django.core.management import call_command
        from django.db.models.signals import pre_migrate, post_migrate
        from places.models import Place

        def more(sender, **kwargs):
            if sender.label == "contenttypes":
                Place.objects.get_or_create(pk=2)

        def late(**kwargs):
            post_migrate.connect(more)

        pre_migrate.connect(late)
        call_command("migrate", run_syncdb=True, verbosity=0)
        {PLACES}
        """
    )
    assert made == "3\n"


def test_a_new_database_and_tables_that_are_not_there_yet(
    project: Project, database: Database
) -> None:
    project.app("shop", models=SHOP)
    project.settings(INSTALLED_APPS=["restorehooks", *DJANGO, "shop"])
    project.manage("makemigrations", "shop")
    for command in (["migrate", "contenttypes"], ["migrate"]):
        done = project.manage(*command)
        assert said(done.stdout) == []
        assert done.stderr == ""
    database.execute("ALTER TABLE shop_order RENAME TO elsewhere")
    assert said(project.manage("migrate").stdout) == []


def test_what_changes_nothing_changes_no_sequence(shop: Project, database: Database) -> None:
    add_model(shop)
    database.execute("INSERT INTO shop_order (id, name) VALUES (5, 'a')")
    plan = shop.manage("migrate", "--plan")
    pending = shop.manage("migrate", "--check", check=False)
    assert pending.returncode == 1
    assert said(plan.stdout) == said(pending.stdout) == []
    assert upcoming(database, "shop_order") == 1

    shop.manage("migrate", "--fake")
    assert upcoming(database, "shop_order") == 6
    shop.manage("migrate", "shop", "0001", "--fake")
    shop.manage("migrate", "shop")
    set_back(database, "shop_order")
    shop.manage("migrate", "--run-syncdb")
    assert upcoming(database, "shop_order") == 6

    set_back(database, "auth_permission")
    zero = shop.manage("migrate", "shop", "zero")
    assert zero.stderr == ""
    assert len(said(zero.stdout)) == 1
    shop.manage("migrate")
    assert create_order(shop) == 1


def test_run_syncdb_of_an_app_without_migrations(project: Project, database: Database) -> None:
    project.app("shop", models=SHOP)
    (project.folder / "shop" / "migrations" / "__init__.py").unlink()
    (project.folder / "shop" / "migrations").rmdir()
    project.settings(INSTALLED_APPS=["shop", "restorehooks"])
    project.manage("migrate", "--run-syncdb")
    database.execute("INSERT INTO shop_order (id, name) VALUES (5, 'a')")
    project.manage("migrate", "--run-syncdb")
    assert create_order(project) == 6


def test_sites(project: Project) -> None:
    project.settings(INSTALLED_APPS=["restorehooks", *DJANGO, "django.contrib.sites"], SITE_ID=3)
    create = (
        "from django.contrib.sites.models import Site;"
        "print(Site.objects.create(domain='b', name='b').pk)"
    )
    project.manage("migrate")
    assert project.shell(create) == "4\n"
    flushed = project.manage("flush", "--no-input")
    assert flushed.stderr == ""
    assert project.shell(create) == "4\n"


def test_a_role_without_privileges_is_told_and_migrate_goes_on(
    shop: Project, database: Database
) -> None:
    database.execute("INSERT INTO shop_order (id, name) VALUES (5, 'a')")
    role = database.role("reader")
    database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    shop.databases["default"] |= {"USER": role}
    settings(shop)
    done = shop.manage("migrate")
    lines = said(done.stdout)
    assert len(lines) == 2, "one before and one after: the reason is the same for all"
    assert all("is unverified: no SELECT privilege on sequence public.auth_" in e for e in lines)
    assert all("; for the same reason so are public." in line for line in lines)
    assert all("public.shop_order_id_seq" in line for line in lines)
    assert done.stderr == ""

    database.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}")
    lines = said(shop.manage("migrate", "-v0").stdout)
    assert lines
    assert all(
        line == 'restorehooks: In database "default", sequence public.shop_order_id_seq is failed:'
        " no UPDATE privilege: GRANT UPDATE ON SEQUENCE public.shop_order_id_seq to this role."
        for line in lines
    )


def test_a_locked_table_costs_the_timeout_and_the_others_are_done(
    shop: Project, database: Database
) -> None:
    settings(shop, LOCK_TIMEOUT=0.3)
    database.execute("INSERT INTO shop_order (id, name) VALUES (5, 'a')")
    set_back(database, "auth_permission")
    with database.connect(autocommit=False) as other, lock_waits(database) as waits:
        other.execute("LOCK TABLE shop_order IN ACCESS EXCLUSIVE MODE")
        done = shop.manage("migrate")
    assert 0.3 < waits.seconds < 2 * 0.3 + 1
    moved, *failed = said(done.stdout)
    assert "moved 1 of 9 sequences past their rows: public.auth_permission_id_seq to 21." in moved
    assert failed == 2 * [
        'restorehooks: In database "default", sequence public.shop_order_id_seq is failed:'
        " public.shop_order.id: canceling statement due to lock timeout."
    ]
    assert upcoming(database, "shop_order") == 1


def test_a_wrong_setting_at_run_time_is_told_and_migrate_goes_on(shop: Project) -> None:
    settings(shop, LOCK_TIMEOUT="soon")
    done = shop.manage("migrate", "--skip-checks")
    assert said(done.stdout) == 2 * [
        'restorehooks: The sequences of database "default" were not checked:'
        " RESTOREHOOKS['LOCK_TIMEOUT'] must be a number of seconds above 0, up to 24 days,"
        " not 'soon'."
    ]


def test_an_exhausted_sequence_is_told_and_migrate_goes_on(
    shop: Project, database: Database
) -> None:
    database.execute("ALTER SEQUENCE shop_order_id_seq MAXVALUE 7")
    database.execute("INSERT INTO shop_order (id, name) VALUES (7, 'a')")
    done = shop.manage("migrate", "-v0")
    assert said(done.stdout) == 2 * [
        'restorehooks: In database "default", sequence public.shop_order_id_seq is exhausted:'
        " the next number would be 8, past 7; remedy: ALTER SEQUENCE public.shop_order_id_seq"
        " NO MAXVALUE."
    ]


def test_a_large_column_that_no_index_leads_is_left_to_the_command(
    shop: Project, database: Database
) -> None:
    settings(shop, SCAN_LIMIT=0.1)
    database.execute(
        "INSERT INTO shop_order (id, name) SELECT g, 'x' FROM generate_series(1, 5000) g;"
        "ALTER TABLE shop_order DROP CONSTRAINT shop_order_pkey"
    )
    (before, after) = said(shop.manage("migrate").stdout)
    assert before == after
    assert "is unverified: no index leads with public.shop_order.id, in a table of 0 MiB" in before
    assert upcoming(database, "shop_order") == 1
    shop.manage("resetsequences")
    assert upcoming(database, "shop_order") == 5001


def test_messages_go_where_the_caller_of_migrate_sends_them(
    shop: Project, database: Database
) -> None:
    database.execute("INSERT INTO shop_order (id, name) VALUES (5, 'a')")
    printed = shop.shell(
        """
        from io import StringIO
        from django.core.management import call_command
        out = StringIO()
        call_command("migrate", stdout=out)
        assert "restorehooks: In database" in out.getvalue(), out.getvalue()
        """
    )
    assert printed == ""


COUNT = """
    from django.core.management import call_command
    from django.db import connection
    from django.test.utils import override_settings

    def queries(command, **hooks):
        seen = []
        def count(execute, *args):
            seen.append(1)
            return execute(*args)
        with override_settings(RESTOREHOOKS=hooks), connection.execute_wrapper(count):
            call_command(command, verbosity=0, interactive=False)
        return len(seen)

    connection.ensure_connection()
    queries("migrate"), queries("flush")  # whatever is asked once in a process
    for command in ("migrate", "flush"):
        print(queries(command) - queries(command, PRE_MIGRATE=False, POST_MIGRATE=False))
"""


def test_the_hooks_cost_the_same_few_queries_for_any_number_of_models(project: Project) -> None:
    project.app("many", models="".join(f"class M{n}(models.Model):\n    pass\n" for n in range(60)))
    project.settings(
        INSTALLED_APPS=[*DJANGO, "restorehooks", "many"], MIGRATION_MODULES={"many": None}
    )
    project.manage("migrate", "--run-syncdb")
    migrate, flush = (int(line) for line in project.shell(COUNT).split())
    assert flush == 2
    # One proves that nothing has been written since, where no autovacuum was at work in between.
    assert migrate in (flush + 1, flush + 1 + flush)


def test_where_all_is_fine_neither_the_engine_nor_what_prints_is_imported(shop: Project) -> None:
    printed = shop.shell(
        """
        import sys
        from django.core.management import call_command
        call_command("check", verbosity=0)
        call_command("migrate", verbosity=0)
        call_command("flush", verbosity=0, interactive=False)
        seldom = ("rich", "restorehooks.api", "restorehooks.announce", "restorehooks.restore",
                  "restorehooks.sequences.repair", "restorehooks.duplicates.note")
        print([name for name in seldom if name in sys.modules])
        """
    )
    assert printed.splitlines()[-1] == "[]"


def test_a_signal_that_names_no_database_means_the_default_one(
    shop: Project, database: Database
) -> None:
    for signal in ("pre_migrate", "post_migrate"):
        set_back(database, "shop_order")
        database.execute("INSERT INTO shop_order (id, name) VALUES (3, 'c') ON CONFLICT DO NOTHING")
        shop.shell(
            f"""
            from django.apps import apps
            from django.db.models.signals import {signal}

            for config in apps.get_app_configs():
                if config.models_module is not None:
                    {signal}.send(sender=config, app_config=config, verbosity=0)
            """
        )
        assert upcoming(database, "shop_order") == 4
