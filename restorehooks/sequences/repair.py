"""The story: inspect or reset the sequences of one database. The only door to the engine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from django.db import connections, router

from .advance import Outcome, advance, forget_cached_numbers, rewind
from .catalog import Conditions, read_catalog
from .circumstances import readable, under
from .finding import Finding
from .message import LockBudget, in_transaction, rolled_back
from .model import Reading, Sequence
from .notes import notes_on
from .other_connections import OtherConnections
from .reading import read
from .report import Entry, Report
from .scope import (
    Limits,
    Name,
    Scope,
    concrete_models,
    in_schemas,
    installed_models,
    tables_named,
    tables_of,
    with_parents,
)
from .second_reading import SecondReading
from .source import Source
from .statements import Move
from .unnumbered import automatic_fields, unnumbered, without_number
from .verdict import guess, verdict_on

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

EVERYTHING = Scope()
DEFAULTS = Limits()


class _Run(NamedTuple):
    """What one run looks at, and how.

    ``labels`` are those of the models by the names of their tables; ``tables`` are the oids that
    limit the scope, None where no model does. ``automatic`` are the fields that were asked for and
    that a sequence should number, by label. ``source`` has the positions to take along.
    """

    connection: BaseDatabaseWrapper
    budget: LockBudget
    limits: Limits
    scope: Scope
    labels: dict[Name, list[str]]
    tables: Collection[int] | None
    headroom: int = 0
    rewind: bool = False
    without_table: tuple[str, ...] = ()
    automatic: Mapping[str, str] = MappingProxyType({})
    source: Source | None = None

    def find(self, others: OtherConnections) -> tuple[Conditions, list[Finding]]:
        """Read every sequence in scope."""
        sequences, conditions = read_catalog(
            self.connection,
            self.budget,
            self.limits,
            tables=self.tables,
            schemas=self.scope.schemas,
        )
        sequences = [
            readable(conditions, self.connection, sequence)
            for sequence in sequences
            if self._is_meant(sequence)
        ]
        limit = self.limits.scan_limit
        readings = read(self.connection, sequences, self.budget, scan_limit=limit, others=others)
        return conditions, [
            self._found(sequence, under(conditions, self.connection, reading))
            for sequence, reading in readings
        ]

    def _is_meant(self, sequence: Sequence) -> bool:
        if self.scope.sequences is not None and sequence.quoted not in set(self.scope.sequences):
            return False
        return not self.scope.only_usable or sequence.may_draw or bool(self.labels_of(sequence))

    def _found(self, sequence: Sequence, reading: Reading) -> Finding:
        if self.source is not None:
            reading = self.source.beside(sequence, reading)
        reading, verdict = self.verdicts.verdict_on(sequence, reading)
        if any(column.guessed for column in sequence.columns) and self.limits.names != "repaired":
            _, sure = self.verdicts.verdict_on(sequence, reading._replace(extreme=None, lone=None))
            verdict = guess(sequence, verdict) if sure.target is None else sure
        if self.source is not None:
            verdict = self.source.remark_on(sequence, verdict)
        return Finding(sequence, reading, verdict, self.labels_of(sequence))

    @property
    def verdicts(self) -> SecondReading:
        return SecondReading(self.connection, self.budget, self.limits, self.headroom, self.rewind)

    def labels_of(self, sequence: Sequence) -> tuple[str, ...]:
        """Return the labels of the models whose tables the sequence numbers."""
        found: set[str] = set()
        for column in sequence.columns:
            found.update(self.labels.get((column.schema, column.table), ()))
            if column.visible or (
                self.scope.models and column.schema in (self.scope.schemas or ())
            ):
                found.update(self.labels.get((None, column.table), ()))
        return tuple(sorted(found))

    def rewind_target(self, sequence: Sequence) -> int | None:
        """Return where a sequence may be set back to, by what its rows say now."""
        ((_, reading),) = read(self.connection, [sequence], self.budget)
        verdict = verdict_on(sequence, reading, headroom=self.headroom, rewind=True)
        return verdict.target if verdict.rewinds else None


def inspect(
    using: str,
    scope: Scope = EVERYTHING,
    limits: Limits = DEFAULTS,
    *,
    headroom: int = 0,
    rewind: bool = False,
    source: Source | None = None,
) -> Report:
    """Read sequences and change nothing; the report is the plan of what :func:`reset` would do.

    ``using`` is the alias of a PostgreSQL database. ``headroom`` is the number of increments to
    stay clear of the rows. ``rewind`` allows lowering what is ahead. ``source`` has the positions
    of another database's sequences, that those of this one have to be past, too.

    Raises ``django.db.DatabaseError`` only where nothing can be done at all, and ``ValueError`` for
    a headroom below 0.
    """
    with _leaving_no_lock(using):
        run = _start(using, scope, limits, headroom, rewind)
        return _plan(run._replace(source=source))


def reset(
    using: str,
    scope: Scope = EVERYTHING,
    limits: Limits = DEFAULTS,
    *,
    headroom: int = 0,
    rewind: bool = False,
    source: Source | None = None,
) -> Report:
    """Move every sequence in scope that is behind past its rows; see :func:`inspect`.

    Never moves one back, but for those ahead where ``rewind`` asks for it. Safe while others
    insert, and inside a transaction of the caller's, which keeps no lock from it but those that
    ``setval`` leaves on the sequences it moved (as ``nextval`` does; inserts go on).
    """
    with _leaving_no_lock(using):
        run = _start(using, scope, limits, headroom, rewind)
        return _carry_out(run._replace(source=source))


def inspect_tables(
    connection: BaseDatabaseWrapper, tables: Collection[tuple[str, str]], limits: Limits = DEFAULTS
) -> Report:
    """Read the sequences that number tables, or tables that they are partitions or children of.

    The names are raw, each with its schema. The report is empty where there is no such table.
    """
    if not tables:
        return Report(connection.alias)
    with _leaving_no_lock(connection.alias):
        return _plan(_start_at(connection, tables, limits))


def reset_table(
    connection: BaseDatabaseWrapper, schema: str, table: str, limits: Limits = DEFAULTS
) -> Report:
    """Move them past their rows, through a connection outside any transaction; any will do.

    See :func:`inspect_tables` for what is meant, and :func:`inspect` for the rest.
    """
    return _carry_out(_start_at(connection, [(schema, table)], limits))


def _plan(run: _Run) -> Report:
    with closing(OtherConnections(run.connection, run.limits.connections)) as others:
        conditions, findings = run.find(others)
    return _report(run, conditions, findings, [finding.planned() for finding in findings])


def _carry_out(run: _Run) -> Report:
    with closing(OtherConnections(run.connection, run.limits.connections)) as others:
        conditions, findings = run.find(others)
        to_move = [f for f in findings if f.verdict.target is not None]
        within = in_transaction(run.connection)
        read_only = conditions.why_read_only(within=within) if to_move else None
        outcomes = {} if read_only else dict(_apply(run, to_move, others))
    if any(f.sequence.cache > 1 and f.sequence.columns for f in findings):
        forget_cached_numbers(run.connection)
    entries = [f.entry(outcomes.get(f.sequence.oid), read_only) for f in findings]
    report = _report(run, conditions, findings, entries)
    return replace(report, applied=True, read_only=read_only)


def _report(
    run: _Run, conditions: Conditions, findings: list[Finding], entries: Iterable[Entry]
) -> Report:
    sequences = [finding.sequence for finding in findings]
    source = run.source if run.scope == EVERYTHING else None
    return Report(
        run.connection.alias,
        tuple(entries),
        without_table=run.without_table,
        without_sequence=_without_sequence(run, findings),
        only_at_source=None if source is None else source.without_partner(sequences),
        notes=notes_on(run.connection, sequences, conditions.feeds or (), conditions.subscriptions),
    )


def _without_sequence(run: _Run, findings: list[Finding]) -> tuple[str, ...]:
    if run.scope.is_whole and run.tables is None and run.limits.names != "ignored":
        meant = installed_models(run.connection.alias)
        return without_number(run.connection, meant, run.labels, findings)
    return unnumbered(run.automatic, findings)


@contextmanager
def _leaving_no_lock(using: str) -> Iterator[None]:
    """Undo everything but the moves of sequences, where there is a transaction of the caller's."""
    connection = connections[using]
    with (
        rolled_back(connection, "restorehooks_run") if in_transaction(connection) else nullcontext()
    ):
        yield


