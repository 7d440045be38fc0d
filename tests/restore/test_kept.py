"""What is kept after restores: which databases are believed, their order, undo and drop."""

from __future__ import annotations

import json
import os
import signal
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from psycopg import sql

from restorehooks.restore.server import kept_databases, sides
from tests.support.databases import Database, MakeDatabase, pointed
from tests.support.dumps import alone, dumped, neighbours
from tests.support.projects import Project

YES = "--no-input"


def restoredb(*arguments: str, fails: bool = False) -> str:
    """Run the command in this process and return what it says; it fails only where it has to."""
    said = StringIO()
    try:
        call_command("restoredb", *arguments, YES, stdout=said, stderr=said)
    except CommandError as error:
        if not fails:
            raise
        return said.getvalue() + str(error)
    assert not fails, said.getvalue()
    return said.getvalue()


@pytest.fixture
def versions(make_database: MakeDatabase, tmp_path: Path) -> list[Path]:
    """Dumps of a table with one row: "v1", "v2", "v3"."""
    other = make_database()
    other.execute("CREATE TABLE t (v text)")
    made = []
    for name in ("v1", "v2", "v3"):
        other.execute(f"TRUNCATE t; INSERT INTO t VALUES ('{name}')")
        made.append(dumped(other, tmp_path / f"{name}.dump"))
    return made


@pytest.fixture
def first(database: Database) -> Database:
    """The live database with the row "first"."""
    database.execute("CREATE TABLE t AS SELECT 'first' AS v")
    alone(database)
    return database


def row(database: Database) -> str:
    ((value,),) = database.execute("SELECT v FROM t")
    alone(database)
    return str(value)


def test_whatever_form_a_time_has(first: Database, versions: list[Path]) -> None:
    there = {**first.settings, "OPTIONS": {"options": "-c datestyle=German"}}
    with pointed("default", there):
        restoredb(str(versions[0]))
        assert row(first) == "v1"
        restoredb("--undo")
    assert row(first) == "first"


def listed() -> list[dict[str, Any]]:
    """Return what is kept as the report in JSON has it."""
    found: list[dict[str, Any]] = json.loads(restoredb("--kept", "--format=json"))["kept"]
    return found


def sources(found: list[dict[str, Any]], key: str) -> list[str | None]:
    return [one[key] and one[key].partition(" (")[0] for one in found]


def test_every_kept_database_is_listed_and_reached(first: Database, versions: list[Path]) -> None:
    v1, v2, v3 = map(str, versions)
    said = [restoredb(dump) for dump in (v1, v2, v3)]
    assert "1 previous database is kept and takes" in said[0]
    assert "3 previous databases are kept and take" in said[2]
    found = listed()
    assert sources(found, "origin") == [v2, v1, None]
    assert sources(found, "by") == [v3, v2, v1]
    assert all(isinstance(one["size"], int) for one in found)
    text = restoredb("--kept")
    assert all(str(one["name"]) in text for one in found)
    # The first of all, past the two between.
    restoredb("--undo", str(found[2]["name"]))
    assert row(first) == "first"
    assert sources(listed(), "origin") == [v3, v2, v1]
    restoredb("--undo")
    assert row(first) == "v3"
    wrong = restoredb("--undo", "nowhere", fails=True)
    assert str(listed()[0]["name"]) in wrong


