"""Another database as the source: dumped from there, read only, to be restored here.

The dump is one consistent snapshot, taken by several connections. Nothing is written there: the
sessions are read only, whatever the role may do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from restorehooks.database_url import ENCODED
from restorehooks.programs import Program, find
from restorehooks.wording import no

from .archive import commands
from .dump.contents import ArchiveEntry, read_contents
from .dump.copies import named_as, private_folder, require_room
from .dump.facts import size_of
from .dump.identify import identify
from .dump.selection import select
from .errors import BusyError, PoolerError, TargetError, UsageError
from .jobs import jobs_to_dump
from .progress import Progress
from .run import Run
from .server.address import KEEPALIVES, Address
from .server.keywords import is_address, keywords_in, secrets_in, without_variables
from .server.lock import RestoreLock

ALIAS, VARIABLE = "alias:", "env:"
"""How SOURCE names an alias of DATABASES, and an environment variable that holds a URL."""
_URL = ("postgresql://", "postgres://")
_READ_ONLY = "default_transaction_read_only=on"
_COMPRESSION = "--compress=1"
"""The dump is read once and deleted: what takes the least time, and a third of the room."""
_TABLE_BEGINS = "dumping contents of table"
"""How pg_dump --verbose begins the line about each table's rows, in English."""

WHICH = """
SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text, d.oid
FROM pg_catalog.pg_database AS d
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
"""
"""The same for two connections to one database of one server, and for no others.

A server's identifier would not do: one that was made from another's files has the same.
"""
TABLES = """
SELECT pg_catalog.count(*) FROM pg_catalog.pg_class
WHERE relkind OPERATOR(pg_catalog.=) 'r' AND oid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid
"""


def is_server(source: str) -> bool:
    """Return whether SOURCE names a database that is to be dumped."""
    return source.startswith((ALIAS, VARIABLE)) or is_address(source)


@dataclass(frozen=True)
class _Source:
    """A database to dump: where it is, how to dump it, and how many tables it has."""

    address: Address
    program: Program
    jobs: int
    tables: int

    def __str__(self) -> str:
        return f'{self.address} as "{self.address.user}"'


@contextmanager
def dumped_from_server(run: Run) -> Iterator[tuple[Path, str]]:
    """Dump the database that SOURCE names; give the dump's folder, gone afterwards, and a name.

    The folder is nobody else's to read. Raises AddressError where SOURCE leads to no server,
    TargetError where it is the database to restore, ProgramError where pg_dump is missing, older
    than that server, or failed, and DumpError where there is no room.
    """
    source = _found(run)
    with private_folder(run.request.spool_dir) as private:
        path = private / "dump"
        with named_as(path, Path(str(source))):
            _dump(run, source, path)
        yield path, str(source)


def _found(run: Run) -> _Source:
    """Ask the server what has to be known of it, and refuse the database to restore."""
    address = source_address(run.request.source)
    try:
        connection = address.connect(address.name)
    except PoolerError:
        raise PoolerError(
            f"A pooler answers at {address.host}:{address.port}, and a dump needs sessions of its "
            "own: give the server's own address as SOURCE."
        ) from None
    target = Address.of(run.request.using)
    with connection:
        _require_another(connection, address, target)
        _require_idle(target, run.request.maintenance_db)
        major = connection.info.server_version // 10000
        row = connection.execute(TABLES).fetchone()
        return _Source(
            address=address.pinned(connection),
            program=find("pg_dump", at_least=major, prefer=major),
            jobs=jobs_to_dump(run.request.jobs, connection),
            tables=row[0] if row else 0,
        )


