"""Hooks: on the restored data, before anybody sees it, and never on the live database."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections, transaction
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn

from restorehooks.restore import alias, hook_files
from restorehooks.restore.alias import pointed_at
from restorehooks.restore.errors import HookError
from restorehooks.restore.progress import Reporter
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.keywords import variables_of_libpq
from restorehooks.restore.server.lock import RestoreLock
from restorehooks.signals import pre_load
from tests.support.databases import Database, MakeDatabase, pointed
from tests.support.dumps import alone, contents, neighbours
from tests.support.projects import Project

YES = "--no-input"
EVERYBODY, STICKY = 0o777, 0o1777


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hooks").mkdir()
    return tmp_path / "hooks"


def test_in_name_order_each_named_on_the_restored_database(
    project: Project, live: Database, backup: Path, folder: Path
) -> None:
    log = folder.parent / "log"
    (folder / "10-first.sql").write_text(
        "CREATE TABLE told (n serial PRIMARY KEY, by text);\n"
        "INSERT INTO told (by) SELECT current_database() || ' 100%';"
    )
    shell = folder / "20-second.sh"
    shell.write_text(
        f'#!/bin/sh\nset -eu\necho "$PGDATABASE|$PGHOST|$PGUSER|${{SECRET_KEY-none}}" > {log}\n'
    )
    shell.chmod(0o755)
    (folder / "30-third.py").write_text(
        "import os\n"
        "from django.db import connections\n"
        "assert 'SECRET_KEY' not in os.environ\n"
        "assert os.environ['KRB5CCNAME'] == 'FILE:/nowhere'\n"
        "with connections[using].cursor() as cursor:\n"
        "    cursor.execute('INSERT INTO told VALUES (77, current_database())')\n"
        "    assert os.environ['PGDATABASE'] == connections[using].settings_dict['NAME']\n"
    )
    (folder / "README").write_text("no hook")
    (folder / ".hidden.sh").write_text("exit 1")
    before = contents(live)
    done = project.manage(
        "restoredb",
        str(backup),
        YES,
        f"--hooks-dir={folder}",
        env={"SECRET_KEY": "hush", "KRB5CCNAME": "FILE:/nowhere"},
    )
    named = [line for line in done.stdout.splitlines() if line.startswith("ran: ")]
    assert named == ["ran: 10-first.sql", "ran: 20-second.sh", "ran: 30-third.py"]
    assert "README" in done.stderr
    side = live.execute("SELECT by FROM told WHERE n = 77")[0][0]
    assert side.startswith(f"{live.name}_restoring_")
    assert live.execute("SELECT by FROM told WHERE n = 1") == [(f"{side} 100%",)]
    place = live.server.params
    assert log.read_text() == f"{side}|{place['host']}|{place['user']}|none\n"
    # The sequences are looked at once more: the hook took 77 behind the sequence's back.
    assert live.execute("INSERT INTO told (by) VALUES ('us') RETURNING n") == [(78,)]
    alone(live)
    project.manage("restoredb", "--undo", YES)
    assert contents(live) == before


def test_a_program_of_the_folder_is_run_and_none_of_its_name_in_path(
    live: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder.parent / "bin"
    elsewhere.mkdir()
    for place in (folder, elsewhere):
        for name in ("tidy.sh", "-c.sh"):
            (place / name).write_text(f"#!/bin/sh\necho {name} >> {place}/ran\n")
        (place / "tidy.sh").chmod(0o755)
    monkeypatch.setenv("PATH", str(elsewhere), prepend=":")
    monkeypatch.chdir(folder)
    found, _ = hook_files.find(Path())
    with RestoreLock(Address.of("default")) as lock:
        for path in found:
            hook_files.run(path, lock, live.name, Reporter())
    assert (folder / "ran").read_text() == "-c.sh\ntidy.sh\n"
    assert not (elsewhere / "ran").exists()


def test_signals_carry_what_they_promise_and_the_alias_leads_to_the_copy(
    project: Project, live: Database, backup: Path
) -> None:
    project.app("shop")
    project.write(
        "shop/apps.py",
        """
        import json
        from django.apps import AppConfig
        from django.db import connections
        from restorehooks.signals import post_restore, pre_restore

        def note(name):
            def receiver(using, dump, target, report, **kwargs):
                with connections[using].cursor() as cursor:
                    cursor.execute("SELECT current_database()")
                    there = cursor.fetchone()[0]
                with open("told", "a") as log:
                    log.write(json.dumps([name, using, str(dump.path), target, there]) + "\\n")
            return receiver

        class Shop(AppConfig):
            name = "shop"
            def ready(self):
                self.kept = [note("pre"), note("post")]
                pre_restore.connect(self.kept[0])
                post_restore.connect(self.kept[1])
        """,
    )
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    project.manage("restoredb", str(backup), YES)
    told = [json.loads(line) for line in (project.folder / "told").read_text().splitlines()]
    (_, _, _, _, side) = told[1]
    assert told == [
        ["pre", "default", str(backup), live.name, live.name],
        ["post", "default", str(backup), side, side],
    ]
    assert side.startswith(f"{live.name}_restoring_")


def test_migrate_runs_on_the_copy(project: Project, live: Database, backup: Path) -> None:
    project.app("shop", models="class Order(models.Model): pass")
    project.settings(INSTALLED_APPS=["restorehooks", "shop"])
    project.manage("makemigrations", "shop")
    before = contents(live)
    project.manage("restoredb", str(backup), YES, "--migrate")
    assert live.execute("SELECT to_regclass('shop_order') IS NOT NULL") == [(True,)]
    alone(live)
    project.manage("restoredb", "--undo", YES)
    assert contents(live) == before
    project.write(
        "shop/migrations/0002_fail.py",
        """
        from django.db import migrations
        class Migration(migrations.Migration):
            dependencies = [("shop", "0001_initial")]
            operations = [migrations.RunPython(fail)]
    """,
    )
    migration = project.folder / "shop/migrations/0002_fail.py"
    text = "def fail(apps, schema_editor):\n    schema_editor.execute('SELECT * FROM nowhere')\n"
    migration.write_text(text + migration.read_text())
    done = project.manage("restoredb", str(backup), YES, "--migrate", check=False)
    assert done.returncode == 1
    assert (
        'migrate failed at shop.0002_fail: ProgrammingError: relation "nowhere" does not exist'
        f" ({migration}, line 2)"
    ) in done.stderr.splitlines()[-1]
    assert contents(live) == before


def current(alias: str = "default", what: str = "current_database()") -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {what}")
        return cursor.fetchone()[0]


@pytest.fixture
def lock(database: Database) -> Iterator[RestoreLock]:
    """The lock of a restore of the database."""
    with RestoreLock(Address.of("default")) as lock:
        yield lock


def test_the_alias_comes_back_come_what_may(
    database: Database, make_database: MakeDatabase, lock: RestoreLock
) -> None:
    copy = make_database()
    assert current() == database.name

    def fail() -> None:
        with pointed_at("default", copy.name, lock):
            assert current() == copy.name
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert current() == database.name
    with pytest.raises(Exception, match="does not exist"), pointed_at("default", "nowhere", lock):
        raise AssertionError("never entered")
    assert current() == database.name


@pytest.mark.parametrize("spelled", ["{}", "{}/."])
def test_every_alias_of_the_same_database_goes_along_and_no_other(
    database: Database,
    other_database: Database,
    make_database: MakeDatabase,
    lock: RestoreLock,
    spelled: str,
) -> None:
    """Whatever its address is: that of a pooler's, say, or the server's own beside it."""
    copy = make_database()
    own = connections.settings["default"]
    connections.settings["twin"] = {**own, "HOST": spelled.format(own["HOST"])}
    try:
        assert current("twin") == database.name
        with pointed_at("default", copy.name, lock):
            assert [current("twin"), current("other")] == [copy.name, other_database.name]
        assert current("twin") == database.name
    finally:
        connections["twin"].close()
        del connections["twin"], connections.settings["twin"]


@pytest.fixture
def further() -> Iterator[Callable[..., str]]:
    """Return a function that makes one alias more."""
    with ExitStack() as stack:
        yield lambda name, settings: stack.enter_context(pointed(name, settings))


def test_an_alias_keeps_what_its_sessions_set(
    database: Database, make_database: MakeDatabase, lock: RestoreLock, further: Callable[..., str]
) -> None:
    """The schema of a tenant, say."""
    copy = make_database()
    further("tenant", {**database.settings, "OPTIONS": {"options": "-c search_path=tenant"}})
    with pointed_at("default", copy.name, lock):
        for name, path in {"default": '"$user", public', "tenant": "tenant"}.items():
            assert current(name) == copy.name
            assert current(name, "current_setting('search_path')") == path


def test_an_address_in_the_options_is_another_one(
    database: Database, make_database: MakeDatabase, lock: RestoreLock, further: Callable[..., str]
) -> None:
    copy, elsewhere = make_database(), {**database.settings, "HOST": "", "PORT": ""}
    own = {key: database.server.params[key] for key in ("host", "port")}
    further("default", {**elsewhere, "OPTIONS": own})
    further("reporting", {**elsewhere, "OPTIONS": {**own, "port": "1"}})
    with pointed_at("default", copy.name, lock):
        assert current() == copy.name
        with pytest.raises(OperationalError, match=r"\.1\"|port 1"):
            current("reporting")


def test_an_alias_whose_backend_finds_its_own_address_leads_a_hook_to_nothing(
    database: Database,
    make_database: MakeDatabase,
    lock: RestoreLock,
    further: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy, own = make_database(), {"dbname": database.name}
    further("cloud", database.settings)
    backend = type(connections["cloud"])
    before = backend.get_connection_params

    def found(self: Any) -> Any:
        return {**before(self), **(own if self.alias == "cloud" else {})}

    monkeypatch.setattr(backend, "get_connection_params", found)
    with pointed_at("default", copy.name, lock):
        assert current() == copy.name
        for _ in range(2):
            with pytest.raises(HookError, match=f'"cloud" leads to the database "{database.name}"'):
                current("cloud")


def test_the_variables_of_a_hook_lead_no_other_alias_elsewhere(
    database: Database, lock: RestoreLock, folder: Path, further: Callable[..., str]
) -> None:
    """libpq takes PGHOSTADDR for every host that is named, and a password for every server."""
    place = {"host": "localhost", "hostaddr": "127.0.0.1", "port": "7", "sslmode": "require"}
    lock.address = replace(
        lock.address, parameters={**lock.address.parameters, **place}, secrets=lock.address.secrets
    ).setting("search_path=x")
    other = {"ENGINE": "django.db.backends.postgresql", "NAME": "logs", "USER": "joe"}
    further("logs", {**other, "HOST": "/nowhere"})
    further("here", other)
    hook = folder / "look.py"
    hook.write_text(
        "import os, pathlib\n"
        "from tests.restore.test_hooks import resolved\n"
        "assert os.environ['PGPORT'] == '7'\n"
        "seen = {name: resolved(name) for name in ('logs', 'here')}\n"
        "pathlib.Path(__file__ + '.out').write_text(repr(seen))\n"
    )
    before = {name: resolved(name) for name in ("logs", "here")}
    hook_files.run(hook, lock, database.name, Reporter())
    assert (folder / "look.py.out").read_text() == repr(before)
    assert {name: resolved(name) for name in ("logs", "here")} == before


def resolved(name: str) -> dict[str, bytes]:
    """Return what libpq makes of an alias: the keywords that have a value."""
    asked = connections[name].get_connection_params()
    known = {key: asked[key] for key in asked if key in variables_of_libpq()}
    started = PGconn.connect_start(make_conninfo(**known).encode())
    found = {option.keyword.decode(): option.val for option in started.info if option.val}
    started.finish()
    return {key: found[key] for key in sorted(found.keys() - {"connect_timeout"})}


@pytest.mark.parametrize(
    ("addresses", "is_given"),
    [
        (["::1", "127.0.0.1"], [False, False]),
        (["192.0.2.1", "192.0.2.2"], [False, True]),
        ([], [True, True]),  # a name that only the server's certificate has
    ],
)
def test_a_program_is_given_an_address_only_where_its_name_would_not_do(
    lock: RestoreLock, monkeypatch: pytest.MonkeyPatch, addresses: list[str], is_given: list[bool]
) -> None:
    found = [(0, 0, 0, "", (each, 0)) for each in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
    place = {"host": "db", "hostaddr": [*addresses, "127.0.0.1"][0]}
    address = replace(lock.address, host="db", parameters={**lock.address.parameters, **place})
    said = [hook_files.environment(address, name) for name in ("side", address.name)]
    assert ["PGHOSTADDR" in each for each in said] == is_given
    assert {each["PGHOST"] for each in said} == {"db"}


@pytest.mark.parametrize("mode", [True, False])
def test_an_alias_that_answers_only_later_leads_a_hook_to_nothing(
    database: Database, make_database: MakeDatabase, lock: RestoreLock, mode: bool
) -> None:
    """A pooler that was paused, say; and no other alias is in the way, with a driver or without."""
    copy = make_database()
    own = connections.settings["default"]
    connections.settings["late"] = {**own, "PORT": "1", "AUTOCOMMIT": mode}
    connections.settings["legacy"] = {**own, "ENGINE": "no.such.engine"}
    try:
        with pointed_at("default", copy.name, lock):
            connections["late"].settings_dict["PORT"] = own["PORT"]
            for _ in range(2):
                with pytest.raises(HookError, match='"late" leads to the live database'):
                    current("late")
            connections["late"].settings_dict["NAME"] = "postgres"
            assert current("late") == "postgres"
            assert connections["late"].get_autocommit() is mode
    finally:
        connections["late"].close()
        del connections["late"], connections.settings["late"], connections.settings["legacy"]


def test_in_place_another_alias_does_not_wait_for_the_transaction_for_ever(
    database: Database, lock: RestoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias, "OTHERS_WAIT", alias.OTHERS_WAIT.replace("2s", "10ms"))
    database.execute("CREATE TABLE email (address text)")
    connections.settings["twin"] = connections.settings["default"]
    try:
        with pointed_at("default", database.name, lock), transaction.atomic():
            connections["default"].cursor().execute("LOCK TABLE email")
            with pytest.raises(OperationalError, match="lock timeout"):
                connections["twin"].cursor().execute("DELETE FROM email")
            connections["default"].cursor().execute("DELETE FROM email")
    finally:
        connections["twin"].close()
        del connections["twin"], connections.settings["twin"]


def test_an_alias_that_leads_elsewhere_runs_nothing(
    database: Database, make_database: MakeDatabase, folder: Path, lock: RestoreLock
) -> None:
    copy = make_database()
    database.execute("CREATE TABLE email (address text)")
    scrub = folder / "scrub.sql"
    scrub.write_text("DELETE FROM email")
    with pytest.raises(HookError, match="leads to the database"):
        hook_files.run(scrub, lock, copy.name, Reporter())


def test_service_files_and_database_urls_lead_hooks_to_the_copy(
    project: Project, live: Database, backup: Path, folder: Path
) -> None:
    place = live.server.params
    services = folder.parent / "services"
    services.write_text(
        f"[production]\nhost={place['host']}\nport={place['port']}\n"
        f"user={place['user']}\ndbname={live.name}\n"
    )
    out = folder.parent / "out"
    (folder / "10.sh").write_text(f'env | grep -E "^(PG|DATABASE)" | sort > {out}\n')
    project.settings(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "OPTIONS": {"service": "production"},
            }
        }
    )
    project.manage(
        "restoredb", str(backup), YES, f"--hooks-dir={folder}",
        env={"PGSERVICEFILE": str(services), "DATABASE_URL": live.url},
    )  # fmt: skip
    said = dict(line.split("=", 1) for line in out.read_text().splitlines())
    assert said["PGDATABASE"].startswith(f"{live.name}_restoring_")
    assert said["PGDATABASE"] in said["DATABASE_URL"]
    assert "PGSERVICE" not in said
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]


def test_clients_that_insert_throughout_a_swap_see_no_half_and_no_duplicate(
    project: Project, database: Database, backup: Path
) -> None:
    project.manage("restoredb", str(backup), YES)
    stop = threading.Event()
    wrong: list[BaseException | str] = []
    inserted = [0]

    def client() -> None:
        while not stop.is_set():
            try:
                with database.connect() as connection:
                    while not stop.is_set():
                        connection.execute("INSERT INTO purchase (customer_id) VALUES (1)")
                        row = connection.execute("SELECT count(*) FROM customer").fetchone()
                        if row != (500,):
                            wrong.append(f"{row} customers")
                        inserted[0] += 1
                        time.sleep(0.005)
            except psycopg.OperationalError:  # noqa: PERF203 - put off by the swap
                time.sleep(0.005)
            except psycopg.Error as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            project.manage("restoredb", str(backup), YES, "--drop-previous")
            so_far = inserted[0]
            time.sleep(0.3)
            assert inserted[0] > so_far
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert neighbours(database) == []  # the first one was empty, the second dropped as asked


def test_a_hook_that_every_user_may_write_is_not_run(folder: Path) -> None:
    hook = folder / "a.sh"
    hook.write_text("touch MARK\n")
    hook.chmod(0o666)
    with pytest.raises(HookError, match=r"Every user may write to the hook .*a\.sh: chmod o-w"):
        hook_files.find(folder)
    hook.chmod(0o644)
    folder.chmod(STICKY)
    assert hook_files.find(folder) == ([hook], [])
    if os.geteuid() == 0:
        os.chown(hook, 65534, 65534)
        with pytest.raises(HookError, match=r"a\.sh there is another user's"):
            hook_files.find(folder)


@pytest.mark.parametrize("place", ["folder", "above"])
def test_a_hook_that_every_user_may_replace_is_not_run(folder: Path, place: str) -> None:
    (folder / "a.sh").write_text("touch MARK\n")
    (folder if place == "folder" else folder.parent).chmod(EVERYBODY)
    with pytest.raises(HookError, match=r"every user may write to .*, and replace what is there"):
        hook_files.find(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's link")
def test_a_link_of_another_user_is_no_hook(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "rotate.sh").write_text("touch MARK\n")
    link = folder / "a.sh"
    link.symlink_to(tmp_path / "rotate.sh")
    folder.chmod(STICKY)
    assert hook_files.find(folder) == ([link], [])
    os.lchown(link, 65534, 65534)
    with pytest.raises(HookError, match=r"a\.sh there is another user's"):
        hook_files.find(folder)


def test_a_hook_is_looked_at_again_before_it_is_run(
    live: Database, backup: Path, folder: Path
) -> None:
    hook = folder / "a.sh"
    hook.write_text(f"touch {folder / 'MARK'}\n")
    before = contents(live)

    def open_it(**_: object) -> None:
        folder.chmod(EVERYBODY)

    pre_load.connect(open_it)
    try:
        with pytest.raises(HookError, match="every user may write"):
            restore(Request(str(backup), hooks_dir=folder), confirm=lambda _: True)
    finally:
        pre_load.disconnect(open_it)
    assert not (folder / "MARK").exists()
    assert (contents(live), neighbours(live)) == (before, [])


READ_ONLY = """
mount -t tmpfs -o mode=0777 none {folder} && cd {folder} && echo true > a.sh && chmod 666 a.sh &&
cd / && mount -o remount,ro {folder} && exec {python} -c "
from pathlib import Path
from restorehooks.restore import hook_files
print(len(hook_files.find(Path('{folder}'))[0]))"
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="it takes a mount")
def test_hooks_on_a_read_only_mount_are_run(folder: Path) -> None:
    """A ConfigMap of Kubernetes is a folder open to all that nobody can write to."""
    mounted = READ_ONLY.format(folder=folder, python=sys.executable)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted], capture_output=True, text=True, check=False
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no mounts: {done.stderr}")
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_what_sessions_of_the_live_database_load_is_loaded_for_the_dump(
    live: Database, backup: Path
) -> None:
    """Such as the provider of security labels: a dump that has some cannot be loaded without."""
    live.execute(f"ALTER DATABASE {live.name} SET session_preload_libraries = 'plpgsql'")
    alone(live)
    loaded = []

    def look(**_: object) -> None:
        (side,) = neighbours(live)
        with live.connect(dbname=side) as connection:
            query = "SELECT current_setting('plpgsql.variable_conflict', true)"
            loaded.append(connection.execute(query).fetchone())

    pre_load.connect(look)
    try:
        restore(Request(str(backup)), confirm=lambda _: True)
    finally:
        pre_load.disconnect(look)
    assert loaded == [("error",)]


