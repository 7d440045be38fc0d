"""Archives: nothing restored is less than what was dumped, and what is left out is named."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from psycopg import sql

from restorehooks import programs
from restorehooks.restore import backup as backups
from restorehooks.restore.archive import commands
from restorehooks.restore.dump import compression
from restorehooks.restore.dump.contents import read_contents
from restorehooks.restore.dump.directory_proof import prove_files
from restorehooks.restore.dump.identify import identify
from restorehooks.restore.errors import DumpError, RestoreError
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server.address import Address
from tests.restore.test_dump import COMPRESSORS
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, contents, dumped
from tests.support.servers import RunningServer

SUFFIXES = {"none": "", "gzip": ".gz", "lz4": ".lz4", "zstd": ".zst"}


def restored(file: Path, **wishes: object) -> RestoreReport:
    """Restore without asking, through Django's alias ``default``."""
    return restore(Request(str(file), **wishes), confirm=lambda question: True)  # type: ignore[arg-type]


# --- Damaged files of a directory archive -------------------------------------------------------


@pytest.fixture(scope="module")
def directory(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An uncompressed directory archive: rows by COPY, an empty table, large objects."""
    source = Database(server, f"archives_{os.getpid()}", None, [])
    server.execute(f'CREATE DATABASE "{source.name}"')
    source.execute(
        "CREATE TABLE t (id int, x text); CREATE TABLE bare (id int);"
        "INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 3000) n;"
        "SELECT lo_from_bytea(5001, decode(repeat('00ff', 3000), 'hex'));"
        "SELECT lo_from_bytea(5002, 'x')"
    )
    folder = tmp_path_factory.mktemp("d")
    dumped(source, folder / "x.tar", form="tar")
    yield dumped(source, folder / "x", "--compress=0", form="directory")
    source.disconnect()
    server.execute(f'DROP DATABASE "{source.name}" WITH (FORCE)')


def copy_of(directory: Path, to: Path, how: str = "none") -> Path:
    """Copy the archive, its data files compressed as pg_dump compresses them."""
    shutil.copytree(directory, to)
    for path in [*to.glob("*.dat")]:
        if how != "none" and path.name != "toc.dat":
            content = COMPRESSORS[how](path.read_bytes())
            path.with_name(path.name + SUFFIXES[how]).write_bytes(content)
            path.unlink()
    return to


def largest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


def cut(path: Path, to: float) -> None:
    os.truncate(path, int(path.stat().st_size * to))


def cut_at_a_line(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\n", len(content) // 2) + 1])


def twice(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "rows cut": lambda d: cut(largest(d, "[0-9]*.dat*"), 0.5),
    "rows cut at their end": lambda d: cut(largest(d, "[0-9]*.dat*"), 0.9999),
    "rows gone": lambda d: cut(largest(d, "[0-9]*.dat*"), 0),
    "a file missing": lambda d: largest(d, "[0-9]*.dat*").unlink(),
    "rows twice": lambda d: twice(largest(d, "[0-9]*.dat*")),
    "a list gone": lambda d: cut(largest(d, "blobs*.toc"), 0),
    "a list cut": lambda d: cut(largest(d, "blobs*.toc"), 0.8),
    "a large object missing": lambda d: largest(d, "blob_*").unlink(),
}


@pytest.mark.parametrize("how", SUFFIXES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_of_a_directory_is_found(
    directory: Path, tmp_path: Path, how: str, damage: str
) -> None:
    folder = copy_of(directory, tmp_path / "d", how)
    dump = identify(folder)
    proof = prove_files(dump, read_contents(dump))
    assert proof.bytes == sum(path.stat().st_size for path in folder.glob("*[0-9].dat*"))
    DAMAGE[damage](folder)
    with pytest.raises(DumpError, match="copy or dump it again") as caught:
        prove_files(dump, read_contents(dump))
    assert "\n" not in str(caught.value)


def packed_again(tar: Path, to: Path, damage: Callable[[Path], None]) -> Path:
    """Return a tar file of the members of another one after some damage, in their order."""
    folder = to.with_suffix(".members")
    with tarfile.open(tar) as members, tarfile.open(to, "w", format=tarfile.USTAR_FORMAT) as again:
        names = members.getnames()
        members.extractall(folder, filter="data")
        damage(folder)
        for name in names:
            if (folder / name).exists():
                again.add(folder / name, name)
    return to


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_in_a_tar_archive_is_found(
    directory: Path, tmp_path: Path, damage: str
) -> None:
    """It is a whole tar file, and pg_restore takes it."""
    tar = directory.with_suffix(".tar")
    whole = identify(packed_again(tar, tmp_path / "whole.tar", lambda folder: None))
    assert [*prove_files(whole, read_contents(whole)).doubts()] == []
    dump = identify(packed_again(tar, tmp_path / "damaged.tar", DAMAGE[damage]))
    with pytest.raises(DumpError, match="copy or dump it again"):
        prove_files(dump, read_contents(dump))


@pytest.mark.parametrize("how", ["gzip", "lz4", "zstd"])
def test_a_cut_large_object_is_found_where_its_end_can_be_seen(
    directory: Path, tmp_path: Path, how: str
) -> None:
    dump = identify(copy_of(directory, tmp_path / "d", how))
    cut(largest(dump.path, "blob_5001*"), 0.5)
    with pytest.raises(DumpError, match="blob_5001"):
        prove_files(dump, read_contents(dump))


def test_where_a_large_objects_end_cannot_be_seen_that_is_said(
    directory: Path, tmp_path: Path, database: Database
) -> None:
    folder = copy_of(directory, tmp_path / "d")
    cut(folder / "blob_5002.dat", 0)
    for report in (restored(folder, dry_run=True), restored(folder)):
        said = "\n".join(report.notes)
        assert "1 large object(s) of the dump are empty (5002)" in said
        assert "1 large object(s) of the dump are stored uncompressed" in said


def test_a_file_of_inserts_has_an_end_too(make_database: MakeDatabase, tmp_path: Path) -> None:
    source = make_database()
    source.execute("CREATE TABLE t AS SELECT generate_series(1, 99) n; CREATE TABLE bare (id int)")
    folder = dumped(source, tmp_path / "d", "--inserts", "--compress=0", form="directory")
    dump = identify(folder)
    prove_files(dump, read_contents(dump))
    for damage in (cut_at_a_line, lambda path: cut(path, 0)):
        shutil.copytree(folder, tmp_path / "c", dirs_exist_ok=True)
        damaged = identify(tmp_path / "c")
        damage(largest(damaged.path, "[0-9]*.dat"))
        with pytest.raises(DumpError, match="is not whole"):
            prove_files(damaged, read_contents(damaged))


@pytest.mark.parametrize("wishes", [{}, {"jobs": 1}, {"in_place": True}, {"dry_run": True}])
def test_a_damaged_directory_leaves_the_live_database_as_it_was(
    directory: Path, tmp_path: Path, live: Database, wishes: dict[str, object]
) -> None:
    def damage(folder: Path) -> None:
        cut_at_a_line(largest(folder, "[0-9]*.dat"))

    folder = copy_of(directory, tmp_path / "d")
    damage(folder)
    tar = packed_again(directory.with_suffix(".tar"), tmp_path / "d.tar", damage)
    before = contents(live)
    for dump in (folder, tar):
        alone(live)
        with pytest.raises(DumpError, match="is not whole"):
            restored(dump, **wishes)
        assert contents(live) == before


def test_dumpdb_reads_a_directory_back(directory: Path, tmp_path: Path) -> None:
    folder = copy_of(directory, tmp_path / "d")
    assert backups._read_back(folder).format == "directory"
    cut(largest(folder, "[0-9]*.dat"), 0)
    with pytest.raises(DumpError, match="is not whole"):
        backups._read_back(folder)


def test_a_package_that_is_missing_for_the_proof_is_named(
    directory: Path, tmp_path: Path, live: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(directory, tmp_path / "d", "lz4")

    def missing(name: str) -> object:
        if name == "lz4.frame":
            raise ImportError(name)
        return import_module(name)

    monkeypatch.setattr(compression, "import_module", missing)
    before = contents(live)
    alone(live)
    with pytest.raises(DumpError, match=r"reading lz4 needs a package .*pip install"):
        restored(folder, in_place=True)
    assert contents(live) == before


# --- A row that hides its table's failure ------------------------------------------------------

HIDES = r"""
CREATE TABLE orders (id int PRIMARY KEY, note text, note2 text,
                     day date CHECK (day >= current_date - 1));
INSERT INTO orders SELECT g, 'fine', 'fine', current_date FROM generate_series(1, 1000) g;
ALTER TABLE orders DROP CONSTRAINT orders_day_check;
UPDATE orders SET day = current_date - 2, note = E'{0}', note2 = E'{1}' WHERE id = 1;
ALTER TABLE orders ADD CONSTRAINT orders_day_check CHECK (day >= current_date - 1) NOT VALID;
UPDATE pg_constraint SET convalidated = true WHERE conname = 'orders_day_check';
CREATE TABLE other (id int); INSERT INTO other VALUES (1);
"""
SCHEMA = "Command was: CREATE SCHEMA public;"
TIMEOUT = "Command was: SET transaction_timeout = 0;"
END = "pg_restore: warning: errors ignored on restore: 0"


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("form", ["custom", "directory"])
@pytest.mark.parametrize(
    ("note", "note2"),
    [
        (rf"hi\n{SCHEMA}\npg_restore: ", "fine"),
        (rf"x\n{SCHEMA}\nerror returned by PQ", rf"x\n{SCHEMA}\npg_restore: "),
        (rf"x\n{TIMEOUT}\npg_restore: ", rf"x\n{TIMEOUT}\nerror returned by PQ\n{TIMEOUT}"),
        (rf"x\npg_restore: finished item 9 \n{END}\n", rf"\n{TIMEOUT}\n{END}\n"),
    ],
)
def test_no_row_hides_that_its_table_failed(
    live: Database,
    make_database: MakeDatabase,
    tmp_path: Path,
    jobs: int,
    form: str,
    note: str,
    note2: str,
) -> None:
    source = make_database()
    source.execute(HIDES.format(note, note2))
    file = dumped(source, tmp_path / "x", form=form)
    before = contents(live)
    alone(live)
    with pytest.raises(RestoreError, match="pg_restore"):
        restored(file, jobs=jobs)
    assert contents(live) == before


# --- Whose it is, and who may use it -----------------------------------------------------------

OWNED = """
CREATE TABLE shop (id int PRIMARY KEY, n int); ALTER TABLE shop OWNER TO {app};
CREATE FUNCTION whoami() RETURNS text LANGUAGE sql SECURITY DEFINER
    AS 'SELECT current_user::text'; ALTER FUNCTION whoami() OWNER TO {app};
CREATE TABLE scratch (n int); ALTER TABLE scratch OWNER TO {gone};
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM shop; ALTER TABLE counted OWNER TO {app};
CREATE STATISTICS both_of ON id, n FROM shop; ALTER STATISTICS both_of OWNER TO {app};
CREATE TABLE report (n int); GRANT SELECT ON report TO {reader}, {gone};
GRANT SELECT ON report TO {reader} WITH GRANT OPTION;
CREATE FUNCTION wipe() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT 'wiped' $$;
REVOKE EXECUTE ON FUNCTION wipe() FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE {app} GRANT SELECT ON TABLES TO {reader};
ALTER DEFAULT PRIVILEGES FOR ROLE {gone} GRANT SELECT ON TABLES TO {reader};
SET ROLE {reader}; GRANT SELECT ON report TO {app}; RESET ROLE;
"""
OWNERS = """
SELECT relname, relowner::regrole::text FROM pg_class
WHERE relname IN ('shop', 'scratch', 'counted') UNION ALL
SELECT proname, proowner::regrole::text FROM pg_proc WHERE proname = 'whoami' UNION ALL
SELECT stxname, stxowner::regrole::text FROM pg_statistic_ext ORDER BY 1
"""
GRANTS = """
SELECT has_table_privilege(%s, 'report', 'SELECT WITH GRANT OPTION'),
       has_function_privilege(%s, 'wipe()', 'EXECUTE'),
       (SELECT grantor::regrole::text FROM pg_class, aclexplode(relacl) AS a
        WHERE relname = 'report' AND grantee = %s::regrole),
       (SELECT array_agg(defaclrole::regrole::text) FROM pg_default_acl)
"""


@pytest.mark.parametrize("form", ["custom", "directory", "tar", "plain"])
@pytest.mark.parametrize("in_place", [False, True])
def test_one_missing_role_takes_nothing_from_the_others(
    database: Database,
    make_database: MakeDatabase,
    tmp_path: Path,
    form: str,
    in_place: bool,
) -> None:
    source = make_database()
    app, reader, gone = (database.role(name) for name in ("app", "reader", "gone"))
    source.execute(OWNED.format(app=app, reader=reader, gone=gone))
    file = dumped(source, tmp_path / "x", form=form)
    source.execute(f"DROP OWNED BY {gone}")
    database.server.execute(f"DROP ROLE {gone}")
    report = restored(file, in_place=in_place)
    owners = dict(database.execute(OWNERS))
    superuser = database.server.params["user"]
    assert owners == {
        "shop": app, "whoami": app, "counted": app, "both_of": app, "scratch": superuser
    }  # fmt: skip
    assert database.execute(GRANTS, reader, app, app) == [(True, False, reader, [app])]
    # Each is named once, with its reason.
    named = [line for line in report.left_out if gone in line]
    assert [line.split(":")[0] for line in named] == ["owner", "privileges", "privileges"]


@pytest.mark.parametrize("in_place", [False, True])
def test_owners_by_session_authorization_are_kept(
    database: Database, make_database: MakeDatabase, tmp_path: Path, in_place: bool
) -> None:
    source = make_database()
    app, gone = database.role("app's"), database.role("gone")
    for one in (source, database):
        one.execute(f'ALTER DATABASE "{one.name}" OWNER TO "{app}"')
    source.execute(
        f'SET ROLE "{app}"; CREATE TABLE shop (id serial); INSERT INTO shop VALUES (1);'
        f"RESET ROLE; CREATE TABLE mine (); CREATE TABLE x (); ALTER TABLE x OWNER TO {gone}"
    )
    file = dumped(source, tmp_path / "x", "--use-set-session-authorization", form="plain")
    source.execute("DROP TABLE x")
    database.server.execute(f"DROP ROLE {gone}")
    alone(database)
    report = restored(file, in_place=in_place)
    owners = dict(database.execute("SELECT tablename, tableowner FROM pg_tables"))
    superuser = database.server.params["user"]
    assert (owners["shop"], owners["mine"], owners["x"]) == (app, superuser, app)
    assert [line for line in report.left_out if gone in line and line.startswith("owner: ")]
    alone(database)
    report = restored(file, owner=False)
    assert dict(database.execute("SELECT tablename, tableowner FROM pg_tables"))["shop"] == app


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_what_has_no_owner_here_goes_to_the_databases_own(
    database: Database, make_database: MakeDatabase, tmp_path: Path, form: str
) -> None:
    source = make_database()
    app, gone, keeper, reader = map(database.role, ("app", "gone", "keeper", "reader"))
    source.execute(f"""
        CREATE TABLE t (id serial); ALTER TABLE t OWNER TO {gone};
        CREATE TABLE kept (); ALTER TABLE kept OWNER TO {keeper};
        SET ROLE {keeper}; GRANT SELECT ON kept TO {gone} WITH GRANT OPTION;
        SET ROLE {gone}; GRANT SELECT ON kept TO {reader}; RESET ROLE""")
    file = dumped(source, tmp_path / "x", form=form)
    source.execute(f"DROP OWNED BY {gone} CASCADE")
    database.server.execute(f"DROP ROLE {gone}")
    database.server.execute(f'ALTER DATABASE "{database.name}" OWNER TO {app}')
    report = restored(file)
    assert database.execute("SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [(app,)]
    assert any(gone in line and app in line for line in report.left_out)
    # What it granted on what is somebody else's is granted by that one.
    granted = database.execute("SELECT relacl::text FROM pg_class WHERE relname = 'kept'")
    assert f"{reader}=r/{keeper}" in granted[0][0]


def test_the_plan_names_what_cannot_be_kept(
    live: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    source = make_database()
    gone = live.role("gone")
    source.execute(f"CREATE TABLE t (); ALTER TABLE t OWNER TO {gone}; CREATE TABLE u ();"
                   f"GRANT SELECT ON u TO {gone}")  # fmt: skip
    file = dumped(source, tmp_path / "x")
    source.execute(f"DROP OWNED BY {gone}")
    live.server.execute(f"DROP ROLE {gone}")
    notes = "\n".join(restored(file, dry_run=True).notes)
    assert f'ownership by "{gone}" is left out' in notes
    assert f'privileges are left out: the role "{gone}" does not exist here (1)' in notes


# --- Tablespaces, subscriptions, positions of sequences ----------------------------------------


@pytest.fixture
def tablespace(server: RunningServer) -> Iterator[Callable[[str], str]]:
    """Return a function that creates a tablespace; all are dropped with the test."""
    made: list[str] = []

    def make(name: str) -> str:
        name = f"{name}_{os.getpid()}"
        with server.connect() as connection:
            connection.execute("SET allow_in_place_tablespaces = on")
            create = sql.SQL("CREATE TABLESPACE {} LOCATION ''")
            connection.execute(create.format(sql.Identifier(name)))
        made.append(name)
        return name

    yield make
    for name in made:
        server.execute(sql.SQL("DROP TABLESPACE IF EXISTS {}").format(sql.Identifier(name)))


PLACES = """
SELECT relname, coalesce(spcname, '') FROM pg_class c
LEFT JOIN pg_tablespace t ON t.oid = reltablespace
WHERE relname ~ '^(t|u|t_x)$|_pkey$' ORDER BY 1
"""
IN_TABLESPACES = """
CREATE TABLE t (id int PRIMARY KEY USING INDEX TABLESPACE {here}, x int) TABLESPACE {here};
CREATE INDEX t_x ON t (x) TABLESPACE {gone};
CREATE TABLE u (id int PRIMARY KEY USING INDEX TABLESPACE {gone} REFERENCES t) TABLESPACE {gone};
ALTER TABLE t ADD CONSTRAINT x FOREIGN KEY (x) REFERENCES u; COMMENT ON INDEX t_x IS 'kept';
"""


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_tablespaces_are_kept_where_they_are(
    database: Database,
    make_database: MakeDatabase,
    tmp_path: Path,
    form: str,
    tablespace: Callable[[str], str],
) -> None:
    if database.server.version < 150000:
        pytest.skip("allow_in_place_tablespaces is there from 15 on")
    source = make_database()
    here, gone = tablespace("here"), tablespace("gone")
    source.execute(IN_TABLESPACES.format(here=here, gone=gone))
    file = dumped(source, tmp_path / "x", form=form)
    source.execute("DROP TABLE t, u")
    database.server.execute(f"DROP TABLESPACE {gone}")
    report = restored(file)
    places = dict(database.execute(PLACES))
    assert places == {"t": here, "t_pkey": here, "t_x": "", "u": "", "u_pkey": ""}
    assert database.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == [(2,)]
    assert database.execute("SELECT obj_description('t_x'::regclass)") == [("kept",)]
    assert [line for line in report.left_out if "tablespace" in line and gone in line]
    database.execute("DROP TABLE t, u")  # so that the tablespace can go


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_subscription_is_left_out_and_named(
    database: Database, make_database: MakeDatabase, tmp_path: Path, form: str
) -> None:
    source = make_database()
    source.execute(
        f"CREATE SUBSCRIPTION s_{source.name} CONNECTION 'dbname=nowhere' PUBLICATION p "
        "WITH (connect = false, slot_name = NONE, enabled = false)"
    )
    file = dumped(source, tmp_path / "x", form=form)
    source.execute(f"DROP SUBSCRIPTION s_{source.name}")
    assert [line for line in restored(file).left_out if line.startswith("subscription: ")]
    assert database.execute("SELECT count(*) FROM pg_subscription") == [(0,)]


# --- Planner statistics -------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_statistics_are_kept_where_the_server_takes_them(
    database: Database, make_database: MakeDatabase, tmp_path: Path, form: str
) -> None:
    """They are put there, and not gathered anew, which an invented number of rows shows."""
    if not (newer := [one for one in programs.programs("pg_dump") if one.major >= 18]):
        pytest.skip("takes a pg_dump of 18 or later")
    source = make_database()
    source.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n; ANALYZE t;"
                   "CREATE TABLE u AS SELECT 1 AS n")  # fmt: skip
    takes_them = database.server.version >= 180000
    if takes_them:
        source.execute("SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', 't',"
                       "'relpages', 5, 'reltuples', 4321::real)")  # fmt: skip
    file = tmp_path / "x"
    address = Address.of("default")
    flags = [f"--format={form}", "--statistics"]
    conninfo = address.conninfo(source.name)
    commands.write(newer[0], file, conninfo=conninfo, environment={}, flags=flags)
    alone(database)
    report = restored(file)
    left_out = [line for line in report.left_out if line.startswith("statistics: ")]
    assert bool(left_out) != takes_them
    rows = dict(
        database.execute("SELECT relname, reltuples FROM pg_class WHERE relname ~ '^[tu]$'")
    )
    assert rows == {"t": 4321 if takes_them else 1000, "u": 1}
    assert database.execute("SELECT count(*) FROM pg_stats WHERE tablename = 't'") == [(1,)]
