"""How each command ends: JSON in one shape, the exit code, and what Python callers get."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, load_command_class
from django.core.management.base import CommandError
from jsonschema import Draft202012Validator

from restorehooks.management.base import OneSentenceCommand
from restorehooks.management.output import SafeOutput
from restorehooks.restore.server import address
from restorehooks.restore.server.address import Address
from restorehooks.signals import post_restore, sequences_repaired
from restorehooks.wording import size_in_words
from tests.support.databases import Database, pointed
from tests.support.dumps import SHOP, alone, neighbours
from tests.support.projects import Project
from tests.support.reports import SCHEMA, valid
from tests.support.servers import RunningServer

YES: dict[str, Any] = {"interactive": False}


def called(command: str, *arguments: str, **options: Any) -> tuple[dict[str, Any], int]:
    """Call a command as Python code does, and return its report and its exit code."""
    out, err = StringIO(), StringIO()
    code = 0
    try:
        call_command(command, *arguments, "--format=json", stdout=out, stderr=err, **options)
    except CommandError as error:
        code = error.returncode
    report = valid(out.getvalue(), command)
    assert report["exit_code"] == code
    assert (report["error"] is None) == (code == 0 or report["outcome"] == "unresolved")
    return report, code


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_step_of_a_life_is_reported(live: Database, backup: Path) -> None:
    plan, _ = called("restoredb", str(backup), "--dry-run")
    assert (plan["outcome"], plan["restored"]) == ("dry run", False)
    assert plan["dump"]["archive_version"].startswith("1.")
    done, _ = called("restoredb", str(backup), **YES)
    assert (done["outcome"], done["restored"]) == ("restored", True)
    assert [done["previous"]] == neighbours(live)
    listed, _ = called("restoredb", "--kept")
    assert [each["name"] for each in listed["kept"]] == [done["previous"]]
    undone, _ = called("restoredb", "--undo", done["previous"], **YES)
    assert (undone["outcome"], undone["restored"]) == ("undone", True)
    assert [undone["undone"]["replaced"]] == neighbours(live)
    would, _ = called("restoredb", "--drop-previous", "--dry-run")
    assert would["outcome"] == "dry run"
    assert neighbours(live) == would["dropped"] != []
    dropped, _ = called("restoredb", "--drop-previous", **YES)
    assert (dropped["outcome"], dropped["dropped"]) == ("dropped", would["dropped"])
    assert neighbours(live) == []


def test_keep_drops_the_oldest_and_the_last_lines_count_what_is_kept(
    live: Database, backup: Path
) -> None:
    first, _ = called("restoredb", str(backup), **YES)
    out = StringIO()
    call_command("restoredb", str(backup), stdout=out, stderr=StringIO(), **YES)
    counted, done = out.getvalue().splitlines()[-2:]
    assert counted.startswith("2 previous databases are kept and take ")
    assert done.startswith("Restored ")
    third, _ = called("restoredb", str(backup), "--keep=1", **YES)
    assert [each["name"] for each in third["kept"]] == neighbours(live) == [third["previous"]]
    assert first["previous"] in third["dropped"]
    assert len(third["dropped"]) == 2


def test_the_plan_says_what_room_is_needed_and_what_could_be_dropped(
    live: Database, backup: Path
) -> None:
    done, code = called("restoredb", str(backup), **YES)
    assert code == 0, done["error"]
    plan, _ = called("restoredb", str(backup), "--dry-run")
    (room,) = (line for line in plan["plan"] if line.startswith("room "))
    assert f"the dump {size_in_words(backup.stat().st_size)}" in room
    assert ("are free where the server" in room) == live.server.params["host"].startswith("/")
    (kept,) = (line for line in plan["plan"] if line.startswith("kept "))
    assert f"--drop-previous {done['previous']} drops it" in kept


def test_too_little_room_is_said_with_what_could_be_dropped(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restorehooks.restore import room

    done, _ = called("restoredb", str(backup), **YES)
    monkeypatch.setattr(room, "_free", lambda connection, live: 12345)
    plan, _ = called("restoredb", str(backup), "--dry-run")
    (note,) = (note for note in plan["notes"] if "may not fit" in note)
    assert "12 kB are free" in note
    assert f"--drop-previous {done['previous']}" in note


@pytest.mark.parametrize(
    ("arguments", "outcome", "kind", "code"),
    [
        (["missing"], "failed", "dump", 1),
        ([], "refused", "usage", 2),
        (["x", "--jobs=0"], "refused", "usage", 2),
        (["x", "--database=nowhere"], "refused", "usage", 2),
        (["--undo"], "failed", "target", 1),
        (["--drop-previous", "nothing"], "refused", "usage", 2),
        (["--undo", "nothing"], "refused", "usage", 2),
    ],
)
def test_each_kind_of_refusal(
    database: Database, arguments: list[str], outcome: str, kind: str, code: int
) -> None:
    alone(database)
    report, found = called("restoredb", *arguments, **YES)
    assert (report["outcome"], report["error"]["kind"], found) == (outcome, kind, code)
    assert report["restored"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ["--undo", "--jobs=2"],
        ["--undo", "--migrate"],
        ["--undo", "--no-owner"],
        ["--undo", "--no-analyze"],
        ["--undo", "--drop-previous"],
        ["--undo", "--kept"],
        ["--kept", "--keep=2"],
        ["--drop-previous", "--table=x"],
        ["a.dump", "--undo"],
        ["a.dump", "--kept"],
        ["a.dump", "--drop-previous", "name"],
        ["a.dump", "--keep=0"],
        ["a.dump", "--keep=1", "--drop-previous"],
        ["a.dump", "--keep=1", "--in-place"],
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str]) -> None:
    report, code = called("restoredb", *arguments)
    assert (report["outcome"], code) == ("refused", 2)
    assert "--" in report["error"]["message"]


def test_python_callers_get_an_exception_with_the_exit_code(
    live: Database, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restorehooks.management import restoredb
    from restorehooks.restore import errors

    def saying(answer: bool) -> Callable[..., Callable[[str], bool]]:
        return lambda interactive: lambda question: answer

    with pytest.raises(CommandError) as raised:
        call_command("restoredb", "missing")
    assert (raised.value.returncode, "as it was" in str(raised.value)) == (1, True)
    monkeypatch.setattr(restoredb, "asking", saying(False))
    report, code = called("restoredb", str(backup))
    assert (report["outcome"], report["error"]["kind"], code) == ("declined", "declined", 1)

    def fails(error: BaseException) -> Iterator[tuple[dict[str, Any], int]]:
        def receiver(**kwargs: Any) -> None:
            raise error

        post_restore.connect(receiver)
        try:
            yield called("restoredb", str(backup), **YES)
        finally:
            post_restore.disconnect(receiver)

    monkeypatch.setattr(restoredb, "asking", saying(True))
    for error, outcome, kind, code in (
        (ValueError("no"), "failed", "project", 1),
        (errors.HookError("no"), "failed", "hook", 1),
        (errors.LiveChangedError("no"), "failed", "live_changed", 1),
        (errors.OutcomeUnknownError("no"), "unknown", "outcome_unknown", 1),
        (errors.NobodyToAskError("no"), "refused", "no_terminal", 2),
        (KeyboardInterrupt(), "interrupted", "interrupted", 130),
    ):
        for report, found in fails(error):
            assert (report["outcome"], report["error"]["kind"], found) == (outcome, kind, code)
            assert report["restored"] is (None if outcome == "unknown" else False)
            assert report["dump"]["format"] == "custom"  # how far it came
    assert neighbours(live) == []


def test_a_hook_that_fails_is_named_with_its_line_and_error(
    live: Database, backup: Path, tmp_path: Path
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "scrub.py").write_text("import json\n\njson.loads('no')\n")
    report, _ = called("restoredb", str(backup), f"--hooks-dir={hooks}", **YES)
    assert report["error"]["kind"] == "hook"
    assert "scrub.py, line 3, failed: JSONDecodeError: " in report["error"]["message"]
    assert neighbours(live) == []


def test_dumpdb_reports_what_it_wrote_and_what_not(database: Database, tmp_path: Path) -> None:
    database.execute(SHOP)
    alone(database)
    file = tmp_path / "shop.dir"
    done, _ = called("dumpdb", str(file), "--format=directory")
    assert (done["outcome"], done["path"], done["dump"]["format"]) == (
        "written",
        str(file),
        "directory",
    )
    refused, code = called("dumpdb", str(file))
    assert (refused["outcome"], refused["error"]["kind"], code) == ("refused", "usage", 2)
    assert "--force" in refused["error"]["message"]
    with pointed("gone", {**database.settings, "HOST": str(tmp_path)}):
        failed, code = called("dumpdb", str(tmp_path / "x"), "--database=gone")
    assert (failed["outcome"], failed["error"]["kind"], code) == ("failed", "connection", 1)
    assert not (tmp_path / "x").exists()


def test_resetsequences_reports_a_database_that_is_down(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (id serial); INSERT INTO t VALUES (4)")
    alone(database)
    with pointed("gone", {**database.settings, "HOST": str(tmp_path)}):
        report, code = called("resetsequences", database=["default", "gone"])
        assert (report["outcome"], code) == ("failed", 1)
        assert [each["database"] for each in report["databases"]] == ["default"]
        assert [each["database"] for each in report["failed"]] == ["gone"]
        assert called("resetsequences", database=["gone"])[0]["databases"] == []
    report, code = called("resetsequences", "--check")
    assert (report["outcome"], code) == ("done", 0)
    report, code = called("resetsequences", "nonsense")
    assert (report["outcome"], report["error"]["kind"], code) == ("refused", "usage", 2)


def test_what_a_receiver_prints_is_no_part_of_the_json(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    def receiver(**kwargs: Any) -> None:
        sys.stdout.write("told\n")

    database.execute("CREATE TABLE t (id serial); INSERT INTO t VALUES (4)")
    alone(database)
    sequences_repaired.connect(receiver)
    try:
        call_command("resetsequences", "--json")
    finally:
        sequences_repaired.disconnect(receiver)
    printed = capsys.readouterr()
    assert valid(printed.out, "resetsequences")["outcome"] == "done"
    assert printed.err == "told\n"


def test_a_command_line_that_cannot_be_parsed_is_reported_too(project: Project) -> None:
    for command in ("restoredb", "dumpdb", "resetsequences"):
        done = project.manage(command, "--nonsense", "--json", check=False)
        assert done.returncode == 2
        assert valid(done.stdout, command)["outcome"] == "refused"
        assert len(done.stderr.splitlines()) == 1


def test_an_empty_value_means_nothing_else(live: Database, backup: Path) -> None:
    """A shell leaves one behind for a variable that is not set."""
    command = load_command_class("restorehooks", "restoredb")
    assert isinstance(command, OneSentenceCommand)
    before = neighbours(live)
    for given, said in (
        ([str(backup), "--no-input", "--hooks-dir", ""], "The value of --hooks-dir is empty"),
        ([str(backup), "--no-input", "--database="], "The value of --database is empty"),
        (["", "--no-input"], "An argument is empty"),
    ):
        out, error = StringIO(), StringIO()
        command.stdout, command.stderr = SafeOutput(out), SafeOutput(error)
        with pytest.raises(SystemExit) as ended:
            command.run_from_argv(["manage.py", "restoredb", *given, "--json"])
        assert ended.value.code == 2
        assert valid(out.getvalue(), "restoredb")["outcome"] == "refused"
        assert error.getvalue().startswith(said)
    assert neighbours(live) == before


@pytest.mark.parametrize("option", ["undo", "drop_previous"])
def test_an_empty_name_is_no_previous_database(live: Database, backup: Path, option: str) -> None:
    called("restoredb", str(backup), **YES)
    kept = neighbours(live)
    for empty in ("", [""]) if option == "drop_previous" else ("",):
        report, code = called("restoredb", **{option: empty}, **YES)
        assert (report["error"]["kind"], code) == ("usage", 2)
        assert neighbours(live) == kept


def test_traceback_shows_what_is_not_ours(live: Database, backup: Path) -> None:
    def receiver(**kwargs: Any) -> None:
        raise ZeroDivisionError("in the project")

    post_restore.connect(receiver)
    try:
        with pytest.raises(ZeroDivisionError):
            call_command("restoredb", str(backup), traceback=True, stderr=StringIO(), **YES)
        with pytest.raises(CommandError, match=rf"in the project \({__file__}, line \d+\)\."):
            call_command("restoredb", str(backup), stderr=StringIO(), **YES)
    finally:
        post_restore.disconnect(receiver)
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("restoredb", "missing", traceback=True, stderr=StringIO(), **YES)


def test_after_an_outage_the_live_database_is_not_said_to_be_as_it_was(
    make_server: Callable[..., RunningServer],
    make_database: Callable[..., Database],
    backup: Path,
) -> None:
    server = make_server()
    there = make_database(on=server)
    alone(there)
    said = StringIO()

    def receiver(**kwargs: Any) -> None:
        assert server.process
        server.process.stop("immediate")

    post_restore.connect(receiver)
    try:
        with pointed("there", there.settings), pytest.raises(CommandError) as raised:
            call_command("restoredb", str(backup), database="there", stderr=said, **YES)
    finally:
        post_restore.disconnect(receiver)
        assert server.process
        server.process.start()
    assert "its server does not answer now" in str(raised.value)
    assert "as it was" not in str(raised.value)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_server_that_says_nothing_is_given_up(
    database: Database, backup: Path, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "SECONDS_TO_ANSWER", "1")
    alone(database)
    nobody = {**database.settings, "HOST": "127.0.0.1", "PORT": str(silent)}
    settings = {**nobody, "OPTIONS": {"connect_timeout": 2}}
    with pointed("silent", settings):
        report, code = called("restoredb", str(backup), "--database=silent", **YES)
    assert (report["error"]["kind"], code) == ("connection", 1)
    assert f'connecting to "postgres" on 127.0.0.1:{silent}' in report["error"]["message"]


def test_the_time_to_connect_is_bounded_and_the_users_is_kept(database: Database) -> None:
    assert "connect_timeout=15" in Address.of("default").conninfo("x")
    assert Address.of("default").variables("x")["PGCONNECT_TIMEOUT"] == "15"
    with pointed("patient", {**database.settings, "OPTIONS": {"connect_timeout": 77}}):
        assert "connect_timeout=77" in Address.of("patient").conninfo("x")
