"""One place where repairs are made known: a signal, and records that tools can count."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from django.db import connections, transaction

from .signals import sequences_repaired
from .wording import printable

if TYPE_CHECKING:
    from .sequences.report import Entry, Report

Trigger = Literal[
    "pre_migrate",
    "post_migrate",
    "loaddata",
    "resetsequences",
    "reset_sequences",
    "ResetSequences",
    "restore",
    "admin",
    "duplicate",
]
"""What ran a repair."""

logger = logging.getLogger("restorehooks")


def announce(report: Report, trigger: Trigger, *, printed: bool = False) -> None:
    """Log what a run moved and could not resolve, and send ``sequences_repaired``.

    To be called once for every reset that was run. ``trigger`` says what ran it (see the signal).
    Moves are logged as INFO; what is unsafe as WARNING, or as INFO where the caller has
    ``printed`` it for somebody to read. A receiver's exception is logged by Django and not raised.
    """

    def extra(entry: Entry) -> dict[str, Any]:
        known = {**entry.as_dict(), "models": list(entry.models)}
        return {"database": report.database, "trigger": trigger, **known}

    for entry in report.changed:
        after = entry.next_after
        name = printable(entry.sequence)
        logger.info("Sequence %s moved on to %s", name, after, extra=extra(entry))
    unsafe = {id(entry) for entry in report.unsafe}
    for entry in report.unresolved:
        logger.log(
            logging.WARNING if id(entry) in unsafe and not printed else logging.INFO,
            "Sequence %s is %s: %s",
            printable(entry.sequence),
            entry.status.value,
            printable(entry.reason or ""),
            extra=extra(entry),
        )
    if report.changed and sequences_repaired.has_listeners():
        with _apart(report.database):
            sequences_repaired.send_robust(
                sender=type(report), using=report.database, report=report, trigger=trigger
            )


@contextmanager
def _apart(using: str) -> Iterator[None]:
    """Let what receivers break in the block leave an open transaction as it was before.

    A model whose ``save()`` raises has it rolled back in the end, though nobody sees the error.
    """
    connection: Any = connections[using]

    def has_failed() -> bool:
        return bool(connection.connection.info.transaction_status == _INERROR)

    if not connection.in_atomic_block or connection.needs_rollback or has_failed():
        yield
        return
    with transaction.atomic(using):
        yield
        if has_failed():
            transaction.set_rollback(True, using)


_INERROR = 3
"""libpq's PQTRANS_INERROR, for both drivers."""
