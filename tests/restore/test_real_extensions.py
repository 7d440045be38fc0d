"""Extensions that own rows or a place, real ones: PostGIS, pg_cron, pg_partman, TimescaleDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from restorehooks.restore.errors import RestoreError, TargetError
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.undo import undo
from restorehooks.sequences.repair import inspect
from tests.support.databases import Database, MakeDatabase, pointed
from tests.support.dumps import alone, dumped, neighbours
from tests.support.servers import FAST, RunningServer, packaged, private_server

pytestmark = pytest.mark.slow
FORMS = ("custom", "plain")
CRON_HOME = "cron_home"
"""The one database that pg_cron may be in."""
READINGS = "readings"
"""A database with TimescaleDB."""


@pytest.fixture(scope="module")
def packages() -> Iterator[RunningServer]:
    """A server of Debian's, with pg_cron's worker where there is one."""
    folder = packaged("postgis") or packaged("pg_cron") or packaged("pg_partman")
    if folder is None:
        pytest.skip("no PostGIS, pg_cron or pg_partman is installed here")
    cron = {"shared_preload_libraries": "pg_cron", "cron.database_name": CRON_HOME}
    options = cron if packaged("pg_cron") == folder else {}
    with private_server({**FAST, **options}, folder) as running:
        yield running


Make = Callable[..., Database]
TEMPLATE = "with_postgis"
"""A database with PostGIS, since copying one is quicker than CREATE EXTENSION."""


@pytest.fixture
def make(make_database: MakeDatabase, packages: RunningServer) -> Make:
    """Return a function that creates a database with extensions; it skips where one is not here."""

    def make_with(*extensions: str, name: str | None = None) -> Database:
        there = {each for (each,) in packages.execute("SELECT name FROM pg_available_extensions")}
        if missing := set(extensions) - there:
            pytest.skip(f"{', '.join(missing)} is not installed here")
        template = with_postgis(packages) if "postgis" in extensions else "template1"
        made = make_database(name=name, template=template, on=packages)
        for extension in extensions:
            made.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        return made

    return make_with


def with_postgis(server: RunningServer) -> str:
    """Return the name of a database with PostGIS, made at the first call."""
    if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", TEMPLATE):
        server.execute(f"CREATE DATABASE {TEMPLATE}")
        with server.connect(dbname=TEMPLATE) as connection:
            connection.execute("CREATE EXTENSION postgis")
    return TEMPLATE


def restored(
    database: Database, dump: Path, user: str | None = None, **wishes: Any
) -> RestoreReport:
    """Restore into this database, as the superuser or another role; everything is agreed to."""
    database.disconnect()
    if database.name not in (CRON_HOME, READINGS):  # where a worker of the extension stays
        alone(database)
    settings = {**database.settings, **({"USER": user} if user else {})}
    with pointed("default", settings):
        report = restore(Request(str(dump), **wishes), confirm=lambda question: True)
        assert not [each for each in inspect("default") if each.status != "ok"]
    for name in neighbours(database):
        database.server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    return report


def owned(database: Database) -> str:
    """Give the database to an ordinary role, as an administrator hands one out."""
    owner = database.role("owner", "LOGIN CREATEDB")
    database.server.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
    return owner


# --- PostGIS -----------------------------------------------------------------------------------

OWN_SYSTEM = "INSERT INTO spatial_ref_sys (srid, srtext) VALUES (990001, 'of our own')"
PLACES = "CREATE TABLE place (id serial PRIMARY KEY, at geometry); INSERT INTO place DEFAULT VALUES"
SYSTEMS = "SELECT srid FROM spatial_ref_sys WHERE srid > 990000 ORDER BY 1"


def test_own_rows_of_spatial_ref_sys_come_once(make: Make, tmp_path: Path) -> None:
    source, target = make("postgis"), make("postgis")
    source.execute(f"{OWN_SYSTEM}; {PLACES}")
    target.execute("INSERT INTO spatial_ref_sys (srid, srtext) VALUES (990002, 'another')")
    for form in FORMS:
        report = restored(target, dumped(source, tmp_path / form, form=form), in_place=True)
        assert not [line for line in report.left_out if line.startswith("rows")]
        assert target.execute(SYSTEMS) == [(990001,)]
        assert target.execute("SELECT count(*) > 8000 FROM spatial_ref_sys") == [(True,)]
        assert target.execute("SELECT count(*) FROM place") == [(1,)]


@pytest.mark.parametrize("form", FORMS)
def test_an_ordinary_role_restores_into_what_it_was_given(
    make: Make, tmp_path: Path, form: str
) -> None:
    source, target = make("postgis"), make("postgis")
    source.execute(PLACES)
    owner = owned(target)
    dump = dumped(source, tmp_path / "d", form=form)
    report = restored(target, dump, owner)
    assert report.mode == "in place"
    assert target.execute("SELECT count(*) FROM place") == [(1,)]
    source.execute(OWN_SYSTEM)
    dump = dumped(source, tmp_path / "e", form=form)
    with pytest.raises(RestoreError, match=r"spatial_ref_sys; .* --skip-superuser-only"):
        restored(target, dump, owner, in_place=True)
    report = restored(target, dump, owner, in_place=True, skip_superuser_only=True)
    assert any("rows stay as they are" in line for line in report.left_out)
    assert target.execute("SELECT count(*) FROM place") == [(1,)]


def test_rows_in_a_table_of_an_extension_are_data(make: Make, tmp_path: Path) -> None:
    source, target = make("postgis"), make("postgis")
    dump = dumped(source, tmp_path / "d")
    asked: list[str] = []
    target.execute(OWN_SYSTEM)
    alone(target)

    def answer(question: str) -> bool:
        asked.append(question)
        return False

    with pointed("default", target.settings), pytest.raises(RestoreError):
        restore(Request(str(dump)), confirm=answer)
    assert "1 filled extension table" in asked[0]


def test_the_sequence_of_topologies_follows_its_rows(make: Make, tmp_path: Path) -> None:
    source, target = make("postgis", "postgis_topology"), make("postgis", "postgis_topology")
    for name in ("roads", "rivers"):
        source.execute(f"SELECT topology.CreateTopology('{name}', 4326)")
    target.execute(
        "SELECT topology.CreateTopology('old', 4326); CREATE TABLE road (id serial PRIMARY KEY);"
        "SELECT topology.AddTopoGeometryColumn('old', 'public', 'road', 'topo', 'LINE')"
    )
    for form in FORMS:
        dump = dumped(source, tmp_path / form, form=form)
        restored(target, dump, in_place=form == "plain")
        assert target.execute("SELECT name FROM topology.topology ORDER BY id") == [
            ("roads",),
            ("rivers",),
        ]
        target.execute("SELECT topology.CreateTopology('third', 4326)")


# --- pg_cron -----------------------------------------------------------------------------------

JOBS = "SELECT jobname FROM cron.job ORDER BY 1"


def test_jobs_of_pg_cron_are_there_once(make: Make, tmp_path: Path) -> None:
    home = make("pg_cron", name=CRON_HOME)
    home.execute(
        "SELECT cron.schedule(name, '0 3 * * *', 'VACUUM') FROM unnest('{one,two}'::text[]) name;"
        "CREATE TABLE shop (id serial PRIMARY KEY); INSERT INTO shop DEFAULT VALUES"
    )
    dumps = [dumped(home, tmp_path / form, form=form) for form in FORMS]
    home.execute("SELECT cron.schedule('three', '0 3 * * *', 'VACUUM')")
    with pytest.raises(TargetError, match=r'"pg_cron".* restore with --in-place'):
        restored(home, dumps[0])
    assert len(home.execute(JOBS)) == 3
    for dump in dumps:
        restored(home, dump, in_place=True)
        assert home.execute(JOBS) == [("one",), ("two",)]
        assert home.execute("SELECT count(*) FROM shop") == [(1,)]
    assert home.execute("SELECT cron.schedule('four', '0 3 * * *', 'VACUUM')") == [(3,)]


@pytest.mark.parametrize("form", FORMS)
def test_extensions_are_left_out_with_their_rows(make: Make, tmp_path: Path, form: str) -> None:
    """pg_cron, which only its home can have, and PostGIS topology, which the role may not make."""
    home = make("postgis", "postgis_topology", "pg_cron", name=CRON_HOME)
    home.execute(
        "SELECT cron.schedule('one', '0 3 * * *', 'VACUUM');"
        "SELECT topology.CreateTopology('roads', 4326); DROP SCHEMA roads CASCADE;"
        f"GRANT SELECT ON cron.job, topology.topology TO {home.role('reader')};"
        "CREATE TABLE shop (id serial PRIMARY KEY); INSERT INTO shop DEFAULT VALUES"
    )
    dump = dumped(home, tmp_path / "d", form=form)
    target = make()
    owner = owned(target)
    for user, in_place in product((None, owner), (False, True)):
        report = restored(target, dump, user, skip_superuser_only=True, in_place=in_place)
        notes = [note for note in report.notes if '"pg_cron" is left out' in note]
        assert bool(notes) is not in_place
        left_out = ["pg_cron", "cron.job"]
        left_out += ["postgis", "postgis_topology", "topology.topology"] if user else []
        for name in left_out:
            assert [line for line in report.left_out if f'"{name}"' in line]
        assert target.execute("SELECT count(*) FROM shop") == [(1,)]
        assert target.execute("SELECT to_regclass('cron.job')::text") == [(None,)]
    with pytest.raises(RestoreError, match=r"pg_cron.*rows.* by --skip-superuser-only"):
        restored(target, dump, in_place=True)


# --- pg_partman --------------------------------------------------------------------------------


def test_partitions_of_pg_partman_go_on(make: Make, tmp_path: Path) -> None:
    source, target = make("pg_partman"), make()
    ((version,),) = source.execute(
        "DROP EXTENSION pg_partman; CREATE SCHEMA partman;"
        "CREATE EXTENSION pg_partman SCHEMA partman;"
        "CREATE TABLE log (at timestamptz NOT NULL) PARTITION BY RANGE (at);"
        "SELECT extversion FROM pg_extension WHERE extname = 'pg_partman'"
    )
    kind = "'native', 'monthly'" if version < "5" else "'1 month'"
    source.execute(f"SELECT partman.create_parent('public.log', 'at', {kind}, p_premake := 1)")
    source.execute("INSERT INTO log VALUES (now()), (now())")
    for form in FORMS:
        dump = dumped(source, tmp_path / form, form=form)
        restored(target, dump, in_place=form == "plain")
        assert target.execute("SELECT parent_table FROM partman.part_config") == [("public.log",)]
        assert target.execute("SELECT count(*) FROM log") == [(2,)]
    target.execute("SELECT partman.run_maintenance()")


# --- TimescaleDB -------------------------------------------------------------------------------


@pytest.fixture
def timescale(server: RunningServer) -> Iterator[RunningServer]:
    """A server with TimescaleDB, of Debian's programs or those of the whole run."""
    there = "SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'"
    folder = packaged("timescaledb") or (server.bindir if server.execute(there) else None)
    if folder is None:
        pytest.skip("no TimescaleDB is installed here")
    options = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
    with private_server({**FAST, "max_locks_per_transaction": "128", **options}, folder) as running:
        yield running


