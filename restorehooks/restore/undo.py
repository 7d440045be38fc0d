"""After a restore: put the previous database back, or drop what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from restorehooks.restore import carried, database, hooks
from restorehooks.restore.address import Address
from restorehooks.restore.database import Kept
from restorehooks.restore.interrupts import ended_politely, undisturbed
from restorehooks.restore.live import look
from restorehooks.restore.plan import DeclinedError, size_in_words
from restorehooks.restore.turn import TargetError, Turn


@dataclass(frozen=True)
class Undone:
    """What was put back, and the name of what was live until then (None if there was nothing)."""

    target: str
    back: Kept
    replaced: str | None


def undo(
    using: str = "default",
    *,
    confirm: Callable[[str], bool],
    dry_run: bool = False,
    maintenance_db: str | None = None,
) -> Undone:
    """Swap the latest previous database back in; the one that was live is kept in its turn.

    Raises TargetError when there is none or the swap fails, DeclinedError when ``confirm`` says
    no; the live database then is as it was.
    """
    address = Address.of(using)
    with ended_politely(), Turn(address, maintenance_db) as turn:
        live = look(address, turn.connection)
        found = database.kept(turn.connection, address.name, "previous")
        if not found:
            raise TargetError(f"No previous database of {address} is kept: nothing to undo.")
        back = found[0]
        _, lacks = carried.rights(turn.connection, live)
        if lacks:
            raise TargetError("; ".join(str(one) for one in lacks))
        question = (
            f"{address} ({size_in_words(live.size)}) will be replaced by what it was before "
            f'{back.marker.at}: "{back.name}" ({size_in_words(back.size or 0)}). What is live now '
            "is kept too"
        )
        if dry_run:
            return Undone(address.name, back, None)
        if not confirm(question):
            raise DeclinedError("Not confirmed.")
        hooks.hang_up(using)
        with undisturbed() as signals:
            swapped = database.undo(turn, live, back, by=f'an undo to "{back.name}"')
            signals.over = True
        return Undone(address.name, back, swapped.previous)


def drop_previous(
    using: str = "default",
    *,
    confirm: Callable[[str], bool],
    dry_run: bool = False,
    maintenance_db: str | None = None,
) -> list[Kept]:
    """Drop every previous database of the alias and return them; TargetError when there is none.

    Raises DeclinedError when ``confirm`` says no.
    """
    address = Address.of(using)
    with ended_politely(), Turn(address, maintenance_db) as turn:
        found = database.kept(turn.connection, address.name, "previous")
        if not found:
            raise TargetError(f"No previous database of {address} is kept: nothing to drop.")
        listed = ", ".join(f'"{one.name}" ({size_in_words(one.size or 0)})' for one in found)
        if dry_run:
            return found
        if not confirm(f"{listed} will be dropped, and no restore of {address} can be undone then"):
            raise DeclinedError("Not confirmed.")
        for one in found:
            database.drop(turn.connection, one.name)
        return found
