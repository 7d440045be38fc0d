"""A restore beside the live database: loaded, hooked, then swapped in."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg

from restorehooks.wording import first_line

from . import hooks
from .alias import close_connections, pointed_at
from .dump.facts import described
from .errors import TargetError
from .interrupts import raise_if_interrupted, uninterrupted
from .load import load_beside
from .run import Run
from .server.carried import carry_settings
from .server.sides import create_side, drop, kept
from .server.swap import swap


def restore_beside(run: Run) -> None:
    """Load beside the live database, run the hooks there, and swap.

    Whatever fails before the swap drops the side database and leaves the live one as it was.
    """
    plan, lock = run.plan, run.lock
    with ExitStack() as deferred:
        # An interrupt between CREATE DATABASE and what follows would leave it behind.
        signals = deferred.enter_context(uninterrupted())
        name, oid = create_side(lock, plan.live, described(plan.dump))
        try:
            deferred.close()
            if signals.came.is_set():
                raise KeyboardInterrupt
            run.step("load", f'loading into "{name}"')
            load_beside(run, name)
            carry_settings(lock.connection, plan.live, name)
            with pointed_at(run.request.using, name):
                hooks.run_inside(run, name)
                hooks.run_files(run, name)
            hooks.gather_statistics(run, name)
            run.step("swap", f'putting it in the place of "{plan.address.name}"')
            _swap(run, name, oid)
        except BaseException:
            with uninterrupted():
                _clean_up(run, name, oid)
            raise


def _swap(run: Run, name: str, oid: int) -> None:
    close_connections(run.request.using)
    raise_if_interrupted()
    with uninterrupted() as signals:
        swapped = swap(
            run.lock,
            run.plan.live,
            (name, oid),
            by=described(run.plan.dump),
            accept_lost=run.request.accept_lost_settings,
            seconds=run.request.swap_seconds,
            interrupted=signals.came.is_set,
        )
        signals.over = True
        run.report.previous, run.report.restored = swapped.previous, True
        for what in swapped.lost:
            run.note(f"{what} was not carried over")
        if swapped.previous and run.request.drop_previous:
            _drop_previous(run, swapped.previous)


def _drop_previous(run: Run, name: str) -> None:
    try:
        drop(run.lock.connection, name)
        run.report.previous, run.report.dropped = None, [name]
    except psycopg.Error as error:
        run.note(f'"{name}" could not be dropped ({first_line(error)})')


def _clean_up(run: Run, name: str, oid: int) -> None:
    """Drop the side database, unless it went live after all."""
    try:
        sides = kept(run.lock.connection, run.plan.address.name, "side")
        if (name, oid) in [(one.name, one.oid) for one in sides]:
            drop(run.lock.connection, name)
    except (psycopg.Error, TargetError) as error:
        run.note(f'"{name}" could not be dropped ({first_line(error)}); the next restore offers to')
