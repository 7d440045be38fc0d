"""Whose a file is: what is run or read must not be somebody else's to change."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path


def belongs_to_us(status: os.stat_result) -> bool:
    """Say whether a file belongs to this user or to root; always where files have no such owner."""
    return os.name != "posix" or status.st_uid in (0, os.geteuid())


def others_may_write(status: os.stat_result) -> bool:
    """Say whether every user of the machine may write there."""
    return os.name == "posix" and bool(status.st_mode & stat.S_IWOTH)


def why_not_run(path: Path) -> str | None:
    """Return why the programs in a folder, or one program, may be somebody else's work.

    None where only root and this user can have put them there: the path, the place that it leads
    to and every folder above them are theirs. Raises OSError where one of them cannot be read.
    """
    for part in _parts(path):
        status = part.stat()
        if not belongs_to_us(status):
            return f"{part} belongs to another user"
        if others_may_write(status) and not _keeps_its_entries(part, path, status):
            return f"every user may write to {part}"
    return None


def _parts(path: Path) -> Iterator[Path]:
    for place in dict.fromkeys((path, path.resolve())):
        yield place
        yield from place.parents


def _keeps_its_entries(part: Path, path: Path, status: os.stat_result) -> bool:
    # In a sticky folder (/tmp) nobody renames what is another's, and everybody makes new files.
    above = part not in (path, path.resolve())
    return above and bool(status.st_mode & stat.S_ISVTX)
