"""The plan says what will happen: what a dry run prints is what a run does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, dumped
from tests.support.projects import Project


@pytest.fixture
def with_extension(make_database: MakeDatabase, tmp_path: Path) -> Path:
    """A dump that needs an extension which only a superuser may create."""
    source = make_database()
    known = source.execute(
        "SELECT name FROM pg_available_extension_versions WHERE superuser AND NOT trusted"
        " AND name NOT IN ('plperlu', 'plpython3u', 'pltclu') ORDER BY name = 'pageinspect' DESC"
    )
    if not known:
        pytest.skip("this server has no extension that only a superuser may create")
    source.execute(f'CREATE EXTENSION "{known[0][0]}"; CREATE TABLE t (id serial PRIMARY KEY)')
    return dumped(source, tmp_path / "x")


def test_in_place_for_an_extension_it_promises_one_job(
    project: Project, database: Database, with_extension: Path
) -> None:
    role = database.role("app", "LOGIN CREATEDB")
    database.execute(f"ALTER DATABASE {database.name} OWNER TO {role}")
    alone(database)
    settings = database.server.settings(database.name, USER=role)
    project.settings(DATABASES={"default": settings})
    said = project.manage("restoredb", str(with_extension), "--dry-run", "--jobs=4").stdout
    assert "load      in place, with pg_restore" in said
    assert "4 jobs" not in said
    assert "is loaded by one job" in said


def test_the_dry_run_of_a_plain_dump_shows_how_far_it_is(
    database: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    from restorehooks.restore.progress import Progress, Reporter
    from restorehooks.restore.request import Request
    from restorehooks.restore.restore import restore

    class Watching(Reporter):
        seen = 0

        def progress(self, progress: Progress) -> None:
            self.seen = progress.bytes
            assert progress.bytes_total == file.stat().st_size

    source = make_database()
    source.execute("CREATE TABLE t AS SELECT n, repeat('x', 100) FROM generate_series(1, 100) n")
    file = dumped(source, tmp_path / "x.sql", form="plain")
    reporter = Watching()
    restore(Request(str(file), dry_run=True), reporter=reporter)
    assert reporter.seen == file.stat().st_size
