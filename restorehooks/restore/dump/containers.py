"""A dump that was packed once more: in a tar or zip file, or alone in a folder."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from restorehooks.restore.errors import DumpError
from restorehooks.trust import ASTRAY, link_astray
from restorehooks.wording import first_line, printable, quoted

from .compression import beginning, compression_of, decompressed
from .contents import TABLE_OF_CONTENTS
from .copies import PACKED_FILE, private_folder, require_room, write
from .facts import unreadable
from .identify import is_dump, read
from .tars import opened_tar

_HEAD = 1024 * 1024
"""Bytes at the beginning of a file that are looked at: bzip2 yields nothing before 900 kB."""
_ZIP = b"PK\x03\x04"
_IN_PIECES = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How members are packed that zipfile unpacks piece by piece: of others it unpacks at once whatever
it reads, and some forty bytes of bzip2 are 45 MB."""
_MOST = 10_000
"""Files of a folder that are looked at."""
_NAMED = 3
"""Names that a message shows; of more dumps than these no other is looked for."""


@dataclass(frozen=True)
class Inside:
    """The one dump inside something else: its name there, and the path where it can be read."""

    name: str
    path: Path


@contextmanager
def taken_out(source: Path, folder: Path | None = None) -> Iterator[Inside | None]:
    """Give the one dump that a tar or zip file or a folder holds, unpacked for a while.

    None where ``source`` itself is the dump, or where it is nothing that holds one. ``folder`` is
    where it is unpacked, by default where temporary files go. Raises DumpError where there are
    several, none, or no room, or a link of another user's leads to it.
    """
    _require_theirs(source)
    try:
        kind = _kind(source)
    except OSError as error:
        raise unreadable(source, error) from error
    if kind is None:
        _require_theirs(source / TABLE_OF_CONTENTS)
        yield None
    elif kind == "folder":
        inside = _in_folder(source)
        if inside:
            _require_theirs(inside.path)
        yield inside
    else:
        with private_folder(folder) as private:
            unpack = _from_zip if kind == "zip" else _from_tar
            yield unpack(source, private)


