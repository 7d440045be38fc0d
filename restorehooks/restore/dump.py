"""What a dump is: its format, its versions, and whether it is whole. No database, no Django.

A dump is known by its content, never by its name. The layout of an archive's header is
``ReadHead`` in PostgreSQL's src/bin/pg_dump/pg_backup_archiver.c.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

Format = Literal["custom", "directory", "tar", "plain"]
Compression = Literal["gzip", "bzip2", "xz", "zstd", "lz4"]

OLDEST_ARCHIVE = (1, 10)
NEWEST_ARCHIVE = (1, 16)
HEADER = b"-- PostgreSQL database dump"
TRAILER = b"-- PostgreSQL database dump complete"

_HEAD = 64 * 1024
_TAIL = 16 * 1024
_CHUNK = 1024 * 1024
_TOC = "toc.dat"
_MAGIC: dict[Compression, bytes] = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "zstd": b"\x28\xb5\x2f\xfd",
    "lz4": b"\x04\x22\x4d\x18",
}
#: What begins a frame that zstd and lz4 pass over, as pzstd writes one before the data.
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_STRANGERS = (
    (re.compile(rb"PK\x03\x04"), "is a zip file: unzip it first"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "is a 7z file: unpack it first"),
    (
        re.compile(rb"\xff\xfe|\xfe\xff"),
        "is UTF-16 text, which PowerShell's > makes of a dump: dump again with pg_dump --file",
    ),
    (re.compile(rb"SQLite format 3\x00"), "is an SQLite database, not a PostgreSQL dump"),
    (re.compile(rb"(?:/\*!.*\n)?-- (?:MySQL|MariaDB) dump"), "is a dump of MySQL or MariaDB"),
)
_ALL_DATABASES = re.compile(rb"^-- PostgreSQL database cluster dump\r?$", re.MULTILINE)
_PLAIN = re.compile(rb"^-- PostgreSQL database dump\r?$", re.MULTILINE)
_LAST_LINES = re.compile(
    rb"^-- PostgreSQL database dump complete\r?$(?:\s|--[^\n]*$|\\unrestrict [^\n]*$)*\Z",
    re.MULTILINE,
)
_FIRST_STATEMENT = re.compile(
    rb"^(?:\\connect|(?:CREATE|DROP|ALTER|COMMENT|COPY|INSERT|GRANT|REVOKE) ([A-Z]+)) ",
    re.MULTILINE,
)
_PACKED_FILE = re.compile(
    r"toc\.dat|(?:\d+\.dat|blobs(?:_\d+)?\.toc|blob_\d+\.dat)(?:\.gz|\.lz4|\.zst)?"
)


class DumpError(Exception):
    """What was given is no dump that can be restored; one sentence with the remedy."""


@dataclass(frozen=True)
class Dump:
    """What is known of a dump without restoring it.

    source: what the user named.
    path: what a reader opens: ``source``, or the unpacked copy.
    compression: of the file as a whole, None for compression inside an archive.
    archive_version: of the archive's format (1.14 is PostgreSQL 12 to 15), None for a plain dump.
    server_version, dump_version: of the server that was dumped, and of the pg_dump that did it, as
        they are written in the dump: ``17.2 (Debian 17.2-1.pgdg120+1)``.
    created_at: by the clock of the machine that dumped, whose zone is not written.
    size: bytes on disk of ``path``.
    entries: in an archive's table of contents.
    creates_database: a plain dump made with --create.
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

    @property
    def server_major(self) -> int | None:
        """The major version of the server that was dumped (9 for 9.6)."""
        found = re.match(r"\d+", self.server_version or "")
        return int(found[0]) if found else None

    @property
    def is_packed(self) -> bool:
        """Whether this is a directory dump inside a tar file, which ``unpacked`` takes apart."""
        return self.format == "directory" and not self.path.is_dir()


def identify(source: Path) -> Dump:
    """Say what a file or directory is, by its content. Raises DumpError."""
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            return _directory(source)
        if not stat.S_ISREG(mode):
            raise DumpError(f"{source} is a pipe or a device: give it as standard input, with -")
        size = source.stat().st_size
        if not size:
            raise DumpError(f"{source} is empty: the dump was not written, make it again")
        compression = _compression(source)
        with _decompressed(source, compression) as stream:
            head = _read(stream, _HEAD)
        return _file(source, compression, size, head)
    except OSError as error:
        raise _unreadable(source, error) from error


