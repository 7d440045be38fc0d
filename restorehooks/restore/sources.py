"""Where a dump comes from: a file, a directory, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from .dump.copies import spooled, unpacked
from .dump.facts import Dump
from .dump.identify import identify
from .dump.proof import check_trailer, prove_tar
from .run import Run


@contextmanager
def opened(run: Run) -> Iterator[Dump]:
    """Give the dump that was asked for, identified and in a form that can be loaded.

    What can be proved of it in no time is proved. Raises DumpError.
    """
    with ExitStack() as stack:
        if run.request.source == "-":
            run.step("spool", "reading the dump from standard input")
            source = stack.enter_context(spooled(sys.stdin.buffer))
        else:
            source = Path(run.request.source)
        dump = run.report.dump = identify(source)
        if run.request.source == "-":
            dump = run.report.dump = replace(dump, source=Path("standard input"))
        if not run.request.accept_unfinished:
            check_trailer(dump)
        if dump.format != "plain":
            dump = stack.enter_context(unpacked(dump))
        if dump.format == "tar":
            prove_tar(dump)
        yield dump
