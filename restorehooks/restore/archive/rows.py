"""Whether an archive holds a single row, found out without loading it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import BinaryIO, cast

from restorehooks.programs import Program
from restorehooks.restore.dump.contents import ArchiveEntry
from restorehooks.restore.dump.facts import Dump
from restorehooks.restore.processes import running
from restorehooks.restore.script.survey import has_rows

from .commands import list_file


def holds_rows(program: Program, dump: Dump, entries: Sequence[ArchiveEntry]) -> bool:
    """Return whether one of these entries has a row or a large object.

    Reading ends at the first row. True where the archive cannot be read: others say that better.
    """
    if any(entry.kind in ("BLOBS", "BLOB DATA") for entry in entries):
        return True
    data = [entry for entry in entries if entry.kind == "TABLE DATA"]
    if not data:
        return False
    with list_file(data) as chosen:
        argv = [str(program.path), "--file=-", f"--use-list={chosen}", "--", str(dump.path)]
        with running(argv, {}, subprocess.PIPE, subprocess.DEVNULL) as process:
            return has_rows(cast(BinaryIO, process.stdout)) or process.wait() != 0
