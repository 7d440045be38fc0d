"""No program is run that another user of the machine can have put there."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from restorehooks import programs
from restorehooks.embedded import ServerError, server_folder
from restorehooks.restore.errors import ProgramError
from restorehooks.trust import (
    link_astray,
    who_else_may_write,
    why_anybody_may_replace,
    why_not_run,
)

EVERYBODY, STICKY = 0o777, 0o1777


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first in PATH with a pg_dump that writes down that it was run."""
    folder = tmp_path / "above" / "bin"
    folder.mkdir(parents=True)
    (folder / "pg_dump").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (folder / "pg_dump").chmod(0o755)
    monkeypatch.delenv("PG_BINDIR", raising=False)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def _is_run(planted: Path) -> bool:
    mark = planted.parent.parent / "ran"
    mark.unlink(missing_ok=True)
    [*programs.programs("pg_dump")]
    return mark.exists()


def test_what_is_ours_is_run(planted: Path) -> None:
    assert _is_run(planted)
    planted.parent.chmod(STICKY)  # others may add to it, and rename nothing of ours
    assert _is_run(planted)


@pytest.mark.parametrize("mode", [EVERYBODY, STICKY])
def test_a_folder_that_others_may_write_to(planted: Path, mode: int) -> None:
    planted.chmod(mode)
    assert not _is_run(planted)
    assert f"every user may write to {planted}" in programs.left_out("pg_dump")


def test_a_folder_that_others_may_replace(planted: Path) -> None:
    planted.parent.chmod(EVERYBODY)
    assert not _is_run(planted)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_somebody_else(planted: Path) -> None:
    for place in (planted.parent, planted, planted / "pg_dump"):
        os.chown(place, 12345, 12345)
        assert not _is_run(planted)
        assert why_not_run(planted / "pg_dump") == f"{place} belongs to another user"
        os.chown(place, 0, 0)
    assert _is_run(planted)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to a group")
def test_a_folder_that_a_group_may_write_to(planted: Path) -> None:
    shared = pwd.getpwnam("nobody").pw_gid
    group = grp.getgrgid(shared).gr_name
    planted.chmod(0o775)
    assert _is_run(planted)  # root's own group
    os.chown(planted, 0, shared)
    assert not _is_run(planted)
    assert f'the group "{group}" may write to {planted}' in programs.left_out("pg_dump")
    planted.chmod(0o755)
    assert _is_run(planted)
    os.chown(planted, 0, 12345)
    planted.chmod(0o775)  # a group that nobody is in, as each user's own is
    assert _is_run(planted)


USER, GROUP, NO_ID = 0x02, 0x08, 0xFFFFFFFF


def _may_be_written_by(folder: Path, tag: int, number: int) -> None:
    """Let a user or group write to what is made in a folder, as setfacl -d does."""
    entries = [
        *((0x01, 7, NO_ID), (0x04, 5, NO_ID), (0x10, 7, NO_ID), (0x20, 5, NO_ID)),
        (tag, 7, number),
    ]
    packed = b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries))
    try:
        os.setxattr(folder, "system.posix_acl_default", struct.pack("<I", 2) + packed)
    except (AttributeError, OSError):
        pytest.skip("there are no access control lists")


def test_what_an_access_control_list_lets_others_write(planted: Path) -> None:
    """Who shares a folder so gets each file that is made in it: the mode shows the list's mask."""
    nobody = pwd.getpwnam("nobody")
    for tag, number, who in [
        (USER, nobody.pw_uid, "a user in its access control list"),
        (GROUP, nobody.pw_gid, f'the group "{grp.getgrgid(nobody.pw_gid).gr_name}"'),
        (USER, os.geteuid(), None),
        (GROUP, 12345, None),
    ]:
        _may_be_written_by(planted.parent, tag, number)
        (inside := planted.parent / "shared").mkdir()
        shutil.copyfile(planted / "pg_dump", inside / "pg_dump")
        for place in (inside, inside / "pg_dump"):
            assert place.stat().st_mode & 0o020
            assert who_else_may_write(place) == who
        assert bool(why_not_run(inside)) == bool(who)
        with (inside / "pg_dump").open() as opened:
            assert who_else_may_write(opened.fileno()) == who
        shutil.rmtree(inside)


