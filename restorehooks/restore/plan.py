"""What will happen: found out in one pass, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restorehooks.programs import Program
from restorehooks.wording import size_in_words

from . import hook_files
from .archive.rows import holds_rows
from .dump.contents import ArchiveEntry
from .dump.facts import Dump, described
from .dump.proof import ACCEPT_UNFINISHED
from .dump.rows import NO_KEYS, NO_ROWS, SOME_ROWS, what_is_missing
from .errors import UsageError
from .extension_registry import require_place
from .jobs import jobs_for, notes_on_jobs
from .known import Known
from .mode import mode_for
from .needs import require_program
from .notes import (
    notes_on_extensions,
    notes_on_grants,
    notes_on_roles,
    notes_on_standbys,
    notes_on_unbelieved,
    warnings,
)
from .request import Mode, Request
from .room import Room, room_for
from .server.address import Address
from .server.extensions import extensions_needed
from .server.failover import failover_by
from .server.kept_databases import Kept, kept, unbelieved
from .server.live import Live
from .server.obstacles import Obstacle, obstacles
from .server.ownership import Ownership, plan_ownership
from .server.replacing import Replacement, plan_replacement
from .server.replication import Ties, read_ties, refuse_to_break

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
            "beside": "It will be replaced, its clients disconnected, and it is kept for --undo",
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
        by = f"{self.program.name} {self.program.version}" if self.program else "psycopg"
        yield f"load      {self.mode}, with {by}{with_jobs}, as {self.owners.load_as or self.user}"
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


def make_plan(known: Known) -> Plan:
    """Decide what will happen; raise a RestoreError for what prevents it."""
    request, dump, address = known.request, known.dump, known.address
    connection, live, extensions = known.connection, known.live, known.holds.extensions
    wanted = [] if request.data_only else extensions
    needed = extensions_needed(connection, wanted, some_may_miss=request.skip_superuser_only)
    mode = mode_for(request, address, live, known.rights, needed, outside=known.outside)
    ties = read_ties(address, live)
    if mode == "beside" or (mode == "in place" and not live.empty):
        refuse_to_break(address, ties)
    require_place(extensions, mode, may_miss=request.skip_superuser_only)
    require_program(known.program, live.server_version, mode)
    hooks, others = hook_files.find(request.hooks_dir) if request.hooks_dir else ([], [])
    _require_environment(known, mode, hooks)
    beside = mode == "beside"
    sides = kept(connection, address.name, "side")
    owners = _ownership(known, mode, may_act_as_owner=beside and not needed)
    room = room_for(connection, live, dump, kept(connection, address.name, "previous"))
    missing = _missing(known)
    return Plan(
        mode=mode,
        address=address,
        live=live,
        dump=dump,
        user=known.user(mode),
        superuser=known.rights.superuser,
        program=known.program,
        jobs=jobs_for(request.jobs, mode, dump, extensions, connection),
        entries=known.entries,
        owners=owners,
        obstacles=_in_the_way(known, ties) if beside else [],
        leftovers=sides if beside else [],
        hooks=hooks,
        notes=[*missing, *ties.notes, *_notes(known, mode, owners, room, (hooks, others), sides)],
        room=room,
        unfinished=_unfinished(request, dump, mode),
        extensions=extensions,
        replacement=_replacement(known, mode),
        missing=missing,
    )


def _in_the_way(known: Known, ties: Ties) -> list[Obstacle]:
    """Return what prevents the swap, or would be lost by it."""
    found = [*obstacles(known.connection, known.live), *ties.obstacles]
    return found if known.live.missing else [*found, *failover_by(known.request.using)]


def _ownership(known: Known, mode: Mode, *, may_act_as_owner: bool) -> Ownership:
    return plan_ownership(
        known.connection,
        user=known.user(mode),
        superuser=known.rights.superuser,
        live=known.live,
        entries=known.entries,
        owner=known.request.owner,
        privileges=known.request.privileges,
        may_act_as_owner=may_act_as_owner,
    )


def _notes(
    known: Known,
    mode: Mode,
    owners: Ownership,
    room: Room,
    files: tuple[Sequence[Path], Sequence[Path]],
    sides: Sequence[Kept],
) -> Iterator[str]:
    yield from notes_on_jobs(known.request.jobs, mode, known.dump)
    yield from notes_on_extensions(known.holds.extensions, mode, known.live)
    yield from known.selection.notes
    yield from owners.notes
    hooks, others = files
    yield from (f"{path.name} in the hooks directory is no hook" for path in others)
    if known.request.hooks_dir and not hooks:
        yield f"there is no hook in {known.request.hooks_dir}, so none is run"
    yield from notes_on_roles(known.connection, known.dump)
    if mode == "beside":
        yield from notes_on_grants(known.connection, known.live)
    yield from notes_on_standbys(known.connection)
    yield from warnings(known.dump, known.live, known.rights.role, known.rights)
    yield from notes_on_unbelieved(unbelieved(known.connection, known.address.name, sides))
    if room.is_short:
        yield room.warning()


def _require_environment(known: Known, mode: Mode, hooks: Sequence[Path]) -> None:
    """Refuse a secret that no other program can be given, where one is to run."""
    runs_pg_restore = known.program is not None and mode == "beside"
    if runs_pg_restore or any(path.suffix == ".sh" for path in hooks):
        known.address.environment()


def _replacement(known: Known, mode: Mode) -> Replacement | None:
    """Say what becomes of the tables that are named, where the target has others."""
    if mode != "in place" or not known.request.partial or known.live.empty:
        return None
    with known.address.connect(known.address.name) as inside:
        return plan_replacement(inside, known.entries)


def _missing(known: Known) -> Sequence[str]:
    """Say what the dump lacks of itself, and of a database that holds something."""
    if known.request.data_only:
        return ()
    found = [known.holds.missing_tables] if known.holds.missing_tables else []
    if known.live.empty:
        return found
    if known.dump.format == "plain":
        holds = known.holds
        lacks = {NO_ROWS: not holds.rows, SOME_ROWS: holds.row_security, NO_KEYS: not holds.keys}
        return [*(what for what, is_so in lacks.items() if is_so), *found]

    def rows() -> bool:
        assert known.program  # noqa: S101 - an archive has one
        return holds_rows(known.program, known.dump, known.entries)

    whole = not known.request.partial
    return [*found, *what_is_missing(known.entries, whole=whole, holds_rows=rows)]


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
