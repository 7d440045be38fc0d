"""A new folder that nobody else may enter, and that stays ours if its name is taken away.

Whoever may write to the folder above it can rename it, and put another one in its place. So it is
opened at once, and reached by way of the open folder where the system can do that.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import RestoreError


@dataclass(frozen=True)
class NewFolder:
    """A new folder: its name, descriptors of it and of the one above, and the way into it.

    ``way`` is its path where the system has no way by a descriptor.
    """

    path: Path
    folder: int
    parent: int
    way: Path

    @property
    def may_be_led_astray(self) -> bool:
        """Whoever renames the folder leads what goes the ``way`` elsewhere."""
        return self.way == self.path


@contextmanager
def new_folder(above: Path, prefix: str, suffix: str = "") -> Iterator[NewFolder]:
    """Make a folder in another one, and remove it afterwards with what was put into it.

    Raises OSError where it cannot be made, RestoreError where somebody else replaced it at once.
    """
    with ExitStack() as stack:
        parent = stack.enter_context(_opened(above))
        made = tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=above)
        # Nothing but an empty folder is removed by a name that others may have moved.
        stack.callback(_rmdir, made)
        folder = stack.enter_context(_opened(Path(made)))
        _require_ours(folder, made)
        way = _way_into(folder, made)
        stack.callback(_empty, folder)
        yield NewFolder(Path(made), folder, parent, way)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield opened
    finally:
        os.close(opened)


def _require_ours(folder: int, path: str) -> None:
    """Raise RestoreError unless the open folder is the one that was made: somebody was quicker."""
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or os.listdir(folder):
        raise RestoreError(
            f"{path} was replaced by somebody else: choose a folder that others cannot write to."
        )


def _way_into(folder: int, path: str) -> Path:
    way = Path(f"/proc/{os.getpid()}/fd/{folder}")
    with suppress(OSError):
        if os.path.samestat(way.stat(), os.fstat(folder)):
            return way
    return Path(path)


def _empty(folder: int) -> None:
    """Remove the files in an open folder, and the folders that hold nothing but files.

    Nothing of ours is deeper. What is was put there by somebody else, and stays.
    """
    for name in os.listdir(folder):
        with suppress(OSError):
            if not _unlinked(folder, name):
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                inner = os.open(name, flags, dir_fd=folder)
                try:
                    for file in os.listdir(inner):
                        _unlinked(inner, file)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=folder)


def _unlinked(folder: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:  # a folder
        return False
    return True


def _rmdir(path: str) -> None:
    with suppress(OSError):
        os.rmdir(path)
