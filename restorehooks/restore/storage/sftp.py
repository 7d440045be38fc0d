"""A file on an SFTP server, read in windows: many pieces are asked for before the first arrives.

One request at a time would take a round trip for each 32 kB. paramiko's own ``prefetch`` of a
file holds a request for every 32 kB of it in memory, and given a limit some of the data twice.
"""

from __future__ import annotations

import io
from typing import Any

PIECE = 32 * 1024
"""Bytes of one request: the most that every server answers."""
_FIRST, _LARGEST = 2 * PIECE, 256 * PIECE
"""Bytes of the first window, which may be all that is wanted, and of the largest."""


class SftpFile:
    """A file that is read from its beginning; ``sftp`` is paramiko's client."""

    def __init__(self, sftp: Any, path: str):
        self._sftp, self._path = sftp, path
        self._size: int = sftp.stat(path).st_size
        self._offset, self._window = 0, _FIRST
        self._ready = io.BytesIO()

    def read(self, count: int) -> bytes:
        """Return up to so many bytes, none at the end. Raises what paramiko raises."""
        content = self._ready.read(count)
        if not content and self._offset < self._size:
            self._ready = io.BytesIO(self._next())
            content = self._ready.read(count)
        return content

    def _next(self) -> bytes:
        end = min(self._size, self._offset + self._window)
        starts = range(self._offset, end, PIECE)
        pieces = [(start, min(PIECE, end - start)) for start in starts]
        # Opened anew, since paramiko keeps for each file what it has read ahead.
        with self._sftp.open(self._path, "rb") as file:
            content = b"".join(file.readv(pieces))
        if self._offset + len(content) < end:  # it was cut off meanwhile
            self._size = self._offset + len(content)
        self._offset += len(content)
        self._window = min(2 * self._window, _LARGEST)
        return content

    def close(self) -> None:
        """Do nothing: no file is open between two windows."""
