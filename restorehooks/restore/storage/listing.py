"""What is in a storage: the dumps there, the newest of them, and a copy of one."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from restorehooks.restore.dump.contents import TABLE_OF_CONTENTS
from restorehooks.restore.dump.copies import private_folder, require_room, write
from restorehooks.restore.dump.facts import Dump, described
from restorehooks.restore.dump.identify import NO_DUMP, identify_head
from restorehooks.restore.errors import DumpError, StorageError, UsageError
from restorehooks.wording import printable, quoted, size_in_words

from .names import database_in, moment_in
from .store import PREFIX, UNFINISHED, Store, joined, parts_among

Taking = Callable[[int], None]
"""Takes how many bytes there are so far."""
_MOST_FILES = 10_000
"""Files of a storage whose names are read."""
_MOST_SHOWN = 200
"""Files that are looked at and shown, the newest: each costs a few requests."""


@dataclass(frozen=True)
class Stored:
    """A file of a storage, or a directory dump there.

    parts: the files of a directory dump; of any other the file itself.
    size: bytes. modified: when it was written, or dumped if its name says that, with a zone; None
        where nobody says.
    dump: what its first bytes tell, None where they are no dump's or were not read.
    why: the reason why ``dump`` is None, in words; unread: nothing speaks against a dump.
    """

    name: str
    parts: Sequence[str]
    size: int
    modified: datetime | None
    dump: Dump | None = None
    why: str = ""
    unread: bool = False

    @property
    def database(self) -> str | None:
        """The database that was dumped, by the dump itself or by a name that dumpdb made."""
        return (self.dump.database if self.dump else None) or database_in(self.name)

    @property
    def has_all(self) -> bool:
        """Whether pg_dumpall made it: it has every database of a server."""
        return self.dump is not None and self.dump.of_server

    def may_be_meant(self, database: str | None) -> bool:
        """Whether it may be a dump of this database, or of any one, and cannot be read."""
        of = database_in(self.name)
        if self.dump or self.unread or (of and database and of != database):
            return False
        return of is not None or not self.why.startswith(NO_DUMP)

    def line(self) -> str:
        """Return it for people: when, and what it is."""
        moment = self.modified.isoformat(timespec="seconds") if self.modified else "time not known"
        what = described(self.dump, Path(self.name)) if self.dump else self._unknown()
        return f"{moment}  {what}"

    def _unknown(self) -> str:
        return f"{printable(self.name)} ({printable(self.why)}, {size_in_words(self.size)})"


@dataclass(frozen=True)
class Listing:
    """What is below a folder of a storage: the newest files, and how many there are in all."""

    files: Sequence[Stored]
    in_all: int

    def lines(self) -> Iterator[str]:
        """Yield it for people, the newest file first."""
        yield from (one.line() for one in self.files)
        if not self.files:
            yield "There is nothing."
        elif len(self.files) < self.in_all:
            yield f"The newest {len(self.files)} of {self.in_all} files: name a folder for others."


def listing(store: Store, folder: str) -> Listing:
    """Return what is in a storage below a folder, the newest first, with what it is."""
    found = []
    for number, (name, parts) in enumerate(walk(store, folder.rstrip("/"))):
        if number == _MOST_FILES:
            raise StorageError(
                f"The storage {store} holds more than {_MOST_FILES} files there: name a folder"
            )
        # A name of ours says when it was dumped, and asking costs a request for each file.
        moment = moment_in(name) or _modified(store, parts[0])
        found.append((moment.timestamp() if moment else 0, name, parts, moment))
    newest_first = sorted(found, reverse=True)[:_MOST_SHOWN]
    files = [_looked_at(store, name, parts, moment) for _, name, parts, moment in newest_first]
    return Listing(files, len(found))


def walk(store: Store, folder: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the name and the parts of each file below a folder; a directory dump is one.

    A folder that is not to be opened, or is closed to us, is named like a file.
    """
    left = [folder]
    while left:
        at = left.pop()
        try:
            folders, files = store.listed(at)
        except StorageError as error:
            if at == folder or getattr(error.__cause__, "errno", None) not in _CLOSED:
                raise
            yield at, [at]
            continue
        if TABLE_OF_CONTENTS in files:
            yield at, parts_among(at, files)
            continue
        for path in (joined(at, name) for name in files if name not in _NO_NAMES):
            yield path, [path]
        for name in folders:
            path = joined(at, name)
            if name in _NO_NAMES or name.endswith(UNFINISHED):
                continue
            if store.why_not_opened(path):
                yield path, [path]
            else:
                left.append(path)


_NO_NAMES = ("", ".", "..")
"""What an object store may have in its names, and reads as another place."""
_CLOSED = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)


