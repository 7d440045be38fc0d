"""The story of a restore: a dump in, a working database out, and nothing lost on the way."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import psycopg
from django.core.management import call_command
from django.db import OperationalError, connections, transaction
from psycopg.conninfo import make_conninfo

from restorehooks import conf
from restorehooks.announce import announce
from restorehooks.restore import carried, client, database, hooks, in_place, ownership, script
from restorehooks.restore.address import PAST_AUTOVACUUM, WATCHED, Address, unlimited
from restorehooks.restore.analyze import analyze
from restorehooks.restore.client import Progress
from restorehooks.restore.dump import (
    Dump,
    check_trailer,
    identify,
    open_plain,
    prove_plain,
    prove_tar,
    spooled,
    unpacked,
)
from restorehooks.restore.interrupts import ended_politely, require_none, undisturbed
from restorehooks.restore.plan import (
    DeclinedError,
    LiveChangedError,
    Mode,
    Plan,
    Request,
    RestoreError,
    UsageError,
    chosen,
    described,
    make_plan,
    size_in_words,
)
from restorehooks.restore.turn import BusyError, TargetError, Turn, first_line
from restorehooks.sequences.repair import reset
from restorehooks.sequences.report import Report as SequencesReport
from restorehooks.signals import post_restore, pre_restore


class Reporter:
    """Who is told how far it is; this one keeps quiet."""

    def step(self, text: str) -> None:
        """Be told which step begins."""

    def note(self, text: str) -> None:
        """Be told what the person in front of it should know."""

    def progress(self, progress: Progress) -> None:
        """Be told how much of the dump is loaded."""

    def close(self) -> None:
        """Be told that it is over."""


@dataclass
class Report:
    """What a restore did; ``seconds`` by step."""

    using: str
    target: str = ""
    mode: Mode = "beside"
    restored: bool = False
    dry_run: bool = False
    dump: Dump | None = None
    plan: Plan | None = None
    previous: str | None = None
    dropped: bool = False
    statements: int = 0
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    sequences: SequencesReport | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as what json.dumps takes."""
        return {
            "using": self.using,
            "target": self.target,
            "mode": self.mode,
            "restored": self.restored,
            "dry_run": self.dry_run,
            "dump": {key: _plain(value) for key, value in asdict(self.dump).items()}
            if self.dump
            else None,
            "plan": list(self.plan.lines()) if self.plan else [],
            "previous": self.previous,
            "left_out": self.left_out,
            "notes": self.notes,
            "hooks": self.hooks,
            "sequences": self.sequences.as_dict() if self.sequences else None,
            "seconds": {step: round(seconds, 3) for step, seconds in self.seconds.items()},
        }

    def lines(self) -> Iterator[str]:
        """Yield it for people, the outcome last."""
        if self.dry_run and self.plan:
            yield from self.plan.lines()
        for what in self.left_out:
            yield f"left out: {what}"
        for name in self.hooks:
            yield f"ran: {name}"
        if self.sequences is not None:
            yield from map(self.sequences.sentence_about, self.sequences.unresolved)
            yield self.sequences.sentence()
        seconds = sum(self.seconds.values())
        if self.dry_run:
            yield "Nothing was changed."
        elif self.mode != "beside":
            yield f'Restored "{self.target}" {self.mode} in {seconds:.1f} s. There is no undo.'
        elif self.previous:
            yield (
                f'Restored "{self.target}" in {seconds:.1f} s. The previous one is kept as '
                f'"{self.previous}": restoredb --undo brings it back.'
            )
        elif self.dropped:
            yield (
                f'Restored "{self.target}" in {seconds:.1f} s. The previous one was dropped, as '
                "asked: there is no undo."
            )
        else:
            yield f'Restored "{self.target}" in {seconds:.1f} s. There was nothing to keep.'


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None | list) else str(value)


# --- The story ---------------------------------------------------------------------------------


