"""The story's finer points: lost connections, the lock table, ownership, versions, the scripts."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.db import connections
from psycopg import sql

from restorehooks import programs
from restorehooks.restore.archive import commands
from restorehooks.restore.errors import TargetError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.own_objects import drop_own
from restorehooks.restore.undo import undo
from tests.support import ROOT
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import EVERYTHING, SHOP, alone, contents, dumped, neighbours, program
from tests.support.projects import Project
from tests.support.servers import RunningServer, environment

YES = "--no-input"


def yes(question: str) -> bool:
    return True


# --- A connection lost at COMMIT ---------------------------------------------------------------


class Cutting:
    """A proxy before the server's socket that cuts a connection around its COMMIT of a swap."""

    def __init__(self, server: str, *, before: bool) -> None:
        self.server, self.before, self.cut = server, before, False
        self.listener = socket.create_server(("localhost", 0))
        self.sockets = [self.listener]
        self.threads: list[threading.Thread] = []
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self.listener.accept()
            except OSError:
                return
            outer = socket.socket(socket.AF_UNIX)
            outer.connect(self.server)
            self.sockets += [inner, outer]
            renamed = threading.Event()
            for pair in ((inner, outer, True), (outer, inner, False)):
                thread = threading.Thread(target=self._pass, args=(*pair, renamed), daemon=True)
                self.threads.append(thread)
                thread.start()

    def _pass(
        self, source: socket.socket, to: socket.socket, ours: bool, renamed: threading.Event
    ) -> None:
        while True:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            if ours and b" RENAME TO " in data:
                renamed.set()
            commit = ours and renamed.is_set() and b"COMMIT" in data and not self.cut
            self.cut = self.cut or commit
            try:
                if data and not (commit and self.before):
                    to.sendall(data)
                if not data or commit:
                    source.shutdown(socket.SHUT_RDWR)
                    # Its end comes after a COMMIT, which the server thus carries out.
                    to.shutdown(socket.SHUT_WR)
                    return
            except OSError:
                return


@contextmanager
def cutting(database: Database, *, before: bool) -> Iterator[Cutting]:
    params = database.server.params
    proxy = Cutting(f"{params['host']}/.s.PGSQL.{params['port']}", before=before)
    try:
        yield proxy
    finally:
        for opened in proxy.sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        for thread in proxy.threads:
            thread.join(5)


@pytest.mark.parametrize("before", [True, False])
def test_lost_at_commit_the_outcome_is_read_back(
    project: Project, live: Database, backup: Path, before: bool
) -> None:
    was = contents(live)
    with cutting(live, before=before) as proxy:
        through = {**live.settings, "HOST": "localhost", "PORT": str(proxy.port)}
        through["OPTIONS"] = {"sslmode": "disable", "gssencmode": "disable"}
        project.settings(DATABASES={"default": through})
        done = project.manage("restoredb", str(backup), YES, check=False)
        assert proxy.cut
    if before:
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].endswith("The live database is as it was.")
        assert (contents(live), neighbours(live)) == (was, [])
    else:
        assert done.returncode == 0, done.stderr
        assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]
        assert len(neighbours(live)) == 1


# --- In place ----------------------------------------------------------------------------------


def test_in_place_never_takes_what_is_somebody_elses(
    project: Project, live: Database, backup: Path
) -> None:
    owner, other = live.role("owner"), live.role("other")
    live.execute(
        sql.SQL(
            "ALTER DATABASE {} OWNER TO {}; ALTER TABLE precious OWNER TO {};"
            "GRANT SELECT ON precious TO {}; CREATE SCHEMA theirs AUTHORIZATION {};"
            "CREATE VIEW theirs.seen AS SELECT * FROM precious; ALTER VIEW theirs.seen OWNER TO {}"
        ).format(
            sql.Identifier(live.name),
            *(sql.Identifier(r) for r in (owner, owner, other, other, other)),
        )
    )
    alone(live)
    project.settings(DATABASES={"default": live.server.settings(live.name, USER=owner)})
    before = contents(live)
    done = project.manage("restoredb", str(backup), YES, "--in-place", check=False)
    assert done.returncode == 1
    assert "theirs.seen" in done.stderr
    assert contents(live) == before
    live.execute("DROP VIEW theirs.seen; CREATE TABLE theirs.kept AS SELECT 1")
    live.execute(f"ALTER TABLE theirs.kept OWNER TO {other}")
    alone(live)
    project.manage("restoredb", str(backup), YES, "--in-place")
    assert live.execute("SELECT to_regclass('precious'), to_regclass('theirs.kept')::text") == [
        (None, "theirs.kept")
    ]


