"""A Django project with the admin, served for real, and people who visit it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from psycopg import sql

from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.servers import RunningServer

PAGE = "/admin/restorehooks/sequence/"
APPS = [
    "restorehooks",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "shop",
]
SETTINGS: dict[str, Any] = {
    "INSTALLED_APPS": APPS,
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "urls.content_security_policy",
        "urls.tenant",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "ROOT_URLCONF": "urls",
    "STATIC_URL": "/static/",
    "DATABASE_ROUTERS": ["urls.Router"],
    "RESTOREHOOKS": {"LOCK_TIMEOUT": 0.5},
    "DEBUG": True,  # serves the static files
}
URLS = """
    from django.contrib import admin
    from django.contrib.admin.models import LogEntry
    from django.db import connection, connections
    from django.urls import path
    from restorehooks.admin import SequenceAdmin
    from restorehooks.models import Sequence

    class OthersOnly(SequenceAdmin):
        def get_aliases(self, request):
            return ["other"]

    second = admin.AdminSite("second")
    second.register(Sequence, OthersOnly)
    urlpatterns = [path("admin/", admin.site.urls), path("second/", second.urls)]

    class Router:
        def allow_migrate(self, db, app_label, **hints):
            return db == "default" or app_label == "shop"

    class EverySchema(SequenceAdmin):
        def get_schemas(self, request):
            return None

    third = admin.AdminSite("third")
    third.register(Sequence, EverySchema)
    urlpatterns.append(path("third/", third.urls))

    def tenant(get_response):
        # As the packages for tenants do it.
        def respond(request):
            request.GET = request.GET.copy()
            schema = request.GET.pop("tenant", [None])[0]
            if schema:
                with connection.cursor() as cursor:
                    cursor.execute("SET search_path = %s, public", [schema])
            if request.GET.pop("read_only", None):
                with connections["other"].cursor() as cursor:
                    cursor.execute("SET default_transaction_read_only = on")
            return get_response(request)
        return respond

    def content_security_policy(get_response):
        def respond(request):
            response = get_response(request)
            response["Content-Security-ScriptOptions"] = "default-src 'self'; img-src 'self' data:"
            return response
        return respond
"""
PEOPLE = """
    from django.contrib.auth.models import Permission, User
    User.objects.create_superuser("root", password="secret")
    User.objects.create_user("customer", password="secret")
    for name, codenames in {
        "stranger": [],
        "viewer": ["view_sequence"],
        "repairer": ["view_sequence", "repair_sequence"],
        "blind": ["repair_sequence"],
    }.items():
        user = User.objects.create_user(name, password="secret", is_staff=True)
        user.user_permissions.set(
            Permission.objects.get(content_type__app_label="restorehooks", codename=codename)
            for codename in codenames
        )
"""


@dataclass
class Answer:
    """What a server answered in the end, and at which address."""

    code: int
    address: str
    text: str

    @property
    def rows(self) -> list[list[str]]:
        """The cells of the page's table, tags removed, and without the SQL that they hide."""
        body = re.search(r"<tbody>(.*?)</tbody>", self.text, re.S)
        shown = re.sub(r"<details>.*?</details>", "", body[1], flags=re.S) if body else ""
        rows = re.findall(r"<tr>(.*?)</tr>", shown, re.S)
        return [[_plain(c) for c in re.findall(r"<t[dh].*?</t[dh]>", r, re.S)] for r in rows]

    @property
    def statements(self) -> list[str]:
        """The SQL that the cells hide."""
        return [
            unescape(each) for each in re.findall(r'<pre class="sql">(.*?)</pre>', self.text, re.S)
        ]

    @property
    def said(self) -> list[str]:
        """The messages to the user."""
        found = re.findall(r'<li class="(?:error|warning|success)">(.*?)</li>', self.text, re.S)
        return [_plain(message) for message in found]

    @property
    def problem(self) -> str:
        """The line that is shown where there is no list."""
        return " ".join(
            _plain(note) for note in re.findall(r'<p class="errornote">.*?</p>', self.text, re.S)
        )

    @property
    def filters(self) -> list[str]:
        """What can be chosen in the filters, in order."""
        box = re.search(r'id="changelist-filter".*?</(?:nav|search)>', self.text, re.S)
        found = re.findall(r"<li.*?<a.*?>(.*?)</a>", box[0], re.S) if box else []
        return [_plain(choice) for choice in found]