def test_a_group_whose_members_nobody_lists_counts(
    planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory service answers for one group or user, and as a rule does not list them all."""
    planted.chmod(0o775)
    group, name = 12345, pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        os.chown(planted, 0, group)
    for named, who in [("domain users", 'the group "domain users"'), (name, None)]:
        monkeypatch.setattr(
            grp, "getgrgid", lambda gid, named=named: grp.struct_group((named, "x", 12345, []))
        )
        assert who_else_may_write(planted) == who


def test_a_link_to_what_others_may_write(planted: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.move(planted / "pg_dump", theirs / "pg_dump")
    (planted / "pg_dump").symlink_to(theirs / "pg_dump")
    assert _is_run(planted)
    theirs.chmod(EVERYBODY)
    assert not _is_run(planted)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
@pytest.mark.parametrize("folder", ["another user's", "everybody's, where each keeps what is his"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_on_the_way_that_another_user_can_turn(
    planted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    absolute: bool,
) -> None:
    """It leads to a place of ours while that is looked at, and elsewhere when the program runs."""
    between = tmp_path / "between"
    between.mkdir()
    ours = planted.parent if absolute else Path("..") / planted.parent.name
    (between / "link").symlink_to(ours)
    first = tmp_path / "first"
    first.symlink_to(Path("between") / "link" / planted.name)
    monkeypatch.setenv("PATH", f"{first}{os.pathsep}/usr/bin")
    assert _is_run(planted)
    if folder == "another user's":
        os.chown(between, 12345, 12345)
        said = f"{between} belongs to another user"
    else:
        between.chmod(STICKY)
        assert _is_run(planted)
        os.chown(between / "link", 12345, 12345, follow_symlinks=False)
        said = f"{between / 'link'} belongs to another user"
    assert not _is_run(planted)
    assert said in programs.left_out("pg_dump")


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        why_not_run(tmp_path / "a")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda folder: folder.chmod(EVERYBODY), "every user may write to"),
        (lambda folder: os.chdir(folder), "absolute path"),
    ],
)
def test_a_chosen_folder_is_refused_in_one_sentence(
    planted: Path, monkeypatch: pytest.MonkeyPatch, prepare: object, said: str
) -> None:
    assert callable(prepare)
    monkeypatch.chdir(planted.parent)
    prepare(planted)
    chosen = "." if said == "absolute path" else str(planted)
    monkeypatch.setenv("PG_BINDIR", chosen)
    with pytest.raises(ProgramError, match=said):
        programs.find("pg_dump", at_least=14)
    with pytest.raises(ServerError, match=said):
        server_folder()
    assert not (planted.parent.parent / "ran").exists()


def test_every_link_on_the_way_is_looked_at(tmp_path: Path) -> None:
    """A link that leads to another one, in a folder that every user may write to."""
    opened, file = tmp_path / "opened", tmp_path / "folder" / "file"
    opened.mkdir()
    file.parent.mkdir()
    file.write_text("")
    (opened / "second").symlink_to("../folder")
    first = tmp_path / "first"
    first.symlink_to(opened / "second" / ".." / "folder")
    path = first / "file"
    assert (why_not_run(path), why_anybody_may_replace(path)) == (None, None)
    opened.chmod(EVERYBODY)
    assert why_not_run(path) == f"every user may write to {opened}"
    assert why_anybody_may_replace(path) == (
        f"every user may write to {opened}, and replace what is there"
    )
    opened.chmod(STICKY)
    assert (why_not_run(path), why_anybody_may_replace(path)) == (None, None)
    if os.geteuid() == 0:
        os.lchown(opened / "second", 65534, 65534)
        assert why_not_run(path) == f"{opened / 'second'} belongs to another user"
        assert "second there is another user's" in str(why_anybody_may_replace(path))


def test_a_link_by_way_of_a_process_leads_where_the_system_goes(tmp_path: Path) -> None:
    """In that one's own mounts something else may be there."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("it takes root, and mounts of Linux")
    (closed := tmp_path / "closed").write_text("ours")
    (theirs := tmp_path / "theirs").write_text("theirs")
    mounted = f"mount --bind {closed} {theirs} && echo && read -r _"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mounted], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        if not process.stdout.readline():
            pytest.skip("no mounts of one's own here")
        (link := tmp_path / "link").symlink_to(f"/proc/{process.pid}/root{theirs}")
        os.chown(theirs, 12345, 12345)
        os.lchown(link, 12345, 12345)
        assert link.read_text() == "ours"
        assert link_astray(link) == link
        process.stdin.close()
