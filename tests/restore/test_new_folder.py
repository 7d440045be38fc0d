"""New folders of our own, on file systems that have their own idea of whose they are."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from restorehooks.restore import backup
from restorehooks.restore.dump.facts import Format
from restorehooks.restore.errors import RestoreError
from restorehooks.restore.new_folder import new_folder
from tests.support.databases import Database

SQUASHED, STRANGER = 65534, 1234
"""Users: to whom NFS gives what root makes, and somebody else."""

as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux makes others' files"
)


@pytest.fixture
def squashed() -> Iterator[Path]:
    """A folder in which root's new files belong to somebody else, as on NFS."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        libc = ctypes.CDLL(None)
        libc.setfsuid(SQUASHED)
        try:
            yield Path(folder)
        finally:
            libc.setfsuid(0)


def replaced(monkeypatch: pytest.MonkeyPatch, folder: Path, owner: int, mode: int) -> None:
    """Let somebody put a folder of this owner in the place of the next new one."""
    other = folder / "other"
    other.mkdir()
    other.chmod(mode)
    os.chown(other, owner, -1)
    make = tempfile.mkdtemp

    def quickly(**arguments: str) -> str:
        made = make(**arguments)
        os.rename(made, folder / "taken away")
        os.rename(other, made)
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", quickly)


@as_root
def test_it_is_ours_where_all_that_root_makes_belongs_to_somebody_else(squashed: Path) -> None:
    with new_folder(squashed, "x") as made:
        assert made.path.stat().st_uid == SQUASHED
        (made.way / "file").write_text("x")
    assert list(squashed.iterdir()) == []


@as_root
@pytest.mark.parametrize(
    ("owner", "mode"), [(STRANGER, 0o777), (STRANGER, 0o700), (0, 0o777), (0, 0o750)]
)
def test_another_one_in_its_place_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: int, mode: int
) -> None:
    replaced(monkeypatch, tmp_path, owner, mode)
    with (
        pytest.raises(RestoreError, match="was replaced by somebody else"),
        new_folder(tmp_path, "x"),
    ):
        pass


def test_a_dump_is_written_where_there_are_no_permissions(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on exFAT, and on a share."""

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "chmod", refuse)
    forms: tuple[Format, ...] = ("custom", "directory")
    for form in forms:
        assert backup.back_up(tmp_path / form, form=form).path.exists()