@without_variables
def source_address(source: str) -> Address:
    """Return where SOURCE leads. Raises UsageError, AddressError; neither repeats a password."""
    if source.startswith(ALIAS):
        return Address.of(source.removeprefix(ALIAS), direct=False)
    url, named = source, "SOURCE"
    if source.startswith(VARIABLE):
        variable = source.removeprefix(VARIABLE)
        url, named = os.environ.get(variable, ""), f"The variable {variable}"
        if not url:
            raise UsageError(f"There is {no('variable', variable)}: it has to hold a URL.")
    found = (keywords_in(url) if url.startswith(_URL) else None) or {}
    if not found.get("dbname") and not found.get("service"):
        raise UsageError(
            f"{named} is no URL of the form postgresql://USER@HOST:PORT/DATABASE ({ENCODED})."
        )
    if url == source and (secrets := secrets_in(url)):
        raise UsageError(
            f"SOURCE holds a {secrets[0]}, which every user of this machine can read in the list "
            f"of processes: put the URL into an environment variable, and give {VARIABLE}NAME."
        )
    return Address.of_parameters(named, found, {})


def _require_another(connection: psycopg.Connection, source: Address, target: Address) -> None:
    """Raise TargetError where the source is the database that is to be restored."""
    row = connection.execute(WHICH).fetchone()
    try:
        with target.connect(target.name) as other:
            same = other.execute(WHICH).fetchone() == row
    except psycopg.OperationalError:
        if not target.answers():
            raise
        same = str(source) == str(target)  # it may be missing
    if same:
        raise TargetError(f"SOURCE is {target} itself, the database to restore: name another one")


def _require_idle(target: Address, maintenance: str | None) -> None:
    """Raise BusyError where another restore runs: it would be told only after the dump."""
    try:
        RestoreLock(target, maintenance).close()
    except BusyError:
        raise
    except (TargetError, psycopg.OperationalError):
        pass  # what else prevents a restore is found out after this


def _dump(run: Run, source: _Source, path: Path) -> None:
    with_jobs = f" and {source.jobs} jobs" if source.jobs > 1 else ""
    run.step("dump", f"dumping {source}, with pg_dump {source.program.version}{with_jobs}")
    unwanted = _unwanted(run, source, path.parent) if run.request.partial else []
    flags = ["--format=directory", "--no-sync", _COMPRESSION, f"--jobs={source.jobs}", *unwanted]
    progress = Progress(entries_total=max(1, source.tables - len(unwanted)))

    def on_line(line: str) -> None:
        progress.entries += line.startswith(_TABLE_BEGINS)
        run.reporter.progress(progress)

    def tick() -> None:
        require_room(path.parent, 0)
        progress.bytes = size_of(path)
        run.reporter.progress(progress)

    _run_pg_dump(source, path, flags, on_line, tick)


def _unwanted(run: Run, source: _Source, folder: Path) -> list[str]:
    """Return pg_dump's options that leave out rows that will not be restored.

    The structure is dumped whole: what the tables that are named need is found in it.
    """
    contents = folder / "contents"
    _run_pg_dump(source, contents, ["--format=custom", "--schema-only"])
    entries = read_contents(identify(contents))
    found = select(entries, run.request.schemas, run.request.tables, with_needed=False)
    wanted = {entry.id for entry in found.entries}
    others = [entry for entry in entries if entry.kind == "TABLE" and entry.id not in wanted]
    return [f"--exclude-table-data={_pattern(one)}" for one in others] + ["--no-blobs"]


def _pattern(entry: ArchiveEntry) -> str:
    """Return a table's name as pg_dump reads patterns: within quotes every character is itself."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in (entry.schema, entry.tag))


def _run_pg_dump(
    source: _Source,
    path: Path,
    flags: Sequence[str],
    on_line: Callable[[str], None] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    given = source.address
    address = replace(given, parameters={**KEEPALIVES, **given.parameters})
    role = [f"--role={given.role}"] if given.role else []
    commands.write(
        source.program,
        path,
        conninfo=address.conninfo(address.name),
        environment=address.setting(_READ_ONLY).environment(),
        flags=["--verbose", *flags, *role],
        on_line=on_line,
        tick=tick,
    )