def restore(
    request: Request,
    *,
    confirm: Callable[[str], bool] = lambda question: False,
    reporter: Reporter | None = None,
) -> Report:
    """Restore a dump and return what was done.

    ``confirm`` is asked before anything that is there is replaced, added to or dropped.

    Raises RestoreError, DumpError, ClientError, TargetError, HookError, ScriptError,
    psycopg.Error or whatever a receiver raised when it did not take place, KeyboardInterrupt
    when it was interrupted (SIGTERM and SIGHUP count as that): the live database then is as it
    was. LiveChangedError alone says that it is not.
    """
    run = _Run(request, confirm, reporter or Reporter())
    if request.using in connections.settings and connections[request.using].in_atomic_block:
        raise UsageError("A restore has transactions of its own: call it outside of any other.")
    with ended_politely():
        _tell(run)
    return run.finished()


def _tell(run: _Run) -> None:
    request = run.request
    with ExitStack() as stack:
        # 1. Identify by content.
        run.step("identify")
        dump = stack.enter_context(_identified(request, run))
        # 2. and 3. Prove what can be proved, choose the target.
        run.step("prove")
        address = Address.of(request.using)
        turn = stack.enter_context(_turn(address, request))
        plan = run.plan = run.report.plan = make_plan(request, address, turn, dump)
        run.report.target, run.report.mode = address.name, plan.mode
        for note in plan.notes:
            run.note(note)
        if request.dry_run:
            return _prove_whole(run, plan, turn)
        _agree(run, plan, turn)
        pre_restore.send(sender=restore, **run.signal(address.name))
        # 4. to 6. Load, hook, put in place.
        {"beside": _beside}.get(plan.mode, _in_place)(run, plan, turn)
    return None


@dataclass
class _Run:
    """One run on its way: what was asked, who is told, and the report as it grows."""

    request: Request
    confirm: Callable[[str], bool]
    reporter: Reporter
    plan: Plan | None = None
    report: Report = field(init=False)
    _since: tuple[str, float] = ("", 0.0)

    def __post_init__(self) -> None:
        self.report = Report(self.request.using, dry_run=self.request.dry_run)

    def step(self, name: str, text: str = "") -> None:
        self.finished()
        self._since = (name, time.monotonic())
        self.reporter.step(text or name)

    def finished(self) -> Report:
        name, since = self._since
        if name:
            spent = time.monotonic() - since
            self.report.seconds[name] = self.report.seconds.get(name, 0.0) + spent
        self._since = ("", 0.0)
        return self.report

    def note(self, text: str) -> None:
        self.report.notes.append(text)
        self.reporter.note(text)

    def signal(self, target: str) -> dict[str, Any]:
        return {
            "using": self.request.using,
            "dump": self.report.dump,
            "target": target,
            "report": self.report,
        }


@contextmanager
def _identified(request: Request, run: _Run) -> Iterator[Dump]:
    with ExitStack() as stack:
        if request.source == "-":
            run.step("spool", "reading the dump from stdin")
            source = stack.enter_context(spooled(sys.stdin.buffer))
        else:
            source = Path(request.source)
        dump = run.report.dump = identify(source)
        check_trailer(dump)
        if dump.format != "plain":
            dump = stack.enter_context(unpacked(dump))
        if dump.format == "tar":
            prove_tar(dump)
        yield dump


def _turn(address: Address, request: Request) -> Turn:
    try:
        return Turn(address, request.maintenance_db)
    except BusyError:
        raise
    except TargetError:
        # In place no second database is needed; whether that is possible is seen later.
        with suppress(psycopg.OperationalError):
            return Turn(address, address.name)
        raise


def _require_way(run: _Run, plan: Plan) -> None:
    """Raise TargetError for what prevents the swap, or would be lost and was not agreed to."""
    refused = [one for one in plan.obstacles if one.kind == "refused"]
    lost = [one for one in plan.obstacles if one.kind == "lost"]
    if refused or (lost and not run.request.accept_lost_settings):
        raise TargetError("; ".join(str(one) for one in refused or lost))


def _agree(run: _Run, plan: Plan, turn: Turn) -> None:
    _require_way(run, plan)
    if plan.needs_confirmation and not run.confirm(plan.question()):
        raise DeclinedError("Not confirmed.")
    for one in plan.leftovers:
        at = f" begun {one.marker.at}" if one.marker.at else ""
        what = f'"{one.name}" is what a restore{at} left behind when it was killed. Drop it?'
        if run.confirm(what):
            database.drop(turn.connection, one.name)
            run.note(f'"{one.name}", left by a killed run, was dropped')


