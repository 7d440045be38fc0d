"""The data files of a directory or tar archive, found by the names that its contents give them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from restorehooks.restore.errors import DumpError

from .compression import decompressed
from .contents import ArchiveEntry
from .facts import Compression, Dump, unreadable
from .tars import Member

_SUFFIXES: dict[str, Compression | None] = {"": None, ".gz": "gzip", ".lz4": "lz4", ".zst": "zstd"}
"""What pg_restore tries after a file's name, in its order (compress_io.c)."""
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class DataFile:
    """One file: how messages name it, its size in bytes, and how it is compressed.

    ``opened`` opens it, decompressed; it takes a function to call with the number of bytes read.
    """

    shown: str
    size: int
    compression: Compression | None
    opened: Callable[[Callable[[int], None]], BinaryIO]

    def content(self, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
        """Yield what is in it. Raises DumpError where it cannot be read to its end."""
        try:
            with self.opened(on_bytes) as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except (OSError, tarfile.TarError) as error:
            reason = error if isinstance(error, OSError) else OSError(str(error))
            raise unreadable(Path(self.shown), reason) from error


Find: TypeAlias = Callable[[str], DataFile | None]
"""Returns the file of a name, None where there is none."""


@contextmanager
def data_files(dump: Dump) -> Iterator[Find]:
    """Give the function that finds a data file of an archive."""
    if dump.format == "directory":
        yield lambda name: _in_folder(dump.path, name)
        return
    try:
        with tarfile.open(dump.path, "r:", tarinfo=Member) as members:
            yield lambda name: _in_tar(dump, members, name)
    except (OSError, tarfile.TarError) as error:
        raise DumpError(f"{dump.source} cannot be read ({error}): copy or dump it again") from error


def list_name(dump: Dump, entry: ArchiveEntry) -> str:
    """Return the name of the list of an entry's large objects.

    The contents of a tar archive name another file, which is not there (pg_backup_tar.c).
    """
    if dump.format == "directory":
        return entry.data_file
    one_list = (dump.archive_version or (0, 0, 0)) < (1, 16)
    return "blobs.toc" if one_list else f"blobs_{entry.id}.toc"


def _in_folder(folder: Path, name: str) -> DataFile | None:
    if Path(name).name != name:
        return None
    for suffix, compression in _SUFFIXES.items():
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return _file(path, compression)
    return None


def _file(path: Path, compression: Compression | None) -> DataFile:
    def opened(on_bytes: Callable[[int], None]) -> BinaryIO:
        return decompressed(path, compression, on_bytes)

    return DataFile(str(path), path.stat().st_size, compression, opened)


def _in_tar(dump: Dump, members: tarfile.TarFile, name: str) -> DataFile | None:
    try:
        member = members.getmember(name)
    except KeyError:
        return None

    def opened(on_bytes: Callable[[int], None]) -> BinaryIO:
        stream = cast(BinaryIO, members.extractfile(member))
        return decompressed(dump.path, None, on_bytes, stream)

    return DataFile(f"{dump.source}: {name}", member.size, None, opened)
