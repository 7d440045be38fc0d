"""Proof that the data files of a directory or tar archive are whole.

pg_restore is no such proof: it takes an emptied file for a table without rows and, depending on
compression and zlib, a cut one for a shorter table. What pg_dump writes has an end that can be
recognized: each compression's own, the line ``\\.`` after a table's rows and the two empty lines
after that (``dumpTableData_copy`` and ``dumpTableData_insert`` in src/bin/pg_dump/pg_dump.c), and a
list of the large objects with as many lines as the table of contents has large objects.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from restorehooks.restore.errors import DumpError

from .contents import ArchiveEntry
from .data_files import DataFile, Find, data_files, list_name
from .facts import Dump

PROVED = ("directory", "tar")
"""The formats whose data files pg_restore takes as they are. A custom archive that was cut is
refused by it: each piece of data begins with its length."""
_END_OF_ROWS = b"\n\\.\n"
_EMPTY_LINES = b"\n\n"
_LONGEST_LINE = 1000
LARGE_OBJECT = re.compile(rb"([0-9]{1,10}) (blob_\d+\.dat)")
_AGAIN = "copy or dump it again"


@dataclass
class Proof:
    """What was found in files that are whole.

    bytes: read so far, as the files have them.
    nothing_in: large objects whose file is empty. No compression but gzip marks the end of an
        empty one, so that this may be how they were dumped, or what became of the file.
    unproved: how many large objects are uncompressed; nothing in a dump says how long they are.
    """

    bytes: int = 0
    nothing_in: list[int] = field(default_factory=list)
    unproved: int = 0

    def doubts(self) -> Iterator[str]:
        """Yield what a person should know, a sentence each."""
        if self.nothing_in:
            first = ", ".join(map(str, self.nothing_in[:3]))
            yield (
                f"{len(self.nothing_in)} large object(s) of the dump are empty ({first}"
                f"{', ...' if len(self.nothing_in) > 3 else ''}): they were so in the database, "
                "or their files were emptied since"
            )
        if self.unproved:
            yield (
                f"{self.unproved} large object(s) of the dump are stored uncompressed, and nothing "
                "in it says how long they were: whether their files were cut cannot be seen"
            )


def prove_files(
    dump: Dump,
    entries: Iterable[ArchiveEntry],
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Proof:
    """Read every data file of these entries of such an archive to its proper end.

    ``on_bytes`` is called with the number of bytes read so far, and may raise to stop it. Raises
    DumpError for the first file that is missing, cut, damaged, or has something after its end.
    """
    with data_files(dump) as find:
        return _Files(dump, find, on_bytes).prove(list(entries))


@contextmanager
def proving(dump: Dump, entries: Sequence[ArchiveEntry]) -> Iterator[ProvingThread]:
    """Prove the files in a thread while the block runs, and wait for it at the end of the block.

    It begins with the first ``check``: a program that is started beside another thread cannot be
    told to end with this process. The end of the block raises what ``prove_files`` raises. What
    the block itself raises ends the proof.
    """
    thread = ProvingThread(dump, entries)
    try:
        yield thread
        thread.check()
    except BaseException:
        thread.stopped.set()
        raise
    finally:
        if thread.ident:
            thread.join()
    thread.check()


class _Stopped(Exception):  # noqa: N818 - no error
    """Nobody waits for the proof any more."""


class ProvingThread(threading.Thread):
    """Proves the files of an archive; ``found`` is its proof once it has ended well."""

    found: Proof

    def __init__(self, dump: Dump, entries: Sequence[ArchiveEntry]):
        super().__init__(name="restorehooks-proof", daemon=True)
        self.stopped = threading.Event()
        self._dump, self._entries = dump, entries
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Prove them, until ``stopped`` is set."""
        try:
            self.found = prove_files(self._dump, self._entries, self._go_on)
        except _Stopped:
            pass
        except BaseException as error:
            self._failure = error

    def check(self) -> None:
        """Begin, if that is to be done, and raise what was found to be wrong so far."""
        if not self.ident:
            self.start()
        if self._failure:
            raise self._failure

    def _go_on(self, count: int) -> None:
        if self.stopped.is_set():
            raise _Stopped


