"""A project's own code in a restore: receivers, migrations and hooks that do what one does not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.contrib.postgres.signals import register_type_handlers
from django.db import connections
from django.db.backends.signals import connection_created

from restorehooks.restore import caches, hook_files
from restorehooks.restore.errors import HookError
from restorehooks.restore.progress import Reporter
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.lock import RestoreLock
from restorehooks.signals import post_restore
from tests.support.databases import Database, MakeDatabase, pointed
from tests.support.dumps import alone, contents, dumped, neighbours
from tests.support.projects import Project

YES = "--no-input"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hooks").mkdir()
    return tmp_path / "hooks"


def receiving(
    project: Project, body: str, *arguments: str, signal: str = "post_restore"
) -> subprocess.CompletedProcess[str]:
    """Restore with a receiver that does this, and return what came of it."""
    project.write("shop/__init__.py", "")
    project.write(
        "shop/apps.py",
        f"""
        import os
        import sys
        from django.apps import AppConfig
        from django.db import connections, transaction
        from restorehooks.signals import {signal}

        def receive(using, **kwargs):
            cursor = connections[using].cursor()
            {body}

        class Shop(AppConfig):
            name = "shop"
            def ready(self):
                {signal}.connect(receive)
        """,
    )
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    return project.manage("restoredb", *arguments, YES, "--json", check=False)


def test_in_place_an_alias_that_does_not_commit_by_itself_is_committed(
    live: Database, backup: Path
) -> None:
    with pointed("default", {**live.settings, "AUTOCOMMIT": False}):
        report = restore(Request(str(backup), in_place=True), confirm=lambda _: True)
        assert connections["default"].settings_dict["AUTOCOMMIT"] is False
    assert report.restored
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]


def test_a_receiver_that_ends_the_process_has_restored_nothing(
    project: Project, live: Database, backup: Path
) -> None:
    before = contents(live)
    done = receiving(project, "sys.exit(0)", str(backup), signal="pre_load")
    report = json.loads(done.stdout)
    assert (done.returncode, report["exit_code"], report["outcome"]) == (1, 1, "failed")
    assert "SystemExit: 0" in done.stderr.splitlines()[-1]
    assert contents(live) == before
    assert neighbours(live) == []


@pytest.mark.parametrize("alias", ["default", "twin", "spelled otherwise"])
def test_what_a_receiver_leaves_open_is_kept(
    project: Project, live: Database, backup: Path, alias: str
) -> None:
    """By whatever alias of the same database: all of them lead to the restored one."""
    own = project.databases["default"]
    otherwise = {**own, "HOST": "", "OPTIONS": {"host": own["HOST"]}}
    project.databases = {"default": own, "twin": own, "spelled otherwise": otherwise}
    scrub = f"cursor = connections['{alias}'].cursor(); "
    scrub += "cursor.execute(\"BEGIN; UPDATE customer SET email = 'nobody'\"); print('scrubbed')"
    done = receiving(project, f"{scrub}; os.system('echo beside')", str(backup))
    assert json.loads(done.stdout)["outcome"] == "restored"
    assert {"scrubbed", "beside"} <= {*done.stderr.splitlines()}
    assert live.execute("SELECT DISTINCT email FROM customer") == [("nobody",)]


def test_an_app_of_the_projects_own_may_be_named_like_one_of_djangos(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model "Site" of an app "sites" keeps nothing, or not as Django's does."""
    own = SimpleNamespace(objects=object())
    monkeypatch.setattr(apps, "get_model", lambda label: own)
    caches.forget("default")


@pytest.mark.parametrize("in_place", [False, True])
def test_what_django_keeps_of_a_database_in_memory_is_read_anew(
    make_database: MakeDatabase, database: Database, tmp_path: Path, in_place: bool
) -> None:
    """It keeps the keys of content types, and the oids of types, as long as the process lives."""
    made = "CREATE EXTENSION hstore; CREATE TABLE django_content_type (id int, app_label text,"
    made += "model text); INSERT INTO django_content_type VALUES ({}, 'auth', 'user')"
    source = make_database()
    source.execute(made.format(7))
    database.execute(made.format(3))
    alone(database)
    found: list[tuple[object, object]] = []

    def receive(**kwargs: object) -> None:
        key = ContentType.objects.get_by_natural_key("auth", "user").pk
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 'a=>b'::hstore")
            found.append((key, *cursor.fetchone()))

    caches.forget("default")
    connection_created.connect(register_type_handlers)
    post_restore.connect(receive)
    try:
        receive()
        connections["default"].close()
        request = Request(str(dumped(source, tmp_path / "dump")), in_place=in_place)
        report = restore(request, confirm=lambda _: True)
        receive()
    finally:
        post_restore.disconnect(receive)
        connection_created.disconnect(register_type_handlers)
        caches.forget("default")
    assert found == [(key, {"a": "b"}) for key in (3, 7, 7)]
    others = [note for note in report.notes if 'what "hstore" brings gets new oids' in note]
    assert bool(others) is not in_place


