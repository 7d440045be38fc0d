"""After a restore: put the previous database back, or drop what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from restorehooks.wording import quoted, size_in_words

from .alias import close_connections
from .errors import DeclinedError, TargetError, UsageError
from .interrupts import interruptible, uninterrupted
from .server.address import Address
from .server.live import read_live
from .server.lock import RestoreLock
from .server.obstacles import read_rights
from .server.sides import Kept, drop, kept
from .server.swap import swap_back


@dataclass(frozen=True)
class Undone:
    """What was put back, and the name of what was live until then (None if there was nothing)."""

    target: str
    back: Kept
    replaced: str | None


def kept_databases(using: str = "default", *, maintenance_db: str | None = None) -> list[Kept]:
    """Return the previous databases of the alias, the latest first."""
    address = Address.of(using)
    with interruptible(), RestoreLock(address, maintenance_db) as lock:
        return kept(lock.connection, address.name, "previous")


def _named(found: Sequence[Kept], names: Sequence[str]) -> list[Kept]:
    """Return those of these names, all where there is no name; UsageError for a wrong one."""
    there = {one.name: one for one in found}
    for name in names:
        if name not in there:
            raise UsageError(f'"{name}" is not kept; there are: {quoted(there) or "none"}.')
    return [there[name] for name in names] if names else list(found)


def undo(
    using: str = "default",
    *,
    name: str | None = None,
    confirm: Callable[[str], bool],
    dry_run: bool = False,
    maintenance_db: str | None = None,
) -> Undone:
    """Swap a previous database back in, the latest or the one named; keep the one that was live.

    Raises UsageError for a name that is not kept, TargetError when there is none or the swap
    fails, DeclinedError when ``confirm`` says no: the live database then is as it was.
    """
    address = Address.of(using)
    with interruptible(), RestoreLock(address, maintenance_db) as lock:
        live = read_live(address, lock.connection)
        found = _named(kept(lock.connection, address.name, "previous"), [name] if name else [])
        if not found:
            raise TargetError(f"No previous database of {address} is kept: nothing to undo.")
        back = found[0]
        if lacking := read_rights(lock.connection, live).lacking:
            raise TargetError("; ".join(str(one) for one in lacking))
        question = (
            f"{address} ({size_in_words(live.size)}) will be replaced by what it was before "
            f'{back.marker.at}: "{back.name}" ({size_in_words(back.size or 0)}). What is live now '
            "is kept too"
        )
        if dry_run:
            return Undone(address.name, back, None)
        if not confirm(question):
            raise DeclinedError("Not confirmed.")
        close_connections(using)
        with uninterrupted() as signals:
            swapped = swap_back(lock, live, back, by=f'an undo to "{back.name}"')
            signals.over = True
        return Undone(address.name, back, swapped.previous)


def drop_previous(
    using: str = "default",
    *,
    names: Sequence[str] = (),
    confirm: Callable[[str], bool],
    dry_run: bool = False,
    maintenance_db: str | None = None,
) -> list[Kept]:
    """Drop every previous database of the alias, or those named, and return them.

    Raises UsageError for a name that is not kept, TargetError when there is none,
    DeclinedError when ``confirm`` says no.
    """
    address = Address.of(using)
    with interruptible(), RestoreLock(address, maintenance_db) as lock:
        found = _named(kept(lock.connection, address.name, "previous"), names)
        if not found:
            raise TargetError(f"No previous database of {address} is kept: nothing to drop.")
        listed = ", ".join(f'"{one.name}" ({size_in_words(one.size or 0)})' for one in found)
        if dry_run:
            return found
        if not confirm(f"{listed} will be dropped, and no restore of {address} can be undone then"):
            raise DeclinedError("Not confirmed.")
        for one in found:
            drop(lock.connection, one.name)
        return found
