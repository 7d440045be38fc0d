"""A new project with restorehooks added, from ``startproject`` on: the next row always goes in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.databases import Database
from tests.support.projects import Project

MODELS = """
    class Article(models.Model):
        title = models.CharField(max_length=99)

    class Headline(Article):
        class Meta:
            proxy = True
"""
FIXTURE = """
    [
      {"model": "news.article", "pk": 1, "fields": {"title": "a"}},
      {"model": "news.headline", "pk": 2, "fields": {"title": "b"}},
      {"model": "auth.group", "pk": 3, "fields": {"name": "editors", "permissions": []}}
    ]
"""
PLAIN_SQL = """
    INSERT INTO news_article (id, title) VALUES (50, 'by hand');
    INSERT INTO auth_group (id, name) VALUES (60, 'by hand');
    INSERT INTO django_content_type (id, app_label, model) VALUES (70, 'by', 'hand');
"""
NEXT = """
    from django.contrib.auth.models import Group
    from django.contrib.contenttypes.models import ContentType
    from news.models import Article
    print(Article.objects.create(title="n").pk, Group.objects.create(name="{0}").pk)
    print(ContentType.objects.create(app_label="{0}", model="m").pk)
"""


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Project:
    """What ``startproject`` and ``startapp`` make, on PostgreSQL and with restorehooks added."""
    made = Project(tmp_path / "site", database.server, {})
    made.folder.mkdir()
    for command in (["startproject", "settings", "."], ["startapp", "news"]):
        made.run([sys.executable, "-m", "django", *command], env={"DJANGO_SETTINGS_MODULE": ""})
    settings = made.folder / "settings" / "settings.py"
    added = f"""
DATABASES = {{"default": {database.settings!r}}}
INSTALLED_APPS += ["restorehooks", "news"]
"""
    made.write("settings/__init__.py", "from .settings import *")
    settings.write_text(settings.read_text() + added)
    file = made.write("news/models.py", MODELS)
    file.write_text("from django.db import models\n\n\n" + file.read_text())
    return made


def test_a_new_project(site: Project, database: Database) -> None:
    def numbers(name: str) -> list[int]:
        return [int(number) for number in site.shell(NEXT.format(name)).split()]

    assert "no issues" in site.manage("check").stdout
    site.manage("makemigrations", "news")
    migrated = site.manage("migrate")
    assert "restorehooks" not in migrated.stdout + migrated.stderr
    article, group, _ = numbers("after migrate")
    assert (article, group) == (1, 1)

    site.write("first.json", FIXTURE)
    loaded = site.manage("loaddata", "first.json")
    assert "Installed 3 object(s) from 1 fixture(s)" in loaded.stdout
    article, group, _ = numbers("after loaddata")
    assert (article, group) == (3, 4)

    database.execute(PLAIN_SQL)
    migrated = site.manage("migrate")
    assert "moved 3 of" in migrated.stdout
    assert numbers("after SQL") == [51, 61, 71]
    assert site.manage("resetsequences", "--check").stdout.count("\n") == 1
