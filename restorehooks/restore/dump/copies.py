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
from typing import IO, BinaryIO, cast

from restorehooks.restore.errors import DumpError, ProgramError, RestoreError
from restorehooks.restore.new_folder import new_folder
from restorehooks.trust import why_not_run
from restorehooks.wording import size_in_words

from .compression import decompressed
from .facts import Dump, size_of
from .tars import opened_tar

_CHUNK = 1024 * 1024
_KEPT_FREE = 64 * _CHUNK
"""Bytes of a file system that a copy leaves to others."""
_FILES_KEPT_FREE = 1000
"""Files that a file system with a limit to their number is left with."""
PACKED_FILE = re.compile(
    r"toc\.dat|(?:\d+\.dat|blobs(?:_\d+)?\.toc|blob_\d+\.dat)(?:\.gz|\.lz4|\.zst)?"
)
"""The files of a directory dump."""


@contextmanager
def spooled(stdin: BinaryIO, folder: Path | None = None) -> Iterator[Path]:
    """Write standard input to a temporary file that nobody else may read, gone afterwards.

    ``folder`` is where, by default where temporary files go. Raises DumpError.
    """
    if stdin.isatty():
        raise DumpError("standard input is a terminal: name a file, or pipe the dump in")
    with private_folder(folder) as private:
        path = private / "stdin"
        write(stdin, path)
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
        private_folder(folder) as private,
        decompressed(dump.path, dump.compression) as stream,
    ):
        path = private / "dump"
        if dump.is_packed:
            path.mkdir(0o700)
            _unpack_tar(dump.source, stream, path)
        else:
            write(stream, path)
        yield replace(dump, path=path, compression=None, size=size_of(path))


def _unpack_tar(source: Path, stream: BinaryIO, folder: Path) -> None:
    with opened_tar(source, stream) as members:
        for member in members:
            path = folder / PurePosixPath(member.name).name
            if not PACKED_FILE.fullmatch(path.name) or not member.isreg():
                continue
            if path.exists():
                raise DumpError(
                    f"{source} holds more than one {path.name}: unpack it, and name one"
                )
            write(cast(BinaryIO, members.extractfile(member)), path)


@contextmanager
def private_folder(folder: Path | None) -> Iterator[Path]:
    """Give a temporary folder that nobody else may enter. Raises DumpError."""
    with ExitStack() as stack:
        try:
            above = folder or Path(temporary_files())
            made = stack.enter_context(new_folder(above, "restorehooks-"))
            # Whoever may rename it could put another dump there, once this one is proved.
            why_not = why_not_run(path := made.path.absolute())
            refused = made.why_led_astray()
        except OSError as error:
            raise _no_room(folder, error.strerror or str(error)) from error
        if refused:
            raise _no_room(folder, refused)
        yield made.way if why_not else path


def temporary_files() -> str:
    """Return the folder of temporary files. Raises DumpError where there is none."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise DumpError(
            "no folder for temporary files can be written to: let TMPDIR name one"
        ) from None


@contextmanager
def named_as(path: Path, name: Path) -> Iterator[None]:
    """Let errors name a temporary copy as people name what it is a copy of."""
    try:
        yield
    except (ProgramError, RestoreError) as error:
        error.args = (str(error).replace(str(path), str(name)), *error.args[1:])
        raise


def require_room(folder: Path, size: int) -> None:
    """Raise DumpError where a folder has no room for this many more bytes."""
    free = shutil.disk_usage(folder).free
    if size + _KEPT_FREE > free:
        why = f"{size_in_words(size)} wanted, {size_in_words(free)} free"
        raise _no_room(folder.resolve().parent, why)
    if os.name == "posix":
        status = os.statvfs(folder)
        if status.f_files and status.f_favail < _FILES_KEPT_FREE:  # 0 where there is no limit
            raise _no_room(folder.resolve().parent, "hardly any more files can be made")


def write(stream: IO[bytes], path: Path, head: bytes = b"") -> None:
    """Copy what is left of a stream, and ``head`` before it, into a new file of the owner's alone.

    Raises DumpError where the room runs out: some is left to others.
    """

    def private(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    try:
        require_room(path.parent, 0)
        with open(path, "xb", opener=private) as copy:
            chunk = head
            while chunk or (chunk := stream.read(_CHUNK)):
                require_room(path.parent, len(chunk))
                copy.write(chunk)
                chunk = b""
    except OSError as error:
        raise _no_room(path.parent.resolve().parent, error.strerror or str(error)) from error


def _no_room(folder: Path | None, why: str) -> DumpError:
    where = folder or temporary_files()
    return DumpError(
        f"the dump needs a temporary copy, and in {where} there can be none ({why}): let "
        "--spool-dir or TMPDIR name a folder with room"
    )
