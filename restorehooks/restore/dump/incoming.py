"""A plain dump on standard input, read as it comes: it needs no copy."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from restorehooks.restore.errors import DumpError

from .facts import Dump
from .identify import identify_beginning, read

_HEAD = 1024 * 1024
"""Bytes that are looked at before it is known what comes."""
STANDARD_INPUT = Path("standard input")


class Incoming(io.RawIOBase):
    """A stream of which the beginning was looked at, read once and in order."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._position = 0
        self.head = read(stream, _HEAD)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read on into a buffer; return how many bytes there were."""
        left = self.head[self._position : self._position + len(buffer)]
        content = left or self._stream.read(len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position


def incoming(stdin: BinaryIO) -> Incoming:
    """Return standard input with its beginning read. Raises DumpError where there is nothing."""
    if stdin.isatty():
        raise DumpError("standard input is a terminal: name a file, or pipe the dump in")
    stream = Incoming(stdin)
    if not stream.head:
        raise DumpError("standard input was empty: the program that wrote to it has failed")
    return stream


def read_as_it_comes(stream: Incoming) -> Dump | None:
    """Return the plain dump of one database that comes, None for anything else.

    It can be opened once.
    """
    dump = identify_beginning(STANDARD_INPUT, stream.head)
    return replace(dump, stream=lambda: stream) if dump else None
