"""Custom archives as an older pg_dump would have written them, from one of today.

Nobody has a pg_dump of 9.0 to 11 at hand. What such an archive lacks is known from ``ReadHead`` and
``ReadToc`` in pg_backup_archiver.c, by the version that each field came with; pg_restore reads the
result, so that a mistake made here shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

_MAGIC = b"PGDMP"
_KNOWN_PLACE = 2  # K_OFFSET_POS_SET: the offset of an entry's data is known


def rewrite(
    archive: Path,
    to: Path,
    version: tuple[int, int],
    instead: Mapping[bytes, bytes] | None = None,
) -> Path:
    """Write a custom archive of version 1.14 to 1.16 as one of version 1.12 or 1.13.

    ``instead``: what stands in its table of contents for other text there.
    """
    content, instead = archive.read_bytes(), instead or {}
    # The offsets of data count from the beginning of the file, which becomes shorter.
    shorter = len(content) - len(_Rewriter(content, version, 0, instead).rewritten())
    to.write_bytes(_Rewriter(content, version, shorter, instead).rewritten())
    return to


class _Rewriter:
    def __init__(
        self, content: bytes, version: tuple[int, int], shorter: int, instead: Mapping[bytes, bytes]
    ):
        self._from = BytesIO(content)
        self._to = BytesIO()
        self._wanted = version
        self._shorter = shorter
        self._instead = instead

    def rewritten(self) -> bytes:
        self._header()
        for _ in range(self._int()):
            self._entry()
        self._to.write(self._from.read())
        return self._to.getvalue()

    def _header(self) -> None:
        assert self._copy(len(_MAGIC)) == _MAGIC
        self._version = tuple(self._from.read(3))[:2]
        self._to.write(bytes([*self._wanted, 0]))
        self._int_size, self._offset_size, _ = self._copy(3)
        if self._version >= (1, 15):
            assert self._from.read(1) == b"\1", "of those compressions, old ones have gzip alone"
            self._to.write(b"\0" + (6).to_bytes(self._int_size, "little"))
        else:
            self._int()
        for _ in range(7):
            self._int()
        for _ in range(3):
            self._string()

    def _entry(self) -> None:
        self._int()
        self._int()
        for _ in range(4):  # two oids, tag and kind
            self._string()
        self._int()  # section
        for _ in range(5):  # SQL, DROP, COPY, schema, tablespace
            self._string()
        if self._version >= (1, 14):
            self._string(keep=False)  # the table access method
        if self._version >= (1, 16):
            self._int(keep=False)  # the kind of relation
        self._string()  # owner
        self._string()  # WITH OIDS
        while self._string() >= 0:  # what it depends on
            pass
        state = self._copy(1)[0]
        offset = int.from_bytes(self._from.read(self._offset_size), "little")
        moved = offset - self._shorter if state == _KNOWN_PLACE else offset
        self._to.write(moved.to_bytes(self._offset_size, "little"))

    def _copy(self, count: int, *, keep: bool = True) -> bytes:
        taken = self._from.read(count)
        if keep:
            self._to.write(taken)
        return taken

    def _int(self, *, keep: bool = True) -> int:
        sign, *digits = self._copy(1 + self._int_size, keep=keep)
        number = int.from_bytes(bytes(digits), "little")
        return -number if sign else number

    def _string(self, *, keep: bool = True) -> int:
        length = self._int(keep=False)
        text = self._from.read(max(0, length))
        for old, new in self._instead.items():
            text = text.replace(old, new)
        if keep:
            written = len(text) if length > 0 else length
            self._to.write(bytes([written < 0]) + abs(written).to_bytes(self._int_size, "little"))
            self._to.write(text)
        return length
