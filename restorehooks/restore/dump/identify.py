"""What a file or directory is: known by its content, never by its name."""

from __future__ import annotations

import io
import re
import stat
import tarfile
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from restorehooks.restore.errors import DumpError
from restorehooks.wording import printable

from .compression import beginning, compression_in, compression_of, decompressed
from .contents import MAGIC, TABLE_OF_CONTENTS, ArchiveHeader
from .facts import HEADER, Compression, Dump, Format, size_of, unreadable
from .tars import opened_tar

HEAD = 64 * 1024
"""Bytes at the beginning of a file that are looked at."""
_OTHER_FORMATS = (
    (re.compile(rb"PK\x03\x04"), "is a zip file: unzip it first"),
    (
        re.compile(
            rb"-----BEGIN PGP MESSAGE|\x85[\x01-\x04]\x0c|\x84[\x5e\x8c]\x03|\x8c[\x04\x0d]"
        ),
        "is encrypted by PGP: decrypt it first, with gpg --decrypt",
    ),
    (re.compile(rb"age-encryption\.org/"), "is encrypted by age: decrypt it first"),
    (re.compile(rb"Salted__"), "is encrypted by openssl enc: decrypt it first"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "is a 7z file: unpack it first"),
    (
        re.compile(rb"\xff\xfe|\xfe\xff"),
        "is UTF-16 text, which PowerShell's > makes of a dump: dump again with pg_dump --file",
    ),
    (re.compile(rb"SQLite format 3\x00"), "is an SQLite database, not a PostgreSQL dump"),
    (re.compile(rb"(?:/\*!.*\n)?-- (?:MySQL|MariaDB) dump"), "is a dump of MySQL or MariaDB"),
)
_ARCHIVE_AFTER_TEXT = re.compile(rb"[\x09-\x7e\x80-\xff]{1,20000}?\nPGDMP(?=\x01)", re.DOTALL)
_ALL_DATABASES = re.compile(rb"^-- PostgreSQL database cluster dump\r?$", re.MULTILINE)
_PLAIN = re.compile(rb"^-- PostgreSQL database dump\r?$", re.MULTILINE)
# What every plain dump sets first of all, its comments stripped or not.
_SETTINGS = re.compile(
    rb"^SET (?:SESSION )?(?:statement_timeout|client_encoding|standard_conforming_strings"
    rb"|session_replication_role) = [^;\n]+;\r?$",
    re.MULTILINE,
)
_SCRIPT = re.compile(
    rb"^(?:BEGIN|CREATE|DROP|INSERT|SET|START TRANSACTION)\b[^\0]*;", re.MULTILINE | re.IGNORECASE
)
"""What a script of SQL begins with, after any comment."""
_FIRST_STATEMENT = re.compile(
    rb"^(?:\\connect|(?:CREATE|DROP|ALTER|COMMENT|COPY|INSERT|GRANT|REVOKE) ([A-Z]+)) ",
    re.MULTILINE,
)
NO_DUMP = "is no PostgreSQL dump"
"""What is said of a file that looks like none, and like nothing else that is known."""
_NO_DUMP = (
    f"{NO_DUMP}: it begins neither as an archive nor with the line "
    f'"{HEADER.decode()}"; make one with pg_dump, or give --accept-unfinished-dump with a script '
    "of SQL by another program"
)


def identify(source: Path, *, whole_server: bool = False, any_script: bool = False) -> Dump:
    """Return what a file or directory is, by its content. Raises DumpError.

    A file that pg_dumpall made is refused, unless ``whole_server``; a script of SQL that pg_dump
    has not written, unless ``any_script``.
    """
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            return _directory(source)
        if not stat.S_ISREG(mode):
            raise DumpError(f"{source} is a pipe or a device: give it as standard input, with -")
        size = source.stat().st_size
        if not size:
            raise DumpError(f"{source} is empty: the dump was not written, make it again")
        compression = compression_of(source)
        with decompressed(source, compression) as stream:
            head = read(stream, HEAD)
        dump = _file(source, compression, size, head, any_script=any_script)
        if dump.of_server and not whole_server:
            raise DumpError(
                f"{source} was made by pg_dumpall and holds a whole server: "
                "dump the one database with pg_dump, or name it with --from-database"
            )
        return dump
    except OSError as error:
        raise unreadable(source, error) from error


def identify_beginning(source: Path, head: bytes) -> Dump | None:
    """Return the plain dump of one database that begins like this, None for anything else."""
    content = beginning(head)
    if content.startswith(MAGIC) or _is_tar(content) or not is_dump(content):
        return None
    dump = _file(source, compression_in(head), 0, content)
    return None if dump.of_server else replace(dump, beginning=content)


