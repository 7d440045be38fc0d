"""Proof that a dump is whole, before anything of it is used."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable
from typing import BinaryIO

from restorehooks.restore.errors import DumpError

from .compression import decompressed
from .facts import TRAILER, Dump, unreadable

_TAIL = 16 * 1024
"""Bytes at the end of a plain dump in which its last line is looked for."""
_CHUNK = 1024 * 1024
_LAST_LINES = re.compile(
    rb"^-- PostgreSQL database dump complete\r?$(?:\s|--[^\n]*$|\\unrestrict [^\n]*$)*\Z",
    re.MULTILINE,
)


def prove_tar(dump: Dump) -> None:
    """Raise DumpError unless a tar archive holds its members whole, down to its closing blocks.

    ``pg_restore -f -`` reads a cut tar archive for ever (seen with 17 and 18).
    """
    try:
        with tarfile.open(dump.path, "r:") as members:
            for _ in members:
                pass
        with dump.path.open("rb") as stream:
            stream.seek(-tarfile.BLOCKSIZE, os.SEEK_END)
            whole = not any(stream.read())
    except (tarfile.TarError, OSError):
        whole = False
    if not whole:
        raise DumpError(f"{dump.source} was cut off: it is a tar archive without its end")


def check_trailer(dump: Dump) -> None:
    """Refuse at once a plain dump that was cut off, where its end can be looked at.

    Raises DumpError. The end of a compressed dump is not seen before all is read: ``prove_plain``
    does that. What is looked for could stand in a string: ``ScriptResult.complete`` is the proof.
    """
    if dump.format != "plain" or dump.compression:
        return
    try:
        with dump.path.open("rb") as stream:
            stream.seek(max(0, dump.path.stat().st_size - _TAIL))
            _require_trailer(dump, stream.read())
    except OSError as error:
        raise unreadable(dump.source, error) from error


def prove_plain(dump: Dump, progress: Callable[[int], None] | None = None) -> None:
    """Read a plain dump to its end, and refuse it as ``check_trailer`` does. Raises DumpError."""
    tail = b""
    with open_plain(dump, progress) as stream:
        while chunk := stream.read(_CHUNK):
            tail = (tail + chunk)[-_TAIL:]
    _require_trailer(dump, tail)


def _require_trailer(dump: Dump, tail: bytes) -> None:
    if not _LAST_LINES.search(tail):
        raise DumpError(
            f"{dump.source} was cut off: its last line is not "
            f'"{TRAILER.decode()}"; dump or copy it again'
        )


def open_plain(dump: Dump, progress: Callable[[int], None] | None = None) -> BinaryIO:
    """Open a plain dump for reading once, decompressed, in little memory.

    ``progress`` is called with the number of bytes of the file that were read so far: of
    ``dump.size``, compressed as they are. Reading raises DumpError where the compressed data is
    damaged or cut off.
    """
    if dump.format != "plain":
        raise ValueError(f"{dump.source} is an archive, which pg_restore reads")
    return decompressed(dump.path, dump.compression, progress)