def _file(source: Path, compression: Compression | None, size: int, head: bytes) -> Dump:
    def dump(kind: Format, **known: Any) -> Dump:
        return Dump(source, source, kind, compression, size=size, **known)

    if head.startswith(b"PGDMP"):
        header = _Header(source, head)
        if header.format != _Header.CUSTOM:
            raise DumpError(
                f"{source} is the table of contents of a directory dump: "
                f"give the directory {source.parent}"
            )
        return dump("custom", **header.known)
    if head[257:262] == b"ustar":
        with _decompressed(source, compression) as stream, _tar(source, stream) as members:
            kind, content = _table_of_contents(source, members)
        return dump(kind, **_Header(source, content).known)
    return dump("plain", **_plain(source, head))


def _directory(source: Path) -> Dump:
    toc = source / _TOC
    if not toc.is_file():
        raise DumpError(
            f"{source} is a directory without {_TOC}: it is no dump, or pg_dump was interrupted"
        )
    with toc.open("rb") as stream:
        head = _read(stream, _HEAD)
    if not head.startswith(b"PGDMP"):
        raise DumpError(f"{toc} is damaged: it does not begin as a table of contents does")
    known = _Header(source, head).known
    return Dump(source, source, "directory", None, size=_size(source), **known)


@contextmanager
def _tar(source: Path, stream: BinaryIO) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as members:
            yield members
    except tarfile.TarError as error:
        raise DumpError(
            f"{source} is cut off or damaged ({error}): dump or copy it again"
        ) from error


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


def _table_of_contents(source: Path, members: tarfile.TarFile) -> tuple[Format, bytes]:
    """Return which of the two formats the tar file is, and how its table of contents begins."""
    for number, member in enumerate(members):
        if PurePosixPath(member.name).name == _TOC and (file := members.extractfile(member)):
            content = file.read(_HEAD)
            if content.startswith(b"PGDMP"):
                # pg_dump --format=tar writes it first and in no folder.
                return "tar" if (number, member.name) == (0, _TOC) else "directory", content
    raise DumpError(f"{source} is a tar file without {_TOC}: it holds no dump made by pg_dump")


def _take_apart(source: Path, stream: BinaryIO, folder: Path) -> None:
    with _tar(source, stream) as members:
        for member in members:
            path = folder / PurePosixPath(member.name).name
            if not _PACKED_FILE.fullmatch(path.name) or not member.isreg():
                continue
            if path.exists():
                raise DumpError(
                    f"{source} holds more than one {path.name}: unpack it, and name one"
                )
            _write(cast(BinaryIO, members.extractfile(member)), path)


class _Header:
    """The beginning of an archive."""

    CUSTOM = 1

    def __init__(self, source: Path, head: bytes):
        self._source = source
        self._stream = io.BytesIO(head)
        self._stream.seek(len(b"PGDMP"))
        major, minor, revision, self._int_size, _, self.format = self._bytes(6)
        self._version = (major, minor, revision)
        self._check_version()
        if self._version >= (1, 15):
            self._bytes(1)
        else:
            self._int()
        second, minute, hour, day, month, year, _ = (self._int() for _ in range(7))
        try:
            created_at = datetime(year + 1900, month + 1, day, hour, minute, min(second, 59))
        except ValueError:
            raise self._damaged() from None
        self.known: dict[str, Any] = {
            "archive_version": self._version,
            "created_at": created_at,
            "database": self._string(),
            "server_version": self._string(),
            "dump_version": self._string(),
            "entries": self._int(),
        }

    def _check_version(self) -> None:
        version = ".".join(map(str, self._version[:2]))
        if self._version[:2] > NEWEST_ARCHIVE:
            raise DumpError(
                f"{self._source} is an archive of version {version}, made by a pg_dump newer than "
                "18: a newer django-restorehooks is needed"
            )
        if self._version[:2] < OLDEST_ARCHIVE:
            raise DumpError(
                f"{self._source} is an archive of version {version}, made by a pg_dump before 8.0: "
                "turn it into a plain dump with pg_restore -f"
            )

    def _bytes(self, count: int) -> bytes:
        read = self._stream.read(count)
        if len(read) < count:
            raise self._damaged()
        return read

    def _int(self) -> int:
        sign, *digits = self._bytes(1 + self._int_size)
        number = int.from_bytes(bytes(digits), "little")
        return -number if sign else number

    def _string(self) -> str | None:
        length = self._int()
        return None if length < 0 else printable(self._bytes(length).decode("utf-8", "replace"))

    def _damaged(self) -> DumpError:
        return DumpError(f"{self._source} is cut off or damaged in its header: dump again")


