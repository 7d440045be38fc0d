"""Loading: an archive by pg_restore, or statements over a connection of our own."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import IO, Any, BinaryIO, cast

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import tuple_row

from .archive import commands
from .dump.proof import open_plain
from .errors import RestoreError
from .progress import Progress
from .run import Run
from .script.feed import run_script
from .script.policy import Policy
from .server.address import PAST_AUTOVACUUM, WATCHED, Address
from .server.roles import policy_for

STATEMENTS_A_COMMIT = 1000
"""Statements of a plain dump to a transaction, in a database that is dropped on a failure."""
SERIAL = ("max_parallel_maintenance_workers=0", "max_parallel_workers_per_gather=0")
"""Parallel workers are slower in all than the jobs by themselves, where those are busy."""


def load_beside(run: Run, database: str) -> None:
    """Load the dump into an empty database that is dropped when this fails."""
    if run.plan.program is None:
        with run.plan.address.connect(database) as connection:
            if role := run.plan.owners.load_as:
                connection.execute("SELECT set_config('role', %s, false)", [role])
            connection.execute("SET synchronous_commit = off")
            _load_plain(run, connection)
    else:
        _load_archive(run, database)
        _count_tables(run, database)


def load_in_transaction(run: Run, connection: psycopg.Connection[Any]) -> None:
    """Load the dump over a connection, inside the transaction that is open there."""
    plan = run.plan
    if plan.program is None:
        _load_plain(run, connection)
        return
    flags = _flags(run)
    if plan.mode == "data only":
        flags.append("--data-only")
    elif run.request.partial:
        flags += ["--clean", "--if-exists"]
    with ExitStack() as stack:
        if plan.mode == "data only":
            # setval would survive a rollback; the sequences are repaired afterwards anyway.
            entries = [entry for entry in plan.entries if entry.kind != "SEQUENCE SET"]
            flags.append(f"--use-list={stack.enter_context(commands.list_file(entries))}")
        sql = commands.statements(plan.program, plan.dump.path, flags)
        process = stack.enter_context(sql)
        assert process.stdout  # noqa: S101 - it was asked for
        _send(run, process.stdout, connection)


def _load_archive(run: Run, database: str) -> None:
    plan = run.plan
    assert plan.program  # noqa: S101 - an archive's plan has one
    flags = _flags(run)
    if role := plan.owners.load_as or plan.address.role:
        flags.append(f"--role={role}")
    outcome = commands.load(
        plan.program,
        plan.dump.path,
        conninfo=_conninfo(run, database),
        environment=plan.address.environment(),
        flags=flags,
        jobs=plan.jobs,
        progress=Progress(0, len(plan.entries), 0, plan.dump.size),
        watch=run.reporter.progress,
    )
    run.report.left_out += [f"{reason} ({count})" for reason, count in outcome.left_out().items()]
    for warning in outcome.warnings:
        run.note(f"pg_restore: {warning}")


OWN_TABLESPACES = "SELECT FROM pg_catalog.pg_tablespace WHERE oid >= 16384"


def _flags(run: Run) -> list[str]:
    flags = run.request.selection
    if not run.plan.owners.owner:
        flags.append("--no-owner")
    if not run.plan.owners.privileges:
        flags.append("--no-privileges")
    # A copy must not begin to take part in somebody's replication.
    flags.append("--no-subscriptions")
    if not run.lock.connection.execute(OWN_TABLESPACES).fetchone():
        flags.append("--no-tablespaces")
    return flags


def _conninfo(run: Run, database: str) -> str:
    """Return the connection string for pg_restore, with settings that make a load faster."""
    address: Address = run.plan.address
    # The swap's commit waits for the disk, and everything before it is on disk then too.
    given = address.parameters.get("options", "")
    serial = SERIAL if run.plan.fills_the_cores else ()
    wanted = ["synchronous_commit=off", "default_transaction_read_only=off", *serial, WATCHED]
    for settings in ([*wanted, PAST_AUTOVACUUM], wanted, wanted[:-1]):
        options = " ".join(filter(None, [given, *(f"-c {setting}" for setting in settings)]))
        with suppress(psycopg.OperationalError):  # a server or a pooler that refuses it
            address.connect(database, options=options).close()
            return make_conninfo(address.conninfo(database), options=options)
    return address.conninfo(database)


TABLES = """
SELECT count(*) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384
"""


def _count_tables(run: Run, database: str) -> None:
    expected = sum(1 for entry in run.plan.entries if entry.kind == "TABLE")
    with run.plan.address.connect(database) as connection:
        row = connection.execute(TABLES).fetchone()
    if not row or row[0] < expected:
        raise RestoreError(
            f"The dump names {expected} tables and the restored database has {row and row[0]}."
        )


def _load_plain(run: Run, connection: psycopg.Connection[Any]) -> None:
    dump = run.plan.dump
    with open_plain(dump, run.bytes_watch(dump.size or None)) as stream:
        _send(run, stream, connection)


def _send(run: Run, stream: BinaryIO | IO[bytes], connection: psycopg.Connection[Any]) -> None:
    policy = _policy(run, connection)
    part = run.plan.dump.part
    result = run_script(
        cast(BinaryIO, stream), connection, policy=policy, first_line=part.line if part else 1
    )
    if not result.complete and run.plan.unfinished:
        run.note(f"accepted as asked: {result.reason}")
    elif not result.complete:
        raise RestoreError(f"{result.reason[0].upper()}{result.reason[1:]}.")
    run.report.left_out += map(str, result.left_out)


KEPT_TABLES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_extension e, unnest(e.extconfig) AS oid
JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""


def _kept_tables(connection: psycopg.Connection[Any]) -> frozenset[tuple[str, str]]:
    """Return the tables of extensions that stay in the database and whose rows are dumped."""
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        rows: list[tuple[str, str]] = cursor.execute(KEPT_TABLES).fetchall()
    return frozenset(rows)


def _policy(run: Run, connection: psycopg.Connection[Any]) -> Policy:
    request, plan = run.request, run.plan
    user = plan.owners.load_as or plan.user
    return replace(
        policy_for(connection, user=user, superuser=plan.superuser),
        no_owner=request.owner is False,
        no_privileges=request.privileges is False,
        data_only=plan.mode == "data only",
        kept_tables=_kept_tables(connection) if plan.mode == "in place" else frozenset(),
        skip_superuser_only=request.skip_superuser_only and not plan.superuser,
        drops_may_miss=plan.mode != "data only",
        commit_every=STATEMENTS_A_COMMIT if plan.mode == "beside" else None,
    )
