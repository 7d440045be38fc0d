"""What will happen: found out in one pass, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restorehooks.programs import Program
from restorehooks.wording import size_in_words

from . import hook_files
from .archive.commands import pg_restore_for
from .dump.contents import ArchiveEntry, read_contents
from .dump.facts import Dump, described
from .dump.proof import ACCEPT_UNFINISHED
from .dump.rows import NO_ROWS, what_is_missing
from .dump.selection import Selection, select
from .errors import TargetError, UsageError
from .extension_registry import one_job, require_place
from .jobs import jobs_for, notes_on_jobs
from .mode import mode_for
from .needs import (
    Holds,
    held_by,
    require_program,
    require_rows_with_tables,
    require_server,
    require_superuser,
)
from .notes import notes_on_extensions, notes_on_roles, notes_on_unbelieved, warnings
from .request import Mode, Request
from .room import Room, room_for
from .server.address import Address
from .server.extensions import extensions_needed
from .server.live import Live, read_live
from .server.lock import RestoreLock
from .server.obstacles import Obstacle, obstacles, read_rights
from .server.replacing import Replacement, plan_replacement
from .server.roles import Ownership, plan_ownership
from .server.sides import Kept, kept, unbelieved

BUILDS = {"INDEX", "CONSTRAINT", "FK CONSTRAINT"}
"""Kinds of entries that keep a core busy while nothing is read."""
FEW = 5
"""Jobs up to which more parallel workers than that are in each other's way."""


@dataclass(frozen=True)
class Plan:
    """What will happen.

    mode: beside the live database, in it, or adding rows to it.
    address, live: the target, and what stands there.
    dump: what is restored.
    user: the role whose rights count; superuser: whether it is one.
    program: the pg_restore to run, None for a plain dump.
    jobs: how many load, and analyze, at once.
    entries: of the archive's table of contents, those to be restored; none for a plain dump.
    owners: what is decided of owners and privileges.
    obstacles: what prevents the swap, or would be lost by it.
    leftovers: side databases of runs that were killed.
    hooks: the files to run on the restored data, in order.
    notes: what the person who restores should know.
    room: how much room is needed, and how much there is.
    extensions: those that the dump creates.
    unfinished: a dump without pg_dump's last line is accepted.
    replacement: what becomes of tables that are there, where some alone are restored.
    missing: what the dump lacks that a database has.
    """

    mode: Mode
    address: Address
    live: Live
    dump: Dump
    user: str
    superuser: bool
    program: Program | None
    jobs: int
    entries: Sequence[ArchiveEntry]
    owners: Ownership
    obstacles: Sequence[Obstacle]
    leftovers: Sequence[Kept]
    hooks: Sequence[Path]
    notes: Sequence[str]
    room: Room
    unfinished: bool = False
    extensions: Sequence[str] = ()
    replacement: Replacement | None = None
    missing: Sequence[str] = ()

    @property
    def needs_confirmation(self) -> bool:
        """Something that is there would be replaced or added to."""
        return not self.live.empty

    @property
    def fills_the_cores(self) -> bool:
        """The jobs alone keep a small machine busy to the end: there is enough to build."""
        builds = sum(entry.kind in BUILDS for entry in self.entries)
        return 1 < self.jobs <= FEW and builds >= 2 * self.jobs

    def question(self) -> str:
        """Name the database, its host and size, and what comes instead."""
        size = size_in_words(self.live.size)
        counted = ", ".join(f"{count} {kind}s" for kind, count in self.live.objects.items())
        fate = {
            "beside": "It will be replaced, and kept under another name for --undo",
            "in place": f'What "{self.user}" owns in it will be DROPPED, without undo',
            "data only": "Rows will be added to it, without undo",
        }[self.mode]
        if self.replacement:
            fate = "Some of its tables will be replaced, without undo"
        by = described(self.dump)
        if self.unfinished:
            by += ", of which nothing tells whether its end is there"
        return "\n".join(
            [f"{self.address} holds {size} ({counted}).", f"{fate}, by: {by}", *self._beware()]
        )

    def _beware(self) -> Iterator[str]:
        """Yield what becomes of single tables, and what the dump lacks."""
        if self.replacement:
            yield from self.replacement.lines()
        yield from self.missing

    def lines(self) -> Iterator[str]:
        """Yield the plan for people, a line each."""
        yield f"dump      {described(self.dump)}"
        state = "missing" if self.live.missing else "empty" if self.live.empty else "holds data"
        server = self.live.server_version // 10000
        yield f"target    {self.address}, PostgreSQL {server}, {state}"
        with_jobs = f", {self.jobs} jobs" if self.jobs > 1 else ""
        by = f"{self.program.name} {self.program.version}{with_jobs}" if self.program else "psycopg"
        yield f"load      {self.mode}, with {by}, as {self.owners.load_as or self.user}"
        owner, privileges = map(_kept_or_not, (self.owners.owner, self.owners.privileges))
        yield f"owners    {owner}, privileges {privileges}"
        yield from self.room.lines()
        for line in self.replacement.lines() if self.replacement else ():
            yield f"beware    {line}"
        if self.hooks:
            yield f"hooks     {', '.join(path.name for path in self.hooks)}"
        for obstacle in self.obstacles:
            yield f"{obstacle.kind:<9} {obstacle}"
        for one in self.leftovers:
            yield f"leftover  {one.name} of a run that was killed"
        for note in self.notes:
            yield f"note      {note}"


