"""After a restore: what is kept of what was live before, and how it is put back or dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import sql

from restorehooks.wording import quoted, size_in_words

from .alias import close_connections
from .errors import DeclinedError, TargetError, UsageError
from .interrupts import interruptible, uninterrupted
from .server.address import Address, Connection
from .server.failover import failover_by
from .server.kept_databases import Kept, kept, kept_by_others
from .server.live import Live, read_live
from .server.lock import RestoreLock, connect_maintenance
from .server.obstacles import read_rights
from .server.sides import drop
from .server.swap import swap_back

_FEW = 5


@dataclass(frozen=True)
class Undone:
    """What was put back, and the name of what was live until then (None if there was nothing)."""

    target: str
    back: Kept
    replaced: str | None


def kept_databases(using: str = "default", *, maintenance_db: str | None = None) -> list[Kept]:
    """Return the databases that were live before, the latest first; ``undo`` takes any of them.

    Changes nothing, and does not wait for a restore that is running.
    """
    address = Address.of(using)
    with connect_maintenance(address, maintenance_db) as connection:
        return kept(connection, address.name, "previous")


def undo(
    using: str = "default",
    *,
    confirm: Callable[[str], bool],
    name: str | None = None,
    dry_run: bool = False,
    maintenance_db: str | None = None,
) -> Undone:
    """Swap a previous database back in, the latest unless ``name`` says which.

    The one that was live is kept in its turn. Raises UsageError for a name that is not kept,
    TargetError when there is none or the swap fails, DeclinedError when ``confirm`` says no; the
    live database then is as it was.
    """
    with interruptible(), RestoreLock(Address.of(using), maintenance_db) as lock:
        address = lock.address
        live = read_live(address, lock.connection)
        (back,) = _chosen(lock.connection, address, [] if name is None else [name])[:1]
        _require_way_back(lock.connection, live, back, using)
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
            swapped = swap_back(
                lock,
                live,
                back,
                by=f'an undo to "{back.name}"',
                interrupted=lambda: signals.came,
            )
            signals.over = True
        return Undone(address.name, back, swapped.previous)


def drop_previous(
    using: str = "default",
    *,
    confirm: Callable[[str], bool],
    names: Sequence[str] = (),
    dry_run: bool = False,
    maintenance_db: str | None = None,
    dropped: list[Kept] | None = None,
) -> list[Kept]:
    """Drop the previous databases of these names, or all of them, and return them.

    ``dropped`` is filled on the way, for those who want to know how far it came when it fails.
    Raises UsageError for a name that is not kept, TargetError when there is none, DeclinedError
    when ``confirm`` says no.
    """
    with interruptible(), RestoreLock(Address.of(using), maintenance_db) as lock:
        address = lock.address
        found = _chosen(lock.connection, address, names)
        listed = ", ".join(f'"{one.name}" ({size_in_words(one.size or 0)})' for one in found)
        done = [] if dropped is None else dropped
        if dry_run:
            done.extend(found)
            return done
        if not confirm(f"{listed} will be dropped, and {address} can never be that again"):
            raise DeclinedError("Not confirmed.")
        for one in found:
            # A DROP that is cut off leaves a database that can only be dropped.
            with uninterrupted() as signals:
                drop(lock, one.name)
                done.append(one)
            if signals.came and one is not found[-1]:
                raise KeyboardInterrupt
        return done


def _chosen(connection: Connection, address: Address, names: Sequence[str]) -> list[Kept]:
    found = kept(connection, address.name, "previous")
    there = quoted(one.name for one in found) or "none"
    if unknown := [name for name in names if name not in {one.name for one in found}]:
        raise UsageError(
            f"{quoted(unknown)} is not kept as a previous database of {address}; there is {there}."
        )
    if not found:
        raise TargetError(
            f"No previous database of {address} is kept: there is nothing to undo or to drop."
            + _of_others(connection, address.name)
        )
    return [one for one in found if not names or one.name in names]


def _of_others(connection: Connection, live: str) -> str:
    """Return what is said of those of an earlier owner, which may be forged."""
    if not (found := kept_by_others(connection, live)):
        return ""
    said = ", ".join(f'"{name}" of "{owner}"' for name, owner in found[:_FEW])
    more = f" and {len(found) - _FEW} more" if len(found) > _FEW else ""
    return (
        f" {said}{more}: each says that it is one, as any database of whoever may create some can, "
        "and its owner is neither the live one's nor a superuser. If it is one, ALTER DATABASE ... "
        "OWNER TO gives it to that owner, and it counts."
    )


def _require_way_back(connection: Connection, live: Live, back: Kept, using: str) -> None:
    if back.broken:
        raise TargetError(
            f'"{back.name}" is not whole: a DROP of it was cut off. Finish it with '
            f'--drop-previous "{back.name}", and name another one.'
        )
    if back.closed:
        opened = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(
            sql.Identifier(back.name)
        )
        raise TargetError(f'"{back.name}" lets nobody connect: {opened.as_string()} lets them.')
    if found := [*read_rights(connection, live).lacking, *failover_by(using)]:
        raise TargetError("; ".join(str(one) for one in found))
