"""A stream of bytes, read once and in order, of which a window is kept."""

from __future__ import annotations

import re
from typing import BinaryIO

from restorehooks.wording import size_in_words

CHUNK = 1024 * 1024
"""Bytes read at a time."""
LONGEST = 1 << 30
"""Bytes of the longest statement that is kept: no server takes a longer one."""
_SPACE = re.compile(rb"[ \t\n\r\f\v]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LexingError(Exception):
    """The dump cannot be read on; ``line`` says where."""

    def __init__(self, message: str, line: int):
        super().__init__(message)
        self.line = line


class Buffer:
    """The window: what was read and is needed still, and the position that was reached."""

    def __init__(self, stream: BinaryIO, first_line: int = 1):
        self._stream = stream
        self._buffer = bytearray()
        self._position = 0
        self._forgotten = 0
        self._line = first_line
        self._exhausted = False
        if self._has(0, len(_BYTE_ORDER_MARK)) and self._buffer.startswith(_BYTE_ORDER_MARK):
            self._position = len(_BYTE_ORDER_MARK)

    @property
    def line(self) -> int:
        """The number of the line that was reached, from 1."""
        return self._line

    @property
    def offset(self) -> int:
        """The number of bytes up to the position that was reached."""
        return self._forgotten + self._position

    def at_end(self) -> bool:
        """Return whether the stream has nothing more."""
        return not self._has(self._position, 1)

    def _more(self) -> bool:
        """Read on; as much again as there is, so that looking twice stays cheap.

        Raises LexingError where more would have to be kept than a statement may have.
        """
        if len(self._buffer) - self._position > LONGEST:
            raise LexingError(
                f"what begins there has more than {size_in_words(LONGEST)}, which no server takes",
                self._line,
            )
        chunk = b"" if self._exhausted else self._stream.read(max(CHUNK, len(self._buffer) // 2))
        self._exhausted = not chunk
        self._buffer += chunk
        return bool(chunk)

    def _has(self, position: int, count: int) -> bool:
        """Return whether this many bytes are there, reading more where needed."""
        while len(self._buffer) < position + count:
            if not self._more():
                return False
        return True

    def _find(self, what: bytes, position: int) -> int:
        """Return where the byte is found next, -1 when it is not."""
        while (at := self._buffer.find(what, position)) < 0:
            position = len(self._buffer)
            if not self._more():
                return -1
        return at

    def _copy_of(self, start: int, end: int) -> bytes:
        with memoryview(self._buffer) as view:  # a slice of the buffer would copy it twice
            return view[start:end].tobytes()

    def _consume(self, position: int) -> None:
        self._line += self._buffer.count(b"\n", self._position, position)
        self._position = position

    def _forget(self, unless_below: int = CHUNK) -> None:
        if self._position > unless_below:
            del self._buffer[: self._position]
            self._forgotten += self._position
            self._position = 0

    def _skip_space(self) -> None:
        while True:
            match = _SPACE.match(self._buffer, self._position)
            self._consume(match.end() if match else self._position)
            if self._position < len(self._buffer) or not self._more():
                return
