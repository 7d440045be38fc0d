"""What will happen: found out in one pass, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restorehooks.programs import Program
from restorehooks.wording import quoted, size_in_words

from . import hook_files
from .archive.commands import chosen_ids, pg_restore_for
from .dump.contents import ArchiveEntry, read_contents
from .dump.facts import Dump, described
from .dump.proof import ACCEPT_UNFINISHED
from .errors import TargetError, UsageError
from .jobs import jobs_for, notes_on_jobs
from .request import Mode, Request
from .server.address import Address, Connection
from .server.live import Live, read_live
from .server.lock import RestoreLock
from .server.obstacles import Obstacle, Rights, obstacles, read_rights
from .server.roles import Ownership, missing_roles, plan_ownership
from .server.sides import Kept, kept

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
    unfinished: a dump without pg_dump's last line is accepted.
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
    unfinished: bool = False

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
        by = described(self.dump)
        if self.unfinished:
            by += ", of which nothing tells whether its end is there"
        return f"{self.address} holds {size} ({counted}).\n{fate}, by: {by}"

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
    program, entries = _archive(request, dump, live)
    needed = [] if request.data_only else _extensions_needed(connection, entries)
    outside = lock.maintenance != address.name
    mode = _mode(request, address, live, rights, needed, outside=outside)
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
    found, others = hook_files.find(request.hooks_dir) if request.hooks_dir else ([], [])
    return Plan(
        mode=mode,
        address=address,
        live=live,
        dump=dump,
        user=user,
        superuser=rights.superuser,
        program=program,
        jobs=jobs_for(request.jobs, mode, dump, connection),
        entries=entries,
        owners=owners,
        obstacles=obstacles(connection, live) if mode == "beside" else [],
        leftovers=kept(connection, address.name, "side") if mode == "beside" else [],
        hooks=found,
        notes=[
            *notes_on_jobs(request.jobs, mode, dump),
            *owners.notes,
            *(f"{path.name} in the hooks directory is no hook" for path in others),
            *_notes_on_roles(connection, dump),
            *_warnings(dump, live, user, rights),
        ],
        unfinished=_unfinished(request, dump, mode),
    )


def _refuse_templates(address: Address, live: Live) -> None:
    if live.properties.get("is_template") or address.name in ("template0", "template1"):
        raise TargetError(
            f"{address} is a template, which every new database is a copy of; name another target."
        )


def _archive(request: Request, dump: Dump, live: Live) -> tuple[Program | None, list[ArchiveEntry]]:
    """Return the pg_restore for an archive and the entries that are asked for."""
    if dump.format == "plain":
        if request.partial:
            raise UsageError("--schema and --table need an archive: a plain dump is one script.")
        return None, []
    program = pg_restore_for(dump, prefer=live.server_version // 10000)
    entries = read_contents(dump)
    if request.partial:
        chosen = chosen_ids(program, dump.path, request.selection)
        entries = [entry for entry in entries if entry.id in chosen]
        if not entries:
            raise UsageError("Nothing in the dump is in the schemas and tables that were named.")
    return program, entries


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


EXTENSIONS = """
SELECT wanted, available.name IS NULL, coalesce(available.superuser, false)
FROM unnest(%s::text[]) AS wanted
LEFT JOIN (SELECT name, bool_and(superuser AND NOT trusted) AS superuser
           FROM pg_catalog.pg_available_extension_versions GROUP BY name) AS available
    ON available.name = wanted
"""


def _extensions_needed(connection: Connection, entries: Sequence[ArchiveEntry]) -> list[str]:
    """Return the extensions of an archive that only a superuser may create.

    Raises TargetError for those that are not installed on the server.
    """
    wanted = [entry.tag for entry in entries if entry.kind == "EXTENSION"]
    found = connection.execute(EXTENSIONS, [wanted]).fetchall() if wanted else []
    if absent := [name for name, absent, _ in found if absent]:
        raise TargetError(
            f"The dump needs the extensions {quoted(absent)}, which are not installed on the "
            "server: install their packages there."
        )
    return [name for name, _, needs_superuser in found if needs_superuser]


def _mode(
    request: Request,
    address: Address,
    live: Live,
    rights: Rights,
    needed: Sequence[str],
    *,
    outside: bool,
) -> Mode:
    """Return how to load; ``needed`` are the extensions that only a superuser may create.

    ``outside``: there is a database to work from beside the target.
    """
    if request.in_place or request.data_only:
        if live.missing:
            raise TargetError(f"{address} does not exist; without --in-place it is created.")
        return "data only" if request.data_only else "in place"
    if request.partial and not live.empty:
        raise TargetError(
            f"{address} holds data, and a part of a dump never takes the place of the whole: "
            "restore it with --in-place, or into another database."
        )
    is_there_and_empty = live.empty and not live.missing
    if outside and not rights.lacking:
        if not needed or rights.superuser:
            return "beside"
        if not is_there_and_empty:
            raise TargetError(
                f"The dump needs the extensions {quoted(needed)}, which only a superuser may "
                "create, and a new database does not have them: restore as a superuser, or with "
                "--in-place into a database that has them."
            )
    if is_there_and_empty:
        return "in place"
    if not outside:
        raise TargetError(
            f"Only {address} itself can be entered, so nothing can be loaded beside it; "
            "name another database with --maintenance-db, or restore with --in-place."
        )
    raise TargetError("; ".join(str(one) for one in rights.lacking))


def _notes_on_roles(connection: Connection, dump: Dump) -> Iterator[str]:
    if missing := missing_roles(connection, dump.roles):
        yield (
            f"the roles {quoted(missing)} are in the dump and not on the server: what concerns "
            "them is left out, unless an administrator creates them first (--show-globals)"
        )


def _warnings(dump: Dump, live: Live, user: str, rights: Rights) -> Iterator[str]:
    dumped, server = dump.server_major, live.server_version // 10000
    if rights.superuser:
        yield (
            f'"{user}" is a superuser, and what the dump holds is run with its rights: '
            "restore a stranger's dump into a server of its own"
        )
    if dumped and dumped > server:
        yield (
            f"the dump is from PostgreSQL {dumped} and the server is {server}: what it does not "
            "know yet makes the restore fail, with the live database as it was"
        )
    if dump.crlf:
        yield (
            "the dump's lines end with a carriage return and a line feed: strings and functions "
            "of several lines keep both"
        )
    if dump.creates_database:
        yield "the dump's own CREATE DATABASE and settings of it are left out"
