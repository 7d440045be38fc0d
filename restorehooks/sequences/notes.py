"""What a report says beside the sequences: rows still to come, and numbers from another schema."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from restorehooks.driver import sql
from restorehooks.wording import first_of, quoted

from .message import Failed, LockBudget, send_once
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

REPLICATING = """
SELECT array_agg(e.extname::text ORDER BY e.extname)
FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass
    AND d.refobjid = e.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
JOIN pg_class c ON c.oid = d.objid AND c.relname = 'subscription' AND c.relkind = 'r'
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = e.extname
WHERE e.extname IN ('pglogical', 'spock')
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
  AND 2 = (SELECT count(*) FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attname IN ('sub_name', 'sub_enabled'))
"""
"""The extensions that replicate positions of sequences, and whose subscriptions may be read here.

Their table is the extension's own: nobody but a superuser can have made it.
"""
ENABLED = sql.SQL("SELECT {}, sub_name::text FROM {} WHERE sub_enabled")


def read_subscriptions(
    connection: BaseDatabaseWrapper, extensions: Iterable[str], budget: LockBudget
) -> list[tuple[str, str]]:
    """Return the enabled subscriptions of these extensions: the extension's name and its own.

    None where their table is locked.
    """
    queries = [
        ENABLED.format(sql.Literal(name), sql.Identifier(name, "subscription"))
        for name in extensions
    ]
    found = send_once(connection, queries, budget)
    return [] if isinstance(found, Failed) else sorted(row for rows in found for row in rows)


def notes_on(
    connection: BaseDatabaseWrapper,
    sequences: Iterable[Sequence],
    feeds: Collection[tuple[str, int | str]],
    subscriptions: Iterable[tuple[str, str]] = (),
) -> tuple[str, ...]:
    """Return what is to be said of sequences.

    ``feeds`` are subscriptions with oids of tables, ``subscriptions`` those of extensions.
    """
    sequences = list(sequences)
    of_extensions = [note_on_subscription(*one) for one in subscriptions if sequences]
    return (*_on_feeds(connection, sequences, feeds), *of_extensions, *_on_clones(sequences))


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


def note_on_subscription(extension: str, name: str) -> str:
    """Return the sentences on a subscription of an extension's."""
    return (
        f"The {extension} subscription {quoted([name])} is enabled: rows may still come, and"
        f" {extension} sets the sequences that it replicates to where the provider's stand, back"
        " too. Repair again when nobody writes on the other side any more and it is disabled."
    )


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