@pytest.mark.parametrize("schema", ["public", "ext"])
def test_hypertables_come_with_their_chunks(
    timescale: RunningServer, make_database: MakeDatabase, tmp_path: Path, schema: str
) -> None:
    # Its launcher may be looking into template1.
    source, target = (
        make_database(name=name, template="template0", on=timescale) for name in (None, READINGS)
    )
    source.execute(
        f"CREATE SCHEMA IF NOT EXISTS {schema}; CREATE EXTENSION timescaledb SCHEMA {schema};"
        "CREATE TABLE reading (id serial, at timestamptz, v int, PRIMARY KEY (id, at));"
        f"SELECT {schema}.create_hypertable('reading', 'at', chunk_time_interval => 864000000000);"
        "INSERT INTO reading (at, v) SELECT '2026-01-01'::timestamptz + n * interval '1 day', n"
        " FROM generate_series(1, 30) n;"
        f"CREATE VIEW monthly AS SELECT {schema}.time_bucket('30 days', at), sum(v) FROM reading"
        " GROUP BY 1"
    )
    rows = "SELECT tableoid::regclass::text, count(*), sum(v) FROM reading GROUP BY 1 ORDER BY 1"
    chunks = source.execute(rows)
    assert len(chunks) > 3
    for form in ("plain", "custom", "directory"):
        dump = dumped(source, tmp_path / form, form=form)
        for in_place in (False, True):
            restored(target, dump, jobs=2, in_place=in_place)
            assert target.execute(rows) == chunks
            # Rows go into chunks again, which they do not while it is restoring.
            later = "INSERT INTO reading (at, v) VALUES ('2027-01-01', 1) RETURNING id"
            assert target.execute(later) == [(31,)]
            assert len(target.execute(rows)) == len(chunks) + 1
            assert target.execute("SELECT sum(sum) FROM monthly") == [(466,)]
    # Its workers stay in both databases that change places.
    target.disconnect()
    with pointed("default", target.settings):
        restore(Request(str(dump)), confirm=lambda question: True)
        undo(confirm=lambda question: True)
    assert len(target.execute(rows)) == len(chunks) + 1
