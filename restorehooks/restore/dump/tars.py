"""Tar files, in which any field may hold anything: read in little memory, and to an end."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from restorehooks.restore.errors import DumpError
from restorehooks.wording import first_line, size_in_words

_LONGEST_NAME = 1024 * 1024
"""Bytes of the headers before a member, with its name and attributes, that are believed."""


class Member(tarfile.TarInfo):
    """A member whose name takes no more memory than a name may: tarfile believes any length."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Member:
        """Read the next header. Raises ReadError where tarfile would take what is none for the end.

        The end is a block of zeros, or that of the file.
        """
        none = tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError  # type: ignore[attr-defined]
        try:
            return super().fromtarfile(tar)
        except none as error:
            raise tarfile.ReadError(f"a header that makes no sense: {error}") from error

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in tarfile.REGULAR_TYPES and isinstance(tar, _Members):
            tar.bytes_of_headers += self.size  # the next one is read in the midst of this one
            if tar.bytes_of_headers > _LONGEST_NAME:
                raise tarfile.ReadError(f"a header of {size_in_words(tar.bytes_of_headers)}")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a member with holes")
        if self.size < 0:  # it leads back, and round and round
            raise tarfile.ReadError("a member of less than nothing")
        try:
            found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        except (ArithmeticError, LookupError, RecursionError, ValueError) as error:
            # Header after header, or words where a number belongs.
            raise tarfile.ReadError(f"a header that makes no sense: {first_line(error)}") from error
        if found.size < 0 or found.sparse is not None:  # as an extended header has it
            raise tarfile.ReadError("a member with holes, or of less than nothing")
        return found

    def _proc_gnusparse_10(self, *_: object) -> None:
        # The map of holes is as long as it says itself, and tarfile would read it whole.
        raise tarfile.ReadError("a member with holes")


class _Members(tarfile.TarFile):
    """A tar file that is read once: it remembers no member, and there may be millions.

    Nor does it remember what a header says of all members that follow.
    """

    tarinfo = Member
    members: list[tarfile.TarInfo]
    bytes_of_headers = 0

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        while member := self.next():
            self.members.clear()
            self.pax_headers = {}
            self.bytes_of_headers = 0
            yield member


@contextmanager
def opened_tar(source: Path, stream: BinaryIO) -> Iterator[_Members]:
    """Read a tar file from a stream, member by member. Raises DumpError where it is damaged."""
    try:
        with _Members.open(fileobj=stream, mode="r|") as members:
            yield members
    except tarfile.TarError as error:
        raise DumpError(
            f"{source} is cut off or damaged ({error}): dump or copy it again"
        ) from error


@contextmanager
def opened_member(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open the first file of a name in a tar file that is not compressed.

    Raises KeyError where there is none, TarError, OSError.
    """
    with _Members.open(path, "r:") as members:
        for member in members:
            if member.name == name and member.isreg():
                yield cast(BinaryIO, members.extractfile(member))
                return
    raise KeyError(name)


def each_member(path: Path) -> Iterable[tarfile.TarInfo]:
    """Yield the members of a tar file that is not compressed. Raises TarError, OSError."""
    with _Members.open(path, "r:") as members:
        yield from members