OURS = """
CREATE SCHEMA ours AUTHORIZATION {0}; CREATE SCHEMA theirs AUTHORIZATION {1};
GRANT USAGE ON SCHEMA ours TO {1}; GRANT CREATE ON SCHEMA public TO {0};
DO $$ BEGIN EXECUTE pg_catalog.format('GRANT CREATE ON DATABASE %I TO {0}', current_database());
END $$; SET ROLE {0}; CREATE TYPE ours.span AS RANGE (SUBTYPE = int);
DO $$ BEGIN IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citext') THEN
CREATE EXTENSION citext SCHEMA ours; END IF; END $$;
CREATE AGGREGATE public.everything (*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0');
CREATE TYPE ours.mood AS ENUM ('good'); CREATE SEQUENCE ours.numbers;
GRANT USAGE ON SEQUENCE ours.numbers TO {1}; CREATE TABLE ours.person (id int PRIMARY KEY);
GRANT REFERENCES ON ours.person TO {1};
CREATE FUNCTION ours.f(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE FUNCTION ours.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE FUNCTION ours.same(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2';
CREATE TEXT SEARCH DICTIONARY ours.words (TEMPLATE = simple);
SET ROLE {1}; CREATE TABLE theirs.note (id int); CREATE DOMAIN theirs.small AS int
"""
PARTS = {
    "table column theirs.note.mood": "ALTER TABLE theirs.note ADD mood ours.mood",
    "table constraint k on theirs.note": "ALTER TABLE theirs.note ADD CONSTRAINT k"
    " FOREIGN KEY (id) REFERENCES ours.person",
    "table constraint c on theirs.note": "ALTER TABLE theirs.note ADD CONSTRAINT c"
    " CHECK (ours.f(id))",
    "default value for theirs.note.id": "ALTER TABLE theirs.note ALTER id"
    " SET DEFAULT nextval('ours.numbers')",
    "index theirs.i": "CREATE INDEX i ON theirs.note (ours.f(id))",
    "trigger t on theirs.note": "CREATE TRIGGER t BEFORE INSERT ON theirs.note"
    " FOR EACH ROW EXECUTE FUNCTION ours.g()",
    "policy p on theirs.note": "CREATE POLICY p ON theirs.note USING (ours.f(id))",
    "rule r on theirs.note": "CREATE RULE r AS ON INSERT TO theirs.note"
    " WHERE ours.f(new.id) DO INSTEAD NOTHING",
    "domain constraint d on theirs.small": "ALTER DOMAIN theirs.small ADD CONSTRAINT d"
    " CHECK (ours.f(VALUE))",
    r"operator theirs\.@@@\(integer,integer\)": "CREATE OPERATOR theirs.@@@ (LEFTARG = int,"
    " RIGHTARG = int, FUNCTION = ours.same)",
    "text search configuration theirs.search": "CREATE TEXT SEARCH CONFIGURATION theirs.search"
    " (COPY = simple); ALTER TEXT SEARCH CONFIGURATION theirs.search ALTER MAPPING FOR word"
    " WITH ours.words",
    "publication relation ours.person in publication changes": "RESET ROLE;"
    " CREATE PUBLICATION changes FOR TABLE ours.person; ALTER PUBLICATION changes OWNER TO {1}",
}


def test_in_place_takes_no_part_of_what_is_somebody_elses(database: Database) -> None:
    owner, other = database.role("owner"), database.role("other")
    with database.connect() as connection:
        connection.execute(OURS.format(owner, other).encode())
        for named, change in PARTS.items():
            with connection.transaction(force_rollback=True):
                change = change.format(owner, other)
                as_other = f"SET LOCAL ROLE {other}; {change}; SET LOCAL ROLE {owner}"
                connection.execute(as_other.encode())
                with pytest.raises(TargetError, match=f"{named} .*of .*{other}.* would go with it"):
                    drop_own(connection)
        brief = f"SET ROLE {other}; CREATE TEMP TABLE brief (mood ours.mood); SET ROLE {owner}"
        connection.execute(brief.encode())
        drop_own(connection)
        connection.execute("RESET ROLE")
        gone = "SELECT to_regnamespace('ours'), to_regprocedure('public.everything()')"
        assert connection.execute(gone).fetchone() == (None, None)


def test_in_place_drops_every_kind_of_thing(
    project: Project, database: Database, backup: Path
) -> None:
    database.execute(EVERYTHING)
    database.execute("SELECT lo_create(99)")
    alone(database)
    project.manage("restoredb", str(backup), YES, "--in-place")
    left = "\n".join(line for line in contents(database).splitlines() if "; Type: " in line)
    assert {"customer", "purchase", "spent"} <= {*re.findall(r"Name: (\w+);", left)}
    for gone in ("parted", "mood", "nothing", "total", "Ünïcode", "announced", "odd", "secret"):
        assert gone not in left, left
    assert database.execute("SELECT count(*) FROM pg_largeobject_metadata") == [(0,)]


