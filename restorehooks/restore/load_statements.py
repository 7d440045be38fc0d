"""Loading statements: those of a plain dump, or those that an archive is turned into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from typing import IO, Any, BinaryIO, cast

import psycopg

from restorehooks.wording import first_line

from .dump.proof import OR_ACCEPT, open_plain
from .dump.rows import NO_KEYS, NO_ROWS
from .errors import RestoreError
from .extension_registry import kept_tables, make_ready, of_one_database
from .progress import Progress, heartbeat
from .run import Run
from .script.feed import run_script
from .script.options import ScriptOptions
from .script.results import LeftOut, ScriptResult
from .script.rules import POSITION
from .script.tolerated import EXTENSION
from .server.building import building
from .server.existing import require_tables
from .server.own_objects import called_of_others, standing
from .server.ownership import script_options
from .server.positions import carry_forward, positions_in
from .server.session_settings import PAST_AUTOVACUUM

STATEMENTS_A_COMMIT = 100
"""Statements to a transaction, in a database that is dropped on a failure.

More would hardly be faster, and each one that makes something holds several locks till the end.
"""

Connections = Sequence[psycopg.Connection[Any]]


@contextmanager
def connected(run: Run, database: str) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection as the role to load as; what it commits need not wait for the disk."""
    with run.plan.address.connect(database) as connection:
        if role := run.plan.owners.load_as:
            connection.execute("SELECT pg_catalog.set_config('role', %s, false)", [role])
        connection.execute("SET synchronous_commit = off")
        # A dump that sets none means the one that it was written under.
        connection.execute("RESET search_path")
        yield connection


def load_plain_beside(run: Run, database: str) -> None:
    """Load a plain dump into an empty database that is dropped when this fails."""
    with ExitStack() as stack:
        connection = stack.enter_context(connected(run, database))
        load_plain(run, connection, _others(run, database, stack))


def _others(run: Run, database: str, stack: ExitStack) -> Connections:
    """Open one connection for each job, where there is more than one; fewer where it is full."""
    others: list[psycopg.Connection[Any]] = []
    for _ in range(run.plan.jobs if run.plan.jobs > 1 else 0):
        try:
            connection = stack.enter_context(connected(run, database))
        except psycopg.OperationalError as error:
            run.note(f"{len(others)} connections beside the first load it: {first_line(error)}")
            break
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SET {PAST_AUTOVACUUM}".encode())
        others.append(connection)
    return others


def load_plain(run: Run, connection: psycopg.Connection[Any], others: Connections = ()) -> None:
    """Load a plain dump over a connection, and what need not be done in order over others."""
    dump = run.plan.dump
    progress = Progress(bytes_total=dump.size or None)
    with open_plain(dump, run.bytes_watch_of(progress)) as stream:
        result = send(run, stream, connection, progress, others)
    run.has_statistics = result.statistics > 0
    name_left_out(run, [result.left_out])
    _say_what_is_missing(run, result)
    run.report.left_out += carry_forward(connection, positions_in(result.positions))


def _say_what_is_missing(run: Run, result: ScriptResult) -> None:
    """Say what the plan could not: it reads up to the first row, and not all of standard input."""
    if missing := result.tables.missing():
        run.note_once(missing)
    if run.plan.live.empty or run.plan.mode == "data only":
        return
    if not result.rows:
        run.note_once(NO_ROWS)
    if result.tables.left and not result.tables.keyed:
        run.note_once(NO_KEYS)


def send(
    run: Run,
    stream: BinaryIO | IO[bytes],
    connection: psycopg.Connection[Any],
    progress: Progress,
    others: Connections = (),
) -> ScriptResult:
    """Send statements. Raises RestoreError where they do not go through, or have no end.

    ``progress`` is kept up to date with what is built, and shown.
    """
    run.reporter.progress(progress)
    part, options = run.plan.dump.part, options_for(run, connection)
    with heartbeat(run.reporter, building(lambda: run.lock.connection, connection.info.dbname)):
        result = run_script(
            cast(BinaryIO, stream),
            connection,
            options=options,
            others=others,
            progress=progress,
            first_line=part.line if part else 1,
        )
    run.without_extension |= any(one.what == EXTENSION for one in result.left_out)
    if not result.complete and run.plan.unfinished:
        run.note(f"accepted as asked: {result.reason}")
    elif not result.complete:
        otherwise = OR_ACCEPT if run.request.may_accept_unfinished else ""
        raise RestoreError(f"{result.reason[0].upper()}{result.reason[1:]}{otherwise}.")
    require_tables(connection, result.tables.left)
    return result


def name_left_out(run: Run, left_out: Iterable[Iterable[LeftOut]]) -> None:
    """Put into the report what was left out, everything that has one reason in one line."""
    merged: dict[tuple[str, str], LeftOut] = {}
    for one in chain.from_iterable(left_out):
        if one.what == POSITION:
            continue  # ``carry_forward`` sees to it
        key = one.what, one.reason
        known = merged.get(key)
        merged[key] = replace(known, count=known.count + one.count) if known else one
    run.report.left_out += map(str, merged.values())


def options_for(run: Run, connection: psycopg.Connection[Any]) -> ScriptOptions:
    """Return what this restore wants of the statements, and what the server has for it."""
    request, plan = run.request, run.plan
    user = plan.owners.load_as or plan.user
    whole_in_place = plan.mode == "in place" and not request.partial
    all_owners = plan.superuser or request.owner is True
    return replace(
        script_options(connection, user=user, all_owners=all_owners),
        owner_instead=plan.owners.instead,
        no_owner=request.owner is False,
        no_privileges=request.privileges is False,
        data_only=plan.mode == "data only",
        kept_tables=kept_tables(connection, plan.mode, request),
        others=called_of_others if whole_in_place else None,
        role_set=run.role_set,
        keeps_others=whole_in_place,
        standing=standing(connection) if whole_in_place else frozenset(),
        skip_superuser_only=request.skip_superuser_only,
        without_extension=run.without_extension,
        one_database=of_one_database(plan.extensions),
        superuser=plan.superuser,
        drops_may_miss=plan.mode != "data only",
        commit_every=STATEMENTS_A_COMMIT if plan.mode == "beside" else None,
        extension_made=make_ready if plan.mode == "beside" else None,
    )