def identify_head(source: Path, head: bytes, size: int, *, is_folder: bool = False) -> Dump:
    """Return what a dump of ``size`` bytes is that begins like this, as far as that tells.

    ``head`` are the first bytes of a file as it is, or with ``is_folder`` those of a directory
    dump's table of contents. Raises DumpError.
    """
    compression, content = compression_in(head), beginning(head)
    in_tar = content.startswith(TABLE_OF_CONTENTS.encode() + b"\0") and _is_tar(content)
    if is_folder or in_tar:
        header = ArchiveHeader(source, io.BytesIO(content[tarfile.BLOCKSIZE if in_tar else 0 :]))
        kind: Format = "tar" if in_tar else "directory"
        return Dump(source, source, kind, compression, size=size, **header.known)
    if compression and not content:
        raise DumpError(f"{source} is {compression} compressed: its beginning does not tell what")
    if _is_tar(content):
        raise DumpError(f"{source} is a tar file: its beginning does not tell whether of a dump")
    return _file(source, compression, size, content)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _file(
    source: Path,
    compression: Compression | None,
    size: int,
    head: bytes,
    *,
    any_script: bool = False,
) -> Dump:
    def dump(kind: Format, **known: Any) -> Dump:
        return Dump(source, source, kind, compression, size=size, **known)

    if head.startswith(MAGIC):
        header = ArchiveHeader(source, io.BytesIO(head))
        if not header.is_custom:
            raise DumpError(
                f"{source} is the table of contents of a directory dump: "
                f"give the directory {source.parent}"
            )
        return dump("custom", **header.known)
    if _is_tar(head):
        with decompressed(source, compression) as stream, opened_tar(source, stream) as members:
            kind, content = _inside_tar(source, members)
        return dump(kind, **ArchiveHeader(source, io.BytesIO(content)).known)
    return dump("plain", **_plain(source, head, any_script=any_script))


def _directory(source: Path) -> Dump:
    contents = source / TABLE_OF_CONTENTS
    if not contents.is_file():
        raise DumpError(
            f"{source} is a directory without {TABLE_OF_CONTENTS}: it is no dump, or pg_dump was "
            "interrupted"
        )
    with contents.open("rb") as stream:
        head = read(stream, HEAD)
    if not head.startswith(MAGIC):
        raise DumpError(f"{contents} is damaged: it does not begin as a table of contents does")
    known = ArchiveHeader(source, io.BytesIO(head)).known
    return Dump(source, source, "directory", None, size=size_of(source), **known)


def _inside_tar(source: Path, members: tarfile.TarFile) -> tuple[Format, bytes]:
    """Return which of the two formats the tar file is, and how its table of contents begins."""
    for number, member in enumerate(members):
        is_contents = PurePosixPath(member.name).name == TABLE_OF_CONTENTS
        if is_contents and (file := members.extractfile(member)):
            content = file.read(HEAD)
            if content.startswith(MAGIC):
                # pg_dump --format=tar writes it first and in no folder.
                is_tar = (number, member.name) == (0, TABLE_OF_CONTENTS)
                return "tar" if is_tar else "directory", content
    raise DumpError(
        f"{source} is a tar file without {TABLE_OF_CONTENTS}: it holds no dump made by pg_dump"
    )


def _plain(source: Path, head: bytes, *, any_script: bool) -> dict[str, Any]:
    """Read what the first lines of a plain dump tell. Raises DumpError where they are not there."""
    if archive := _ARCHIVE_AFTER_TEXT.match(head):
        raise DumpError(
            f'{source} is an archive with text before it, beginning "{_shown(head)}", that a '
            "program wrote beside it (2>&1): take it off with tail -c "
            f"+{archive.end() - len(MAGIC) + 1}"
        )
    of_server = _ALL_DATABASES.search(head) is not None
    first_line = _PLAIN.search(head)
    if not of_server and not first_line and (b"\0" in head or not _SETTINGS.search(head)):
        reason = next((why for known, why in _OTHER_FORMATS if known.match(head)), None)
        if reason or not (any_script and _SCRIPT.search(head)):
            raise DumpError(f"{source} {reason or _NO_DUMP}")
    text = head.decode("utf-8", "replace")
    first = _FIRST_STATEMENT.search(head)
    started = _fact(r"Started on (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d).*", text)
    return {
        "archive_version": None,
        "entries": None,
        "server_version": _fact(r"Dumped from database version (.+)", text),
        "dump_version": _fact(r"Dumped by pg_dump version (.+)", text),
        "database": _fact(r"Name: (.+); Type: DATABASE;.*", text),
        "created_at": _date(started) if started else None,
        "of_server": of_server,
        "has_first_line": first_line is not None,
        "crlf": b"\r\n" in head[:1000],
        "creates_database": first is not None and first[1] in (None, b"DATABASE"),
    }


def _shown(head: bytes) -> str:
    line = head.splitlines()[0][:60]
    return printable(line.decode("utf-8", "replace"))


def _date(text: str) -> datetime | None:
    with suppress(ValueError):  # whoever wrote the dump may have written anything
        return datetime.fromisoformat(text)
    return None


def _fact(pattern: str, text: str) -> str | None:
    found = re.search(rf"^-- {pattern}\r?$", text, re.MULTILINE)
    return printable(found[1].rstrip("\r")) if found else None


def is_dump(head: bytes) -> bool:
    """Return whether a file that begins like this is a dump, for those inside something else."""
    if head.startswith(MAGIC) or _ALL_DATABASES.search(head) or _PLAIN.search(head):
        return True
    if _is_tar(head):
        return head.startswith(TABLE_OF_CONTENTS.encode() + b"\0")
    return b"\0" not in head and _SETTINGS.search(head) is not None


def read(stream: BinaryIO, count: int) -> bytes:
    """Read as many bytes as there are, up to ``count``."""
    content = b""
    while len(content) < count and (more := stream.read(count - len(content))):
        content += more
    return content