class _Files:
    """One pass over the data files of an archive."""

    def __init__(self, dump: Dump, find: Find, on_bytes: Callable[[int], None]):
        self._dump = dump
        self._find = find
        self._on_bytes = on_bytes
        self._proof = Proof()

    def prove(self, entries: list[ArchiveEntry]) -> Proof:
        listed: dict[str, int] = {}
        for entry in entries:
            if not entry.data_file:
                continue
            if entry.kind == "BLOBS":
                name = list_name(self._dump, entry)
                if name not in listed:
                    listed[name] = self._large_objects(self._file(name))
            else:
                self._rows(self._file(entry.data_file), copied=entry.copied)
        named = sum(entry.large_objects for entry in entries)
        if listed and sum(listed.values()) != named:
            raise DumpError(
                f"{self._dump.source} lists {sum(listed.values())} large objects in its blobs*.toc "
                f"files, and its table of contents has {named}: {_AGAIN}"
            )
        return self._proof

    def _file(self, name: str) -> DataFile:
        if found := self._find(name):
            return found
        raise DumpError(f"{self._dump.source} lacks its data file {name}: {_AGAIN}")

    def _content(self, file: DataFile) -> Iterator[bytes]:
        before = self._proof.bytes

        def read(count: int) -> None:
            self._proof.bytes = before + count
            self._on_bytes(self._proof.bytes)

        return file.content(read)

    def _rows(self, file: DataFile, *, copied: bool) -> None:
        content = self._content(file)
        is_whole = _ends_as_copied(content) if copied else _ends_as_inserted(content)
        if not is_whole:
            raise DumpError(
                f"{file.shown} is not whole: it does not end as pg_dump ends a table's rows; "
                f"{_AGAIN}"
            )

    def _large_objects(self, file: DataFile) -> int:
        """Prove the large objects of one list, and return how many they are."""
        count = 0
        for line in lines_of(file.content(lambda count: None)):
            found = LARGE_OBJECT.fullmatch(line.rstrip(b"\r\n"))
            if not found or not line.endswith(b"\n"):
                count = 0
                break
            self._large_object(int(found[1]), self._file(found[2].decode()))
            count += 1
        if not count:
            raise DumpError(
                f"{file.shown} is not whole: it lists no large objects to its end; {_AGAIN}"
            )
        return count

    def _large_object(self, oid: int, file: DataFile) -> None:
        if not file.size and file.compression != "gzip":
            self._proof.nothing_in.append(oid)
            return
        if not file.size:
            raise DumpError(f"{file.shown} is empty: {_AGAIN}")
        # A tar file says how long each of its members is.
        self._proof.unproved += file.compression is None and self._dump.format == "directory"
        for _ in self._content(file):
            pass


def lines_of(content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a list with their ends: a line of any length in pieces."""
    rest = b""
    for chunk in content:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest


def _ends_as_copied(content: Iterator[bytes]) -> bool:
    """Return whether the first line ``\\.`` is there, and nothing but two empty lines after it."""
    tail = b"\n"
    for chunk in content:
        tail += chunk
        if (at := tail.find(_END_OF_ROWS)) >= 0:
            rest = tail[at + len(_END_OF_ROWS) :]
            for more in content:
                rest = (rest + more)[: len(_EMPTY_LINES) + 1]
            return rest == _EMPTY_LINES
        tail = tail[1 - len(_END_OF_ROWS) :]
    return False


def _ends_as_inserted(content: Iterator[bytes]) -> bool:
    """Return whether INSERT statements end with two empty lines; there may be none of them."""
    tail, size = b"", 0
    for chunk in content:
        size += len(chunk)
        tail = (tail + chunk)[-4:]
    return tail.endswith(b";\n" + _EMPTY_LINES) or (tail == _EMPTY_LINES and size == len(tail))