def _start(using: str, scope: Scope, limits: Limits, headroom: int, rewind: bool) -> _Run:
    if not isinstance(headroom, int) or headroom < 0:
        raise ValueError(f"headroom must be a whole number of at least 0, not {headroom!r}")
    connection = connections[using]
    wanted = None if scope.models is None else concrete_models(scope.models)
    meant = installed_models(using) if wanted is None else wanted
    labels = tables_named(connection, meant)
    if scope.schemas is not None:
        labels = in_schemas(labels, scope.schemas)
    tables = None if wanted is None else tables_of(connection, labels)
    existing = {label for name in (tables or {}).values() for label in labels[name]}
    missing = [
        model._meta.label
        for model in wanted or []
        if model._meta.label not in existing
        and (scope.schemas is not None or router.allow_migrate_model(using, model))
    ]
    automatic = automatic_fields(wanted or [], existing)
    return _Run(
        connection,
        LockBudget(limits.lock_timeout),
        limits,
        scope,
        labels,
        None if tables is None else tables.keys(),
        headroom,
        rewind,
        tuple(missing),
        automatic,
    )


def _start_at(
    connection: BaseDatabaseWrapper, names: Collection[tuple[str, str]], limits: Limits
) -> _Run:
    tables = with_parents(connection, names, limits.lock_timeout)
    labels = tables_named(connection, installed_models(connection.alias))
    return _Run(connection, LockBudget(limits.lock_timeout), limits, EVERYTHING, labels, tables)


def _apply(
    run: _Run, findings: Iterable[Finding], others: OtherConnections
) -> Iterator[tuple[int, Outcome | None]]:
    moves = []
    for finding in findings:
        sequence, verdict = finding.sequence, finding.verdict
        if verdict.rewinds:

            def find_target(sequence: Sequence = sequence) -> int | None:
                return run.rewind_target(sequence)

            yield sequence.oid, rewind(run.connection, sequence, find_target, run.budget)
        elif verdict.target is not None and finding.reading.last_value is not None:
            moves.append(Move(sequence, finding.reading.last_value, verdict.target))
    for move, outcome in advance(run.connection, moves, run.budget, others):
        yield move.sequence.oid, outcome