def _prove_whole(run: _Run, plan: Plan, turn: Turn) -> None:
    """Read the whole dump and look for room, for a run that changes nothing."""
    if plan.program:
        client.prove(plan.program, plan.dump.path, run.reporter.progress)
    else:
        prove_plain(plan.dump)
    run.note(_room(plan, turn))
    _require_way(run, plan)


def _room(plan: Plan, turn: Turn) -> str:
    query = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'"
    row = turn.connection.execute(query).fetchone()
    if row and row[0] and Path(row[0]).exists() and plan.address.host.startswith("/"):
        free = shutil.disk_usage(row[0]).free
        return f"room on the server: {size_in_words(free)} free"
    return "room on the server: cannot be seen from here"


# --- Loading -----------------------------------------------------------------------------------


def _flags(run: _Run, plan: Plan, turn: Turn) -> list[str]:
    flags = chosen(run.request)
    if not plan.owners.owner:
        flags.append("--no-owner")
    if not plan.owners.privileges:
        flags.append("--no-privileges")
    # A copy must not begin to take part in somebody's replication.
    flags.append("--no-subscriptions")
    if not turn.connection.execute(OWN_TABLESPACES).fetchone():
        flags.append("--no-tablespaces")
    return flags


OWN_TABLESPACES = "SELECT FROM pg_catalog.pg_tablespace WHERE oid >= 16384"


def _beside(run: _Run, plan: Plan, turn: Turn) -> None:
    """Load beside the live database, run the hooks there, and swap."""
    with ExitStack() as still:
        # An interrupt between CREATE DATABASE and what follows would leave it behind.
        signals = still.enter_context(undisturbed())
        name, oid = database.create_side(turn, plan.live, described(plan.dump))
        try:
            still.close()
            if signals.came.is_set():
                raise KeyboardInterrupt
            run.step("load", f'loading into "{name}"')
            _load(run, plan, turn, name)
            carried.carry_settings(turn.connection, plan.live, name)
            _hook(run, plan, name)
            run.step("swap", f'putting it in the place of "{plan.address.name}"')
            _swap(run, plan, turn, (name, oid))
        except BaseException:
            with undisturbed():
                _clean_up(run, turn, name, oid)
            raise


def _load(run: _Run, plan: Plan, turn: Turn, name: str) -> None:
    if plan.program is None:
        with plan.address.connect(name) as connection:
            if plan.owners.load_as:
                connection.execute("SELECT set_config('role', %s, false)", [plan.owners.load_as])
            connection.execute("SET synchronous_commit = off")
            _run_script(run, plan, connection)
        return
    flags = _flags(run, plan, turn)
    if role := plan.owners.load_as or plan.address.role:
        flags.append(f"--role={role}")
    progress = Progress(0, len(plan.entries), 0, plan.dump.size)
    outcome = client.load(
        plan.program,
        plan.dump.path,
        conninfo=_fast(plan, name),
        environment=plan.address.environment(),
        flags=flags,
        jobs=plan.jobs,
        progress=progress,
        watch=run.reporter.progress,
    )
    run.report.left_out += [f"{reason} ({n})" for reason, n in outcome.tolerated().items()]
    for warning in outcome.warnings:
        run.note(f"pg_restore: {warning}")
    _count_tables(plan, name)


SERIAL = ("max_parallel_maintenance_workers=0", "max_parallel_workers_per_gather=0")
"""Parallel workers are slower in all than the jobs by themselves, where those are busy."""


def _fast(plan: Plan, name: str) -> str:
    address = plan.address
    # The swap's commit waits for the disk, and everything before it is on disk then too.
    given = address.parameters.get("options", "")
    wanted = ["synchronous_commit=off", *(SERIAL if plan.fills_the_cores else ()), WATCHED]
    for settings in ([*wanted, PAST_AUTOVACUUM], wanted, wanted[:-1]):
        options = " ".join(filter(None, [given, *(f"-c {setting}" for setting in settings)]))
        with suppress(psycopg.OperationalError):  # a server or a pooler that refuses it
            address.connect(name, options=options).close()
            return make_conninfo(address.conninfo(name), options=options)
    return address.conninfo(name)


