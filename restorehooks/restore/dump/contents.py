"""An archive's header and table of contents, read from the file itself.

The layout is that of ``ReadHead`` and ``ReadToc`` in PostgreSQL's
src/bin/pg_dump/pg_backup_archiver.c, with what each format adds to an entry (``ReadExtraToc`` in
pg_backup_custom.c, pg_backup_tar.c and pg_backup_directory.c). ``pg_restore --list`` prints less,
and prints it without quotes: a role called "my role" cannot be told from its line.
"""

from __future__ import annotations

import codecs
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from restorehooks.restore.errors import DumpError
from restorehooks.restore.superusers import LOOKED_AT
from restorehooks.wording import printable

from .facts import Dump, unreadable
from .tars import opened_member

OLDEST_ARCHIVE = (1, 10)
NEWEST_ARCHIVE = (1, 16)
TABLE_OF_CONTENTS = "toc.dat"
"""The file of a directory or tar archive that holds header and contents."""
MAGIC = b"PGDMP"

_CUSTOM, _TAR, _DIRECTORY = 1, 3, 5
PRE_DATA, DATA, POST_DATA = 2, 3, 4
"""Sections of a dump (``teSection`` in pg_backup.h); 1 is "none", as comments and privileges have.

Archives before 1.11 do not say it, and every entry then has the section 0.
"""
_FOR_SUPERUSERS = frozenset(
    (
        *("EVENT TRIGGER", "PUBLICATION", "PUBLICATION TABLES IN SCHEMA", "FOREIGN DATA WRAPPER"),
        *("FUNCTION", "PROCEDURE", "SHELL TYPE", "OPERATOR CLASS", "OPERATOR FAMILY"),
        *("ACCESS METHOD", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE", "PROCEDURAL LANGUAGE"),
    )
)
"""Kinds of which some may be made by a superuser alone: their SQL says which."""
_WITH_DEFINITION = _FOR_SUPERUSERS.union(
    ("ACL", "DEFAULT ACL", "ENCODING", "POLICY", "SEQUENCE SET", "STDSTRINGS")
)
"""Kinds of entries whose SQL is kept; the others' would fill the memory for nothing."""
_COPIES_OIDS = re.compile(r" WITH OIDS FROM stdin;\s*\Z")
_ENCODING = re.compile(r"'((?:EUC_|ISO_8859_|KOI8|LATIN|WIN)\w+|BIG5|GBK?\d*|JOHAB|SJIS|UHC)'")
_LONGEST, _LONGEST_NAME = 1 << 30, 1 << 20
"""Bytes of the longest string that is believed, which PostgreSQL can hold, and of all together."""
_NUMBER = re.compile("[0-9]{1,10}")
_NEVER_RESTORED = frozenset(
    ("ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE", "DATABASE PROPERTIES")
)
"""Kinds that pg_restore without --create does not restore as objects of their own."""


@dataclass(frozen=True)
class ArchiveEntry:
    """One entry of an archive's table of contents.

    id: pg_dump's number of it, which ``pg_restore --use-list`` takes.
    kind: TABLE, TABLE DATA, ACL and so on, as pg_dump calls it.
    schema, tag, owner: names as they are, unquoted; empty where there is none. The tag of many
        kinds is more than a name: "person person_pkey" for a constraint.
    tablespace: empty for the database's own.
    definition: its SQL, for privileges, positions of sequences and what may need a superuser.
    depends_on: ids of entries that have to be restored first.
    data_file: of a directory or tar archive, the file that holds its data; empty without data.
    section: PRE_DATA, DATA, POST_DATA, or 1 for none.
    copied: its rows are those of a COPY, not INSERT statements.
    with_oids: those rows begin with an object id, as ``pg_dump --oids`` before 12 writes them.
    large_objects: how many large objects it creates.
    """

    id: int
    kind: str
    schema: str
    tag: str
    owner: str
    tablespace: str = ""
    definition: str = ""
    depends_on: tuple[int, ...] = ()
    data_file: str = ""
    section: int = 0
    copied: bool = False
    with_oids: bool = False
    large_objects: int = 0

    @property
    def line(self) -> str:
        """The entry as a line for ``pg_restore --use-list``, which reads the id alone.

        Whatever else an archive says of it may be of several lines.
        """
        return f"{self.id};"


class ArchiveHeader:
    """The beginning of an archive: ``known`` has the facts, by the names of Dump's fields.

    Raises DumpError where it is cut off, damaged, or of a version that nobody here knows.
    """

    def __init__(self, source: Path, stream: BinaryIO):
        self._source, self._stream = source, stream
        self._part = "header"
        self._encoding, self._kept = "utf-8", 0
        self._take(len(MAGIC))
        major, minor, revision, self._int_size, self._offset_size, self._format = self._take(6)
        self.version = (major, minor, revision)
        _check_version(source, self.version)
        if self.version >= (1, 15):
            self._take(1)
        else:
            self._int()
        second, minute, hour, day, month, year, _ = (self._int() for _ in range(7))
        try:
            created_at = datetime(year + 1900, month + 1, day, hour, minute, min(second, 59))
        except (ValueError, OverflowError):
            raise self._damaged() from None
        self.known: dict[str, Any] = {
            "archive_version": self.version,
            "created_at": created_at,
            "database": self._name(),
            "server_version": self._name(),
            "dump_version": self._name(),
            "entries": self._int(),
        }

    @property
    def is_custom(self) -> bool:
        """Whether data follow in the same file, as in the custom format."""
        return self._format == _CUSTOM

    def entries(self) -> Iterator[ArchiveEntry]:
        """Yield the entries, which follow the header. Raises DumpError."""
        self._part = "table of contents"
        for _ in range(self.known["entries"]):
            entry = self._entry()
            if entry.kind == "ENCODING" and (found := _ENCODING.search(entry.definition)):
                self._encoding = _codec(found[1])
            yield entry

    def _entry(self) -> ArchiveEntry:
        number = self._int()
        self._int()  # whether it has data
        self._skip_string()  # the oid of its catalogue
        self._skip_string()  # its own oid
        tag = self._string()
        kind = self._string()
        section = self._int() if self.version >= (1, 11) else 0
        definition, large_objects = self._definition(kind)
        self._skip_string()  # the DROP statement
        copy = self._string()
        schema = self._string()
        tablespace = self._string()
        if self.version >= (1, 14):
            self._skip_string()  # the table access method
        if self.version >= (1, 16):
            self._int()  # the kind of relation
        owner = self._string()
        self._skip_string()  # WITH OIDS
        depends_on = tuple(self._dependencies())
        data_file = self._data_place()
        return ArchiveEntry(
            number,
            kind,
            schema,
            tag,
            owner,
            tablespace=tablespace,
            definition=definition,
            depends_on=depends_on,
            data_file=data_file,
            section=section,
            copied=bool(copy),
            with_oids=bool(_COPIES_OIDS.search(copy)),
            large_objects=large_objects,
        )

    def _definition(self, kind: str) -> tuple[str, int]:
        """Return the entry's SQL where it is kept, and how many large objects it creates."""
        if kind in _WITH_DEFINITION:
            return self._string(_LONGEST)[: LOOKED_AT if kind in _FOR_SUPERUSERS else None], 0
        if kind == "BLOB METADATA":  # since 17: the oids of up to a thousand, a line each
            return "", len(self._string(_LONGEST).split())
        self._skip_string()
        return "", int(kind == "BLOB")

    def _dependencies(self) -> Iterator[int]:
        while digits := self._string():
            if not _NUMBER.fullmatch(digits):
                raise self._damaged()
            yield int(digits)

    def _data_place(self) -> str:
        if not self.is_custom:
            return self._string()
        self._take(1 + self._offset_size)
        return ""

    def _take(self, count: int) -> bytes:
        content = self._stream.read(count)
        while len(content) < count and (more := self._stream.read(count - len(content))):
            content += more
        if len(content) < count:
            raise DumpError(f"{self._source} was cut off in its {self._part}: copy it again")
        return content

    def _int(self) -> int:
        sign, *digits = self._take(1 + self._int_size)
        number = int.from_bytes(bytes(digits), "little")
        return -number if sign else number

    def _string(self, most: int = _LONGEST_NAME) -> str:
        length = self._length(most)
        self._kept += max(0, length)
        return self._take(length).decode(self._encoding, "surrogateescape") if length > 0 else ""

    def _skip_string(self) -> int:
        """Return how many bytes it has."""
        return len(self._take(max(0, self._length())))

    def _length(self, most: int = _LONGEST) -> int:
        if (length := self._int()) > most or self._kept > _LONGEST:
            raise self._damaged()
        return length

    def _name(self) -> str | None:
        length = self._length(_LONGEST_NAME)
        if length < 0:
            return None
        return printable(self._take(length).decode("utf-8", "replace"))

    def _damaged(self) -> DumpError:
        return DumpError(f"{self._source} is damaged in its {self._part}: copy or dump it again")


def _check_version(source: Path, known: tuple[int, int, int]) -> None:
    version = ".".join(map(str, known[:2]))
    if known[:2] > NEWEST_ARCHIVE:
        raise DumpError(
            f"{source} is an archive of version {version}, made by a pg_dump newer than 18: "
            "a newer django-restorehooks is needed"
        )
    if known[:2] < OLDEST_ARCHIVE:
        raise DumpError(
            f"{source} is an archive of version {version}, made by a pg_dump before 8.0: "
            "turn it into a plain dump with pg_restore -f"
        )


def _codec(encoding: str) -> str:
    """Return Python's name of an encoding of PostgreSQL's; UTF-8 for one that it does not know."""
    known = re.sub(r"\AKOI8(?=[RU]\Z)", "KOI8_", re.sub(r"\AWIN(?=\d)", "cp", encoding))
    try:
        return codecs.lookup(known).name
    except LookupError:
        return "utf-8"


def read_contents(dump: Dump) -> list[ArchiveEntry]:
    """Return the entries of an archive that a restore concerns, in pg_dump's order.

    ``dump.path`` is a custom file, a directory or a tar file that is compressed no more. Raises
    DumpError where the table of contents cannot be read to its end.
    """
    with _header_of(dump) as header:
        return [entry for entry in header.entries() if entry.kind not in _NEVER_RESTORED]


def strings_are_off(dump: Dump) -> bool:
    """Return whether an archive sets standard_conforming_strings to off. Raises DumpError."""
    with _header_of(dump) as header:
        settings = (entry for entry in header.entries() if entry.kind == "STDSTRINGS")
        return any("off" in entry.definition for entry in islice(settings, 1))


@contextmanager
def _header_of(dump: Dump) -> Iterator[ArchiveHeader]:
    try:
        if dump.format == "tar":
            with opened_member(dump.path, TABLE_OF_CONTENTS) as stream:
                yield ArchiveHeader(dump.source, stream)
        else:
            path = dump.path / TABLE_OF_CONTENTS if dump.format == "directory" else dump.path
            with path.open("rb") as stream:
                yield ArchiveHeader(dump.source, stream)
    except (KeyError, tarfile.TarError):
        raise DumpError(f"{dump.source} is a tar archive without {TABLE_OF_CONTENTS}") from None
    except OSError as error:
        raise unreadable(dump.source, error) from error
