"""dumpdb: a dump that is known to be whole, or none; and what restoredb makes of it."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from restorehooks.restore.errors import RestoreError
from tests.support import ROOT
from tests.support.databases import Database
from tests.support.dumps import EVERYTHING, SHOP, alone, contents, dumped
from tests.support.projects import Project
from tests.support.reports import valid
from tests.support.servers import reachable_folder

YES = "--no-input"


def text_of(database: Database) -> str:
    return contents(database).rpartition("\n")[0]


@pytest.mark.parametrize("form", ["custom", "directory", "tar", "plain"])
def test_a_round_trip_of_every_kind_of_object(
    project: Project, database: Database, tmp_path: Path, form: str
) -> None:
    reader = database.role("reader")
    database.execute(EVERYTHING)
    database.execute(f"GRANT SELECT ON parted TO {reader} WITH GRANT OPTION")
    database.execute(
        f"REVOKE ALL ON FUNCTION stamp() FROM PUBLIC; ALTER TABLE child OWNER TO {reader}"
    )
    available = {row[0] for row in database.execute("SELECT name FROM pg_available_extensions")}
    for extension in {"citext", "hstore", "pg_trgm"} & available:
        database.execute(f"CREATE EXTENSION {extension}")
    alone(database)
    before = text_of(database)
    file = tmp_path / "all of it.dump"
    project.manage("dumpdb", str(file), f"--format={form}")
    database.execute("DROP TABLE parted CASCADE; CREATE TABLE other (i int)")
    alone(database)
    project.manage("restoredb", str(file), YES)
    after = text_of(database)
    # Nothing was behind, so nothing was moved.
    assert after.splitlines() == before.splitlines()


def test_it_is_readable_by_its_owner_alone_and_never_replaced_unasked(
    project: Project, database: Database, tmp_path: Path
) -> None:
    database.execute(SHOP)
    file = tmp_path / "shop.dump"
    done = project.manage("dumpdb", str(file))
    assert done.stdout.startswith("Written in ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = file.read_bytes()
    done = project.manage("dumpdb", str(file), check=False)
    assert (done.returncode, "--force" in done.stderr) == (2, True)
    assert file.read_bytes() == first
    database.execute("CREATE TABLE more (i int)")
    project.manage("dumpdb", str(file), "--force")
    assert file.read_bytes() != first
    folder = tmp_path / "shop.dir"
    project.manage("dumpdb", str(folder), "--format=directory", "--jobs=2")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(part.stat().st_mode) for part in folder.iterdir()} == {0o600}
    project.manage("dumpdb", str(folder), "--format=directory", "--force", "--mode=640")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(part.stat().st_mode) for part in folder.iterdir()} == {0o640}
    project.manage("dumpdb", str(file), "--force", "--mode=0644")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "shop.dir", "shop.dump"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--jobs=2"],
        ["--mode=755"],
        ["--compress=nonsense"],
        ["--format=zip"],
        ["--jobs=0"],
        ["--database=nowhere"],
    ],
)
def test_wrong_usage(project: Project, tmp_path: Path, arguments: list[str]) -> None:
    done = project.manage("dumpdb", str(tmp_path / "x.dump"), *arguments, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "x.dump").exists()


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_to_standard_output_and_from_there_into_a_restore(
    project: Project, database: Database, tmp_path: Path, form: str
) -> None:
    database.execute(SHOP)
    alone(database)
    file = tmp_path / "sent.dump"
    command = f"{sys.executable} manage.py dumpdb - --format={form}"
    done = project.run(["sh", "-c", f"{command} > {file}"])
    assert done.stderr.splitlines()[-1].startswith("Written in ")
    assert "standard output" in done.stderr
    restore = f"{sys.executable} manage.py restoredb - {YES}"
    project.run(["sh", "-c", f"{restore} < {file}"])
    # A reader that goes away is told of in one sentence.
    read, write = os.pipe()
    os.close(read)
    cut = subprocess.run(
        shlex.split(command),
        cwd=project.folder,
        env=project.environ,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (cut.returncode, cut.stderr.splitlines()[-1]) == (
        1,
        "Failed: The dump could not be sent on: Broken pipe. No dump was written.",
    )


def test_what_does_not_go_to_standard_output(project: Project, terminal: tuple[int, int]) -> None:
    for option in ("--json", "--format=directory", "--jobs=2"):
        done = project.manage("dumpdb", "-", option, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    process = subprocess.run(
        [sys.executable, "manage.py", "dumpdb", "-"],
        cwd=project.folder,
        env=project.environ,
        stdout=terminal[1],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "Standard output is a terminal" in process.stderr


def test_no_folder_no_server_no_rights(
    project: Project, database: Database, tmp_path: Path
) -> None:
    done = project.manage("dumpdb", str(tmp_path / "no" / "x.dump"), check=False)
    assert (done.returncode, "no directory" in done.stderr) == (2, True)
    database.execute("CREATE TABLE mine (i int)")
    limited = database.role("limited")
    project.settings(DATABASES={"default": database.server.settings(database.name, USER=limited)})
    done = project.manage("dumpdb", str(tmp_path / "x.dump"), check=False)
    assert done.returncode == 1
    assert "permission denied" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("No dump was written.")
    gone = {**database.settings, "HOST": str(tmp_path)}
    project.settings(DATABASES={"default": gone})
    done = project.manage("dumpdb", str(tmp_path / "x.dump"), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(
    project: Project, database: Database, tmp_path: Path, how: signal.Signals
) -> None:
    database.execute("CREATE TABLE held (i int)")
    with database.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(
            [sys.executable, "manage.py", "dumpdb", str(tmp_path / "x.dump")],
            cwd=project.folder,
            env=project.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while database.server.execute(waiting) == [(0,)]:
            time.sleep(0.05)
        process.send_signal(how)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "Interrupted. No dump was written."
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


NAMES = """
import os, sys, threading
over, seen = threading.Event(), set()
def look():
    while not over.is_set():
        seen.add(os.path.lexists(sys.argv[1]))
