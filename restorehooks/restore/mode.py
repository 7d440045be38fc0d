"""How a dump is loaded: beside the live database, in it, or as rows added to its tables."""

from __future__ import annotations

from collections.abc import Sequence

from restorehooks.wording import quoted

from .errors import TargetError
from .request import Mode, Request
from .server.address import Address
from .server.live import Live
from .server.obstacles import Rights


def mode_for(
    request: Request,
    address: Address,
    live: Live,
    rights: Rights,
    needed: Sequence[str],
    *,
    outside: bool,
) -> Mode:
    """Return how to load; ``needed`` are the extensions that only a superuser may create.

    ``outside``: there is another database to work from. Raises TargetError.
    """
    if asked := _asked(request, address, live):
        return asked
    if request.partial and not live.empty:
        raise TargetError(
            f"{address} holds data, and a part of a dump never takes the place of the whole: "
            "restore it with --in-place, or into another database."
        )
    is_there_and_empty = live.empty and not live.missing
    if outside and not rights.lacking:
        if not needed or rights.superuser:
            return "beside"
        if not is_there_and_empty and request.skip_superuser_only:
            return "beside"
        if not is_there_and_empty:
            raise TargetError(
                f"The dump needs the extensions {quoted(needed)}, which only a superuser may "
                "create, and a new database does not have them: restore as a superuser, --in-place "
                "into a database that has them, or without them by --skip-superuser-only."
            )
    if is_there_and_empty:
        return "in place"
    if not outside:
        raise TargetError(
            f"Only {address} itself can be entered, so nothing can be loaded beside it; "
            "name another database with --maintenance-db, or restore with --in-place."
        )
    raise TargetError("; ".join(str(one) for one in rights.lacking))


def _asked(request: Request, address: Address, live: Live) -> Mode | None:
    if not request.in_place and not request.data_only:
        return None
    if live.missing:
        raise TargetError(f"{address} does not exist; without --in-place it is created.")
    return "data only" if request.data_only else "in place"
