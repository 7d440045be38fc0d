"""What is asked for, and what will happen: found out before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from restorehooks.restore import carried, client, database, hooks, ownership
from restorehooks.restore.address import Address
from restorehooks.restore.carried import Obstacle
from restorehooks.restore.client import Program
from restorehooks.restore.dump import Dump
from restorehooks.restore.live import Live, look
from restorehooks.restore.ownership import Ownership, quoted
from restorehooks.restore.turn import TargetError, Turn

Mode = Literal["beside", "in place", "data only"]


class RestoreError(Exception):
    """The restore did not take place; one sentence. The live database is as it was."""


class UsageError(RestoreError):
    """What was asked for cannot be asked for like that."""


class DeclinedError(RestoreError):
    """The person who was asked said no."""


class LiveChangedError(Exception):
    """The restore took place in the live database, and what came after it failed."""


@dataclass(frozen=True)
class Request:
    """What is to be restored, where, and how.

    ``source`` is a file, a directory, or "-" for stdin. ``owner`` and ``privileges`` None keep
    ownership and privileges where the roles they name are there. ``jobs``
    None means one per core and one more.
    """

    source: str
    using: str = "default"
    in_place: bool = False
    data_only: bool = False
    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    jobs: int | None = None
    owner: bool | None = None
    privileges: bool | None = None
    migrate: bool = False
    analyze: bool = True
    hooks_dir: Path | None = None
    dry_run: bool = False
    accept_lost_settings: bool = False
    drop_previous: bool = False
    maintenance_db: str | None = None
    swap_seconds: float = database.SECONDS_TO_SWAP

    @property
    def partial(self) -> bool:
        """Some schemas or tables alone are asked for."""
        return bool(self.schemas or self.tables)


BUILDS = {"INDEX", "CONSTRAINT", "FK CONSTRAINT"}
FEW = 5
"""Jobs up to which more workers than that are in each other's way."""


def _kept(kept: bool) -> str:
    return "kept" if kept else "left out"


@dataclass
class Plan:
    """What will happen: found out before anything is changed."""

    mode: Mode
    address: Address
    live: Live
    dump: Dump
    user: str
    superuser: bool
    program: Program | None = None
    jobs: int = 1
    entries: list[client.Entry] = field(default_factory=list)
    owners: Ownership = field(default_factory=Ownership)
    obstacles: list[Obstacle] = field(default_factory=list)
    leftovers: list[database.Kept] = field(default_factory=list)
    hooks: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

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
        return f"{self.address} holds {size} ({counted}).\n{fate}, by: {described(self.dump)}"

    def lines(self) -> Iterator[str]:
        """Yield the plan for people, a line each."""
        yield f"dump      {described(self.dump)}"
        state = "missing" if self.live.missing else "empty" if self.live.empty else "holds data"
        server = self.live.server_version // 10000
        yield f"target    {self.address}, PostgreSQL {server}, {state}"
        with_jobs = f", {self.jobs} jobs" if self.jobs > 1 else ""
        by = f"{self.program.name} {self.program.version}{with_jobs}" if self.program else "psycopg"
        yield f"load      {self.mode}, with {by}, as {self.owners.load_as or self.user}"
        yield f"owners    {_kept(self.owners.owner)}, privileges {_kept(self.owners.privileges)}"
        if self.hooks:
            yield f"hooks     {', '.join(path.name for path in self.hooks)}"
        for obstacle in self.obstacles:
            yield f"{obstacle.kind:<9} {obstacle}"
        for one in self.leftovers:
            yield f"leftover  {one.name} of a run that was killed"
        for note in self.notes:
            yield f"note      {note}"


def make_plan(request: Request, address: Address, turn: Turn, dump: Dump) -> Plan:
    """Find out what would happen; raise what stands against it."""
    live = look(address, turn.connection)
    if live.properties.get("is_template") or address.name in ("template0", "template1"):
        raise TargetError(
            f"{address} is a template, which every new database is a copy of; name another target."
        )
    superuser, lacks = carried.rights(turn.connection, live)
    mode = _mode(request, address, live, lacks, outside=turn.maintenance != address.name)
    user = address.role or address.user
    plan = Plan(mode, address, live, dump, user, superuser)
    if dump.format != "plain":
        _plan_archive(request, plan, turn)
    elif request.partial:
        raise UsageError("--schema and --table need an archive: a plain dump is one script.")
    hard = _hard_extensions(plan, turn)
    plan.owners = ownership.plan(
        turn.connection,
        user=user,
        superuser=superuser,
        live=live,
        entries=plan.entries,
        grants=lambda: client.grants(plan.program, dump.path, plan.entries),
        owner=request.owner,
        privileges=request.privileges,
        may_act_as_owner=plan.mode == "beside" and not hard,
    )
    plan.notes += plan.owners.notes
    if plan.mode == "beside":
        plan.obstacles = carried.obstacles(turn.connection, live)
        plan.leftovers = database.kept(turn.connection, address.name, "side")
    if request.hooks_dir:
        plan.hooks, others = hooks.find(request.hooks_dir)
        plan.notes += [f"{path.name} in the hooks directory is no hook" for path in others]
    _plan_warnings(plan)
    return plan