def test_some_are_dropped_by_name_and_the_oldest_by_number(
    first: Database, versions: list[Path]
) -> None:
    v1, v2, v3 = map(str, versions)
    for dump in (v1, v2):
        restoredb(dump)
    oldest = str(listed()[1]["name"])
    restoredb("--drop-previous", oldest)
    assert oldest not in neighbours(first)
    restoredb("--drop-previous", first.name, fails=True)
    assert row(first) == "v2"
    restoredb(v3, "--keep=1")
    (left,) = listed()
    assert str(left["origin"]).startswith(v2)
    assert neighbours(first) == [left["name"]]
    # A failed restore drops nothing.
    Path(v1).write_bytes(Path(v1).read_bytes()[:-40])
    restoredb(v1, "--keep=1", fails=True)
    assert neighbours(first) == [left["name"]]


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_interrupted_drop_names_what_it_dropped(
    first: Database, versions: list[Path], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for dump in versions:
        restoredb(str(dump))
    before = neighbours(first)

    def and_sigterm(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        sides.drop(*arguments)

    monkeypatch.setattr("restorehooks.restore.undo.drop", and_sigterm)
    said = restoredb("--drop-previous", f"--format={form}", fails=True)
    assert "Interrupted. The live database is as it was." in said
    (gone,) = set(before) - set(neighbours(first))
    if form == "json":
        report = json.loads(said[: said.rindex("}") + 1])
        assert (report["outcome"], report["dropped"]) == ("interrupted", [gone])
    else:
        assert f'Dropped "{gone}"' in said
    assert row(first) == "v3"


def test_one_of_an_earlier_owner_is_named_and_can_be_had(
    first: Database, versions: list[Path]
) -> None:
    """Anybody else's could be forged."""
    earlier, owner = first.role("earlier"), first.role("owner")
    restoredb(str(versions[0]))
    (kept,) = neighbours(first)
    given = sql.SQL("ALTER DATABASE {} OWNER TO {}")

    def give(name: str, to: str) -> None:
        first.server.execute(given.format(sql.Identifier(name), sql.Identifier(to)))

    give(kept, earlier)
    give(first.name, owner)
    assert f'"{kept}" of "{earlier}"' in restoredb("--undo", fails=True)
    assert f'"{kept}" of "{earlier}"' in restoredb("--drop-previous", fails=True)
    give(kept, owner)
    restoredb("--undo")
    assert row(first) == "first"
    for name in (first.name, *neighbours(first)):
        give(name, first.server.params["user"])


def test_an_empty_database_is_not_kept(database: Database, versions: list[Path]) -> None:
    alone(database)
    restoredb(str(versions[0]))
    assert (row(database), neighbours(database)) == ("v1", [])


def test_the_order_is_the_servers_whatever_a_clients_clock_says(
    project: Project, first: Database, versions: list[Path]
) -> None:
    project.write(
        "ahead.py",
        """
        import datetime, sys, time
        import manage
        class Ahead(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return super().now(tz) + datetime.timedelta(hours=1)
        from restorehooks.restore.server import markers
        datetime.datetime = markers.datetime = Ahead
        before = time.time
        time.time = lambda: before() + 3600
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
        """,
    )
    project.run([sys.executable, "ahead.py", "restoredb", str(versions[0]), YES])
    restoredb(str(versions[1]))
    restoredb("--undo")
    assert row(first) == "v1"


# --- Markers -----------------------------------------------------------------------------------

PREVIOUS = {"role": "previous", "live": "", "at": "2999-01-01T00:00:00+00:00", "by": "x"}


def planted(database: Database, name: str, comment: str | None, owner: str | None = None) -> None:
    """Create a database beside another, with one table in it."""
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if owner:
        create += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
    database.server.execute(create)
    with database.server.connect(dbname=name) as inside:
        inside.execute("CREATE TABLE t AS SELECT 'planted' AS v")
    if comment is not None:
        database.server.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), comment)
        )


@pytest.mark.parametrize("role", ["previous", "side"])
def test_a_strangers_marker_is_not_believed(
    first: Database, versions: list[Path], role: str
) -> None:
    carol = first.role("carol", "LOGIN CREATEDB")
    name = f"{first.name}_carols"
    comment = json.dumps({**PREVIOUS, "role": role, "live": first.name})
    planted(first, name, f"restorehooks {comment}", carol)
    assert "No previous database" in restoredb("--undo", fails=True)
    restoredb(str(versions[0]))
    assert [one["name"] for one in listed()] != [name]
    assert name in neighbours(first)
    restoredb("--undo")
    assert row(first) == "first"
    restoredb("--drop-previous")
    assert neighbours(first) == [name]


