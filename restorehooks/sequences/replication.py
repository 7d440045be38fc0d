"""Logical replication into this database: rows that are still to come after a repair."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from restorehooks.wording import quoted

from .model import Sequence

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

REFRESHES_SEQUENCES = 190000
"""The version from which a subscription can copy the positions of sequences."""

FEEDS = """
SELECT json_agg(json_build_array(s.subname, coalesce(pg_partition_root(r.srrelid), r.srrelid)::oid))
FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid
WHERE s.subenabled
  AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""The enabled subscriptions, each with a table (or sequence) that it feeds; topmost parents."""


def notes_on_feeds(
    connection: BaseDatabaseWrapper,
    feeds: Collection[tuple[str, int | str]],
    sequences: Iterable[Sequence],
) -> tuple[str, ...]:
    """Return what a report says of subscriptions, names with oids, that feed what it looked at."""
    if not feeds:
        return ()
    looked_at = {
        oid
        for sequence in sequences
        for oid in (sequence.oid, *(column.table_oid for column in sequence.columns))
    }
    names = sorted({name for name, oid in feeds if int(oid) in looked_at})
    version = connection.pg_version  # type: ignore[attr-defined]
    return tuple(note_on(name, version) for name in names)


def note_on(name: str, version: int) -> str:
    """Return the sentences on one subscription; ``version`` is the server's (150019 is 15.19)."""
    note = (
        f"Subscription {quoted([name])} is enabled and feeds these tables: rows may still come."
        " Repair again when nobody writes on the other side any more and it has caught up."
    )
    if version >= REFRESHES_SEQUENCES:
        note += (
            " ALTER SUBSCRIPTION ... REFRESH SEQUENCES sets sequences to where the publisher's"
            " stand, back too: repair after it, not before."
        )
    return note
