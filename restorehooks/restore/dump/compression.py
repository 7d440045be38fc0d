"""Compressed files: recognised by their content, and read in little memory."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

from restorehooks.restore.errors import DumpError
from restorehooks.wording import size_in_words

from .facts import Compression, unreadable

_MAGIC: dict[Compression, bytes] = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "zstd": b"\x28\xb5\x2f\xfd",
    "lz4": b"\x04\x22\x4d\x18",
}
# What begins a frame that zstd and lz4 skip, as pzstd writes one before the data.
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")


def compression_of(source: Path) -> Compression | None:
    """Return how a file is compressed, by its first bytes."""
    with source.open("rb") as stream:
        while _SKIPPABLE.match(head := stream.read(8)):
            stream.seek(int.from_bytes(head[4:], "little"), os.SEEK_CUR)
    return compression_in(head)


def compression_in(head: bytes) -> Compression | None:
    """Return how a file is compressed that begins like this."""
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), None)


def beginning(head: bytes) -> bytes:
    """Return what a file that begins like this begins with once it is decompressed.

    What is damaged, or needs a package that is not there, is empty.
    """
    if not (name := compression_in(head)):
        return head
    with suppress(Exception):  # each library has its own
        return cast(bytes, _OPENERS[name](io.BytesIO(head)).read1(len(head)))
    return b""


def decompressed(
    path: Path,
    compression: Compression | None,
    progress: Callable[[int], None] | None = None,
    stream: Any = None,
) -> BinaryIO:
    """Open a file and read what is in it, decompressed; ``stream`` is read instead if given.

    ``progress`` is called with the number of bytes of the file that were read so far. Opening and
    reading raise DumpError where the data are damaged or cut off, or a package is missing.
    """
    try:
        raw = stream or path.open("rb", buffering=0)
        return cast(BinaryIO, _Content(path, compression, progress, raw))
    except OSError as error:
        raise unreadable(path, error) from error
    except ImportError as missing:
        raise DumpError(f"{path}: {missing}") from None


def _library(what: Compression, *names: str) -> Any:
    """Import the first of these modules that is there; the last is of the package to install."""
    for name in names:
        with suppress(ImportError):
            return import_module(name)
    package = names[-1].removesuffix(".frame")
    wanted = f'"django-restorehooks[compression]" (or {package} alone)'
    if what == "lz4" and sys.version_info >= NO_WHEEL_OF_LZ4:
        wanted = f"{package}, which a compiler builds on this Python"
    raise ImportError(
        f"reading {what} needs a package that is not installed: pip install {wanted}, "
        "or decompress the dump first"
    )


NO_WHEEL_OF_LZ4 = (3, 15)
"""From which Python on there is none, and the extra leaves it out (pyproject.toml)."""


XZ_MEMORY = 256 << 20
"""Bytes that unpacking xz may take: ``xz -9`` takes 65 MB, and a header may ask for 4 GB."""
_PIECE = 64 * 1024
"""Bytes that are read at a time: what is left of them is copied at each stream's end."""


class _Xz(io.RawIOBase):
    """What is in an xz file, of one stream or several; zero bytes may stand between them."""

    def __init__(self, raw: Any):
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = b""
        while not content:
            more = b""
            if self._decoder.eof:
                if not (more := self._next_stream()):
                    return 0
            elif self._decoder.needs_input and not (more := self._raw.read(_PIECE)):
                raise EOFError
            content = self._unpacked(more, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _next_stream(self) -> bytes:
        """Begin the next stream and return what is read of it, nothing where there is none."""
        more = self._decoder.unused_data.lstrip(b"\0")
        while not more and (block := self._raw.read(_PIECE)):
            more = block.lstrip(b"\0")
        self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY) if more else self._decoder
        return bytes(more)

    def _unpacked(self, more: bytes, most: int) -> bytes:
        try:
            return self._decoder.decompress(more, most)
        except lzma.LZMAError as error:
            if "emory" in str(error):
                why = f"to unpack it takes more than {size_in_words(XZ_MEMORY)}: use xz -d first"
                raise OSError(errno.ENOMEM, why) from None
            raise


_OPENERS: dict[Compression, Callable[[Any], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
    "bzip2": bz2.BZ2File,
    "xz": lambda raw: io.BufferedReader(_Xz(raw)),
    "zstd": lambda raw: _library("zstd", "compression.zstd", "backports.zstd").ZstdFile(raw),
    "lz4": lambda raw: _library("lz4", "lz4.frame").LZ4FrameFile(raw),
}


class _Content(io.RawIOBase):
    """What is in a file, decompressed; all that goes wrong with it is a DumpError."""

    def __init__(
        self,
        path: Path,
        compression: Compression | None,
        progress: Callable[[int], None] | None,
        raw: Any,
    ):
        self._path = path
        self._progress = progress
        self._raw = self._stream = raw
        if compression:
            try:
                self._stream = _OPENERS[compression](self._raw)
            except BaseException:
                self._raw.close()
                raise

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._stream.readinto(buffer)
        except EOFError as error:
            reason = "was cut off: its compressed data ends too early; copy or dump it again"
            raise DumpError(f"{self._path} {reason}") from error
        except Exception as error:  # each library has its own
            if isinstance(error, OSError) and error.errno:  # of a disk or a network
                raise unreadable(self._path, error) from error
            reason = f"cannot be read to its end ({error}): it is damaged; copy or dump it again"
            if "too much memory" in str(error):  # zstd's own words
                reason = "was packed with zstd --long: unpack it with zstd -d --long=31 first"
            raise DumpError(f"{self._path} {reason}") from error
        if self._progress:
            self._progress(self._raw.tell())
        return count or 0

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._raw.close()
        super().close()
