"""Temporary copies of a dump, which nobody else may read: of standard input, or unpacked."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from restorehooks.restore.errors import DumpError

from .compression import decompressed
from .facts import Dump, size_of
from .identify import opened_tar

_CHUNK = 1024 * 1024
_PACKED_FILE = re.compile(
    r"toc\.dat|(?:\d+\.dat|blobs(?:_\d+)?\.toc|blob_\d+\.dat)(?:\.gz|\.lz4|\.zst)?"
)


@contextmanager
def spooled(stdin: BinaryIO, folder: Path | None = None) -> Iterator[Path]:
    """Write standard input to a temporary file that nobody else may read, gone afterwards.

    ``folder`` is where, by default where temporary files go. Raises DumpError.
    """
    if stdin.isatty():
        raise DumpError("standard input is a terminal: name a file, or pipe the dump in")
    with _private_folder(folder) as private:
        path = private / "stdin"
        _write(stdin, path)
        if not path.stat().st_size:
            raise DumpError("standard input was empty: the program that wrote to it has failed")
        yield path


@contextmanager
def unpacked(dump: Dump, folder: Path | None = None) -> Iterator[Dump]:
    """Give an archive that pg_restore can open: one compressed as a whole is unpacked, for a while.

    A directory dump inside a tar file is unpacked into a directory. A plain dump, and an archive
    that needs nothing, come back as they are. Raises DumpError.
    """
    if dump.format == "plain" or not (dump.compression or dump.is_packed):
        yield dump
        return
    with (
        _private_folder(folder) as private,
        decompressed(dump.path, dump.compression) as stream,
    ):
        path = private / "dump"
        if dump.is_packed:
            path.mkdir(0o700)
            _unpack_tar(dump.source, stream, path)
        else:
            _write(stream, path)
        yield replace(dump, path=path, compression=None, size=size_of(path))


def _unpack_tar(source: Path, stream: BinaryIO, folder: Path) -> None:
    with opened_tar(source, stream) as members:
        for member in members:
            path = folder / PurePosixPath(member.name).name
            if not _PACKED_FILE.fullmatch(path.name) or not member.isreg():
                continue
            if path.exists():
                raise DumpError(
                    f"{source} holds more than one {path.name}: unpack it, and name one"
                )
            _write(cast(BinaryIO, members.extractfile(member)), path)


@contextmanager
def _private_folder(folder: Path | None) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            private = tempfile.TemporaryDirectory(prefix="restorehooks-", dir=folder)
            path = stack.enter_context(private)
        except OSError as error:
            raise _no_room(folder, error) from error
        yield Path(path)


def _write(stream: BinaryIO, path: Path) -> None:
    def private(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    try:
        with open(path, "xb", opener=private) as copy:
            shutil.copyfileobj(stream, copy, _CHUNK)
    except OSError as error:
        raise _no_room(path.parent, error) from error


def _no_room(folder: Path | None, error: OSError) -> DumpError:
    where = folder or tempfile.gettempdir()
    return DumpError(
        f"the dump needs a temporary copy, and in {where} there can be none "
        f"({error.strerror or error}): let TMPDIR name a folder with room"
    )
