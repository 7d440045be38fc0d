"""Projects without psycopg 3, on psycopg2, or on an older Django stay as they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.projects import Project

NO_PSYCOPG = "import sys; sys.modules['psycopg'] = None"
NO_DRIVER = f"{NO_PSYCOPG}; sys.modules['psycopg2'] = None"
NO_LIBPQ = """
    import sys
    class NoLibpq:
        def find_spec(self, name, path=None, target=None):
            if name == "psycopg":
                raise ImportError("no pq wrapper available.\\nAttempts made:\\n- none")
    sys.meta_path.insert(0, NoLibpq())
    sys.modules["psycopg2"] = None
"""
INSTALL = 'pip install "django-restorehooks[binary]"'
WITH_ADMIN = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "restorehooks",
    "shop",
]
ADMIN = """
    ROOT_URLCONF = "urls"
    MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    TEMPLATES = [{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]},
    }]
"""
ORDER = '[{"model": "shop.order", "pk": 7, "fields": {}}]'
OPEN_THE_ADMIN = """
from django.contrib.auth.models import User
from django.test import Client
from restorehooks import inspect_sequences, reset_sequences_after
from restorehooks.operations import ResetSequences
from shop.models import Order
with reset_sequences_after(Order):
    Order.objects.create(pk=50)
client = Client(headers={"host": "localhost"})
client.force_login(User.objects.create_superuser("a", "a@example.org", "a"))
print(client.get("/admin/").status_code, len(inspect_sequences(Order).entries))
"""
OVER_TWO_CONNECTIONS = """
from threading import Event
from django.db import connection
from django.db.backends.signals import connection_created
from restorehooks import reset_sequences
from restorehooks.sequences import other_connections
other_connections.MANY, other_connections.LOCKS = 0, 4
helper_reads, used = Event(), set()
def wait(execute, statement, params, many, context):
    used.add(id(context["connection"]))
    if "ORDER BY id" in statement:
        assert helper_reads.wait(20)
    return execute(statement, params, many, context)
def read(execute, statement, *rest):
    if "ORDER BY id" in statement:
        helper_reads.set()
    return execute(statement, *rest)
def watch(connection, **kwargs):
    used.add(id(connection))
    connection.execute_wrappers.append(read)
connection.ensure_connection()
connection_created.connect(watch)
with connection.execute_wrapper(wait):
    fine = reset_sequences().is_fine
print(len(used), fine)
"""

DRIVER = "from django.db.backends.postgresql.psycopg_any import is_psycopg3; print(is_psycopg3)"
RUN = """
import contextlib, io, json, sys, traceback
from django.core.management import execute_from_command_line
results = []
for argv in json.loads(sys.stdin.read()):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if argv[0] == "python":
                exec(argv[1])
            else:
                execute_from_command_line(["manage.py", *argv])
        except SystemExit as ended:
            code = ended.code or 0
        except Exception:
            code = 1
            traceback.print_exc()
    results.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(results))
