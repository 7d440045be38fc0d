"""What an archive lacks that a database has: one of the structure alone is no copy of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .contents import POST_DATA, ArchiveEntry

NO_ROWS = "the dump holds NO ROWS, only structure"
_ROWS = frozenset(("BLOBS", "TABLE DATA"))


def what_is_missing(entries: Sequence[ArchiveEntry], *, whole: bool) -> Iterator[str]:
    """Yield what a database has and these entries of its archive lack, a sentence each.

    ``whole``: they are all that the archive holds.
    """
    tables = any(entry.kind == "TABLE" for entry in entries)
    if tables and not any(entry.kind in _ROWS for entry in entries):
        yield NO_ROWS
    sections = {entry.section for entry in entries}
    if whole and tables and any(sections) and POST_DATA not in sections:
        yield "the dump holds no indexes, keys, constraints or triggers"