def test_a_transaction_that_has_failed_and_was_left_open_is_an_error(
    project: Project, live: Database, backup: Path
) -> None:
    before = contents(live)
    body = "cursor.execute('BEGIN; CREATE TABLE mine (id int)')\n"
    body += " " * 12 + "try: cursor.execute('nonsense')\n" + " " * 12 + "except Exception: pass"
    done = receiving(project, body, str(backup))
    assert json.loads(done.stdout)["error"]["kind"] == "hook"
    assert contents(live) == before


@pytest.mark.parametrize("then", ["cursor.execute('nonsense')", "connections[using].close()"])
def test_a_receiver_that_commits_in_place_is_not_said_to_have_changed_nothing(
    project: Project, live: Database, backup: Path, then: str
) -> None:
    body = f"cursor.execute('COMMIT'); {then}"
    done = receiving(project, body, str(backup), "--in-place")
    report = json.loads(done.stdout)
    assert (report["outcome"], report["restored"], done.returncode) == ("failed", True, 1)
    assert "as it was" not in done.stderr
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]


def test_a_receiver_that_rolls_back_in_place_has_restored_nothing(
    project: Project, live: Database, backup: Path
) -> None:
    before = contents(live)
    done = receiving(project, "cursor.execute('ROLLBACK')", str(backup), "--in-place")
    report = json.loads(done.stdout)
    assert (report["outcome"], report["restored"], done.returncode) == ("failed", False, 1)
    assert "has ended the transaction" in report["error"]["message"]
    assert contents(live) == before


@pytest.mark.parametrize("body", ["transaction.set_rollback(True, using)", "cursor.execute('no')"])
def test_what_a_receiver_of_a_repair_breaks_in_place_undoes_no_restore(
    project: Project, live: Database, backup: Path, body: str
) -> None:
    done = receiving(project, body, str(backup), "--in-place", signal="sequences_repaired")
    assert json.loads(done.stdout)["outcome"] == "restored"
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]


@pytest.mark.parametrize("kind", ["link", "circle", "pipe", "folder"])
def test_a_hook_that_is_no_file_is_not_passed_over(folder: Path, kind: str) -> None:
    hook = folder / "10-scrub.sql"
    match kind:
        case "link":
            hook.symlink_to("nowhere.sql")
        case "circle":
            hook.symlink_to(hook)
        case "pipe":
            os.mkfifo(hook)
        case "folder":
            hook.mkdir()
    with pytest.raises(HookError, match=r"10-scrub\.sql"):
        hook_files.find(folder)


def test_a_folder_without_hooks_is_said(live: Database, backup: Path, folder: Path) -> None:
    report = restore(Request(str(backup), hooks_dir=folder, dry_run=True))
    assert f"there is no hook in {folder}, so none is run" in report.notes


def test_hooks_as_editors_and_systems_write_them(database: Database, folder: Path) -> None:
    database.execute("CREATE TABLE told (what text)")
    (folder / "10.sql").write_bytes("\ufeffINSERT INTO told VALUES ('Müller\r\n')".encode())
    (folder / "20.sh").write_text(f"echo without a first line > {folder.parent}/out\n")
    (folder / "20.sh").chmod(0o755)
    (folder / "30.sql").write_bytes(b"SELECT 1\0; SELECT 2")
    (folder / "40.sql").write_text("COPY told FROM STDIN;\nx\n\\.\n")
    hooks, _ = hook_files.find(folder)
    with RestoreLock(Address.of("default")) as lock:
        for hook in hooks[:2]:
            hook_files.run(hook, lock, database.name, Reporter())
        for hook, said in zip(hooks[2:], ("zero byte", "belongs in a .sh hook"), strict=True):
            with pytest.raises(HookError, match=said):
                hook_files.run(hook, lock, database.name, Reporter())
    assert database.execute("SELECT what FROM told") == [("Müller\r\n",)]
    assert (folder.parent / "out").read_text() == "without a first line\n"