def test_in_place_too_many_for_the_lock_table_is_said_first(
    project: Project,
    make_server: Callable[..., RunningServer],
    make_database: MakeDatabase,
    tmp_path: Path,
) -> None:
    many = make_database()
    many.execute(
        "DO $$ BEGIN FOR n IN 1..400 LOOP "
        "EXECUTE format('CREATE TABLE t%s (id serial)', n); END LOOP; END $$"
    )
    dump = dumped(many, tmp_path / "many.dump")
    server = make_server({"max_locks_per_transaction": "10", "max_connections": "20"})
    server.execute("CREATE DATABASE shop")
    live = Database(server, "shop", None, [])
    project.settings(DATABASES={"default": live.settings})
    before = contents(live)
    done = project.manage("restoredb", str(dump), YES, "--in-place", check=False)
    assert done.returncode == 1
    assert "max_locks_per_transaction" in done.stderr
    assert contents(live) == before
    project.manage("restoredb", str(dump), YES)
    assert live.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(400,)]
    live.disconnect()


# --- Whose it is afterwards --------------------------------------------------------------------


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_roles_that_do_not_exist_here_are_left_out_and_named(
    project: Project, live: Database, make_database: MakeDatabase, tmp_path: Path, form: str
) -> None:
    there = make_database()
    gone = there.role("netbox")
    there.execute(
        SHOP + f"ALTER TABLE customer OWNER TO {gone}; GRANT SELECT ON purchase TO {gone}"
    )
    dump = dumped(there, tmp_path / "x.dump", form=form)
    there.execute(f"ALTER TABLE customer OWNER TO postgres; REVOKE ALL ON purchase FROM {gone}")
    there.execute(f"DROP ROLE {gone}")
    done = project.manage("restoredb", str(dump), YES)
    assert gone in done.stdout + done.stderr
    assert live.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'customer'") == [
        ("postgres",)
    ]
    if form == "custom":
        asked = project.manage("restoredb", str(dump), YES, "--owner", check=False)
        assert (asked.returncode, gone in asked.stderr) == (1, True)


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_superuser_restores_for_the_one_who_owns_the_live_database(
    project: Project, live: Database, make_database: MakeDatabase, tmp_path: Path, form: str
) -> None:
    there = make_database()
    gone, app = there.role("gone"), live.role("app")
    there.execute(SHOP + f"ALTER TABLE customer OWNER TO {gone}")
    dump = dumped(there, tmp_path / "x.dump", form=form)
    there.execute(f"ALTER TABLE customer OWNER TO postgres; DROP ROLE {gone}")
    live.execute(f'ALTER DATABASE "{live.name}" OWNER TO {app}')
    alone(live)
    project.manage("restoredb", str(dump), YES, "--no-owner")
    assert live.execute(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    ) == [(app,)]


# --- Dumps of other kinds ----------------------------------------------------------------------


def test_a_plain_dump_made_with_create_goes_into_the_target_alone(
    project: Project, live: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    there = make_database()
    there.execute(SHOP)
    there.execute(f"ALTER DATABASE \"{there.name}\" SET work_mem TO '9MB'")
    alone(there)
    dump = dumped(there, tmp_path / "x.sql", "--create", "--clean", "--if-exists", form="plain")
    before = contents(there)
    done = project.manage("restoredb", str(dump), YES)
    assert "database" in done.stdout
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]
    assert contents(there) == before


def test_a_file_of_pg_dumpall_is_refused_in_one_sentence(
    project: Project, live: Database, tmp_path: Path
) -> None:
    params = live.server.params
    file = tmp_path / "all.sql"
    subprocess.run(
        [program(live, "pg_dumpall"), "-h", params["host"], "-p", str(params["port"]),
         "-U", params["user"], "--roles-only", "-f", str(file)],
        check=True,
    )  # fmt: skip
    before = contents(live)
    done = project.manage("restoredb", str(file), YES, check=False)
    assert done.returncode == 1
    assert "pg_dumpall" in done.stderr.splitlines()[-1]
    assert contents(live) == before


