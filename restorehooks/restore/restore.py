"""The story of a restore: a dump in, a working database out, and nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress

import psycopg
from django.db import connections

from restorehooks.signals import pre_restore
from restorehooks.streams import onto_standard_error

from .alias import commit_what_is_open
from .archive import commands
from .archive.messages import naming
from .beside import restore_beside
from .dump.proof import OR_ACCEPT, prove_plain
from .errors import (
    BusyError,
    DeclinedError,
    LiveChangedError,
    OutcomeUnknownError,
    TargetError,
    UsageError,
)
from .in_place import restore_in_place
from .interrupts import interruptible
from .known import find_out
from .load import prove_first
from .plan import make_plan
from .progress import Reporter
from .report import RestoreReport
from .request import Request
from .run import Run
from .server.address import Address
from .server.lock import RestoreLock
from .server.sides import drop
from .sources import opened

FEW_NAMED = 5
"""Sequences named in an error; the report has them all."""


def restore(
    request: Request,
    *,
    confirm: Callable[[str], bool] = lambda question: False,
    reporter: Reporter | None = None,
    report: RestoreReport | None = None,
) -> RestoreReport:
    """Restore a dump and return what was done.

    ``confirm`` is asked before anything that is there is replaced, added to or dropped.
    ``report`` is filled in on the way, for those who want to know how far it came when it fails.

    Raises RestoreError (see ``errors``), psycopg.Error or whatever a receiver raised when it did
    not take place, KeyboardInterrupt when it was interrupted (SIGTERM and SIGHUP count as that):
    the live database then is as it was. LiveChangedError and OutcomeUnknownError do not say that.
    """
    report = report or RestoreReport(request.using, dry_run=request.dry_run)
    run = Run(request, confirm, reporter or Reporter(), report)
    if request.using in connections.settings and connections[request.using].in_atomic_block:
        raise UsageError("A restore has transactions of its own: call it outside of any other.")
    with interruptible():
        try:
            _restore(run)
            _require_safe_sequences(run)
        except (OutcomeUnknownError, LiveChangedError):
            raise
        except BaseException as error:
            if not run.report.restored:
                raise
            why = str(error) or (
                "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
            )
            raise LiveChangedError(
                f"The data are in {run.plan.address}, but then: {why}"
            ) from error
    run.end_step()
    return run.report


def _restore(run: Run) -> None:
    request = run.request
    with ExitStack() as stack:
        # 1. Identify by content.
        run.step("identify")
        dump = stack.enter_context(opened(run))
        stack.enter_context(naming(dump.source))
        # 2. and 3. Prove what can be proved, choose the target.
        run.step("prove")
        address = Address.of(request.using)
        run.announce(dump, address)
        lock = stack.enter_context(_locked(address, request))
        watch = run.bytes_watch(dump.size)
        run.planned(make_plan(find_out(request, lock, dump, watch)), lock)
        if request.dry_run:
            _prove_whole(run)
            return
        _agree(run)
        with onto_standard_error():
            pre_restore.send(sender=type(run.report), **run.signal_arguments(address.name))
            commit_what_is_open(request.using)
        # 4. to 6. Load, hook, put in place.
        if run.plan.mode == "beside":
            restore_beside(run)
        else:
            restore_in_place(run)


def _require_safe_sequences(run: Run) -> None:
    """Raise LiveChangedError where the restored data are live and may get a number twice."""
    found = run.report.sequences
    if not run.report.restored or found is None or found.is_fine:
        return
    said = " ".join(map(found.sentence_about, found.unsafe[:FEW_NAMED]))
    raise LiveChangedError(
        f"The data are in {run.plan.address}, but {len(found.unsafe)} of its sequences could not "
        f"be made safe: run resetsequences before rows are added. {said}"
    )


def _locked(address: Address, request: Request) -> RestoreLock:
    try:
        return RestoreLock(address, request.maintenance_db)
    except BusyError:
        raise
    except TargetError:
        # In place no second database is needed; whether that is possible is seen later.
        with suppress(psycopg.OperationalError):
            return RestoreLock(address, address.name)
        raise


def _require_way(run: Run) -> None:
    """Raise TargetError for what prevents the swap, or would be lost and was not agreed to."""
    refused = [one for one in run.plan.obstacles if one.kind == "refused"]
    lost = [one for one in run.plan.obstacles if one.kind == "lost"]
    if refused or (lost and not run.request.accept_lost_settings):
        raise TargetError("; ".join(str(one) for one in refused or lost))


def _agree(run: Run) -> None:
    """Ask before anything is replaced or dropped. Raises DeclinedError."""
    plan = run.plan
    _require_way(run)
    if plan.needs_confirmation and not run.confirm(plan.question()):
        raise DeclinedError("Not confirmed.")
    for one in plan.leftovers:
        at = f" begun {one.marker.at}" if one.marker.at else ""
        question = f'"{one.name}" is what a restore{at} left behind when it was killed. Drop it?'
        if run.confirm(question):
            drop(run.lock, one.name)
            run.note(f'"{one.name}", left by a killed run, was dropped')


def _prove_whole(run: Run) -> None:
    """Read the whole dump, for a run that changes nothing."""
    plan = run.plan
    if plan.program:
        prove_first(run)
        commands.prove(plan.program, plan.dump.path, run.reporter.progress)
    elif not run.request.accept_unfinished:
        otherwise = OR_ACCEPT if run.request.may_accept_unfinished else ""
        prove_plain(plan.dump, run.bytes_watch(plan.dump.size), otherwise)
    _require_way(run)