def _modified(store: Store, name: str) -> datetime | None:
    if store.why_not_opened(name):
        return None
    with suppress(NotImplementedError), store.doing(f"reading {PREFIX}{name}"):
        # A backend gives local time without a zone where USE_TZ is off.
        return store.backend.get_modified_time(name).astimezone()
    return None


def _looked_at(store: Store, name: str, parts: Sequence[str], moment: datetime | None) -> Stored:
    is_folder = [*parts] != [name]
    first = joined(name, TABLE_OF_CONTENTS) if is_folder else name
    if why := next(filter(None, map(store.why_not_opened, (first, *parts))), None):
        return Stored(name, parts, 0, moment, why=why)
    one = Stored(name, parts, sum(map(store.size, parts)), moment)
    source = Path(PREFIX + name)
    if not one.size:
        return replace(one, why="is empty")
    try:
        if (head := store.head(first)) is None:
            return replace(one, why="not looked at: it would be fetched whole", unread=True)
        return replace(one, dump=identify_head(source, head, one.size, is_folder=is_folder))
    except StorageError as error:
        return replace(one, why=str(error))
    except DumpError as error:
        return replace(one, why=str(error).removeprefix(f"{source} ").partition(":")[0])


def newest(
    store: Store, folder: str, database: str | None, note: Callable[[str], None] = lambda text: None
) -> Stored:
    """Return the newest dump below a folder: of ``database``, where that is given.

    ``note`` takes a sentence about each file that may be a newer one, and cannot be read. Raises
    StorageError where there is none, UsageError where there are several databases' and none is
    named.
    """
    files = listing(store, folder).files
    there = [one for one in files if one.dump or one.unread]
    held = sorted({one.database for one in there if one.database})
    if database is None and len(held) > 1:
        names = quoted(map(printable, held))
        raise UsageError(f"{PREFIX}{folder} holds dumps of {names}: name one with --from-database.")
    if database is not None:
        there = [one for one in there if one.database == database or one.has_all]
    if not there:
        of = f' of "{database}"' if database else ""
        raise StorageError(f"The storage {store} holds no dump{of} in {PREFIX}{folder}")
    chosen = files.index(there[0])
    for number, one in enumerate(files):
        if (number < chosen or one.modified is None) and one.may_be_meant(database):
            note(f"{printable(PREFIX + one.name)} was passed over ({printable(one.why)})")
    return there[0]


@contextmanager
def fetched(
    store: Store, name: str, spool_dir: Path | None, watch: Callable[[int], Taking]
) -> Iterator[Path]:
    """Give a copy of a stored dump that nobody else may read, gone afterwards.

    A file that is on this machine is not copied. ``watch`` takes its size, and returns what takes
    how many bytes have come. Raises StorageError where it cannot be fetched, DumpError where there
    is no room, or where other bytes came than the storage says that there are.
    """
    if path := store.path(name):
        if not path.exists():
            raise StorageError(f"There is no {PREFIX}{name}: the storage {store} has no such file")
        yield path
        return
    parts = store.parts(name)
    sizes = {part: store.size(part) for part in parts}
    with private_folder(spool_dir) as private:
        require_room(private, sum(sizes.values()))
        to = private / "dump"
        is_directory = [*parts] != [name]
        if is_directory:
            to.mkdir(0o700)
        count = _Count(watch(sum(sizes.values())))
        for part, size in sizes.items():
            path = to / PurePosixPath(part).name if is_directory else to
            _fetch(store, part, path, count)
            if (came := path.stat().st_size) != size:
                raise DumpError(
                    f"{came} bytes of {PREFIX}{part} came, and the storage says that it has {size}:"
                    " the transfer was cut off, or the file is still being written"
                )
        yield to


class _Count:
    """How many bytes have come in all."""

    def __init__(self, progress: Taking):
        self._progress = progress
        self._bytes = 0

    def add(self, count: int) -> None:
        self._bytes += count
        self._progress(self._bytes)


def _fetch(store: Store, name: str, path: Path, count: _Count) -> None:
    with store.opened(name) as stream:
        write(cast(BinaryIO, _Reading(store, name, stream, count)), path)


class _Reading:
    """A file that is being fetched: tells failures of the storage from those of this machine."""

    def __init__(self, store: Store, name: str, stream: Any, count: _Count):
        self._store, self._name = store, name
        self._stream, self._count = stream, count

    def read(self, size: int) -> bytes:
        """Return up to so many bytes, none at the end."""
        with self._store.doing(f"reading {PREFIX}{self._name}"):
            content = cast(bytes, self._stream.read(size))
        self._count.add(len(content))
        return content
