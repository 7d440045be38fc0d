"""What a report says beside the sequences: rows still to come, and numbers from another schema."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from restorehooks.wording import first_of, quoted

from .model import Column, Sequence

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

REFRESHES_SEQUENCES = 190000
"""The version from which a subscription can copy the positions of sequences."""
SHOWN = 3
"""So many columns are named in a sentence."""

FEEDS = """
SELECT json_agg(json_build_array(s.subname, coalesce(pg_partition_root(r.srrelid), r.srrelid)::oid))
FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid
WHERE s.subenabled
  AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""The enabled subscriptions, each with a table (or sequence) that it feeds; topmost parents."""


def notes_on(
    connection: BaseDatabaseWrapper,
    sequences: Iterable[Sequence],
    feeds: Collection[tuple[str, int | str]],
) -> tuple[str, ...]:
    """Return what is to be said of sequences; ``feeds`` are subscriptions with oids of tables."""
    sequences = list(sequences)
    return (*_on_feeds(connection, sequences, feeds), *_on_clones(sequences))


def _on_feeds(
    connection: BaseDatabaseWrapper,
    sequences: Iterable[Sequence],
    feeds: Collection[tuple[str, int | str]],
) -> Iterator[str]:
    if not feeds:
        return
    looked_at = {
        oid
        for sequence in sequences
        for oid in (sequence.oid, *(column.table_oid for column in sequence.columns))
    }
    version = connection.pg_version  # type: ignore[attr-defined]
    for name in sorted({name for name, oid in feeds if int(oid) in looked_at}):
        yield note_on_feed(name, version)


def note_on_feed(name: str, version: int) -> str:
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


def _on_clones(sequences: Iterable[Sequence]) -> Iterator[str]:
    """Yield a sentence for each two schemas of which one draws from the other's sequences.

    That is: a table and column of the same name stands in both, and both draw from one sequence,
    which stands in one of them.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for sequence in sequences:
        for column in _drawing_from_elsewhere(sequence):
            names = found.setdefault((column.schema, sequence.schema), [])
            names.append(f"{column.quoted} from {sequence.quoted}")
    for (clone, home), names in found.items():
        yield (
            f"Schema {quoted([clone])} draws from sequences of schema {quoted([home])}:"
            f" {first_of(names, SHOWN)}. If it was cloned, give its tables sequences of"
            " their own: dropping the other schema takes their defaults away."
        )


def _drawing_from_elsewhere(sequence: Sequence) -> Iterator[Column]:
    drawing = [column for column in sequence.columns if column.draws]
    at_home = {(c.table, c.name) for c in drawing if c.schema == sequence.schema}
    for column in drawing:
        if column.schema != sequence.schema and (column.table, column.name) in at_home:
            yield column
