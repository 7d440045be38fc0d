"""The databases that were live before: said in words and as JSON, and the oldest dropped."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from restorehooks.wording import first_line, printable, size_in_words

from .server.lock import RestoreLock
from .server.sides import Kept, drop, kept


def keep_latest(lock: RestoreLock, count: int) -> list[str]:
    """Drop what is kept beyond the latest ``count``; return a line about each."""
    beyond = kept(lock.retaken(), lock.address.name, "previous")[count:]
    return [_dropped(lock, one) for one in beyond]


def _dropped(lock: RestoreLock, one: Kept) -> str:
    try:
        drop(lock.retaken(), one.name)
    except psycopg.Error as error:
        return f'"{one.name}" could not be dropped ({first_line(error)})'
    return f'"{one.name}", one of the oldest, was dropped, as asked'


def line_about(one: Kept) -> str:
    """Return what is to be said of a kept database, as one line."""
    size = size_in_words(one.size) if one.size is not None else "size not known"
    origin = one.marker.origin or "a dump that is not known"
    broken = "; a DROP of it was cut off, so it can only be dropped" if one.broken else ""
    return printable(
        f"{one.name}  {size}  live until {one.marker.at}, from {origin}; "
        f"replaced by {one.marker.by or 'what is not known'}{broken}"
    )


def as_json(one: Kept) -> dict[str, str | int | bool | None]:
    """Return a kept database as what json.dumps takes; its times are in UTC."""
    return {
        "name": one.name,
        "until": one.marker.at,
        "origin": one.marker.origin,
        "replaced_by": one.marker.by,
        "bytes": one.size,
        "broken": one.broken,
    }


def sentence_about(found: Sequence[Kept]) -> str:
    """Return how many databases are kept and how much room they take."""
    if not found:
        return "No previous database is kept."
    known = size_in_words(sum(one.size or 0 for one in found))
    room = known if all(one.size is not None for one in found) else f"at least {known}"
    noun = "database is" if len(found) == 1 else "databases are"
    return (
        f"{len(found)} previous {noun} kept and take{'s' if len(found) == 1 else ''} {room}: "
        "restoredb --kept lists them, --undo NAME brings one back, --drop-previous drops them."
    )