@pytest.mark.parametrize(
    "evil",
    [
        "\\! touch {mark}",
        "\\o |touch {mark}",
        "\\copy precious to program 'touch {mark}'",
        "select 1 \\g |touch {mark}",
        'DROP DATABASE "{live}" WITH (FORCE);',
        "ALTER SYSTEM SET work_mem TO '9MB';",
        "COPY (SELECT 1) TO PROGRAM 'touch {mark}';",
    ],
)
def test_a_hostile_plain_dump_runs_nothing_and_is_never_swapped_in(
    project: Project,
    live: Database,
    make_database: MakeDatabase,
    tmp_path: Path,
    evil: str,
) -> None:
    there = make_database()
    there.execute(SHOP)
    dump = dumped(there, tmp_path / "x.sql", form="plain")
    mark = tmp_path / "mark"
    text = dump.read_text()
    line = evil.format(mark=mark, live=live.name)
    at = text.index("-- Data for Name")
    dump.write_text(f"{text[:at]}\n{line}\n{text[at:]}")
    before = contents(live)
    for more in ([], ["--in-place"]):
        done = project.manage("restoredb", str(dump), YES, *more, check=False)
        if done.returncode == 0:  # it may be left out and named, as DROP DATABASE is
            assert "left out: " in done.stdout
            assert not more
            project.manage("restoredb", "--undo", YES)
            break
        assert done.stderr.splitlines()[-1].endswith("The live database is as it was.")
    assert contents(live) == before
    assert not mark.exists()
    assert live.execute("SELECT count(*) FROM pg_file_settings WHERE name = 'work_mem'") == [(0,)]


# --- Versions, scripts, the library ------------------------------------------------------------


def newer_programs() -> list[programs.Program]:
    return sorted(programs.programs("pg_dump"), key=lambda program: program.major)


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_dump_made_by_the_newest_pg_dump_at_hand(
    project: Project, live: Database, make_database: MakeDatabase, tmp_path: Path, form: str
) -> None:
    there = make_database()
    there.execute(SHOP)
    file = tmp_path / "newest.dump"
    commands.write(
        newer_programs()[-1],
        file,
        conninfo=Address.of("default").conninfo(there.name),
        environment={},
        flags=[f"--format={form}"],
    )
    alone(live)
    project.manage("restoredb", str(file), YES)
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]


def test_the_script_picks_manage_py_or_the_standalone_command(
    project: Project, live: Database, backup: Path, tmp_path: Path
) -> None:
    script = str(ROOT / "scripts" / "restore.sh")
    python = {"PYTHON": sys.executable}
    done = project.run([script, str(backup), YES], env=python)
    assert live.execute("SELECT count(*) FROM purchase") == [(5000,)]
    alone(live)
    elsewhere = {"PATH": "/usr/bin:/bin", **python}
    done = subprocess.run(
        [script, str(backup), YES, "--json"],
        cwd=tmp_path,
        env=environment(live.server, DATABASE_URL=live.url) | elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"restored": true' in done.stdout
    manage = {"DJANGO_MANAGE": str(project.folder / "manage.py")}
    done = subprocess.run(
        [script, "--undo", YES],
        cwd=tmp_path,
        env=project.environ | python | manage | {"PYTHONPATH": f"{ROOT}:{project.folder}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done = project.run([script, "x"], env={**python, "DJANGO_MANAGE": "nowhere.py"}, check=False)
    assert (done.returncode, "nowhere.py" in done.stderr) == (2, True)


def test_the_function_returns_the_report(live: Database, backup: Path) -> None:
    with connections["default"].cursor() as cursor:  # a connection that is open is closed in time
        cursor.execute("SELECT 1")
    report = restore(Request(str(backup)), confirm=yes)
    assert report.restored
    assert report.previous in neighbours(live)
    assert report.sequences is not None
    assert report.sequences.summary()["advanced"] == 2
    assert {"load", "sequences", "swap"} <= {*report.seconds}
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == (live.name,)
    connections["default"].close()


def test_what_would_be_lost_is_named_before_loading_and_can_be_accepted(
    project: Project, live: Database, backup: Path
) -> None:
    owner, other = live.role("owner", "LOGIN CREATEDB"), live.role("other")
    live.execute(f'ALTER DATABASE "{live.name}" OWNER TO {owner}')
    live.execute(f"ALTER ROLE {other} IN DATABASE \"{live.name}\" SET work_mem TO '9MB'")
    alone(live)
    project.settings(DATABASES={"default": live.server.settings(live.name, USER=owner)})
    done = project.manage("restoredb", str(backup), YES, check=False)
    assert done.returncode == 1
    assert other in done.stderr
    assert "--accept-lost-settings" in done.stderr
    assert "loading" not in done.stderr
    done = project.manage("restoredb", str(backup), YES, "--accept-lost-settings")
    assert f'work_mem of the role "{other}" was not carried over' in done.stderr


def test_inside_somebodys_transaction_it_refuses(database: Database, backup: Path) -> None:
    from django.db import transaction

    with transaction.atomic(), pytest.raises(Exception, match="outside of any other"):
        restore(Request(str(backup)), confirm=yes)


def test_no_answer_means_no(live: Database, backup: Path) -> None:
    before = contents(live)
    with pytest.raises(Exception, match="Not confirmed"):
        restore(Request(str(backup)))
    with pytest.raises(TargetError, match="nothing to undo"):
        undo(confirm=yes)
    assert contents(live) == before