def _mode(
    request: Request, address: Address, live: Live, lacks: list[Obstacle], *, outside: bool
) -> Mode:
    if request.in_place or request.data_only:
        if live.missing:
            raise TargetError(f"{address} does not exist; without --in-place it is created.")
        return "data only" if request.data_only else "in place"
    if request.partial and not live.empty:
        raise TargetError(
            f"{address} holds data, and a part of a dump never takes the place of the whole: "
            "restore it with --in-place, or into another database."
        )
    if not lacks and outside:
        return "beside"
    if live.empty and not live.missing:
        return "in place"
    if not outside:
        raise TargetError(
            f"Only {address} itself can be entered, so nothing can be loaded beside it; "
            "name another database with --maintenance-db, or restore with --in-place."
        )
    raise TargetError("; ".join(str(one) for one in lacks))


def _plan_archive(request: Request, plan: Plan, turn: Turn) -> None:
    dump, server = plan.dump, plan.live.server_version // 10000
    version = (dump.archive_version or (1, 14, 0))[:2]
    newest = max(client.READS)
    if version > newest:
        raise client.ClientError(
            f"The archive is of version {version[0]}.{version[1]}, newer than any this release "
            f"knows ({newest[0]}.{newest[1]}): upgrade restorehooks."
        )
    at_least = client.READS.get((version[0], version[1]), 12)
    plan.program = client.find("pg_restore", at_least=at_least, prefer=server)
    plan.entries = client.entries(plan.program, dump.path, *chosen(request))
    if request.partial and not plan.entries:
        raise UsageError("Nothing in the dump is in the schemas and tables that were named.")
    if plan.mode == "beside" and dump.format in ("custom", "directory"):
        # One more than there are cores, since each waits for the disk now and then.
        plan.jobs = request.jobs or max(1, min(_cores() + 1, _connections_left(turn)))
    elif request.jobs and request.jobs > 1:
        plan.notes.append(f"a {dump.format} dump, {plan.mode}, is loaded by one job")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


LEFT = """
SELECT least(
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid IS NOT NULL),
    (SELECT nullif(rolconnlimit, -1) - (SELECT count(*) FROM pg_catalog.pg_stat_activity
                                        WHERE usename = rolname)
     FROM pg_catalog.pg_roles WHERE rolname = session_user))
"""
SPARE = 4
"""Connections left to others, the leader's and the maintenance connection among them."""


def _connections_left(turn: Turn) -> int:
    row = turn.connection.execute(LEFT).fetchone()
    return int(row[0]) - SPARE if row else 1


def chosen(request: Request) -> list[str]:
    """Return pg_restore's options for the schemas and tables asked for."""
    flags = [f"--schema={name}" for name in request.schemas]
    return flags + [f"--table={name}" for name in request.tables]


EXTENSIONS = """
SELECT wanted, available.name IS NULL, coalesce(available.hard, false)
FROM unnest(%s::text[]) AS wanted
LEFT JOIN (SELECT name, bool_and(superuser AND NOT trusted) AS hard
           FROM pg_catalog.pg_available_extension_versions GROUP BY name) AS available
    ON available.name = wanted
"""


def _hard_extensions(plan: Plan, turn: Turn) -> list[str]:
    """Return the extensions only a superuser can create; raise if that cannot go well."""
    if plan.mode == "data only":
        return []
    wanted = [entry.rest.split()[1] for entry in plan.entries if entry.kind == "EXTENSION"]
    found = turn.connection.execute(EXTENSIONS, [wanted]).fetchall()
    if absent := [name for name, absent, _ in found if absent]:
        raise TargetError(
            f"The dump needs the extensions {quoted(absent)}, which are not installed on the "
            "server: install their packages there."
        )
    hard = [name for name, _, needs_superuser in found if needs_superuser]
    if hard and not plan.superuser and plan.mode == "beside":
        if plan.live.empty and not plan.live.missing:
            plan.mode = "in place"
            return hard
        raise TargetError(
            f"The dump needs the extensions {quoted(hard)}, which only a superuser may create, "
            "and a new database does not have them: restore as a superuser, or with --in-place "
            "into a database that has them."
        )
    return hard


def _plan_warnings(plan: Plan) -> None:
    dumped, server = plan.dump.server_major, plan.live.server_version // 10000
    if plan.superuser:
        plan.notes.append(
            f'"{plan.user}" is a superuser, and what the dump holds is run with its rights: '
            "restore a stranger's dump into a server of its own"
        )
    if dumped and dumped > server:
        plan.notes.append(
            f"the dump is from PostgreSQL {dumped} and the server is {server}: what it does not "
            "know yet makes the restore fail, with the live database as it was"
        )
    if plan.dump.creates_database:
        plan.notes.append("the dump's own CREATE DATABASE and settings of it are left out")


def described(dump: Dump, path: Path | None = None) -> str:
    """Return in a line what the dump is."""
    parts = [f"{dump.format} dump"]
    if dump.compression:
        parts.append(f"{dump.compression} compressed")
    if dump.database:
        parts.append(f'of "{dump.database}"')
    if dump.server_version:
        parts.append(f"from PostgreSQL {dump.server_version}")
    if dump.created_at:
        parts.append(f"made {dump.created_at:%Y-%m-%d %H:%M}")
    return f"{path or dump.source} ({', '.join(parts)}, {size_in_words(dump.size)})"


def size_in_words(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
