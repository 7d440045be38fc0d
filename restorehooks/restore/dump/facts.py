"""What is known of a dump without restoring it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from restorehooks.restore.errors import DumpError
from restorehooks.wording import printable, size_in_words

Format = Literal["custom", "directory", "tar", "plain"]
Compression = Literal["gzip", "bzip2", "xz", "zstd", "lz4"]

HEADER = b"-- PostgreSQL database dump"
"""The first line of a plain dump that is no psql command."""
TRAILER = b"-- PostgreSQL database dump complete"
"""The last line that pg_dump writes into a plain dump."""
CLOSING = ("analyze", "checkpoint", "commit", "discard", "end", "reset", "set", "show", "vacuum")
"""First words of what people and programs put after a dump, and what changes no data."""


@dataclass(frozen=True)
class Part:
    """One database's part of a file that pg_dumpall made.

    database: its name. start, end: bytes of the decompressed file. line: of the file, its first.
    """

    database: str
    start: int
    end: int
    line: int


@dataclass(frozen=True)
class Dump:
    """What is known of a dump without restoring it.

    source: what the user named.
    path: what a reader opens: ``source``, or the unpacked copy.
    of_server: pg_dumpall made it: it holds a whole server's databases and roles.
    part: the one database of such a file that is meant. roles: those that the file creates.
    stream: opens a plain dump that can be read once and has no file; ``beginning`` is its own.
    member: its name inside ``source``, where that is a tar or zip file or a folder around it.
    compression: of the file as a whole, None for compression inside an archive.
    archive_version: of the archive's format (1.14 is PostgreSQL 12 to 15), None for a plain dump.
    server_version, dump_version: of the server that was dumped, and of the pg_dump that did it, as
        they are written in the dump: ``17.2 (Debian 17.2-1.pgdg120+1)``.
    created_at: by the clock of the machine that dumped, whose zone is not written.
    size: bytes on disk of ``path``.
    entries: in an archive's table of contents.
    creates_database: a plain dump made with --create.
    has_first_line: False for a plain dump without pg_dump's comments.
    crlf: a plain dump whose lines end as they do on Windows and on terminals.
    """

    source: Path
    path: Path
    format: Format
    compression: Compression | None
    archive_version: tuple[int, int, int] | None
    server_version: str | None
    dump_version: str | None
    database: str | None
    created_at: datetime | None
    size: int
    entries: int | None
    creates_database: bool = False
    has_first_line: bool = True
    crlf: bool = False
    member: str = ""
    of_server: bool = False
    part: Part | None = None
    roles: tuple[str, ...] = ()
    stream: Callable[[], Any] | None = field(default=None, repr=False, compare=False)
    beginning: bytes = field(default=b"", repr=False)

    @property
    def server_major(self) -> int | None:
        """The major version of the server that was dumped (9 for 9.6)."""
        found = re.match(r"\d+", self.server_version or "")
        return int(found[0]) if found else None

    @property
    def is_packed(self) -> bool:
        """Whether this is a directory dump inside a tar file, which ``unpacked`` takes apart."""
        return self.format == "directory" and not self.path.is_dir()


def described(dump: Dump, path: Path | None = None) -> str:
    """Return in one printable line what the dump is; ``path`` is shown instead of its source."""
    parts = [f"{dump.format} dump"]
    if dump.of_server:
        parts = ["dump of a whole server"]
    if dump.member:
        parts.append(f'inside it as "{dump.member}"')
    if dump.compression:
        parts.append(f"{dump.compression} compressed")
    if dump.database:
        parts.append(f'of "{dump.database}"')
    if dump.server_version:
        parts.append(f"from PostgreSQL {dump.server_version}")
    if dump.created_at:
        parts.append(f"made {dump.created_at:%Y-%m-%d %H:%M}")
    return f"{printable(str(path or dump.source))} ({', '.join(parts)}, {size_in_words(dump.size)})"


def size_of(path: Path) -> int:
    """Return the bytes on disk of a file, or of all files of a directory."""
    files = path.iterdir() if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def unreadable(path: Path, error: OSError) -> DumpError:
    """Return the error for a dump that the operating system does not let us read."""
    return DumpError(f"{path} cannot be read: {error.strerror or error}")