def _require_theirs(path: Path) -> None:
    """Raise DumpError where another user's link leads to what that user may not read."""
    try:
        link = link_astray(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if link:
        raise DumpError(f"{link} {ASTRAY}")


def _kind(source: Path) -> str | None:
    mode = source.stat().st_mode
    if stat.S_ISDIR(mode):
        return None if (source / TABLE_OF_CONTENTS).exists() else "folder"
    if not stat.S_ISREG(mode) or not source.stat().st_size:
        return None
    with source.open("rb") as stream:
        if stream.read(4) == _ZIP:
            return "zip" if zipfile.is_zipfile(source) else None
    with decompressed(source, compression_of(source)) as content:
        head = read(content, tarfile.BLOCKSIZE)
    return "tar" if head[257:262] == b"ustar" else None


def _in_folder(source: Path) -> Inside | None:
    """Return the one dump of a folder; None leaves it to others to say that there is none."""
    found = []
    try:
        paths = sorted(islice(source.rglob("*"), _MOST + 1))
    except OSError as error:
        raise unreadable(source, error) from error
    for path in paths if len(paths) <= _MOST else ():
        if path.name == TABLE_OF_CONTENTS:
            found.append(Inside(printable(str(path.parent.relative_to(source))), path.parent))
        elif path.is_symlink():
            _require_inside(source, path)  # what it leads to is found itself
        elif path.is_file() and not path.parent.joinpath(TABLE_OF_CONTENTS).exists():
            try:
                with path.open("rb") as stream:
                    head = read(stream, _HEAD)
            except OSError as error:
                raise unreadable(path, error) from error
            if is_dump(beginning(head)):
                found.append(Inside(printable(str(path.relative_to(source))), path))
    return _the_one(source, found) if found else None


def _require_inside(folder: Path, link: Path) -> None:
    """Raise DumpError where a link leads to a file elsewhere: whoever made the folder may mean it.

    Whose it is says nothing, see ``own_files``.
    """
    if link.is_file() and not link.resolve().is_relative_to(folder.resolve()):
        raise DumpError(
            f"{folder} has the link {printable(link.name)}, which leads to a file elsewhere: name "
            "the dump itself"
        )


def _from_tar(source: Path, private: Path) -> Inside | None:
    found: list[Inside] = []
    seen: list[str] = []
    with (
        decompressed(source, compression_of(source)) as stream,
        opened_tar(source, stream) as members,
    ):
        for member in members:
            if PurePosixPath(member.name).name == TABLE_OF_CONTENTS:
                return None  # a tar archive, or a directory dump inside a tar file
            if len(found) > _NAMED:
                break
            if member.isreg():
                seen += [member.name] if len(seen) <= _NAMED else []
                content = cast(BinaryIO, members.extractfile(member))
                found += _unpacked(member.name, member.size, content, private)
    return _only(source, "tar", found, seen)


def _from_zip(source: Path, private: Path) -> Inside | None:
    try:
        with zipfile.ZipFile(source) as members:
            files = [info for info in members.infolist() if not info.is_dir()]
            if any(info.flag_bits & 1 for info in files):
                raise DumpError(f"{source} is an encrypted zip file: unzip it first")
            if any(info.compress_type not in _IN_PIECES for info in files):
                raise DumpError(
                    f"{source} is packed in another way than by Deflate, which may take as much "
                    "memory as it unpacks to: unzip it first"
                )
            if any(PurePosixPath(info.filename).name == TABLE_OF_CONTENTS for info in files):
                return _directory_in_zip(source, members, files, private)
            found: list[Inside] = []
            for info in files:
                if len(found) > _NAMED:
                    break
                with members.open(info) as content:
                    found += _unpacked(info.filename, info.file_size, content, private)
    except DumpError:
        raise
    except Exception as error:  # each compression has its own, and zipfile believes any field
        raise DumpError(
            f"{source} is a damaged zip file ({first_line(error)}): copy it again"
        ) from error
    return _only(source, "zip", found, [info.filename for info in files])


def _directory_in_zip(
    source: Path, members: zipfile.ZipFile, files: list[zipfile.ZipInfo], private: Path
) -> Inside:
    to = private / "directory"
    to.mkdir(0o700)
    require_room(private, sum(info.file_size for info in files))
    for info in files:
        name = PurePosixPath(info.filename).name
        if not PACKED_FILE.fullmatch(name):
            continue
        if (to / name).exists():
            raise DumpError(f"{source} holds more than one {name}: unzip it, and name one")
        with members.open(info) as content:
            write(content, to / name)
    return Inside("", to)


def _unpacked(name: str, size: int, content: IO[bytes], private: Path) -> Iterator[Inside]:
    """Unpack a member that is a dump, and yield where."""
    head = read(cast(BinaryIO, content), _HEAD)
    if is_dump(beginning(head)):
        require_room(private, size)
        path = private / f"member{sum(1 for _ in private.iterdir())}"
        write(content, path, head)
        yield Inside(printable(name), path)


def _only(source: Path, kind: str, found: list[Inside], seen: list[str]) -> Inside:
    if not found:
        more = ", ..." if len(seen) > _NAMED else ""
        held = f"{quoted(map(printable, seen[:_NAMED]))}{more}" if seen else "nothing"
        raise DumpError(
            f"{source} is a {kind} file without {TABLE_OF_CONTENTS} and holds no dump made by "
            f"pg_dump: it holds {held}"
        )
    return _the_one(source, found)


def _the_one(source: Path, found: list[Inside]) -> Inside:
    if len(found) > 1:
        names = quoted(one.name for one in found[:_NAMED])
        many = len(found) > _NAMED
        count, more = (f"more than {_NAMED}", ", ...") if many else (len(found), "")
        raise DumpError(f"{source} holds {count} dumps ({names}{more}): unpack it, and name one")
    return found[0]
