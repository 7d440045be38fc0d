"""What an archive lacks that a database has: one of the structure alone is no copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from restorehooks.wording import quoted

from .contents import POST_DATA, ArchiveEntry

NO_ROWS = "the dump holds NO ROWS, only structure"
NO_KEYS = "the dump holds no indexes, keys, constraints or triggers"
SOME_ROWS = (
    "the dump was made with --enable-row-security: it holds the rows that its role could see, and "
    "NO OTHERS"
)


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
    elif without := _tables_without_data(entries):
        yield f"the dump holds no rows of {quoted(without)}: they will be empty"
    sections = {entry.section for entry in entries}
    if whole and tables and any(sections) and POST_DATA not in sections:
        yield NO_KEYS


def _tables_without_data(entries: Sequence[ArchiveEntry]) -> Sequence[str]:
    """Return the tables with no entry for their data, which pg_dump makes for empty ones too.

    Partitioned tables never have one. They are known by what depends on them: their partitions,
    or what attaches those (pg_dump 14 and later).
    """
    filled = {_name(entry) for entry in entries if entry.kind == "TABLE DATA"}
    without = {
        entry.id: _name(entry)
        for entry in entries
        if entry.kind == "TABLE" and _name(entry) not in filled
    }
    if not without:
        return ()
    for entry in entries:
        if entry.kind in ("TABLE", "TABLE ATTACH"):
            for above in entry.depends_on:
                if without.get(above) != _name(entry):
                    without.pop(above, None)
    return [*without.values()]


def _name(entry: ArchiveEntry) -> str:
    return f"{entry.schema}.{entry.tag}"