# --- Plain dumps -------------------------------------------------------------------------------


def _plain(source: Path, head: bytes) -> dict[str, Any]:
    """Read what the first lines of a plain dump tell. Raises DumpError where they are not there."""
    if _ALL_DATABASES.search(head):
        raise DumpError(
            f"{source} was made by pg_dumpall and holds a whole server: "
            "dump the one database with pg_dump"
        )
    if not _PLAIN.search(head):
        reason = next((why for known, why in _STRANGERS if known.match(head)), None)
        raise DumpError(f"{source} {reason or _NO_DUMP}")
    text = head.decode("utf-8", "replace")
    first = _FIRST_STATEMENT.search(head)
    started = _line(r"Started on (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d).*", text)
    return {
        "archive_version": None,
        "entries": None,
        "server_version": _line(r"Dumped from database version (.+)", text),
        "dump_version": _line(r"Dumped by pg_dump version (.+)", text),
        "database": _line(r"Name: (.+); Type: DATABASE;.*", text),
        "created_at": datetime.fromisoformat(started) if started else None,
        "creates_database": first is not None and first[1] in (None, b"DATABASE"),
    }


_NO_DUMP = (
    "is no PostgreSQL dump: it begins neither as an archive nor with the line "
    f'"{HEADER.decode()}"; make one with pg_dump'
)


def printable(text: str) -> str:
    """Return a stranger's text without what would command a terminal or break a line."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _line(pattern: str, text: str) -> str | None:
    found = re.search(rf"^-- {pattern}\r?$", text, re.MULTILINE)
    return printable(found[1].rstrip("\r")) if found else None


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
        raise _unreadable(dump.source, error) from error


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
    """Open a plain dump for reading once, decompressed on the way, in little memory.

    ``progress`` is told how many bytes of the file were read so far: of ``dump.size``, compressed
    as they are. Reading raises DumpError where the compressed data is damaged or cut off.
    """
    if dump.format != "plain":
        raise ValueError(f"{dump.source} is an archive, which pg_restore reads")
    return _decompressed(dump.path, dump.compression, progress)


# --- Compression -------------------------------------------------------------------------------


def _compression(source: Path) -> Compression | None:
    with source.open("rb") as stream:
        while _SKIPPABLE.match(head := stream.read(8)):
            stream.seek(int.from_bytes(head[4:], "little"), os.SEEK_CUR)
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), None)


def _decompressed(
    path: Path, compression: Compression | None, progress: Callable[[int], None] | None = None
) -> BinaryIO:
    try:
        return cast(BinaryIO, _Content(path, compression, progress))
    except OSError as error:
        raise _unreadable(path, error) from error


def _library(what: Compression, *names: str) -> Any:
    """Import the first of these modules that is there."""
    for name in names:
        with suppress(ImportError):
            return import_module(name)
    raise DumpError(
        f"reading {what} takes a package that is not installed: pip install "
        '"django-restorehooks[compression]", or decompress the dump before'
    )


_OPENERS: dict[Compression, Callable[[Any], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
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
    ):
        self._path = path
        self._progress = progress
        self._raw = path.open("rb", buffering=0)
        self._stream: Any = self._raw
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
            reason = f"cannot be read to its end ({error}): it is damaged; copy or dump it again"
            raise DumpError(f"{self._path} {reason}") from error
        if self._progress:
            self._progress(self._raw.tell())
        return count or 0

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._raw.close()
        super().close()


def _read(stream: BinaryIO, count: int) -> bytes:
    """Read as many bytes as there are, up to ``count``."""
    content = b""
    while len(content) < count and (more := stream.read(count - len(content))):
        content += more
    return content


def _unreadable(path: Path, error: OSError) -> DumpError:
    return DumpError(f"{path} cannot be read: {error.strerror or error}")


# --- Temporary copies --------------------------------------------------------------------------


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

    A directory dump inside a tar file is taken apart. A plain dump, and an archive that needs
    nothing, come back as they are. Raises DumpError.
    """
    if dump.format == "plain" or not (dump.compression or dump.is_packed):
        yield dump
        return
    with (
        _private_folder(folder) as private,
        _decompressed(dump.path, dump.compression) as stream,
    ):
        path = private / "dump"
        if dump.is_packed:
            path.mkdir(0o700)
            _take_apart(dump.source, stream, path)
        else:
            _write(stream, path)
        yield replace(dump, path=path, compression=None, size=_size(path))


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


def _size(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
