"""That a directory archive leads pg_restore to files of its own alone.

pg_restore before 15.20 opens whatever file the table of contents or a list of large objects names,
wherever that is, and follows every link. So an archive from somebody else could put any file that
the reader may read into a table, or into a large object. Whose a link is says nothing: one that was
in a tar file belongs to whoever has unpacked that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import partial

from restorehooks.restore.errors import DumpError
from restorehooks.wording import printable

from .contents import ArchiveEntry
from .directory_proof import LARGE_OBJECT, lines_of
from .facts import Dump, unreadable

_CHUNK = 1024 * 1024
_SHOWN = 100
"""Bytes of an odd line that a message shows."""
_DATA_FILE = re.compile(r"\d+\.dat|blobs(_\d+)?\.toc")


def require_own_files(dump: Dump, entries: Iterable[ArchiveEntry]) -> None:
    """Raise DumpError where a directory archive names a file elsewhere, or has a link."""
    if dump.format != "directory":
        return
    try:
        with os.scandir(dump.path) as files:
            for file in files:
                _require_a_file(dump, file)
        names = [entry.data_file for entry in entries if entry.data_file]
        for name in [*names, *_large_objects(dump, names)]:
            if not _DATA_FILE.fullmatch(name):
                raise DumpError(
                    f'{dump.source} names "{printable(name)}" as a data file, which pg_dump never '
                    "does: dump again"
                )
    except OSError as error:
        raise unreadable(dump.source, error) from error


def _require_a_file(dump: Dump, file: os.DirEntry[str]) -> None:
    name = printable(file.name)
    if file.is_symlink():
        raise DumpError(
            f"{dump.source} has the link {name}, which may lead to any file, and pg_dump makes "
            "none: put the file that is meant there"
        )
    # pg_restore would wait for ever for whoever writes to a pipe.
    if not (file.is_file() or file.is_dir()) and os.path.exists(file):
        raise DumpError(
            f"{dump.source} has {name}, which is a pipe or a device, and pg_dump makes none: copy "
            "the dump without it"
        )


def _large_objects(dump: Dump, names: Iterable[str]) -> Iterator[str]:
    """Yield the lines of lists of large objects that are none, as far as the lists are there."""
    for name in names:
        if not name.endswith(".toc") or not _DATA_FILE.fullmatch(name):
            continue
        if not (path := dump.path / name).is_file():  # pg_restore would take a compressed one
            raise DumpError(f"{dump.source} lacks its data file {name}: copy or dump it again")
        with path.open("rb") as stream:
            for line in lines_of(iter(partial(stream.read, _CHUNK), b"")):
                if not LARGE_OBJECT.fullmatch(line.rstrip(b"\r\n")):
                    yield line.rstrip(b"\r\n")[:_SHOWN].decode(errors="replace")
