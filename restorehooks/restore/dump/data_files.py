"""The data files of a directory or tar archive, found by the names that its contents give them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from restorehooks.restore.errors import DumpError

from .compression import decompressed
from .contents import ArchiveEntry
from .copies import PACKED_FILE
from .facts import Compression, Dump, unreadable
from .tars import each_member

_SUFFIXES: dict[str, Compression | None] = {"": None, ".gz": "gzip", ".lz4": "lz4", ".zst": "zstd"}
"""What pg_restore tries after a file's name, in its order (compress_io.c)."""
_CHUNK = 1024 * 1024
_LONGEST_NAME = 100
"""Characters of a data file's name that are believed: pg_dump gives it a number of ten digits."""


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
        places = {
            one.name: (one.offset_data, one.size)
            for one in each_member(dump.path)
            if one.isreg() and len(one.name) <= _LONGEST_NAME and PACKED_FILE.fullmatch(one.name)
        }
    except (OSError, tarfile.TarError) as error:
        raise DumpError(f"{dump.source} cannot be read ({error}): copy or dump it again") from error
    with dump.path.open("rb") as stream:
        yield lambda name: _in_tar(dump, stream, name, places)


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


def _in_tar(
    dump: Dump, stream: BinaryIO, name: str, places: Mapping[str, tuple[int, int]]
) -> DataFile | None:
    """Return a member by where it begins and how long it is: of millions no more is remembered."""
    if name not in places:
        return None
    start, size = places[name]

    def opened(on_bytes: Callable[[int], None]) -> BinaryIO:
        return decompressed(dump.path, None, on_bytes, cast(BinaryIO, _Part(stream, start, size)))

    return DataFile(f"{dump.source}: {name}", size, None, opened)


class _Part(io.RawIOBase):
    """A part of an open file, from its beginning."""

    def __init__(self, stream: BinaryIO, start: int, size: int):
        self._stream, self._start, self._at, self._end = stream, start, start, start + size

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at - self._start

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._at)
        content = self._stream.read(min(len(buffer), self._end - self._at))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