def _plain(html: str) -> str:
    text = re.sub(r"<div|<span", r" \g<0>", html)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", text)).split())


class Visitor:
    """Somebody with a browser's cookies and no more than that."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self._cookies))

    def get(self, address: str) -> Answer:
        """Return the page, redirects followed."""
        return self._open(address)

    def post(self, address: str, fields: Mapping[str, Any], csrf: bool = True) -> Answer:
        """Send a form."""
        token = {"csrfmiddlewaretoken": self._token} if csrf else {}
        return self._open(address, urlencode({**fields, **token}, doseq=True).encode())

    def log_in(self, name: str) -> Visitor:
        """Log in through the form."""
        self.get("/admin/login/")
        self.post("/admin/login/", {"username": name, "password": "secret"})
        return self

    @property
    def _token(self) -> str:
        return next((str(each.value) for each in self._cookies if each.name == "csrftoken"), "")

    def _open(self, address: str, data: bytes | None = None) -> Answer:
        try:
            with self._opener.open(self._site + address, data, timeout=60) as response:
                text = response.read().decode()
                return Answer(response.status, response.url.removeprefix(self._site), text)
        except HTTPError as error:
            with error:
                return Answer(error.code, address, error.read().decode())


SCHEMAS = """
    SELECT nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')
"""


@dataclass
class Site:
    """The project behind the admin, and where it answers."""

    address: str
    project: Project
    database: Database
    other: Database

    def visitor(self, name: str = "root") -> Visitor:
        """Return somebody who is logged in."""
        return Visitor(self.address).log_in(name)

    def clear(self) -> None:
        """Take away what tests have made."""
        for database in (self.database, self.other):
            for (name,) in database.execute(SCHEMAS):
                database.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
            database.execute("TRUNCATE shop_order RESTART IDENTITY")
        self.database.execute("TRUNCATE django_admin_log RESTART IDENTITY")


@contextmanager
def running_site(folder: Path, server: RunningServer, names: tuple[str, str]) -> Iterator[Site]:
    """Serve a project on two databases, while two more aliases are of no use."""
    database, other = (Database(server, name, None, []) for name in names)
    for each in (database, other):
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(each.name)))
    databases = {"default": database.settings, "other": other.settings}
    project = Project(folder, server, databases)
    try:
        _build(project)
        with _served(project) as address:
            yield Site(address, project, database, other)
    finally:
        for each in (database, other):
            each.disconnect()
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(each.name))
            server.execute(drop)


def _build(project: Project) -> None:
    project.write("manage.py", MANAGE)
    project.write("urls.py", URLS)
    project.app(
        "shop",
        "class Order(models.Model):\n    name = models.CharField(max_length=9, default='')\n",
    )
    project.settings(**SETTINGS, DATABASES={**project.databases, **USELESS})
    project.manage("makemigrations", "shop")
    for alias in project.databases:
        project.manage("migrate", "--database", alias)
    project.shell(PEOPLE)


USELESS = {
    "down": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "x",
        "HOST": "127.0.0.1",
        "PORT": "1",
    },
    "lite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
MANAGE = """
    import os, sys
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    if __name__ == "__main__":
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""


@contextmanager
def _served(project: Project) -> Iterator[str]:
    command = [sys.executable, "-u", "manage.py", "runserver", "--noreload", "127.0.0.1:0"]
    log = project.folder / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environ,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    break
            else:
                raise AssertionError(log.read_text())
        finally:
            process.terminate()