TABLES = """
SELECT count(*) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384
"""


def _count_tables(plan: Plan, name: str) -> None:
    expected = sum(1 for entry in plan.entries if entry.kind == "TABLE")
    with plan.address.connect(name) as connection:
        row = connection.execute(TABLES).fetchone()
    if not row or row[0] < expected:
        raise RestoreError(
            f"The dump names {expected} tables and the restored database has {row and row[0]}."
        )


def _run_script(run: _Run, plan: Plan, connection: psycopg.Connection[Any]) -> None:
    progress = Progress(bytes_total=plan.dump.size)

    def on_bytes(count: int) -> None:
        progress.bytes = count
        run.reporter.progress(progress)

    with open_plain(plan.dump, on_bytes) as stream:
        _send(run, plan, stream, connection)


def _send(
    run: _Run, plan: Plan, stream: BinaryIO | IO[bytes], connection: psycopg.Connection[Any]
) -> None:
    policy = _policy(run, plan, connection)
    result = script.run_script(cast(BinaryIO, stream), connection, policy=policy)
    if not result.complete:
        raise RestoreError("The dump was cut off: pg_dump's last line is missing.")
    run.report.statements = result.statements
    run.report.left_out += [f"{one.what}: {one.reason} ({one.count})" for one in result.left_out]


def _policy(run: _Run, plan: Plan, connection: psycopg.Connection[Any]) -> script.Policy:
    request = run.request
    user = plan.owners.load_as or plan.user
    return replace(
        ownership.here(connection, user=user, superuser=plan.superuser),
        no_owner=request.owner is False,
        no_privileges=request.privileges is False,
        data_only=plan.mode == "data only",
        commit_every=STATEMENTS_A_COMMIT if plan.mode == "beside" else None,
    )


STATEMENTS_A_COMMIT = 1000


# --- Hooks -------------------------------------------------------------------------------------


def _hook(run: _Run, plan: Plan, name: str) -> None:
    """Run everything that runs on the restored data before it goes live."""
    using = run.request.using
    with hooks.pointed_at(using, name):
        _hook_inside(run, plan, name)
        _programs(run, plan, name)
    _analyze(run, plan, name)


def _analyze(run: _Run, plan: Plan, name: str) -> None:
    if run.request.analyze:
        run.step("analyze")
        analyze(plan.address, name, plan.jobs)


def _hook_inside(run: _Run, plan: Plan, name: str) -> None:
    using = run.request.using
    run.step("sequences")
    _repair_sequences(run)
    if run.request.migrate:
        run.step("migrate")
        hooks.require_database(using, name)
        call_command("migrate", database=using, interactive=False, verbosity=0)
        run.report.hooks.append("migrate")
    if post_restore.has_listeners():
        run.step("post_restore")
        hooks.require_database(using, name)
        answered = post_restore.send(sender=restore, **run.signal(name))
        run.report.hooks += [f"post_restore: {_name_of(receiver)}" for receiver, _ in answered]


def _name_of(receiver: Any) -> str:
    return f"{receiver.__module__}.{getattr(receiver, '__qualname__', receiver)}"


def _programs(run: _Run, plan: Plan, name: str) -> None:
    for path in plan.hooks:
        run.step("hooks", f"hook {path.name}")
        hooks.run(path, plan.address, name)
        run.report.hooks.append(path.name)
    if plan.hooks or run.report.hooks:
        # Hooks insert rows.
        run.step("sequences", "sequences once more")
        _repair_sequences(run)


def _repair_sequences(run: _Run) -> None:
    found = reset(run.request.using, limits=conf.limits())
    announce(found, "restore", printed=True)
    before = run.report.sequences
    run.report.sequences = found if before is None else found.following(before)


# --- Putting it in place -----------------------------------------------------------------------


def _swap(run: _Run, plan: Plan, turn: Turn, side: tuple[str, int]) -> None:
    hooks.hang_up(run.request.using)
    require_none()
    with undisturbed() as signals:
        swapped = database.swap(
            turn,
            plan.live,
            side,
            by=described(plan.dump),
            accept_lost=run.request.accept_lost_settings,
            seconds=run.request.swap_seconds,
            interrupted=signals.came.is_set,
        )
        signals.over = True
        run.report.previous, run.report.restored = swapped.previous, True
        for what in swapped.lost:
            run.note(f"{what} was not carried over")
        if swapped.previous and run.request.drop_previous:
            _drop_previous(run, turn, swapped.previous)


