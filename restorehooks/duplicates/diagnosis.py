"""Asks the database why a unique constraint was violated, by its name or a whole message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from restorehooks import conf
from restorehooks.driver import sql, text
from restorehooks.sequences.repair import inspect, inspect_tables
from restorehooks.sequences.report import Entry, Report
from restorehooks.sequences.scope import Scope
from restorehooks.sequences.verdict import Status
from restorehooks.wording import first_line, printable_sql

from .catalog import sequences_named
from .commands import MANAGE, guessing_command, manage, mending_command
from .key import DuplicateKey, parse_key
from .rows import (
    Duplicates,
    duplicates_in,
    rows_with,
    statement_for_duplicates,
    statement_for_rows,
)
from .target import NOT_THERE, NOT_UNIQUE, Target, find_targets

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

WORST_FIRST = (
    Status.BEHIND,
    Status.EXHAUSTED,
    Status.FAILED,
    Status.UNVERIFIED,
    Status.OK,
)
"""Which of several sequences of a column explains its violation best."""


class Situation(str, Enum):
    """What was found; the values are those of the JSON form's ``case``."""

    BEHIND = "sequence_behind"
    EXHAUSTED = "sequence_exhausted"
    UNSEEN = "sequence_unverified"
    PASSED = "sequence_ok"
    UNIQUE = "no_sequence"
    DUPLICATED = "duplicated"
    CLEAN = "no_duplicates"


@dataclass(frozen=True)
class Diagnosis:
    """One constraint, what was found of it, and what to do.

    ``sentences`` are for people; ``commands`` are command lines and SQL, in order, that mend it or
    show more. ``sequence`` is the entry of the sequence concerned. ``rows`` are the primary keys of
    the rows that hold the key which the message named, None where they were not asked for.
    """

    database: str
    target: Target
    situation: Situation
    sentences: str
    commands: tuple[str, ...] = ()
    sequence: Entry | None = None
    rows: tuple[str, ...] | None = None
    duplicates: Duplicates | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        model, found = self.target.model, self.duplicates
        return {
            "database": self.database,
            "constraint": self.target.name,
            "table": self.target.quoted_table,
            "columns": self.target.names,
            "model": model._meta.label if model else None,
            "case": self.situation.value,
            "explanation": self.sentences,
            "commands": list(self.commands),
            "sequence": self.sequence.as_dict() if self.sequence else None,
            "rows": None if self.rows is None else list(self.rows),
            "duplicates": None
            if found is None
            else {
                "keys": found.keys,
                "surplus_rows": found.surplus,
                "worst": [{"key": list(key), "rows": rows} for key, rows in found.worst],
            },
        }


def diagnose(
    connection: BaseDatabaseWrapper, what: str, program: Sequence[str] = MANAGE
) -> list[Diagnosis]:
    """Explain the constraint that ``what`` names: its name, or a message in any language.

    A name that stands in several schemas is explained for each. ``program`` is what the commands
    begin with. Raises :exc:`NotFoundError`, and ``django.db.Error`` where the database cannot be
    asked.
    """
    text = _unescaped(what)
    targets = find_targets(connection, text)
    tables = {(t.schema, t.table) for t in targets if t.is_read and t.state is None}
    report = inspect_tables(connection, sorted(tables), conf.limits())
    entries = [*report, *_by_name(connection, targets, report)]
    key = parse_key(text)
    return [_diagnosis(connection, target, entries, key, tuple(program)) for target in targets]


def _by_name(
    connection: BaseDatabaseWrapper, targets: Sequence[Target], report: Report
) -> Iterator[Entry]:
    """Yield the sequences that nothing but their names lead to columns that none numbers."""
    columns = [
        (target.schema, target.table, column)
        for target in targets
        if target.is_read and target.state is None
        if _worst_sequence(target, report) is None
        for column in target.columns
        if column is not None
    ]
    names = sequences_named(connection, columns)
    if names:
        yield from inspect(connection.alias, Scope(sequences=names), conf.limits())


def _unescaped(what: str) -> str:
    """Undo what JSON logs and ``repr`` do to a message."""
    return what.replace("\\n", "\n").replace('\\"', '"').strip()


def _diagnosis(
    connection: BaseDatabaseWrapper,
    target: Target,
    entries: Sequence[Entry],
    key: DuplicateKey | None,
    program: tuple[str, ...],
) -> Diagnosis:
    alias = connection.alias
    if target.stranger is not None:
        said = (
            f"{target.quoted_table} is not read, since that could run another role's code, through"
            f" {target.stranger}, with the rights of this one; the table's owner can explain it."
        )
        return Diagnosis(alias, target, Situation.UNSEEN, said)
    if target.unread is not None:
        return _unread(alias, target, target.unread)
    if target.state is not None:
        try:
            duplicates = duplicates_in(connection, target)
        except DatabaseError as error:
            return _unread(alias, target, first_line(error))
        return _promise_not_kept(target, alias, duplicates, program)
    rows = rows_with(connection, target, key)
    there = _there(key, rows)
    entry = _worst_sequence(target, entries)
    if entry is None:
        found = _no_sequence(target, alias, there, statement_for_rows(target, key))
    else:
        mend = mending_command(alias, target.model, target.schema, program=program)
        if entry.found and any(column.guessed for column in entry.found[0].columns):
            mend = guessing_command(alias, target.schema, program=program)
        found = _numbered(target, alias, entry, there, mend)
    return replace(found, rows=rows)


