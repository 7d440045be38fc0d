"""How much memory restoredb takes, by the size of a plain dump compressed on stdin.

    DATABASE_URL=postgresql://... python benchmarks/restore_memory.py [MEGABYTES ...]

The database that DATABASE_URL names is replaced; take an empty one. Python's memory should stay
under 100 MB whatever the size.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from typing import IO

HEAD = b"""--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';
CREATE TABLE public.big (id bigint NOT NULL, text text);
COPY public.big (id, text) FROM stdin;
"""
TAIL = b"""\\.

--
-- PostgreSQL database dump complete
--
"""


def write_dump(to: IO[bytes], megabytes: int) -> None:
    """Write a plain dump of about this size, compressed."""
    filler = b"x" * 90
    with gzip.GzipFile(fileobj=to, mode="wb", compresslevel=1) as packed:
        packed.write(HEAD)
        for start in range(0, megabytes * 10_000, 1000):
            rows = (b"%d\t%s\n" % (number, filler) for number in range(start, start + 1000))
            packed.write(b"".join(rows))
        packed.write(TAIL)


def peak_of_restore(megabytes: int) -> tuple[float, float]:
    """Return the peak of resident memory in MB and the seconds it took."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "restorehooks", "restoredb", "-", "--no-input", "--drop-previous",
         "--verbosity=0"],
        stdin=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    write_dump(process.stdin, megabytes)
    process.stdin.close()
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit("the restore failed")
    return used.ru_maxrss / 1024, time.monotonic() - began


if __name__ == "__main__":
    for size in [int(text) for text in sys.argv[1:]] or [1, 10, 100, 1000]:
        peak, seconds = peak_of_restore(size)
        sys.stdout.write(f"{size:>6} MB of dump: {peak:5.0f} MB of memory, {seconds:.1f} s\n")
