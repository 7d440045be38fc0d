"""Proof that a dump is whole, before anything of it is used."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from restorehooks.restore.errors import DumpError

from .compression import decompressed
from .facts import CLOSING, TRAILER, Dump, Part, unreadable
from .tars import each_member

_TAIL = 256 * 1024
"""Bytes at the end of a plain dump in which its last line is looked for."""
_CHUNK = 1024 * 1024
_LAST_LINE = re.compile(rb"^%s\r?$" % re.escape(TRAILER), re.MULTILINE)
# What may follow it: comments, statements that people and programs put around a dump and that
# change no data, and how Rails ends its structure.sql.
_CLOSING = re.compile(
    rb"""
    (?: \s | --[^\n]*$ | \\unrestrict\ [^\n]*$ | \\q[ \t\r]*$
      | (?:begin|%s) \b (?: [^;"'$\\] | '[^'\\]*' )* ;
    )*
    (?: SET\ search_path\ TO\ [^;']*;\s+ INSERT\ INTO\ "schema_migrations"\ \(version\)\ VALUES
        \s+ \('\w+'\) (?: ,\s+ \('\w+'\) )* ;\s* )?
    \Z
    """
    % "|".join(CLOSING).encode(),
    re.MULTILINE | re.VERBOSE | re.IGNORECASE,
)
ACCEPT_UNFINISHED = "--accept-unfinished-dump"
OR_ACCEPT = f", or accept it as it is with {ACCEPT_UNFINISHED}"
"""What else can be done about a plain dump without an end, where that is allowed."""


def prove_tar(dump: Dump) -> None:
    """Raise DumpError unless a tar archive holds its members whole, down to its closing blocks.

    ``pg_restore -f -`` reads a cut tar archive for ever (seen with 17 and 18).
    """
    try:
        deque(each_member(dump.path), maxlen=0)
        with dump.path.open("rb") as stream:
            stream.seek(-tarfile.BLOCKSIZE, os.SEEK_END)
            whole = not any(stream.read())
    except (tarfile.TarError, OSError):
        whole = False
    if not whole:
        raise DumpError(f"{dump.source} was cut off: it is a tar archive without its end")


def check_trailer(dump: Dump, otherwise: str = "") -> None:
    """Refuse at once a plain dump that was cut off, where its end can be looked at.

    Raises DumpError, which ends with ``otherwise``. The end of a compressed dump is not seen before
    all is read: ``prove_plain`` does that. What is looked for could stand in a string:
    ``ScriptResult.complete`` is the proof.
    """
    if dump.format != "plain" or dump.compression or dump.part or dump.stream:
        return
    try:
        with dump.path.open("rb") as stream:
            stream.seek(max(0, dump.path.stat().st_size - _TAIL))
            _require_trailer(dump, stream.read(), otherwise)
    except OSError as error:
        raise unreadable(dump.source, error) from error


def prove_plain(
    dump: Dump, progress: Callable[[int], None] | None = None, otherwise: str = ""
) -> None:
    """Read a plain dump to its end, and refuse it as ``check_trailer`` does. Raises DumpError."""
    tail = b""
    with open_plain(dump, progress) as stream:
        while chunk := stream.read(_CHUNK):
            tail = (tail + chunk)[-_TAIL:]
    _require_trailer(dump, tail, otherwise)


def _require_trailer(dump: Dump, tail: bytes, otherwise: str) -> None:
    lines = list(_LAST_LINE.finditer(tail))
    if lines and _CLOSING.match(tail, lines[-1].end()):
        return
    if lines:
        raise DumpError(
            f"{dump.source} goes on after pg_dump's last line, and nothing tells whether all of "
            f"that is there: take it off{otherwise}"
        )
    if not dump.has_first_line:
        raise DumpError(
            f"{dump.source} has neither the first nor the last line of pg_dump's, as after "
            '"supabase db dump", which strips comments, and nothing tells whether its end is '
            f"there: dump again with pg_dump{otherwise}"
        )
    raise DumpError(
        f'{dump.source} was cut off: its last line is not "{TRAILER.decode()}"; '
        f"dump or copy it again{otherwise}"
    )


def open_plain(dump: Dump, progress: Callable[[int], None] | None = None) -> BinaryIO:
    """Open a plain dump for reading once, decompressed, in little memory.

    ``progress`` is called with the number of bytes of the file that were read so far: of
    ``dump.size``, compressed as they are. Reading raises DumpError where the compressed data is
    damaged or cut off.
    """
    if dump.format != "plain":
        raise ValueError(f"{dump.source} is an archive, which pg_restore reads")
    stream = decompressed(
        dump.path, dump.compression, progress, dump.stream() if dump.stream else None
    )
    return cast(BinaryIO, _Slice(stream, dump.part)) if dump.part else stream


class _Slice(io.RawIOBase):
    """The bytes of one part of a stream."""

    def __init__(self, stream: BinaryIO, part: Part):
        self._stream = stream
        self._left = part.end - part.start
        skipped = 0
        while skipped < part.start:
            if not (chunk := stream.read(min(_CHUNK, part.start - skipped))):
                break
            skipped += len(chunk)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(min(len(buffer), self._left))
        buffer[: len(content)] = content
        self._left -= len(content)
        return len(content)

    def close(self) -> None:
        self._stream.close()
        super().close()
