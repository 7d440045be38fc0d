"""A restore into the live database itself, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
from django.db import Error as DjangoDatabaseError
from django.db import connections, transaction

from restorehooks.sequences.message import READ_COMMITTED
from restorehooks.wording import quoted

from . import hooks
from .alias import pointed_at
from .dump.contents import ArchiveEntry
from .errors import HookError
from .interrupts import Handler, raise_if_interrupted, uninterrupted
from .load import load_in_transaction, prove_first
from .progress import heartbeat
from .run import Run
from .server.default_privileges import default_privileges_off
from .server.existing import filled_materialized_views
from .server.extension_rows import clear_tables
from .server.lock_table import require_locks
from .server.lost_commit import NUMBER, was_committed
from .server.making_room import triggers_as_they_are
from .server.own_objects import drop_own
from .server.session_settings import time_zone_of_the_database

ENDED = "A receiver or a migration has ended the transaction of the restore, by COMMIT or ROLLBACK."
DEFAULTS_OFF = (
    "the live database's default privileges add nothing to those that the dump gives; with "
    "--no-privileges they alone hold"
)
_LOCKS = {"TABLE": 3, "MATERIALIZED VIEW": 3, "SEQUENCE": 1, "INDEX": 1, "CONSTRAINT": 1}
"""Locks that creating one takes: a table brings a TOAST table and its index along."""


def restore_in_place(run: Run) -> None:
    """Load into the live database and run the hooks there.

    What is inside the transaction fails without a trace. What comes after it (the files of the
    hooks directory, ANALYZE) fails with ``report.restored`` set.
    """
    name = run.plan.address.name
    prove_first(run)
    with ExitStack() as deferred, pointed_at(run.request.using, name, run.lock):
        signals = _in_one_transaction(run, name, deferred)
        with signals.heard():
            hooks.run_files(run, name)
            hooks.gather_statistics(run, name)


def _in_one_transaction(run: Run, name: str, deferred: ExitStack) -> Handler:
    """Load and commit; from the commit on, signals are deferred until ``deferred`` is closed."""
    using, number, loaded = run.request.using, ("", ""), ("", "")
    connection: psycopg.Connection[Any] | None = None
    try:
        # From the last hook on no program is started, which a thread would be in the way of.
        with ExitStack() as at_work, transaction.atomic(using=using, durable=True):
            connection = connections[using].connection
            assert connection  # noqa: S101 - the transaction has begun
            connection.execute(READ_COMMITTED)  # what was waited for is looked at again
            _fill(run, name, connection)
            loaded = connection.execute(NUMBER).fetchone()  # type: ignore[assignment]
            run.lock.flush()  # a number that is on disk is never given out again
            hooks.run_inside(run, name)
            if run.report.hooks:
                hooks.repair_sequences(run)
            run.step("commit")
            at_work.enter_context(heartbeat(run.reporter))
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            if connection.execute(NUMBER).fetchone() != loaded:
                raise HookError(ENDED)
            number = loaded
            run.lock.flush()  # ends a run that lost its lock
            signals = deferred.enter_context(uninterrupted())
            raise_if_interrupted()
    except BaseException as error:
        if not loaded[0] or not (number[0] or hooks.runs_project_code(run)):
            raise
        # A COMMIT was lost on its way, or a receiver's SQL has made one; the server knows.
        run.report.restored = was_committed(run.lock, *loaded)
        is_lost = connection is not None and connection.closed  # Django may be connected again
        at_commit = number[0] and is_lost and isinstance(error, DjangoDatabaseError)
        if not (at_commit and run.report.restored):
            raise
    signals.over = run.report.restored = True
    return signals


def _fill(run: Run, name: str, connection: psycopg.Connection[Any]) -> None:
    plan = run.plan
    if plan.mode == "in place":
        require_locks(connection, _locks(plan.entries))
        if not run.request.partial and not plan.live.empty:
            run.step("drop", f'dropping what "{plan.user}" owns')
            with heartbeat(run.reporter):
                drop_own(connection)
        if not run.request.partial:
            clear_tables(connection, plan.extensions, superuser=plan.superuser)
    run.step("load", f'loading into "{name}"')
    with ExitStack() as stack:
        stack.enter_context(time_zone_of_the_database(connection))
        has_own = plan.mode == "in place" and run.request.privileges is not False
        defaults = stack.enter_context(default_privileges_off(connection)) if has_own else None
        run.role_set = defaults.put_off if defaults else None
        if plan.mode == "data only":
            stack.enter_context(triggers_as_they_are(connection))
        load_in_transaction(run, connection)
        if defaults and defaults.any:
            run.note(DEFAULTS_OFF)
        if plan.mode == "data only" and (views := filled_materialized_views(connection)):
            run.note(f"not filled anew: {quoted(views)} (run REFRESH MATERIALIZED VIEW)")


def _locks(entries: Sequence[ArchiveEntry]) -> int:
    return sum(_LOCKS.get(entry.kind, 0) for entry in entries)