def _drop_previous(run: _Run, turn: Turn, name: str) -> None:
    try:
        database.drop(turn.connection, name)
        run.report.previous, run.report.dropped = None, True
    except psycopg.Error as error:
        run.note(f'"{name}" could not be dropped ({first_line(error)})')


def _clean_up(run: _Run, turn: Turn, name: str, oid: int) -> None:
    """Drop the side database, unless it went live after all."""
    try:
        if (name, oid) in [(one.name, one.oid) for one in _sides(turn)]:
            database.drop(turn.connection, name)
    except (psycopg.Error, TargetError) as error:
        run.note(f'"{name}" could not be dropped ({first_line(error)}); the next restore offers to')


def _sides(turn: Turn) -> list[database.Kept]:
    return database.kept(turn.connection, turn.address.name, "side")


def _in_place(run: _Run, plan: Plan, turn: Turn) -> None:
    """Load into the live database, all in one transaction."""
    name = plan.address.name
    hooks.require_database(run.request.using, name)
    try:
        _in_one_transaction(run, plan, turn)
    finally:
        hooks.hang_up(run.request.using)
    try:
        _programs(run, plan, name)
        _analyze(run, plan, name)
    except (Exception, KeyboardInterrupt) as error:
        why = str(error) or "interrupted"
        raise LiveChangedError(f"The data are in {plan.address}, but then: {why}") from error


XACT = "SELECT pg_current_xact_id()::text"
STATUS = "SELECT pg_xact_status(%s::text::xid8)"


def _in_one_transaction(run: _Run, plan: Plan, turn: Turn) -> None:
    using, name, number = run.request.using, plan.address.name, ""
    with ExitStack() as still:
        try:
            with transaction.atomic(using=using, durable=True):
                connection: psycopg.Connection[Any] = connections[using].connection
                unlimited(connection, "LOCAL")
                _fill(run, plan, turn, connection)
                _hook_inside(run, plan, name)
                if run.report.hooks:
                    _repair_sequences(run)
                run.step("commit")
                require_none()
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                number = connection.execute(XACT).fetchone()[0]  # type: ignore[index]
                still.enter_context(undisturbed())
        except OperationalError:
            # Lost at COMMIT: whether before it or after it, the server knows.
            if not number or turn.connection.execute(STATUS, [number]).fetchone() != ("committed",):
                raise
        run.report.restored = True


def _fill(run: _Run, plan: Plan, turn: Turn, connection: psycopg.Connection[Any]) -> None:
    whole = plan.mode == "in place" and not run.request.partial
    if plan.mode == "in place":
        in_place.require_locks(connection, _locks(plan))
    if whole and not plan.live.empty:
        run.step("drop", f'dropping what "{plan.user}" owns')
        in_place.drop_own(connection)
    run.step("load", f'loading into "{plan.address.name}"')
    if plan.program is None:
        return _run_script(run, plan, connection)
    flags = _flags(run, plan, turn)
    if plan.mode == "data only":
        flags.append("--data-only")
    elif not whole:
        flags += ["--clean", "--if-exists"]
    with ExitStack() as stack:
        if plan.mode == "data only":
            # setval would survive a rollback; the sequences are repaired afterwards anyway.
            kept = [entry for entry in plan.entries if entry.kind != "SEQUENCE SET"]
            flags.append(f"--use-list={stack.enter_context(client.listed(kept))}")
        process = stack.enter_context(client.statements(plan.program, plan.dump.path, flags))
        assert process.stdout  # noqa: S101 - it was asked for
        _send(run, plan, process.stdout, connection)
    return None


def _locks(plan: Plan) -> int:
    # A table brings a TOAST table and its index along.
    places = {"TABLE": 3, "MATERIALIZED VIEW": 3, "SEQUENCE": 1, "INDEX": 1, "CONSTRAINT": 1}
    return sum(places.get(entry.kind, 0) for entry in plan.entries)
