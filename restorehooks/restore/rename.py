"""Renames that no other program comes between: into a free name, or two names exchanged."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass

_NOREPLACE, _EXCHANGE = 1, 2
"""Flags of renameat2(2), which Linux has, for the file systems that support it."""
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class FolderEntry:
    """A name in an open folder: renaming the folder changes nothing."""

    folder: int
    name: str


def into_free_name(source: FolderEntry, to: FolderEntry) -> None:
    """Rename, raising FileExistsError where the name is taken."""
    if _renameat2(source, to, _NOREPLACE):
        return
    try:
        # A link is made only where there is nothing, whoever came first.
        os.link(
            source.name,
            to.name,
            src_dir_fd=source.folder,
            dst_dir_fd=to.folder,
            follow_symlinks=False,
        )
    except FileExistsError:
        raise
    except OSError:  # a directory, or a file system without links
        if exists(to):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), to.name) from None
        _rename(source, to)


def exchanged(source: FolderEntry, to: FolderEntry) -> bool:
    """Exchange two names, so that there is always something under both; False if unsupported."""
    return _renameat2(source, to, _EXCHANGE)


def replace(source: FolderEntry, to: FolderEntry, old: FolderEntry) -> None:
    """Put something in the place of what is there, which is then ``old`` or gone.

    Where two names cannot be exchanged and one of them is a directory, there is a moment with
    nothing under the name.
    """
    if not exists(to):
        into_free_name(source, to)
    elif not exchanged(source, to):
        try:
            _rename(source, to)
        except OSError:  # a directory is never replaced
            _rename(to, old)
            try:
                _rename(source, to)
            except OSError:
                _rename(old, to)
                raise


def sync(folder: int) -> None:
    """Let the names in an open folder outlive a crash, where its file system can promise that."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in {*_UNSUPPORTED, errno.EBADF}:
            raise


def exists(entry: FolderEntry) -> bool:
    """Return whether there is something of the name, be it a link to nothing."""
    try:
        os.lstat(entry.name, dir_fd=entry.folder)
    except FileNotFoundError:
        return False
    return True


def _rename(source: FolderEntry, to: FolderEntry) -> None:
    os.rename(source.name, to.name, src_dir_fd=source.folder, dst_dir_fd=to.folder)


def _renameat2(source: FolderEntry, to: FolderEntry, flags: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    names = os.fsencode(source.name), os.fsencode(to.name)
    if libc.renameat2(source.folder, names[0], to.folder, names[1], flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), to.name)
