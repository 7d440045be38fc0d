"""Loading: an archive by pg_restore, or statements over a connection of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from .archive import commands
from .archive.phases import phases
from .dump.contents import ArchiveEntry
from .dump.directory_proof import PROVED, prove_files, proving
from .errors import ScriptError
from .load_statements import (
    connected,
    load_plain,
    load_plain_beside,
    name_left_out,
    options_for,
    send,
)
from .plan import BUILDS
from .progress import Progress, Watch
from .run import Run
from .script.results import LeftOut, ScriptResult
from .script.tolerated import ROWS_OF_NO_EXTENSION
from .server.address import Address
from .server.building import building
from .server.existing import require_entries, rows_of_no_table
from .server.making_room import replaced
from .server.positions import carry_forward, positions_in, positions_of
from .server.replacing import Replacement
from .server.session_settings import PAST_AUTOVACUUM, WATCHED

SERIAL = ("max_parallel_maintenance_workers=0", "max_parallel_workers_per_gather=0")
"""Parallel workers are slower in all than the jobs by themselves, where those are busy."""


def load_beside(run: Run, database: str) -> None:
    """Load the dump into an empty database that is dropped when this fails."""
    if run.plan.program is None:
        load_plain_beside(run, database)
        return
    with _proved_meanwhile(run) as check:
        _load_archive(run, database, check)
    # Where these may fail they are sent one by one, and what became of each is known.
    unsure = {"TRIGGER", "VIEW"} if run.request.skip_superuser_only else set()
    compared = [one for one in run.plan.entries if one.kind not in unsure]
    with run.plan.address.connect(database) as connection:
        require_entries(connection, compared)


def load_in_transaction(run: Run, connection: psycopg.Connection[Any]) -> None:
    """Load the dump over a connection, inside the transaction that is open there."""
    plan = run.plan
    if plan.program is None:
        load_plain(run, connection)
        return
    if plan.replacement:
        _replace(run, connection, plan.replacement)
    else:
        flags = ["--data-only"] if plan.mode == "data only" else []
        result = _send_entries(run, plan.entries, connection, Progress(), flags)
        name_left_out(run, [result.left_out])
        run.report.left_out += carry_forward(connection, positions_in(result.positions))


def _replace(run: Run, connection: psycopg.Connection[Any], replacement: Replacement) -> None:
    """Restore some tables or schemas into a database that has others."""
    plan = run.plan
    entries = replacement.entries_of(plan.entries)
    restored = {entry.id for entry in entries}
    positions = positions_in(
        one.definition
        for one in plan.entries
        if one.kind == "SEQUENCE SET" and one.id not in restored
    )
    # What the live database has handed out may be in other tables, or on paper.
    positions += positions_of(connection, [one.oid for one in replacement.dropped])
    # A schema has more than tables, which make way for those of the dump.
    flags = [] if run.request.tables else ["--clean", "--if-exists"]
    with replaced(connection, plan.entries, replacement):
        result = _send_entries(run, entries, connection, Progress(), flags)
        name_left_out(run, [result.left_out])
    # They move forward alone: they are in use.
    run.report.left_out += carry_forward(connection, positions)


def prove_first(run: Run) -> None:
    """Prove what pg_restore does not, before anything is changed. Raises DumpError."""
    if run.plan.dump.format in PROVED:
        run.step("prove", "reading the dump to its end")
        watch = run.bytes_watch(run.plan.dump.size)
        for doubt in prove_files(run.plan.dump, run.plan.entries, watch).doubts():
            run.note(doubt)


@contextmanager
def _proved_meanwhile(run: Run) -> Iterator[Callable[[], None]]:
    """Prove what pg_restore does not while the block loads, with a function to ask how it goes."""
    if run.plan.dump.format not in PROVED:
        yield lambda: None
        return
    with proving(run.plan.dump, run.plan.entries) as proof:
        yield proof.check
    for doubt in proof.found.doubts():
        run.note(doubt)


def _load_archive(run: Run, database: str, check: Callable[[], None]) -> None:
    """Load an archive in its three steps, see ``phases``."""
    plan = run.plan
    progress = Progress(0, len(plan.entries), 0, plan.dump.size)

    now = building(lambda: run.lock.connection, database)

    def watch(state: Progress) -> None:
        check()
        state.building = now()
        run.reporter.progress(state)

    def sent(entries: Sequence[ArchiveEntry], connection: psycopg.Connection[Any]) -> list[LeftOut]:
        found = _send_entries(run, entries, connection, progress).left_out
        progress.entries += len(entries)
        return found

    with connected(run, database) as connection:
        options = options_for(run, connection)
        steps = phases(
            plan.entries,
            options.tablespaces or frozenset(),
            triggers_may_fail=run.request.skip_superuser_only,
        )
        has_statistics = any(entry.kind == "STATISTICS DATA" for entry in steps.after)
        run.has_statistics = has_statistics and bool(options.statistics)
        left_out = [sent(steps.before, connection)]
    load, rows_left_out = _with_tables(run, database, steps.load)
    left_out.append(rows_left_out)
    if load:
        progress.builds_total = sum(entry.kind in BUILDS for entry in load)
        with commands.list_file(load) as chosen:
            _run_pg_restore(run, database, chosen, progress, watch)
        progress.builds = progress.builds_total
    if steps.after:
        with connected(run, database) as connection:
            left_out.append(sent(steps.after, connection))
    name_left_out(run, left_out)


def _with_tables(
    run: Run, database: str, entries: Sequence[ArchiveEntry]
) -> tuple[Sequence[ArchiveEntry], list[LeftOut]]:
    """Leave out the rows of an extension, where it was left out, and say which."""
    if not run.without_extension:
        return entries, []
    with run.plan.address.connect(database) as connection:
        gone = rows_of_no_table(connection, run.plan.entries)
    said = [
        LeftOut(
            "rows",
            f"the entry of {entry.schema}.{entry.tag}",
            0,
            ROWS_OF_NO_EXTENSION.format(f"{entry.schema}.{entry.tag}"),
            1,
        )
        for entry in gone
    ]
    return [entry for entry in entries if entry not in gone], said


def _run_pg_restore(
    run: Run, database: str, chosen: Path, progress: Progress, watch: Watch
) -> None:
    plan = run.plan
    assert plan.program  # noqa: S101 - an archive's plan has one
    flags = ["--no-owner", "--no-privileges", f"--use-list={chosen}"]
    if role := plan.owners.load_as or plan.address.role:
        flags.append(f"--role={role}")
    outcome = commands.load(
        plan.program,
        plan.dump.path,
        conninfo=plan.address.conninfo(database),
        environment=_faster(run, database).environment(),
        server_version=plan.live.server_version,
        flags=flags,
        jobs=plan.jobs,
        progress=progress,
        watch=watch,
    )
    for warning in outcome.warnings:
        run.note(f"pg_restore: {warning}")


def _send_entries(
    run: Run,
    entries: Sequence[ArchiveEntry],
    connection: psycopg.Connection[Any],
    progress: Progress,
    flags: Sequence[str] = (),
) -> ScriptResult:
    """Turn entries of an archive into SQL, and send that as a plain dump is sent."""
    plan = run.plan
    assert plan.program  # noqa: S101 - an archive's plan has one
    with ExitStack() as stack:
        chosen = stack.enter_context(commands.list_file(entries))
        flags = [*flags, f"--use-list={chosen}"]
        process = stack.enter_context(commands.statements(plan.program, plan.dump.path, flags))
        assert process.stdout  # noqa: S101 - it was asked for
        try:
            return send(run, process.stdout, connection, progress)
        except ScriptError as error:
            # Its line is one of pg_restore's output, which nobody has.
            said = str(error).removeprefix(f"line {error.line} of the dump: ")
            raise ScriptError(f"{plan.dump.source}: {said}", error.line, error.sqlstate) from error


def _faster(run: Run, database: str) -> Address:
    """Return the address with settings that make a load faster, without where none may be made."""
    # The swap's commit waits for the disk, and everything before it is on disk then too.
    serial = SERIAL if run.plan.fills_the_cores else ()
    wanted = ["synchronous_commit=off", "default_transaction_read_only=off", *serial, WATCHED]
    for settings in ([*wanted, PAST_AUTOVACUUM], wanted, wanted[:-1]):
        address = run.plan.address.setting(*settings)
        with suppress(psycopg.OperationalError):  # a server or a pooler that refuses it
            address.connect(database).close()
            return address
    return run.plan.address
