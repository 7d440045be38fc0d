"""A file goes into a storage whole or not at all, and never in the place of another."""

from __future__ import annotations

import io
import os
import posixpath
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Any, cast

from django.core.files import File
from django.core.files.storage import FileSystemStorage

from restorehooks.restore import rename
from restorehooks.restore.errors import StorageError, UsageError
from restorehooks.restore.interrupts import uninterrupted
from restorehooks.restore.new_folder import NewFolder, making, new_folder
from restorehooks.restore.rename import FolderEntry

from .sftp import PIECE
from .store import PREFIX, UNFINISHED, Store, joined, opened_folder

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_CHUNK = 1024 * 1024
_NAME_SHOWN = 40
"""Letters of the dump's name in that of the folder where it is on its way."""


def upload(store: Store, path: Path, name: str, progress: Callable[[int], None]) -> None:
    """Put a file into a storage; ``progress`` takes how many bytes are sent.

    Where the storage can rename (files, SFTP), it arrives in a folder that nobody else may enter,
    and gets its name when it is whole. Elsewhere it is written under its name, and deleted where
    that fails. Raises StorageError where it is not there, UsageError where the name is taken.
    """
    way = _way_into(store, name)
    size = path.stat().st_size
    try:
        with store.doing(f"writing {PREFIX}{name}"):
            temporary = way.begin()
            with _Sent(path, progress) as content:
                way.save(temporary, content)
            if (there := store.size(temporary)) != size:
                raise StorageError(f"{there} of {size} bytes of {PREFIX}{name} arrived")
            with uninterrupted() as signals:
                way.finish()
                signals.over = True
    except BaseException:
        with uninterrupted(), suppress(Exception):
            way.undo()
        raise


class _Sent(io.FileIO):
    """A file that counts what is read of it."""

    def __init__(self, path: Path, progress: Callable[[int], None]):
        super().__init__(path, "rb")
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._progress(self.tell())
        return content


def _way_into(store: Store, name: str) -> _Direct:
    if isinstance(store.backend, FileSystemStorage):
        return _Files(store, name)
    return _Sftp(store, name) if hasattr(store.backend, "sftp") else _Direct(store, name)


class _Direct:
    """The way into a storage that cannot rename."""

    def __init__(self, store: Store, name: str):
        self.store, self.backend = store, store.backend
        self.name = name
        self.folder, self.base = posixpath.split(name)
        self._begun = False

    def begin(self) -> str:
        """Return the name to save under."""
        if self.backend.exists(self.name):
            raise self.taken()
        self._begun = True
        return self.name

    def save(self, temporary: str, content: _Sent) -> None:
        """Write it under the name to save under. Raises StorageError where it gets another one."""
        saved = self.backend.save(temporary, File(content, name=temporary))
        if saved != temporary:
            self.remove(saved)
            raise StorageError(
                f'The storage {self.store} calls {PREFIX}{self.name} "{saved}" instead'
            )

    def finish(self) -> None:
        """Give it its name. Raises UsageError where that is taken."""

    def undo(self) -> None:
        """Remove what has arrived of it."""
        if self._begun:
            self.remove(self.name)

    def remove(self, saved: str) -> None:
        """Remove what was saved under a name."""
        self.backend.delete(saved)

    def taken(self) -> UsageError:
        """Return the error for a name that something has."""
        return UsageError(f"{PREFIX}{self.name} is there already: choose another name.")