looking = threading.Thread(target=look)
looking.start()
from restorehooks.restore import rename
from restorehooks.restore.rename import FolderEntry
folder = os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)
for number in range(300):
    new, name = FolderEntry(folder, "new"), os.path.basename(sys.argv[1])
    os.mkdir("new", dir_fd=folder)
    rename.replace(new, FolderEntry(folder, name), FolderEntry(folder, "old"))
    os.rmdir("new", dir_fd=folder)
over.set()
looking.join()
print(seen)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names cannot be exchanged")
def test_a_directory_is_replaced_without_a_moment_without_one(tmp_path: Path) -> None:
    (tmp_path / "shop.dir").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", NAMES, str(tmp_path / "shop.dir")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "{True}\n"


@pytest.mark.parametrize("kind", ["file", "directory", "link", "full directory"])
@pytest.mark.parametrize("can_exchange", [True, False])
def test_force_replaces_whatever_is_there(
    tmp_path: Path, kind: str, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restorehooks.restore import rename

    if not can_exchange:
        monkeypatch.setattr(rename, "_renameat2", lambda *arguments: False)
    there, new = tmp_path / "there", tmp_path / "new"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "file":
        there.write_text("old")
    elif kind == "link":
        there.symlink_to(elsewhere)
    else:
        there.mkdir()
    if kind == "full directory":
        (there / "toc.dat").write_text("old")
    new.mkdir()
    (new / "toc.dat").write_text("new")
    folder = os.open(tmp_path, os.O_RDONLY)
    entries = [rename.FolderEntry(folder, name) for name in ("new", "there", "old")]
    rename.replace(*entries)
    os.close(folder)
    assert (there / "toc.dat").read_text() == "new"
    assert not there.is_symlink()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("can_exchange", [True, False])
def test_nothing_is_replaced_unasked_whoever_came_first(
    tmp_path: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restorehooks.restore import rename

    if not can_exchange:
        monkeypatch.setattr(rename, "_renameat2", lambda *arguments: False)
    folder = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "there").symlink_to("nowhere")
    (tmp_path / "file").write_text("new")
    (tmp_path / "directory").mkdir()
    for name in ("file", "directory"):
        with pytest.raises(FileExistsError):
            rename.into_free_name(
                rename.FolderEntry(folder, name), rename.FolderEntry(folder, "there")
            )
        rename.into_free_name(
            rename.FolderEntry(folder, name), rename.FolderEntry(folder, f"{name} too")
        )
        assert (tmp_path / f"{name} too").exists()
    os.close(folder)


def test_in_a_folder_of_others_nothing_of_theirs_is_used_or_followed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who may rename there moves the unfinished dump and puts a link in its place."""
    from restorehooks.restore import backup
    from restorehooks.restore.archive import commands

    database.execute(SHOP)
    alone(database)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "dump").write_text("precious")
    shared = tmp_path / "shared"
    shared.mkdir()
    write = commands.write

    def moved(*arguments: Any, **options: Any) -> None:
        (made,) = shared.iterdir()
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        made.rename(shared / "taken away")
        made.symlink_to(victim)
        write(*arguments, **options)

    monkeypatch.setattr(commands, "write", moved)
    written = backup.back_up(shared / "shop.dump")
    assert written.path.stat().st_size > 1000
    assert [path.read_text() for path in victim.iterdir()] == ["precious"]


def test_without_a_way_by_a_descriptor_every_user_may_not_replace_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restorehooks.restore import backup, new_folder

    database.execute(SHOP)
    alone(database)
    monkeypatch.setattr(new_folder, "_way_into", lambda folder, made: Path(made))
    (shared := tmp_path / "shared").mkdir()
    shared.chmod(0o777)
    said = f"every user may write to {shared}, and replace what is there; chmod"
    with pytest.raises(RestoreError, match=re.escape(said)):
        backup.back_up(shared / "shop.dump")
    assert list(shared.iterdir()) == []
    shared.chmod(0o1777)
    backup.back_up(shared / "shop.dump")


GIVES_UP_ROOT = """
import os, sys
from restorehooks.restore.new_folder import new_folder
from pathlib import Path
os.setgid(12345); os.setuid(12345)
with new_folder(Path(sys.argv[1]), "x") as made:
    sys.exit(os.system(f"touch {made.way}/dump"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o777, 0o733])
def test_who_has_given_up_root_may_write_in_any_folder(mode: int) -> None:
    """Such a process (of gunicorn --user) shows nobody its open files, nor may it list a folder."""
    with reachable_folder() as folder:
        folder.chmod(mode)
        run = [sys.executable, "-c", GIVES_UP_ROOT, str(folder)]
        subprocess.run(run, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_name_that_is_not_utf_8_works(project: Project, database: Database) -> None:
    database.execute(SHOP)
    alone(database)
    name = os.fsdecode(b"gr\xf6\x1b[31m\xdfe.dump")
    done = project.manage("dumpdb", name)
    assert "\x1b" not in done.stdout + done.stderr
    database.execute("DROP TABLE purchase CASCADE")
    alone(database)
    done = project.manage("restoredb", name, YES, "--json")
    assert "\x1b" not in done.stdout + done.stderr
    assert os.fsencode(valid(done.stdout, "restoredb")["dump"]["source"]) == os.fsencode(name)
    assert database.execute("SELECT count(*) FROM purchase") == [(5000,)]
    alone(database)
    assert "\x1b" not in project.manage("restoredb", "--kept").stdout
    missing = project.manage("restoredb", name + "x", check=False)
    assert (missing.returncode, len(missing.stderr.splitlines())) == (1, 1)
    assert "\x1b" not in missing.stderr


def test_a_client_older_than_the_server_is_refused_with_the_package(
    project: Project, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restorehooks import programs
    from restorehooks.restore.errors import ProgramError

    assert database.server.bindir
    older = database.server.bindir.parents[2] / str(database.server.version // 10000 - 1)
    found = [*older.glob("*/bin")]
    if not found:
        pytest.skip("no older client programs at hand")
    monkeypatch.setattr(programs, "program_folders", lambda: iter(found))
    major = database.server.version // 10000
    with pytest.raises(ProgramError, match=rf"pg_dump {major} or newer is needed.*Install it with"):
        programs.find("pg_dump", at_least=major, prefer=major)


def test_dumped_is_what_pg_dump_would_have_written(
    project: Project, database: Database, tmp_path: Path
) -> None:
    database.execute(SHOP)
    alone(database)
    project.manage("dumpdb", str(tmp_path / "ours.sql"), "--format=plain")
    theirs = dumped(database, tmp_path / "theirs.sql", form="plain")

    def lines(path: Path) -> list[str]:
        return [line for line in path.read_text().splitlines() if not line.startswith("\\")]

    assert lines(tmp_path / "ours.sql") == lines(theirs)
    assert os.stat(tmp_path / "ours.sql").st_mode & 0o777 == 0o600


def test_force_replaces_an_earlier_dump_and_nothing_else(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """Whoever forgets the name of the file names the folder of all dumps."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for form in ("custom", "directory"):
        kept = folder / "old.dump"
        kept.write_text("precious")
        done = project.manage("dumpdb", str(folder), "--force", f"--format={form}", check=False)
        assert 'is a directory that holds "old.dump", and no dump' in done.stderr
        assert (done.returncode, kept.read_text()) == (2, "precious")
        kept.unlink()
        project.manage("dumpdb", str(folder), "--force", "--format=directory")
        assert (folder / "toc.dat").exists()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        done = project.manage("dumpdb", str(tmp_path / name), "--force", check=False)
        assert "is a pipe or a device" in done.stderr
        assert (tmp_path / name).is_fifo()


def test_a_file_system_on_which_no_folder_can_be_synced(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's fsync_fname() ignores the same: CIFS and some FUSE file systems say it."""
    from restorehooks.restore.backup import back_up

    def no_folder(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", no_folder)
    assert back_up(tmp_path / "x.dump").path.is_file()


@pytest.mark.parametrize("exchanges", [True, False])
def test_what_comes_in_the_place_of_an_earlier_dump_is_put_back(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    """Somebody who may rename there puts another folder of ours where the dump was."""
    from restorehooks.restore import backup, rename
    from restorehooks.restore.errors import UsageError

    to, precious = tmp_path / "dumps", tmp_path / "precious"
    backup.back_up(to, form="directory")
    precious.mkdir()
    (precious / "file").write_text("precious")
    if not exchanges:
        monkeypatch.setattr(rename, "exchanged", lambda *_: False)
    replace = rename.replace

    def swapped(*entries: rename.FolderEntry) -> None:
        if precious.exists():
            to.rename(tmp_path / "taken away")
            precious.rename(to)
        replace(*entries)

    monkeypatch.setattr(rename, "replace", swapped)
    with pytest.raises(UsageError, match='holds "file", and no dump'):
        backup.back_up(to, form="directory", force=True)
    assert (to / "file").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dumps", "taken away"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_no_link_of_another_user_leads_a_dump_elsewhere(database: Database, tmp_path: Path) -> None:
    from restorehooks.restore import backup

    (victim := tmp_path / "victim").mkdir()
    (victim / "shop.dump").write_text("precious")
    (link := tmp_path / "link").symlink_to(victim)
    os.lchown(link, 12345, 12345)
    with pytest.raises(RestoreError, match=f"{link} is a link of another user's"):
        backup.back_up(link / "shop.dump", force=True)
    assert [path.read_text() for path in victim.iterdir()] == ["precious"]
