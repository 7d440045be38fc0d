"""What is known of the dump, the target and the role, before anything is decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from restorehooks.programs import Program

from .archive.commands import pg_restore_for
from .dump.contents import ArchiveEntry, read_contents
from .dump.facts import Dump
from .dump.own_files import require_own_files
from .dump.selection import Selection, select
from .errors import TargetError, UsageError
from .needs import (
    Holds,
    held_by,
    require_rows_with_tables,
    require_server,
    require_superuser,
)
from .request import Mode, Request
from .server.address import Address, Connection
from .server.live import Live, read_live
from .server.lock import RestoreLock
from .server.obstacles import Rights, read_rights


@dataclass(frozen=True)
class Known:
    """What a plan is decided by.

    request, dump: what was asked for, and the dump.
    address, live, connection: the target, what stands there, and the maintenance connection.
    outside: there is another database to work from than the target itself.
    rights: of the role that restores.
    program, selection: the pg_restore for an archive, and the entries that are asked for.
    holds: what of the dump matters to the decision.
    """

    request: Request
    dump: Dump
    address: Address
    live: Live
    connection: Connection
    outside: bool
    rights: Rights
    program: Program | None
    selection: Selection
    holds: Holds

    @property
    def entries(self) -> Sequence[ArchiveEntry]:
        """The archive's entries to be restored; none for a plain dump."""
        return self.selection.entries

    def user(self, mode: Mode) -> str:
        """Return the role whose rights count: the one that the sessions act as."""
        return self.rights.role if mode == "beside" else self.live.role or self.rights.role


def find_out(
    request: Request, lock: RestoreLock, dump: Dump, watch: Callable[[int], None]
) -> Known:
    """Find out what has to be known; raise a RestoreError for what prevents any restore.

    ``watch`` is called with the number of bytes of a plain dump that were read for that.
    """
    address, connection = lock.address, lock.connection
    live = read_live(address, connection)
    _refuse_templates(address, live)
    rights = read_rights(connection, live)
    program, selection = _archive(request, dump, live)
    to_the_end = request.dry_run or not rights.superuser
    holds = held_by(dump, selection.entries, to_the_end=to_the_end, watch=watch)
    require_rows_with_tables(holds, request)
    require_server(live.server_version, request.using, holds)
    require_superuser(connection, holds, request, rights)
    return Known(
        request=request,
        dump=dump,
        address=address,
        live=live,
        connection=connection,
        outside=lock.maintenance != address.name,
        rights=rights,
        program=program,
        selection=selection,
        holds=holds,
    )


def _refuse_templates(address: Address, live: Live) -> None:
    if live.properties.get("is_template") or address.name in ("template0", "template1"):
        raise TargetError(
            f"{address} is a template, which every new database is a copy of; name another target."
        )


def _archive(request: Request, dump: Dump, live: Live) -> tuple[Program | None, Selection]:
    """Return the pg_restore for an archive and the entries that are asked for."""
    if dump.format == "plain":
        if request.partial:
            raise UsageError("--schema and --table need an archive: a plain dump is one script.")
        return None, Selection([])
    program = pg_restore_for(dump, prefer=live.server_version // 10000)
    entries = read_contents(dump)
    require_own_files(dump, entries)
    if not request.partial:
        return program, Selection(entries)
    return program, select(entries, request.schemas, request.tables, with_needed=live.empty)