class _Files(_Direct):
    """The way into a folder of this machine.

    The new folder is opened at once: whoever may rename it leads nothing of ours elsewhere.
    """

    def __init__(self, store: Store, name: str):
        super().__init__(store, name)
        self._stack = ExitStack()
        self._made: NewFolder | None = None
        self._location = getattr(self.backend, "location")  # noqa: B009 - of a FileSystemStorage
        mode = getattr(self.backend, "file_permissions_mode")  # noqa: B009
        is_asked_for = "file_permissions_mode" in store.options and mode is not None
        self._mode: int = mode if is_asked_for else _PRIVATE_FILE

    def begin(self) -> str:
        enter, prefix = self._stack.enter_context, f".{self.base[:_NAME_SHOWN]}."
        parent = enter(opened_folder(cast(FileSystemStorage, self.backend), self.name))
        folder = Path(self.backend.path(self.name)).parent
        self._made = enter(new_folder(folder, prefix, UNFINISHED, opened=parent))
        return joined(joined(self.folder, self._made.path.name), "dump")

    def save(self, temporary: str, content: _Sent) -> None:
        # By its name it would go wherever whoever may rename the folder leads it.
        if self.store.writes_plainly:
            with open("dump", "xb", opener=self._entered) as dump:
                shutil.copyfileobj(content, dump, _CHUNK)
        else:
            vars(self.backend)["file_permissions_mode"] = _PRIVATE_FILE  # until it has its name
            with making(_PRIVATE_FOLDER):  # until it is whole
                super().save(temporary, content)

    def finish(self) -> None:
        assert self._made  # noqa: S101 - it has begun
        with open("dump", "rb", opener=self._entered) as dump:
            with suppress(PermissionError):  # as Django does it
                os.fchown(dump.fileno(), -1, os.stat(self._location).st_gid)
            with suppress(PermissionError):  # a file system that has none
                os.fchmod(dump.fileno(), self._mode)
        to = FolderEntry(self._made.parent, self.base)
        try:
            rename.into_free_name(FolderEntry(self._made.folder, "dump"), to)
            rename.sync(self._made.parent)
        except FileExistsError:
            raise self.taken() from None
        self.undo()

    def _entered(self, name: str, flags: int) -> int:
        assert self._made  # noqa: S101 - it has begun
        return os.open(name, flags | os.O_NOFOLLOW, _PRIVATE_FILE, dir_fd=self._made.folder)

    def undo(self) -> None:
        self._stack.close()


class _Sftp(_Direct):
    """The way into an SFTP server by django-storages' backend."""

    _made: str = ""

    @property
    def _sftp(self) -> Any:
        return getattr(self.backend, "sftp")  # noqa: B009 - no class of Django's has it

    def begin(self) -> str:
        parts = PurePosixPath(self.folder).parts
        for count in range(len(parts) + 1):
            self._make_folder(self.store.sftp_path("/".join(parts[:count])))
        name = f".{self.base[:_NAME_SHOWN]}.{secrets.token_hex(4)}{UNFINISHED}"
        made = self.store.sftp_path(joined(self.folder, name))
        self._sftp.mkdir(made, _PRIVATE_FOLDER)
        self._made = made
        return joined(joined(self.folder, name), "dump")

    def save(self, temporary: str, content: _Sent) -> None:
        if not self.store.writes_plainly:
            super().save(temporary, content)
            return
        # By the name of its folder whoever may rename that could have a file of theirs written.
        with self._sftp.open(f"{self._made}/dump", "wx") as dump:
            dump.chmod(_PRIVATE_FILE)
            dump.set_pipelined(True)
            shutil.copyfileobj(content, dump, PIECE)
            uid, gid, mode = (
                getattr(self.backend, key, None) for key in ("uid", "gid", "file_mode")
            )
            if uid or gid:
                status = dump.stat()
                dump.chown(uid or status.st_uid, gid or status.st_gid)
            if mode is not None:
                dump.chmod(mode)

    def _make_folder(self, path: str) -> None:
        try:
            self._sftp.stat(path or ".")
        except FileNotFoundError:
            self._sftp.mkdir(path)

    def finish(self) -> None:
        unfinished = f"{self._made}/dump"
        if getattr(self.backend, "file_mode", None) is None:
            self._sftp.chmod(unfinished, _PRIVATE_FILE)
        try:
            self._sftp.rename(unfinished, self.store.sftp_path(self.name))
        except OSError:  # the protocol knows no reason
            if self.backend.exists(self.name):
                raise self.taken() from None
            raise
        self.undo()

    def undo(self) -> None:
        if self._made:
            for one in self._sftp.listdir_attr(self._made):
                if not stat.S_ISDIR(one.st_mode or 0):
                    self._sftp.remove(f"{self._made}/{one.filename}")
            self._sftp.rmdir(self._made)