def test_what_is_set_for_the_database_before_and_by_the_load_outlives_the_swap(
    live: Database, backup: Path
) -> None:
    """As postgis_topology does when it is created: it gives the database a search_path."""

    def give(**_: object) -> None:
        (side,) = neighbours(live)
        live.execute(f"ALTER DATABASE {side} SET work_mem = '7MB'")

    alone(live)
    pre_load.connect(give)
    try:
        restore(Request(str(backup)), confirm=lambda _: True)
    finally:
        pre_load.disconnect(give)
    alone(live)
    with live.connect() as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)


def test_what_a_hook_sets_for_the_database_outlives_the_swap(
    live: Database, backup: Path, folder: Path
) -> None:
    for setting in ("my.x = 'old'", "my.y = 'old'", "my.z = 'old'"):
        live.execute(f"ALTER DATABASE {live.name} SET {setting}")
    (folder / "10-set.sql").write_text(
        "DO $$ BEGIN\n"
        "EXECUTE format('ALTER DATABASE %I SET my.x = ''new''', current_database());\n"
        "EXECUTE format('ALTER DATABASE %I RESET my.y', current_database());\n"
        "EXECUTE format('ALTER DATABASE %I SET my.w = ''new''', current_database());\n"
        "END $$"
    )
    alone(live)
    restore(Request(str(backup), hooks_dir=folder), confirm=lambda _: True)
    set_now = (
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase"
        " WHERE datname = current_database()"
    )
    assert set(live.execute(set_now)[0][0]) == {"my.x=new", "my.z=old", "my.w=new"}