def _kept_or_not(kept: bool) -> str:
    return "kept" if kept else "left out"


def make_plan(request: Request, address: Address, lock: RestoreLock, dump: Dump) -> Plan:
    """Find out what would happen; raise a RestoreError for what prevents it."""
    connection = lock.connection
    live = read_live(address, connection)
    _refuse_templates(address, live)
    rights = read_rights(connection, live)
    program, selection = _archive(request, dump, live)
    entries = selection.entries
    holds = held_by(dump, entries, to_the_end=request.dry_run or not rights.superuser)
    require_rows_with_tables(holds, request)
    require_server(live.server_version, request.using, holds)
    require_superuser(connection, holds, request, rights)
    needed = [] if request.data_only else extensions_needed(connection, holds.extensions)
    outside = lock.maintenance != address.name
    mode = mode_for(request, address, live, rights, needed, outside=outside)
    require_place(holds.extensions, mode)
    asked = 1 if one_job(holds.extensions) else request.jobs
    require_program(program, live.server_version, mode)
    user = address.role or address.user
    owners = plan_ownership(
        connection,
        user=user,
        superuser=rights.superuser,
        live=live,
        entries=entries,
        owner=request.owner,
        privileges=request.privileges,
        may_act_as_owner=mode == "beside" and not needed,
    )
    leftovers = kept(connection, address.name, "side") if mode == "beside" else []
    room = room_for(connection, live, dump, kept(connection, address.name, "previous"))
    found, others = hook_files.find(request.hooks_dir) if request.hooks_dir else ([], [])
    if (program and mode == "beside") or any(path.suffix == ".sh" for path in found):
        address.environment()  # refuses a secret that no other program can be given
    missing = _missing(request, holds, dump, live, entries)
    return Plan(
        mode=mode,
        address=address,
        live=live,
        dump=dump,
        user=user,
        superuser=rights.superuser,
        program=program,
        jobs=jobs_for(asked, mode, dump, connection),
        entries=entries,
        owners=owners,
        obstacles=obstacles(connection, live) if mode == "beside" else [],
        leftovers=leftovers,
        hooks=found,
        notes=[
            *missing,
            *notes_on_jobs(request.jobs, mode, dump),
            *notes_on_extensions(holds.extensions, mode),
            *selection.notes,
            *owners.notes,
            *(f"{path.name} in the hooks directory is no hook" for path in others),
            *notes_on_roles(connection, dump),
            *warnings(dump, live, user, rights),
            *notes_on_unbelieved(unbelieved(connection, address.name, leftovers)),
            *([room.warning()] if room.is_short else []),
        ],
        room=room,
        unfinished=_unfinished(request, dump, mode),
        extensions=holds.extensions,
        replacement=_replacement(request, address, live, mode, entries),
        missing=missing,
    )


def _replacement(
    request: Request, address: Address, live: Live, mode: Mode, entries: Sequence[ArchiveEntry]
) -> Replacement | None:
    """Say what becomes of the tables that are named, where the target has others."""
    if mode != "in place" or not request.partial or live.empty:
        return None
    with address.connect(address.name) as inside:
        return plan_replacement(inside, entries)


def _missing(
    request: Request, holds: Holds, dump: Dump, live: Live, entries: Sequence[ArchiveEntry]
) -> Sequence[str]:
    """Say what the dump lacks, where it takes the place of a database that holds something."""
    if live.empty or request.data_only:
        return ()
    if dump.format == "plain":
        return () if holds.rows else (NO_ROWS,)
    return tuple(what_is_missing(entries, whole=not request.partial))


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
    if not request.partial:
        return program, Selection(entries)
    return program, select(entries, request.schemas, request.tables, with_needed=live.empty)


def _unfinished(request: Request, dump: Dump, mode: Mode) -> bool:
    """Return whether the end of the dump may be missing. Raises UsageError where it must not."""
    if not request.accept_unfinished:
        return False
    if dump.format != "plain":
        raise UsageError(f"{ACCEPT_UNFINISHED} is for plain dumps: an archive proves its own end.")
    if mode != "beside":
        raise UsageError(
            f"{ACCEPT_UNFINISHED} needs a database beside the live one, which --undo can bring "
            f"back; this restore would be {mode}."
        )
    return True
