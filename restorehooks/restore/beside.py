"""A restore beside the live database: loaded, hooked, then swapped in."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg

from restorehooks.wording import first_line

from . import hooks
from .alias import close_connections, pointed_at
from .dump.facts import described
from .errors import RestoreError
from .interrupts import raise_if_interrupted, uninterrupted
from .load import load_beside
from .progress import heartbeat
from .run import Run
from .server.carried import Setting, carry_settings, settings_of
from .server.kept_databases import kept
from .server.live import is_empty
from .server.sides import OID, create_side, drop, not_dropped, open_side
from .server.swap import swap


def restore_beside(run: Run) -> None:
    """Load beside the live database, run the hooks there, and swap.

    Whatever fails before the swap drops the side database and leaves the live one as it was; what
    fails after it finds ``report.restored`` set.
    """
    plan, lock = run.plan, run.lock
    with ExitStack() as deferred:
        # An interrupt between CREATE DATABASE and what follows would leave it behind.
        signals = deferred.enter_context(uninterrupted())
        with heartbeat(run.reporter):
            name, oid = create_side(lock, plan.live, described(plan.dump))
        try:
            deferred.close()
            if signals.came:
                raise KeyboardInterrupt
            run.step("load", f'loading into "{name}"')
            given = carry_settings(lock, plan.live, name, for_the_load=True)
            hooks.before_load(run, name)
            load_beside(run, name)
            hooks.after_load(run, name)
            given = carry_settings(lock, plan.live, name, given=given)
            settings = {one for one in settings_of(lock.connection, oid) if one[:2] in given}
            with pointed_at(run.request.using, name, lock):
                hooks.run_inside(run, name)
                hooks.run_files(run, name)
            hooks.gather_statistics(run, name)
            # Not before: a hook may take out what nobody is to see.
            open_side(lock, plan.live, name)
            run.step("swap", f'putting it in the place of "{plan.address.name}"')
            with heartbeat(run.reporter):
                _make_durable(run, name)
                _swap(run, name, oid, settings)
        except BaseException:
            if not run.report.restored:
                with uninterrupted():
                    _clean_up(run, name, oid)
            raise


def _make_durable(run: Run, name: str) -> None:
    """Let the disk have what was loaded and hooked, on the server where the lock is still held."""
    with run.plan.address.connect(name) as inside:
        run.lock.require_here(inside.cursor())
    run.lock.flush()


def _swap(run: Run, name: str, oid: int, before_hooks: set[Setting]) -> None:
    close_connections(run.request.using)
    with uninterrupted() as signals:
        raise_if_interrupted()
        swapped = swap(
            run.lock,
            run.plan.live,
            (name, oid),
            by=described(run.plan.dump),
            before_hooks=before_hooks,
            accept_lost=run.request.accept_lost_settings,
            seconds=run.request.swap_seconds,
            interrupted=lambda: signals.came,
        )
        signals.over = True
        run.report.previous, run.report.restored = swapped.previous, True
        for what in swapped.lost:
            run.note(f"{what} was not carried over")
        _drop_what_is_not_kept(run)


def _drop_what_is_not_kept(run: Run) -> None:
    """Drop the previous databases that are not to be kept; a failure of that is only noted."""
    report, request, address = run.report, run.request, run.plan.address
    try:
        if report.previous and run.plan.live.empty and is_empty(address, report.previous):
            run.lock.retaken()
            drop(run.lock, report.previous)
            report.previous = None
        found = kept(run.lock.retaken(), address.name, "previous")
        beyond = found[request.keep :] if request.keep is not None else []
        if request.drop_previous:
            beyond = [one for one in found if one.name == report.previous]
        report.kept = found
        for one in beyond:
            run.lock.retaken()
            drop(run.lock, one.name)
            report.dropped.append(one.name)
            report.kept = [other for other in report.kept if other is not one]
        if report.previous in report.dropped:
            report.previous = None
    except (psycopg.Error, RestoreError) as error:
        run.note(
            f"what is not to be kept could not be dropped ({first_line(error)}): --kept lists it, "
            "--drop-previous NAME drops it"
        )


def _clean_up(run: Run, name: str, oid: int) -> None:
    """Drop the side database, unless it went live after all."""
    try:
        # Its oid says that it is this one, whoever owns the live database by now.
        if run.lock.retaken().execute(OID, [name]).fetchone() == (oid,):
            drop(run.lock, name)
    except (psycopg.Error, RestoreError) as error:
        run.note(not_dropped(name, error))
