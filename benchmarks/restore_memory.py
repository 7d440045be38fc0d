"""How much memory Python takes to send a plain dump, and how fast it does it.

    python benchmarks/restore_memory.py postgresql://user@host/scratch [megabytes]

Dumps of the kinds that could make a reader grow are made up as they are read, so no disk is
needed: one huge COPY, one COPY of a single huge row, single-row INSERTs, one huge INSERT, and a
gzip stream of the first. Everything is sent into the scratch database and rolled back.
"""

from __future__ import annotations

import gzip
import io
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from restorehooks.restore.dump import identify, open_plain
from restorehooks.restore.script import Policy, run_script

HEAD = b"--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE bench (n integer, x text);\n"
TAIL = b"\n--\n-- PostgreSQL database dump complete\n--\n"
ROW = b"12345\t" + b"0123456789abcdef" * 6 + b"\n"
VALUES = b"(12345, '" + b"0123456789abcdef" * 6 + b"')"


def one_copy(size: int) -> Iterator[bytes]:
    """Yield one COPY of many rows."""
    yield HEAD + b"COPY bench FROM stdin;\n"
    rows = ROW * 1000
    for _ in range(size // len(rows)):
        yield rows
    yield b"\\.\n" + TAIL


def one_row(size: int) -> Iterator[bytes]:
    """Yield a COPY of one row, as large as a value may be."""
    yield HEAD + b"COPY bench FROM stdin;\n1\t"
    for _ in range(min(size, 900 << 20) >> 20):
        yield b"x" * (1 << 20)
    yield b"\n\\.\n" + TAIL


def inserts(size: int) -> Iterator[bytes]:
    """Yield an INSERT for each row."""
    yield HEAD
    many = (b"INSERT INTO public.bench VALUES " + VALUES + b";\n") * 1000
    for _ in range(size // len(many)):
        yield many
    yield TAIL


def one_insert(size: int) -> Iterator[bytes]:
    """Yield one INSERT of 200 MB at most; a statement is held as a whole."""
    yield HEAD + b"INSERT INTO public.bench VALUES\n" + VALUES
    many = (b",\n" + VALUES) * 1000
    for _ in range(min(size, 200 << 20) // len(many)):
        yield many
    yield b";\n" + TAIL


class Stream(io.RawIOBase):
    """A dump that is made up while it is read."""

    def __init__(self, parts: Iterator[bytes]):
        self._parts = parts
        self._rest = b""

    def read(self, count: int = -1) -> bytes:
        """Return up to ``count`` bytes."""
        if not self._rest:
            self._rest = next(self._parts, b"")
        chunk, self._rest = self._rest[:count], self._rest[count:]
        return chunk


KINDS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "copy": one_copy,
    "row": one_row,
    "inserts": inserts,
    "insert": one_insert,
    "gzip": one_copy,
}


def measure(url: str, kind: str, size: int) -> None:
    """Send one dump and print what it took; in a process of its own, since a peak stays."""
    with psycopg.connect(url) as connection, tempfile.TemporaryDirectory() as folder:
        stream: Any = Stream(KINDS[kind](size))
        if kind == "gzip":
            path = Path(folder) / "dump"
            with gzip.open(path, "wb", compresslevel=1) as packed:
                packed.writelines(KINDS[kind](size))
            stream = open_plain(identify(path))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        result = run_script(stream, connection, policy=Policy())
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        connection.rollback()
        sys.stdout.write(
            f"{kind:8} {result.rows:>9} rows {seconds:7.1f} s {size / seconds / 1e6:7.0f} MB/s   "
            f"peak {peak // 1024} MB, {(peak - before) // 1024} MB of it for this\n"
        )


def main() -> None:
    """Measure each kind."""
    url, *rest = sys.argv[1:] or sys.exit(__doc__)
    megabytes, *kinds = rest or ["300"]
    if kinds:
        measure(url, kinds[0], int(megabytes) << 20)
        return
    for kind in KINDS:
        subprocess.run([sys.executable, __file__, url, megabytes, kind], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