def _unread(alias: str, target: Target, why: str) -> Diagnosis:
    said = f"{target.quoted_table} could not be read: {why}."
    return Diagnosis(alias, target, Situation.UNSEEN, said)


def _worst_sequence(target: Target, entries: Iterable[Entry]) -> Entry | None:
    """Return the worst of the sequences that may number one of its columns."""
    pairs = zip(target.expressions, target.columns, strict=True)
    columns = [expression for expression, column in pairs if column is not None]
    wanted = {f"{quoted}.{column}" for _, _, quoted in target.lineage for column in columns}
    found = [entry for entry in entries if not wanted.isdisjoint(_drawing(entry))]
    return min(found, key=lambda entry: WORST_FIRST.index(entry.status), default=None)


def _drawing(entry: Entry) -> tuple[str, ...]:
    """Return the columns that a sequence numbers, or one that draws from it and does not count."""
    barred = entry.found[0].barred if entry.found else None
    return (*entry.columns, *(barred[:1] if barred else ()))


def _numbered(target: Target, alias: str, entry: Entry, there: str, mend: str) -> Diagnosis:
    stands = f"{entry.sequence} would hand out {entry.next_before} next"
    situation, commands = Situation.PASSED, tuple[str, ...]()
    if entry.status is Status.BEHIND:
        situation, commands = Situation.BEHIND, (mend,)
        said = (
            f"A sequence is behind, and the data are fine: {stands}, but the rows end at"
            f" {entry.extreme}."
        )
    elif entry.status is Status.EXHAUSTED:
        situation, commands = Situation.EXHAUSTED, (*(f"{s};" for s in entry.makes_room), mend)
        said = f"A sequence is used up: {entry.sequence}: {entry.reason}."
    elif entry.next_before is None and entry.status is Status.OK:
        situation = Situation.UNSEEN
        said = f"Whether sequence {entry.sequence} is behind was not looked at: {entry.reason}."
    elif entry.status is not Status.OK:
        situation, commands = Situation.UNSEEN, (mend,)
        said = f"Whether sequence {entry.sequence} is behind is not certain: {entry.reason}."
    else:
        where = "" if entry.extreme is None else f", past the last row ({entry.extreme})"
        said = (
            f"No sequence is behind now: {stands}{where}. Either it has been repaired since, or"
            f" the statement set {target.on} itself.{there}"
        )
    return Diagnosis(alias, target, situation, said, commands, sequence=entry)


def _no_sequence(target: Target, alias: str, there: str, commands: tuple[str, ...]) -> Diagnosis:
    kind = f" (of type {', '.join(target.types)})" if target.types else ""
    said = (
        f"No sequence numbers {target.on}{kind}, so none is to blame: the statement brought a"
        f" key that another row has.{there}"
    )
    return Diagnosis(alias, target, Situation.UNIQUE, said, commands)


def _there(key: DuplicateKey | None, rows: tuple[str, ...] | None) -> str:
    if rows is None or key is None:
        return ""
    named = f"({', '.join(key.columns)})=({key.values})"
    if not rows:
        return f" No row with {named} is there now."
    return f" The row with {named} is there{f': {rows[0]}' if rows[0] else ''}."


def _promise_not_kept(
    target: Target, alias: str, found: Duplicates, program: tuple[str, ...]
) -> Diagnosis:
    said = f"No sequence is to blame. {target.name} {target.state}"
    commands: tuple[str, ...] = ()
    if found.keys:
        commands = (statement_for_duplicates(target),)
        said += (
            f", and rows really are duplicated: {_count(found.keys, 'key')} more than once,"
            f" {_count(found.surplus, 'row')} too many."
        )
    else:
        said += ", and no rows are duplicated."
    commands += _make_it_unique(target, alias, program)
    situation = Situation.DUPLICATED if found.keys else Situation.CLEAN
    return Diagnosis(alias, target, situation, said, commands, duplicates=found)


def _make_it_unique(target: Target, alias: str, program: tuple[str, ...]) -> tuple[str, ...]:
    if target.state == NOT_THERE:
        return (manage("migrate", using=alias, program=program),)
    if target.state == NOT_UNIQUE:
        return ()
    index = printable_sql(text(sql.Identifier(target.schema, target.name)))
    return (f"REINDEX INDEX CONCURRENTLY {index};",)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
