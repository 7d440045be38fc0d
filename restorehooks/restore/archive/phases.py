"""Which entries of an archive are sent over our own connection, and which pg_restore loads.

pg_restore loads what takes time and can be done by several jobs: rows, large objects, indexes,
constraints. None of that may fail. What it makes before (schemas, types, tables, functions) and
after (privileges, publications, materialized views' rows) it would do one by one as well, and there
is much in it that may have to be left out: the roles, tablespaces and extensions of another server.
Those entries are turned into SQL and go the way of a plain dump, so that one set of rules decides
for both, statement by statement, and the server's SQLSTATE tells why one has failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from restorehooks.restore.dump.contents import POST_DATA, ArchiveEntry

_LOADED = frozenset(
    (
        "BLOB COMMENTS",
        "BLOBS",
        "CHECK CONSTRAINT",
        "CONSTRAINT",
        "FK CONSTRAINT",
        "INDEX",
        "INDEX ATTACH",
        "ROW SECURITY",
        "RULE",
        "TABLE DATA",
        "TRIGGER",
    )
)
"""Kinds that have no owner of their own and name no role."""
_LAST = frozenset(
    (
        "ACL",
        "DEFAULT ACL",
        "EVENT TRIGGER",
        "EXTENDED STATISTICS DATA",
        "MATERIALIZED VIEW DATA",
        "STATISTICS DATA",
        "SUBSCRIPTION TABLE",
    )
)
"""Kinds that pg_restore itself leaves for the end, or that describe the rows."""


@dataclass(frozen=True)
class Phases:
    """The entries of an archive by when they are restored: three steps, one after the other.

    before, after: sent over our own connection. load: what pg_restore loads.
    """

    before: Sequence[ArchiveEntry]
    load: Sequence[ArchiveEntry]
    after: Sequence[ArchiveEntry]


def phases(
    entries: Iterable[ArchiveEntry], tablespaces: frozenset[str], *, triggers_may_fail: bool = False
) -> Phases:
    """Divide the entries, which are in pg_dump's order.

    ``tablespaces`` are those that the restoring role may use. An index or a constraint in another
    one is built over our own connection, in the default one, with all that depends on it.
    ``triggers_may_fail``: functions are left out, and with each of them the triggers that call it.
    """
    before: list[ArchiveEntry] = []
    load: list[ArchiveEntry] = []
    after: list[ArchiveEntry] = []
    place: dict[int, list[ArchiveEntry]] = {}
    for entry in entries:
        needed = [place[number] for number in entry.depends_on if number in place]
        here = not entry.tablespace or entry.tablespace in tablespaces
        last = entry.kind in _LAST or (triggers_may_fail and entry.kind == "TRIGGER")
        if last or any(phase is after for phase in needed):
            phase = after
        elif entry.with_oids:
            phase = before  # no server since 12 takes them
        elif entry.kind in _LOADED:
            phase = load if here else after
        elif entry.section == POST_DATA:
            phase = after
        else:
            # A comment belongs to what it is on.
            phase = load if any(one is load for one in needed) else before
        place[entry.id] = phase
        phase.append(entry)
    return Phases(before, load, after)
