"""A new folder that nobody else may enter, and that stays ours if its name is taken away.

Whoever may write to the folder above it can rename it, and put another one in its place. So it is
opened at once, and reached by way of the open folder where the system can do that.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from restorehooks.trust import belongs_to_us, why_anybody_may_replace

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

    def why_led_astray(self) -> str | None:
        """Return why what goes the ``way`` may be led elsewhere, a remedy with it; None if never.

        Raises OSError where the folders above it cannot be looked at.
        """
        why = why_anybody_may_replace(self.path.absolute()) if self.way == self.path else None
        return f"{why}; chmod +t prevents that" if why else None


@contextmanager
def opened_below(above: Path, parts: Iterable[str], mode: int | None = None) -> Iterator[int]:
    """Open a folder below another one, by no link that another user made.

    What is missing is made, with the permissions ``mode`` or those that new folders have. Raises
    OSError, at such a link too.
    """
    with ExitStack() as stack:
        with making(mode):
            above.mkdir(parents=True, exist_ok=True)
            at = stack.enter_context(_opened(above))
            for name in parts:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=at)
                at = _entered(name, at)
                stack.callback(os.close, at)
        yield at


@contextmanager
def making(mode: int | None) -> Iterator[None]:
    """Let what is new have no permissions but these in the block, the usual ones for None."""
    before = os.umask(0o077)
    os.umask(before if mode is None else 0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


def _entered(name: str, at: int) -> int:
    status = os.lstat(name, dir_fd=at)
    is_link = stat.S_ISLNK(status.st_mode)
    if is_link and not belongs_to_us(status):
        raise PermissionError(errno.EACCES, "a link of another user's", name)
    return _open(name, 0 if is_link else os.O_NOFOLLOW, at)


def _open(folder: str | Path, flags: int = 0, at: int | None = None) -> int:
    flags |= os.O_RDONLY | os.O_DIRECTORY
    try:
        return os.open(folder, flags, dir_fd=at)
    except PermissionError:  # one to put things into, and not to list
        return os.open(folder, flags | getattr(os, "O_PATH", 0), dir_fd=at)


@contextmanager
def new_folder(
    above: Path, prefix: str, suffix: str = "", *, opened: int | None = None
) -> Iterator[NewFolder]:
    """Make a folder in another one, and remove it afterwards with what was put into it.

    ``opened`` is a descriptor of the other one, where there is one. Raises OSError where it cannot
    be made, RestoreError where somebody else replaced it at once.
    """
    with ExitStack() as stack:
        parent = stack.enter_context(_opened(above)) if opened is None else opened
        made = tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=above)
        # Nothing but an empty folder is removed by a name that others may have moved.
        stack.callback(_rmdir, made)
        folder = stack.enter_context(_opened(Path(made)))
        _require_ours(folder, parent, made)
        way = _way_into(folder, made)
        stack.callback(_empty, folder)
        yield NewFolder(Path(made), folder, parent, way)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    opened = _open(folder)
    try:
        yield opened
    finally:
        os.close(opened)


def _require_ours(folder: int, parent: int, path: str) -> None:
    """Raise RestoreError unless the open folder is the one that was made: somebody was quicker."""
    status, above = os.fstat(folder), os.fstat(parent)
    there = os.lstat(os.path.basename(path), dir_fd=parent)
    is_usual = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    is_there = os.path.samestat(status, there) and not os.listdir(folder)
    if not (is_there and (is_usual or _is_as_we_make_it(folder, status, above))):
        raise RestoreError(
            f"{path} was replaced by somebody else: choose a folder that others cannot write to."
        )


def _is_as_we_make_it(folder: int, status: os.stat_result, above: os.stat_result) -> bool:
    """Return whether a folder has the owner and the permissions that its file system gives to ours.

    Some give every file to one owner, or all that root makes to nobody, or have no permissions.
    """
    try:
        made = os.open("new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    except OSError:
        return False
    try:
        found = os.fstat(made)
    finally:
        os.close(made)
        _unlinked(folder, "new")
    is_open = status.st_mode & 0o077 and not found.st_mode & 0o077
    return (status.st_uid, above.st_dev) == (found.st_uid, status.st_dev) and not is_open


def _way_into(folder: int, path: str) -> Path:
    way = Path(f"/proc/{os.getpid()}/fd/{folder}")
    with suppress(OSError):
        # Root's, of a process that has given up root: no program that it starts may go there.
        is_open = way.parent.stat().st_uid == os.geteuid()
        if is_open and os.path.samestat(way.stat(), os.fstat(folder)):
            return way
    return Path(path)


def _empty(folder: int) -> None:
    """Remove the files in an open folder, and the folders that hold nothing but files.

    Nothing of ours is deeper. What is was put there by somebody else, and stays.
    """
    names: list[str] = []
    with suppress(OSError):  # a network's
        names = os.listdir(folder)
    for name in names:
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
