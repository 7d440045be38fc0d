"""Where a dump comes from: a file, a directory, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from .cluster import one_database
from .dump.containers import taken_out
from .dump.copies import spooled, unpacked
from .dump.facts import Dump
from .dump.identify import identify
from .dump.incoming import STANDARD_INPUT, called, incoming, read_as_it_comes
from .dump.proof import check_trailer, prove_tar
from .run import Run


@contextmanager
def opened(run: Run) -> Iterator[Dump]:
    """Give the dump that was asked for, identified and in a form that can be loaded.

    What can be proved of it in no time is proved. Raises DumpError.
    """
    request = run.request
    with ExitStack() as stack:
        if request.source == "-":
            stream = incoming(sys.stdin.buffer)
            # What is to be read twice is copied: to prove it first, or to find a database in it.
            if not request.dry_run and not request.from_database:
                run.report.dump = read_as_it_comes(stream)
            if run.report.dump:
                yield run.report.dump
                return
            run.step("spool", "reading the dump from standard input")
            source = stack.enter_context(spooled(cast(BinaryIO, stream), request.spool_dir))
            stack.enter_context(called(source, STANDARD_INPUT))
        else:
            source = Path(request.source)
        inside = stack.enter_context(taken_out(source, request.spool_dir))
        dump = identify(
            inside.path if inside else source,
            whole_server=True,
            any_script=request.accept_unfinished,
        )
        if inside or request.source == "-":
            named = STANDARD_INPUT if request.source == "-" else source
            dump = replace(dump, source=named, member=inside.name if inside else "")
        dump = run.report.dump = one_database(dump, request.from_database)
        if not request.accept_unfinished:
            check_trailer(dump)
        if dump.format != "plain":
            dump = stack.enter_context(unpacked(dump, request.spool_dir))
        if dump.format == "tar":
            prove_tar(dump)
        yield dump
