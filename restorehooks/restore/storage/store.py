"""Django's storages as places where dumps live: what is there, reading it, and its first bytes.

``STORAGES`` names them; django-storages has backends for S3, Google, Azure, SFTP and more.
"""

from __future__ import annotations

import os
import posixpath
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, Storage, storages

from restorehooks import conf
from restorehooks.restore.dump.contents import TABLE_OF_CONTENTS
from restorehooks.restore.dump.copies import PACKED_FILE
from restorehooks.restore.dump.identify import HEAD, read
from restorehooks.restore.errors import RestoreError, StorageError, UsageError
from restorehooks.restore.new_folder import opened_below
from restorehooks.trust import ASTRAY, link_astray, why_not_opened
from restorehooks.wording import described, quoted

from .sftp import SftpFile

PREFIX = "storage:"
"""How a dump in a storage is named: ``storage:NAME``, and a folder ``storage:FOLDER/``."""
UNFINISHED = ".unfinished"
"""How the name of a folder ends in which a dump is on its way."""


def is_folder(name: str) -> bool:
    """Return whether what follows ``storage:`` names a folder, or all that is there."""
    return not name or name.endswith("/")


class Store:
    """One of Django's storages, opened for a while: every failure of it is a StorageError.

    It is an instance of our own, so that closing it takes no connection from the project.
    """

    def __init__(self, alias: str, backend: Storage):
        self.alias = alias
        self.backend = backend
        self.options: dict[str, Any] = _configured(alias).get("OPTIONS", {})

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Turn what goes wrong in the block, of whatever class, into one sentence."""
        try:
            yield
        except RestoreError:
            raise
        except FileNotFoundError:
            raise StorageError(f"{what}: there is no such thing in the storage {self}") from None
        except Exception as error:  # each backend has its own
            raise StorageError(
                f"{what}: the storage {self} says {_said(self.alias, error)}"
            ) from error

    def __str__(self) -> str:
        return f'"{self.alias}"'

    def path(self, name: str) -> Path | None:
        """Return where a file is on this machine; None where it is elsewhere, or encoded."""
        backend = self.backend
        if (
            isinstance(backend, FileSystemStorage)
            and getattr(type(backend), "_open", None) is _PLAIN_OPEN
        ):
            with self.doing(f"reading {PREFIX}{name}"):
                return Path(backend.path(name))
        return None

    @property
    def writes_plainly(self) -> bool:
        """Whether it puts the bytes of a file into a folder, here or by SFTP, as they are."""
        save = getattr(type(self.backend), "_save", None)
        return save is _PLAIN_SAVE or getattr(save, "__module__", None) == _SFTP

    def why_not_opened(self, name: str) -> str | None:
        """Return why something that others may have put there is not opened."""
        if not isinstance(self.backend, FileSystemStorage):
            is_misread = "\\" in name and not hasattr(self.backend, "sftp")
            return "has a name that the storage reads as another one" if is_misread else None
        with self.doing(f"looking at {PREFIX}{name}"):
            path = Path(self.backend.path(name))
            if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
                return "is a folder that is closed to you"
            return why_not_opened(path)

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with self.doing(f"looking for {PREFIX}{name}"):
            return self.backend.exists(name)

    def size(self, name: str) -> int:
        """Return how many bytes a file has."""
        with self.doing(f"reading {PREFIX}{name}"):
            return int(self.backend.size(name))

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """Open a file to be read once, from its beginning and piece by piece where it can be."""
        self._require_theirs(name)
        with (
            self.doing(f"reading {PREFIX}{name}"),
            closing(self.backend.open(name, "rb")) as file,
            closing(self._stream_of(name, file)) as stream,
        ):
            yield stream

    def _require_theirs(self, name: str) -> None:
        """Raise StorageError where another user's link leads to what that user may not read."""
        if not isinstance(self.backend, FileSystemStorage):
            return
        with self.doing(f"looking at {PREFIX}{name}"):
            link = link_astray(Path(self.backend.path(name)))
        if link:
            raise StorageError(f"{link} {ASTRAY}")

    def _stream_of(self, name: str, file: Any) -> Any:
        """Return what reads a file piece by piece, where its backend would fetch all of it first.

        The files of django-storages for S3 and Google do, into memory: boto3's Object and
        Google's Blob, which they hold, do not.
        """
        if sftp := getattr(self.backend, "sftp", None):
            return SftpFile(sftp, self.sftp_path(name))
        if hasattr(file, "obj"):
            return file.obj.get()["Body"]
        return file.blob.open("rb") if hasattr(file, "blob") else file

    def sftp_path(self, name: str) -> str:
        """Return where a file is on an SFTP server."""
        return posixpath.join(getattr(self.backend, "root_path"), name)  # noqa: B009 - SFTP's own

    def head(self, name: str) -> bytes | None:
        """Return a file's first bytes, None where the backend would fetch all of it for them."""
        with self.opened(name) as stream:
            return None if _fetches_all(stream) else read(stream, HEAD)

    def parts(self, name: str) -> Sequence[str]:
        """Return the files of a directory dump; of anything else the name alone."""
        if not self.exists(joined(name, TABLE_OF_CONTENTS)):
            return [name]
        return parts_among(name, self.listed(name)[1])

    def delete(self, name: str) -> None:
        """Delete a file, and see that it is gone: not every backend says where it failed."""
        with self.doing(f"deleting {PREFIX}{name}"), ExitStack() as stack:
            if isinstance(self.backend, FileSystemStorage):
                at = stack.enter_context(opened_folder(self.backend, name))
                if getattr(type(self.backend), "delete", None) is FileSystemStorage.delete:
                    with suppress(FileNotFoundError):  # somebody else has deleted it
                        # A backend may call the file otherwise.
                        os.unlink(Path(self.backend.path(name)).name, dir_fd=at)
                    return
            self.backend.delete(name)
            if self.backend.exists(name):
                raise StorageError(f"{PREFIX}{name} is still there after it was deleted")

    def listed(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of the folders and files in a folder."""
        with self.doing(f"listing {PREFIX}{folder}"):
            return self.backend.listdir(folder)


@contextmanager
def opened_folder(backend: FileSystemStorage, name: str) -> Iterator[int]:
    """Open a file's folder on this machine, by no link of another user's; make what is missing."""
    location, path = Path(backend.location), Path(backend.path(name)).parent
    is_below = path.is_relative_to(location)  # a backend may have paths of its own
    parts = path.relative_to(location).parts if is_below else ()
    mode = backend.directory_permissions_mode
    with opened_below(location if is_below else path, parts, mode) as at:
        yield at


def parts_among(folder: str, files: Sequence[str]) -> Sequence[str]:
    """Return those of the files in a folder that are a directory dump's."""
    return [joined(folder, file) for file in files if PACKED_FILE.fullmatch(file)]


_SFTP = "storages.backends.sftpstorage"
_PLAIN_SAVE: Any = getattr(FileSystemStorage, "_save")  # noqa: B009 - the stubs lack it
_PLAIN_OPEN: Any = getattr(FileSystemStorage, "_open")  # noqa: B009 - the stubs lack it


def joined(folder: str, name: str) -> str:
    """Return the name of a file in a folder of a storage."""
    return str(PurePosixPath(folder) / name)


def _fetches_all(stream: Any) -> bool:
    """Say whether the first read fetches all: django-storages' files have this method then."""
    return hasattr(type(stream), "_get_file")


def _configured(alias: str) -> dict[str, Any]:
    return cast(dict[str, Any], storages.backends[alias])


def _said(alias: str, error: Exception) -> str:
    """Return what a storage says, without its secrets: some repeat what they were given."""
    own = _secrets(_configured(alias).get("OPTIONS", {}))
    return described(error, hiding=chain(own, _secrets_elsewhere()))


def _secrets_elsewhere() -> Iterator[str]:
    """Yield those of the settings and the environment, in which backends look too."""
    named: dict[str, Any] = {**os.environ}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # to read one that is deprecated warns
        for name in filter(_SECRET.search, dir(settings)):
            with suppress(ImproperlyConfigured):  # SECRET_KEY, where it is empty
                named[name] = getattr(settings, name)
    # A short one could be a word of any message.
    yield from (each for each in _secrets(named) if len(each) >= _LONG_ENOUGH)


_LONG_ENOUGH = 8
"""Characters of what is taken for a secret because of the name of a variable."""


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif isinstance(value, str) and value and _SECRET.search(name):
            yield value


_SECRET = re.compile("auth|connection_string|cred|key|pass|sas|secret|signature|token", re.I)
"""What the names of options have in them that no message is to show."""


@contextmanager
def opened_store(alias: str | None) -> Iterator[Store]:
    """Open the storage of this alias, by default the one that ``RESTOREHOOKS["STORAGE"]`` names.

    Raises UsageError where STORAGES has none, StorageError where it cannot be made.
    """
    wanted = alias or conf.storage()
    if wanted not in storages.backends:
        raise UsageError(
            f'There is no storage "{wanted}" in STORAGES; there are {quoted(storages.backends)}: '
            "name one with --storage."
        )
    try:
        backend: Storage = storages.create_storage(_configured(wanted))
    except Exception as error:  # a package that is missing, an option that is wrong
        said = _said(wanted, error)
        raise StorageError(f'The storage "{wanted}" cannot be used: {said}') from error
    try:
        yield Store(wanted, backend)
    finally:
        with suppress(Exception):
            getattr(backend, "close", lambda: None)()
