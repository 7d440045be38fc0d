"""A restore into the live database itself, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
from django.db import OperationalError, connections, transaction

from . import hooks
from .alias import close_connections, require_database
from .dump.contents import ArchiveEntry
from .errors import LiveChangedError
from .interrupts import raise_if_interrupted, uninterrupted
from .load import load_in_transaction, prove_first
from .run import Run
from .server.address import unlimited
from .server.lock_table import require_locks
from .server.own_objects import drop_own

XACT = "SELECT pg_current_xact_id()::text"
STATUS = "SELECT pg_xact_status(%s::text::xid8)"
_LOCKS = {"TABLE": 3, "MATERIALIZED VIEW": 3, "SEQUENCE": 1, "INDEX": 1, "CONSTRAINT": 1}
"""Locks that creating one takes: a table brings a TOAST table and its index along."""


def restore_in_place(run: Run) -> None:
    """Load into the live database and run the hooks there.

    What is inside the transaction fails without a trace; what comes after it (the files of the
    hooks directory, ANALYZE) raises LiveChangedError.
    """
    name = run.plan.address.name
    require_database(run.request.using, name)
    prove_first(run)
    try:
        _in_one_transaction(run, name)
    finally:
        close_connections(run.request.using)
    try:
        hooks.run_files(run, name)
        hooks.gather_statistics(run, name)
    except (Exception, KeyboardInterrupt) as error:
        why = str(error) or "interrupted"
        raise LiveChangedError(f"The data are in {run.plan.address}, but then: {why}") from error


def _in_one_transaction(run: Run, name: str) -> None:
    using, number = run.request.using, ""
    with ExitStack() as deferred:
        try:
            with transaction.atomic(using=using, durable=True):
                connection: psycopg.Connection[Any] = connections[using].connection
                unlimited(connection, "LOCAL")
                _fill(run, name, connection)
                hooks.run_inside(run, name)
                if run.report.hooks:
                    hooks.repair_sequences(run)
                run.step("commit")
                raise_if_interrupted()
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                number = connection.execute(XACT).fetchone()[0]  # type: ignore[index]
                deferred.enter_context(uninterrupted())
        except OperationalError:
            # Lost at COMMIT: whether before it or after it, the server knows.
            if not number:
                raise
            if run.lock.connection.execute(STATUS, [number]).fetchone() != ("committed",):
                raise
        run.report.restored = True


def _fill(run: Run, name: str, connection: psycopg.Connection[Any]) -> None:
    plan = run.plan
    if plan.mode == "in place":
        require_locks(connection, _locks(plan.entries))
        if not run.request.partial and not plan.live.empty:
            run.step("drop", f'dropping what "{plan.user}" owns')
            drop_own(connection)
    run.step("load", f'loading into "{name}"')
    load_in_transaction(run, connection)


def _locks(entries: Sequence[ArchiveEntry]) -> int:
    return sum(_LOCKS.get(entry.kind, 0) for entry in entries)
