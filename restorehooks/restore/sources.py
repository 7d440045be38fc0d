"""Where a dump comes from: a file, a folder, standard input, a storage, or another database.

The one door: whatever SOURCE is, what comes out is a dump that can be loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from .cluster import globals_of, one_database
from .dump.containers import taken_out
from .dump.copies import named_as, spooled, unpacked
from .dump.facts import Dump
from .dump.identify import identify
from .dump.incoming import STANDARD_INPUT, incoming, read_as_it_comes
from .dump.proof import OR_ACCEPT, check_trailer, prove_tar
from .from_server import dumped_from_server, is_server
from .progress import Reporter, heartbeat
from .report import RestoreReport
from .request import Request
from .run import Run
from .storage.listing import Listing, fetched, listing, newest
from .storage.store import PREFIX, is_folder, opened_store


@dataclass(frozen=True)
class _AtHand:
    """A source on this machine: where it is, what people call it, which database is meant."""

    path: Path
    name: Path
    database: str | None


@contextmanager
def opened(run: Run) -> Iterator[Dump]:
    """Give the dump that was asked for, identified and in a form that can be loaded.

    What can be proved of it in no time is proved. Raises DumpError, StorageError.
    """
    request = run.request
    with ExitStack() as stack:
        # What is to be read twice is copied: to prove it first, or to find a database in it.
        if request.source == "-" and not request.dry_run and not request.from_database:
            stream = incoming(sys.stdin.buffer)
            run.report.dump = read_as_it_comes(stream)
            if run.report.dump:
                yield run.report.dump
                return
            at_hand = stack.enter_context(_spooled(run, cast(BinaryIO, stream)))
        else:
            at_hand = stack.enter_context(_at_hand(run))
        with heartbeat(run.reporter):
            dump = stack.enter_context(_identified(at_hand, request))
            dump = run.report.dump = one_database(dump, at_hand.database)
            if not request.accept_unfinished:
                check_trailer(dump, OR_ACCEPT if request.may_accept_unfinished else "")
            if dump.format != "plain":
                dump = stack.enter_context(unpacked(dump, request.spool_dir))
            if dump.format == "tar":
                prove_tar(dump)
        yield dump


def list_storage(request: Request) -> Listing:
    """Return what is in a storage, the newest first. Raises StorageError."""
    with opened_store(request.storage) as store:
        return listing(store, request.source.removeprefix(PREFIX))


def show_globals(request: Request) -> Sequence[str]:
    """Return what a file of pg_dumpall creates beside databases, a statement each.

    Passwords are left out of them. Raises DumpError, StorageError.
    """
    run = Run(request, lambda question: False, Reporter(), RestoreReport(request.using))
    with _at_hand(run) as at_hand, _identified(at_hand, request) as dump:
        return globals_of(dump)


@contextmanager
def _identified(at_hand: _AtHand, request: Request) -> Iterator[Dump]:
    """Give what a source is, or the one dump inside it. Errors name it as people do."""
    path, any_script = at_hand.path, request.accept_unfinished
    with named_as(path, at_hand.name), taken_out(path, request.spool_dir) as inside:
        path = inside.path if inside else path
        dump = identify(path, whole_server=True, any_script=any_script)
        yield replace(dump, source=at_hand.name, member=inside.name if inside else "")


@contextmanager
def _at_hand(run: Run) -> Iterator[_AtHand]:
    """Give the source on this machine, copied where it is elsewhere. Raises RestoreError."""
    request = run.request
    if request.source == "-":
        with _spooled(run, sys.stdin.buffer) as at_hand:
            yield at_hand
    elif request.source.startswith(PREFIX):
        with _from_storage(run) as at_hand:
            yield at_hand
    elif is_server(request.source):
        with dumped_from_server(run) as (path, name):
            yield _AtHand(path, Path(name), None)
    else:
        yield _AtHand(Path(request.source), Path(request.source), request.from_database)


@contextmanager
def _spooled(run: Run, stream: BinaryIO) -> Iterator[_AtHand]:
    run.step("spool", "reading the dump from standard input")
    with ExitStack() as stack:
        with heartbeat(run.reporter):
            path = stack.enter_context(spooled(stream, run.request.spool_dir))
        yield _AtHand(path, STANDARD_INPUT, run.request.from_database)


@contextmanager
def _from_storage(run: Run) -> Iterator[_AtHand]:
    request, name = run.request, run.request.source.removeprefix(PREFIX)
    database = request.from_database
    with ExitStack() as stack:
        with opened_store(request.storage) as store:
            if is_folder(name):
                found = newest(store, name, database, run.note)
                # It was chosen by its database, unless it holds several.
                name, database = found.name, database if found.has_all else None
            run.step("fetch", "" if store.path(name) else f"fetching {PREFIX}{name}")
            path = stack.enter_context(fetched(store, name, request.spool_dir, run.bytes_watch))
        yield _AtHand(path, Path(PREFIX + name), database)