MALFORMED: list[dict[str, Any]] = [
    {"live": 7},
    {"at": 3},
    {"at": "yesterday"},
    {"at": None},
    {"by": ["x"]},
    {"comment": {}},
    {"number": "1"},
    {"number": True},
    {"role": ["previous"]},
    {"role": {}},
    {"successor": "x"},
]


def test_a_malformed_marker_is_none_and_stops_nothing(
    first: Database, versions: list[Path]
) -> None:
    texts = [json.dumps({**PREVIOUS, "live": first.name, **wrong}) for wrong in MALFORMED]
    texts += ["", "{", "[]", "null", "7", "[" * 100_000, '{"role": "previous"}', "{}"]
    name = f"{first.name}_malformed"
    planted(first, name, None)
    for text in texts:
        first.server.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                sql.Identifier(name), f"restorehooks {text}"
            )
        )
        assert listed_here() == []
    restoredb(str(versions[0]))
    assert name in neighbours(first)


def listed_here() -> list[str]:
    from restorehooks.restore.undo import kept_databases

    return [one.name for one in kept_databases()]


def test_a_database_without_a_marker_is_never_dropped(
    first: Database, versions: list[Path]
) -> None:
    name = f"{first.name}_restoring_20260102_030405"
    planted(first, name, None)
    done = restoredb(str(versions[0]))
    assert f'"{name}" is named like' in done
    with first.server.connect(dbname=name) as inside:
        assert inside.execute("SELECT v FROM t").fetchone() == ("planted",)


def test_a_database_that_is_dropped_meanwhile_stops_nothing(
    database: Database, make_database: MakeDatabase
) -> None:
    other = make_database()
    with database.server.connect(autocommit=False) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1 FROM pg_database")
        # The connection goes on seeing it.
        database.server.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other.name))
        )
        assert kept_databases.kept(connection, database.name, "side") == []


def test_what_a_drop_left_half_done_is_not_brought_back(
    first: Database, versions: list[Path]
) -> None:
    restoredb(str(versions[0]))
    (name,) = neighbours(first)
    # As DROP DATABASE leaves it when it is cut off (DATCONNLIMIT_INVALID_DB).
    first.server.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", name)
    restoredb("--undo", fails=True)
    assert row(first) == "v1"
    assert "can only be dropped" in restoredb("--kept")
    restoredb("--drop-previous")
    assert neighbours(first) == []


# --- Who gets in -------------------------------------------------------------------------------


def test_nobody_gets_into_the_side_database_before_the_hooks_have_run(
    first: Database, versions: list[Path], tmp_path: Path
) -> None:
    stranger, reader = first.role("stranger"), first.role("reader")
    first.server.execute(
        sql.SQL(
            "REVOKE ALL ON DATABASE {0} FROM PUBLIC; GRANT CONNECT ON DATABASE {0} TO {1}"
        ).format(sql.Identifier(first.name), sql.Identifier(reader))
    )
    (tmp_path / "hooks").mkdir()
    who = "SELECT usename, has_database_privilege(usename, current_database(), 'CONNECT')"
    (tmp_path / "hooks" / "10.sql").write_text(
        f"CREATE TABLE seen AS {who} AS may FROM pg_user WHERE usename LIKE 'stranger%'"
        " OR usename LIKE 'reader%'"
    )
    restoredb(str(versions[0]), f"--hooks-dir={tmp_path / 'hooks'}")
    seen: dict[str, bool] = dict(first.execute("SELECT usename, may FROM seen"))
    assert (seen[stranger], seen[reader]) == (False, False)
    first.connect(user=reader).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        first.connect(user=stranger)


def test_one_that_lets_nobody_connect_does_not_go_live(
    database: Database, versions: list[Path]
) -> None:
    for dump in versions[:2]:
        restoredb(str(dump))
    (kept,) = neighbours(database)
    state = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    database.server.execute(state.format(sql.Identifier(kept), sql.SQL("false")))
    assert "ALLOW_CONNECTIONS true" in restoredb("--undo", kept, fails=True)
    database.server.execute(state.format(sql.Identifier(kept), sql.SQL("true")))
    assert f'"{kept}" is "{database.name}" again' in restoredb("--undo", kept)