"""
Results = list[tuple[int, str, str]]


def run(project: Project, startup: str, *commands: list[str], **settings: Any) -> Results:
    """Run commands of manage.py in one process that begins with these lines.

    Return the exit code, stdout and stderr of each.
    """
    project.write("sitecustomize.py", startup)
    project.write(
        "urls.py",
        """
        from django.contrib import admin
        from django.urls import path
        urlpatterns = [path("admin/", admin.site.urls)]
        """,
    )
    project.app("shop", models="class Order(models.Model): pass")
    project.write("shop/fixtures/order.json", ORDER)
    project.settings(
        ADMIN,
        INSTALLED_APPS=WITH_ADMIN,
        ALLOWED_HOSTS=["*"],
        MIGRATION_MODULES={label.rpartition(".")[2]: None for label in WITH_ADMIN},
        **settings,
    )
    done = project.run(
        [sys.executable, "-c", f"import manage, django; django.setup()\n{RUN}"],
        stdin=json.dumps(commands),
        env={"PYTHONPATH": str(project.folder)},
    )
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


@pytest.mark.parametrize("argument", ["--version", "restore-script", "--help"])
def test_what_needs_no_other_package(project: Project, argument: str) -> None:
    alone = "import sys; sys.modules.update(dict.fromkeys(['django', 'psycopg', 'rich']))"
    code = f"{alone}; from restorehooks.__main__ import main; sys.exit(main([{argument!r}]))"
    done = project.run([sys.executable, "-c", code], check=False)
    if argument == "--help":
        assert done.returncode == 2
        assert done.stderr.startswith("The Python package django is missing. Install it with: pip ")
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(("restorehooks ", "#!/bin/sh"))


@pytest.mark.parametrize(
    ("startup", "problem"),
    [
        (NO_DRIVER, "psycopg 3 is not installed."),
        (NO_LIBPQ, "psycopg 3 cannot be used: no pq wrapper available."),
    ],
)
def test_a_project_on_sqlite_notices_nothing(
    project: Project, tmp_path: Path, startup: str, problem: str
) -> None:
    project.databases = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    }
    fine = [
        ["check"],
        ["migrate", "--run-syncdb"],
        ["loaddata", "order"],
        ["flush", "--no-input"],
        ["python", OPEN_THE_ADMIN],
    ]
    need_psycopg = [["restoredb", "x.dump"], ["dumpdb", "--help"], ["help", "restoredb"]]
    need_postgresql = [["resetsequences"], ["explainduplicate", "x"]]
    results = run(project, startup, *fine, *need_psycopg, *need_postgresql)
    check, migrate, loaddata, flush, admin, *others = results
    assert check == (0, "System check identified no issues (0 silenced).\n", "")
    assert (migrate[0], "restorehooks:" in migrate[1], migrate[2]) == (0, False, "")
    assert loaddata == (0, "Installed 1 object(s) from 1 fixture(s)\n", "")
    assert flush == (0, "", "")
    assert admin == (0, "200 0\n", "")
    for result in others[:3]:
        assert result == (2, "", f"{problem} Install it with: {INSTALL}\n")
    for code, _, said in others[3:]:
        assert (code, said.strip()) == (
            2,
            'CommandError: Database "default" is on sqlite; restorehooks works on PostgreSQL only.',
        )


def test_a_second_database_on_postgresql_without_a_driver(project: Project, tmp_path: Path) -> None:
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    project.databases = {"default": sqlite, "other": project.databases["default"]}
    ((code, _, said),) = run(project, NO_DRIVER, ["resetsequences", "--database", "other"])
    assert (code, said.strip()) == (
        2,
        'CommandError: Database "other" cannot be used: psycopg 3 is not installed.'
        f" Install it with: {INSTALL}",
    )


def test_a_project_on_psycopg2_stays_there(project: Project, database: Database) -> None:
    pytest.importorskip("psycopg2")
    results = run(
        project,
        NO_PSYCOPG,
        ["migrate", "--run-syncdb"],
        [
            "python",
            "from shop.models import Order; Order.objects.bulk_create([Order(pk=1), Order(pk=2)])",
        ],
        ["resetsequences", "--check"],
        ["resetsequences", "--sql"],
        ["python", "from shop.models import Order; Order.objects.create()"],
        ["explainduplicate", "shop_order_pkey"],
        ["migrate", "--run-syncdb"],
        ["loaddata", "order"],
        ["python", OPEN_THE_ADMIN],
        ["python", OVER_TWO_CONNECTIONS],
        ["check"],
        ["restoredb", "x.dump", "--json"],
        ["python", DRIVER],
    )
    first, _, check, as_sql, duplicate, explained, migrate, loaddata, admin, *rest = results
    assert first[0] == 0
    assert (check[0], "1 behind" in check[1]) == (1, True)
    assert "setval('public.shop_order_id_seq', 3, false)" in as_sql[1]
    if sys.version_info >= (3, 11):  # notes are shown from there on
        assert "python manage.py resetsequences shop.Order" in duplicate[2]
    assert "python manage.py resetsequences" in explained[1]
    assert "moved 1 of" in migrate[1]
    assert "Installed 1 object(s)" in loaddata[1]
    assert admin[:2] == (0, "200 1\n")
    assert database.execute("INSERT INTO shop_order DEFAULT VALUES RETURNING id") == [(51,)]

    two_connections, system_check, restore, driver = rest
    assert two_connections[:2] == (0, "2 True\n")
    assert "?: (restorehooks.I001) restoredb and dumpdb cannot run here: " in system_check[2]
    assert (restore[0], restore[2]) == (
        2,
        "psycopg 3 is not installed. A restore needs it, and Django would use it instead of"
        f" psycopg2: install it in an environment of its own, {INSTALL}, and run restorehooks"
        " there.\n",
    )
    assert json.loads(restore[1])["error"]["message"] == restore[2].strip()
    assert driver[1] == "False\n"


@pytest.mark.parametrize(
    ("startup", "why"),
    [
        (
            "import psycopg; psycopg.__version__ = '3.1.19'",
            "restorehooks needs psycopg 3.2 or later, and this is 3.1.19. Upgrade it with:"
            f" {INSTALL}",
        ),
        (
            "import django; django.VERSION = (4, 2, 16, 'final', 0)",
            "restorehooks needs Django 5.2 or later, and this is Django 4.2.16: upgrade it.",
        ),
    ],
)
def test_what_is_too_old_is_said_and_nothing_is_done(
    project: Project, database: Database, startup: str, why: str
) -> None:
    results = run(
        project,
        startup,
        ["check"],
        ["migrate", "--run-syncdb"],
        ["loaddata", "order"],
        ["restoredb", "x.dump"],
        ["resetsequences"],
    )
    check, migrate, loaddata, restoredb, resetsequences = results
    said = f"?: (restorehooks.W008) The app restorehooks does nothing in this project: {why}"
    assert (check[0], said in check[2]) == (0, True)
    assert (migrate[0], "restorehooks:" in migrate[1]) == (0, False)
    assert loaddata[:2] == (0, "Installed 1 object(s) from 1 fixture(s)\n")
    assert restoredb == (2, "", f"{why}\n")
    assert (resetsequences[0], resetsequences[2].strip()) == (2, f"CommandError: {why}")
