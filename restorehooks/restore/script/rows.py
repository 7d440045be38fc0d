"""The rows of a COPY, changed on their way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_FIRST_COLUMN = re.compile(rb"^[^\t\n]*\t", re.MULTILINE)


def without_first_column(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield rows without what stands before the first tab of each: the object ids of old dumps.

    ``blocks`` are pieces of COPY data in text format, cut anywhere.
    """
    rest = b""
    for block in blocks:
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield _FIRST_COLUMN.sub(b"", lines + newline)
    if rest:
        yield _FIRST_COLUMN.sub(b"", rest)
