"""Whether a dump holds any rows: one of the structure alone is no copy of a database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .contents import POST_DATA, ArchiveEntry
from .facts import Dump
from .proof import open_plain

_ROW = re.compile(
    rb"^(?:INSERT INTO |SELECT pg_catalog\.lowrite\(|COPY [^\n]* FROM stdin;\r?\n(?!\\\.\r?\n))",
    re.MULTILINE,
)
_CHUNK = 1024 * 1024
_OVERLAP = 64 * 1024
"""Bytes of a line that may begin in one chunk and end in the next."""
_FAR_ENOUGH = 64 * _CHUNK
"""Bytes without a row after which it is no more looked for: a structure is seldom as long."""
_ROWS = frozenset(("BLOBS", "TABLE DATA"))


def what_is_missing(dump: Dump, entries: Sequence[ArchiveEntry], *, whole: bool) -> Iterator[str]:
    """Yield what a dump of a database has and this one lacks, a sentence each.

    ``entries`` are those of an archive that are restored; ``whole``: that is all of it. A plain
    dump is read up to its first row. Raises DumpError.
    """
    if dump.format == "plain":
        if not _holds_rows(dump):
            yield "the dump holds NO ROWS, only structure"
        return
    tables = any(entry.kind == "TABLE" for entry in entries)
    if tables and not any(entry.kind in _ROWS for entry in entries):
        yield "the dump holds NO ROWS, only structure"
    sections = {entry.section for entry in entries}
    if whole and tables and any(sections) and POST_DATA not in sections:
        yield "the dump holds no indexes, keys, constraints or triggers"


def _holds_rows(dump: Dump) -> bool:
    """Return whether a row is found; True as well where the text is too long to look further."""
    with open_plain(dump) as stream:
        text, read = b"", 0
        while (chunk := stream.read(_CHUNK)) and read < _FAR_ENOUGH:
            read += len(chunk)
            text = text[-_OVERLAP:] + chunk
            if _ROW.search(text):
                return True
    return read >= _FAR_ENOUGH
