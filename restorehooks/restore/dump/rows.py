"""What an archive lacks that a database has: one of the structure alone is no copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .contents import POST_DATA, ArchiveEntry

NO_ROWS = "the dump holds NO ROWS, only structure"
NO_KEYS = "the dump holds no indexes, keys, constraints or triggers"


def what_is_missing(
    entries: Sequence[ArchiveEntry], *, whole: bool, holds_rows: Callable[[], bool]
) -> Iterator[str]:
    """Yield what a database has and these entries of its archive lack, a sentence each.

    ``whole``: they are all that the archive holds. ``holds_rows`` is asked where there are tables,
    or all is restored.
    """
    tables = any(entry.kind == "TABLE" for entry in entries)
    if (tables or whole) and not holds_rows():
        yield NO_ROWS
    sections = {entry.section for entry in entries}
    if whole and tables and any(sections) and POST_DATA not in sections:
        yield NO_KEYS
