"""What else bears on a reading: the snapshot of the transaction, and a standby."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .catalog import Conditions
from .message import in_transaction
from .model import Reading, Sequence

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def under(conditions: Conditions, connection: BaseDatabaseWrapper, reading: Reading) -> Reading:
    """Return a reading with what the server and the transaction leave open about it."""
    doubts: tuple[str, ...] = ()
    if conditions.isolation in OLD_SNAPSHOTS and in_transaction(connection):
        doubts = (f"the snapshot of this {conditions.isolation} transaction may hide newer rows",)
    margin = AHEAD_ON_A_STANDBY if conditions.is_standby else 0
    return reading._replace(doubts=doubts, margin=margin) if doubts or margin else reading


def readable(
    conditions: Conditions, connection: BaseDatabaseWrapper, sequence: Sequence
) -> Sequence:
    """Return a sequence without the columns that the present transaction should not read.

    What a SERIALIZABLE transaction reads may make it, or another, fail at COMMIT. What it has
    written to is its own concern already.
    """
    if conditions.written is None or not in_transaction(connection):
        return sequence
    why = "not read, since this SERIALIZABLE transaction has not written to it"
    columns = [
        column
        if column.unseen is not None or column.table_oid in conditions.written
        else column._replace(unseen=f"{column.quoted} is {why}")
        for column in sequence.columns
    ]
    return sequence._replace(columns=tuple(columns))


OLD_SNAPSHOTS = ("repeatable read", "serializable")
AHEAD_ON_A_STANDBY = 33
"""Increments that a standby may show a sequence ahead of the primary: the 32 that nextval logs in
advance (SEQ_LOG_VALS in PostgreSQL's sequence.c), and the one that made it log."""
