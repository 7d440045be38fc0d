"""Asks the live database why a unique constraint was violated, by its name or a whole message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, transaction
from psycopg import sql

from restorehooks import conf
from restorehooks.sequences.repair import inspect_table
from restorehooks.sequences.report import Entry
from restorehooks.sequences.verdict import Status

from .key import Key, parse_key
from .target import NOT_THERE, NOT_UNIQUE, Target, find_targets
from .violation import MANAGE, manage, mending_command

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SHOWN = 10
"""So many duplicated keys are shown."""


class Case(str, Enum):
    """What was found; the values are those of the JSON form."""

    BEHIND = "sequence_behind"
    EXHAUSTED = "sequence_exhausted"
    UNSEEN = "sequence_unverified"
    PASSED = "sequence_ok"
    UNIQUE = "no_sequence"
    DUPLICATED = "duplicated"
    CLEAN = "no_duplicates"


@dataclass(frozen=True)
class Duplicates:
    """Keys that rows share: how many, the rows too many, and the worst with their rows' number."""

    keys: int
    surplus: int
    worst: tuple[tuple[tuple[str | None, ...], int], ...]


@dataclass(frozen=True)
class Diagnosis:
    """One constraint, which case it is, and what to do.

    ``sentences`` are for people; ``commands`` are command lines and SQL, in order, that mend it or
    show more. ``sequence`` is the entry of the sequence concerned. ``rows`` are the primary keys of
    the rows that hold the key which the message named, None where that was not looked up.
    """

    database: str
    target: Target
    case: Case
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
            "case": self.case.value,
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
    asking = _Asking(connection, parse_key(text), tuple(program))
    return [asking.diagnosis(target) for target in targets]


def _unescaped(what: str) -> str:
    """Undo what JSON logs and ``repr`` do to a message."""
    return what.replace("\\n", "\n").replace('\\"', '"').strip()


@dataclass(frozen=True)
class _Asking:
    """What one run asks the database about each target."""

    connection: BaseDatabaseWrapper
    key: Key | None
    program: tuple[str, ...]

    def diagnosis(self, target: Target) -> Diagnosis:
        if target.state is not None:
            return self._promise_not_kept(target)
        entry = self._sequence(target)
        rows = self._rows(target)
        if entry is None:
            return self._no_sequence(target, rows)
        return self._numbered(target, entry, rows)

    def _made(self, target: Target, case: Case, sentences: str, **found: Any) -> Diagnosis:
        return Diagnosis(self.connection.alias, target, case, sentences, **found)

    def _numbered(self, target: Target, entry: Entry, rows: tuple[str, ...] | None) -> Diagnosis:
        mend = mending_command(
            self.connection.alias, target.model, target.schema, program=self.program
        )
        stands = f"{entry.sequence} would hand out {entry.next_before} next"
        case, commands = Case.PASSED, tuple[str, ...]()
        if entry.status is Status.BEHIND:
            case, commands = Case.BEHIND, (mend,)
            said = (
                f"A sequence is behind, and the data are fine: {stands}, but the rows end at"
                f" {entry.extreme}."
            )
        elif entry.status is Status.EXHAUSTED:
            case, commands = Case.EXHAUSTED, (*(f"{s};" for s in entry.makes_room), mend)
            said = f"A sequence is used up: {entry.sequence}: {entry.reason}."
        elif entry.status is not Status.OK:
            case, commands = Case.UNSEEN, (mend,)
            said = f"Sequence {entry.sequence} numbers it, but cannot be judged: {entry.reason}."
        else:
            where = "" if entry.extreme is None else f", past the last row ({entry.extreme})"
            said = (
                f"No sequence is behind now: {stands}{where}. Either it has been repaired since, or"
                f" the statement set {target.on} itself.{self._there(rows)}"
            )
        return self._made(target, case, said, commands=commands, sequence=entry, rows=rows)

    def _no_sequence(self, target: Target, rows: tuple[str, ...] | None) -> Diagnosis:
        kind = f" (of type {', '.join(target.types)})" if target.types else ""
        said = (
            f"No sequence numbers {target.on}{kind}, so none is to blame: the statement brought a"
            f" key that another row has.{self._there(rows)}"
        )
        condition = self._condition(target)
        commands = () if condition is None else (_show_rows(target, condition),)
        return self._made(target, Case.UNIQUE, said, commands=commands, rows=rows)

    def _there(self, rows: tuple[str, ...] | None) -> str:
        if rows is None or self.key is None:
            return ""
        named = f"({', '.join(self.key.columns)})=({self.key.values})"
        if not rows:
            return f" No row with {named} is there now."
        return f" The row with {named} is there{f': {rows[0]}' if rows[0] else ''}."

    def _promise_not_kept(self, target: Target) -> Diagnosis:
        found = self._duplicates(target)
        said = f"No sequence is to blame. {target.name} {target.state}"
        commands: tuple[str, ...] = ()
        if found.keys:
            commands = (self._list_duplicates(target),)
            said += (
                f", and rows really are duplicated: {_count(found.keys, 'key')} more than once,"
                f" {_count(found.surplus, 'row')} too many."
            )
        else:
            said += ", and no rows are duplicated."
        commands += self._make_it_unique(target)
        case = Case.DUPLICATED if found.keys else Case.CLEAN
        return self._made(target, case, said, commands=commands, duplicates=found)

    def _make_it_unique(self, target: Target) -> tuple[str, ...]:
        if target.state == NOT_THERE:
            using = self.connection.alias
            return (manage("migrate", using=using, program=self.program),)
        if target.state == NOT_UNIQUE:
            return ()
        index = sql.Identifier(target.schema, target.name).as_string(None)
        return (f"REINDEX INDEX CONCURRENTLY {index};",)

    def _sequence(self, target: Target) -> Entry | None:
        """Return the sequence that numbers one of its columns."""
        pairs = zip(target.expressions, target.columns, strict=True)
        columns = [expression for expression, column in pairs if column is not None]
        wanted = {f"{quoted}.{column}" for _, _, quoted in target.lineage for column in columns}
        report = inspect_table(self.connection, target.schema, target.table, conf.limits())
        return next((entry for entry in report if wanted & set(entry.columns)), None)

    def _condition(self, target: Target) -> sql.Composable | None:
        """Return what is true of the rows with the key of the message, None without one."""
        values = self.key.each_value if self.key else None
        if values is None or len(values) != len(target.types):
            return None
        each: list[sql.Composable] = [
            sql.SQL("{} = {}::{}").format(sql.SQL(expression), sql.Literal(value), sql.SQL(type_))
            for expression, value, type_ in zip(
                target.expressions, values, target.types, strict=True
            )
        ]
        if target.predicate:
            each.append(sql.SQL(target.predicate))
        return sql.SQL(" AND ").join(each)

    def _rows(self, target: Target) -> tuple[str, ...] | None:
        """Return the primary keys of the rows with the key of the message."""
        condition = self._condition(target)
        if condition is None:
            return None
        columns = target.primary if target.primary != target.expressions else ()
        query = sql.SQL("SELECT ARRAY[{}]::text[] FROM {} WHERE {} LIMIT 10").format(
            sql.SQL(", ".join(f"{column}::text" for column in columns)),
            sql.SQL(target.quoted_table),
            condition,
        )
        try:
            found = self._fetch(query)
        except DatabaseError:  # the message is of another database, or the table is not ours
            return None
        names = ", ".join(columns)
        return tuple(f"({names})=({', '.join(row)})" if names else "" for (row,) in found)

    def _duplicates(self, target: Target) -> Duplicates:
        query = sql.SQL(
            "SELECT count(*) OVER (), sum(n - 1) OVER (), n, each FROM ({}) AS t"
            " ORDER BY n DESC, each LIMIT {}"
        ).format(self._groups(target, "ARRAY[{}]::text[] AS each"), sql.Literal(SHOWN))
        found = self._fetch(query)
        keys, surplus = (int(found[0][0]), int(found[0][1])) if found else (0, 0)
        return Duplicates(keys, surplus, tuple((tuple(row[3]), int(row[2])) for row in found))

    def _groups(self, target: Target, shown: str) -> sql.Composable:
        each = [sql.SQL(expression) for expression in target.expressions]
        texts = sql.SQL(", ").join([sql.SQL("{}::text").format(e) for e in each])
        kept: list[sql.Composable] = []
        if not target.nulls_are_equal:
            kept += [sql.SQL("{} IS NOT NULL").format(expression) for expression in each]
        if target.predicate:
            kept.append(sql.SQL(target.predicate))
        return sql.SQL("SELECT {}, count(*) AS n FROM {}{} GROUP BY {} HAVING count(*) > 1").format(
            sql.SQL(shown).format(texts) if shown else sql.SQL(", ").join(each),
            sql.SQL(target.quoted_table),
            sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(kept)) if kept else sql.SQL(""),
            sql.SQL(", ").join(each),
        )

    def _list_duplicates(self, target: Target) -> str:
        return f"{self._groups(target, '').as_string(None)};"

    def _fetch(self, query: sql.Composable) -> list[tuple[Any, ...]]:
        alias = self.connection.alias
        with transaction.atomic(using=alias), self.connection.cursor() as cursor:
            cursor.execute(query.as_string(None))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _show_rows(target: Target, condition: sql.Composable) -> str:
    query = sql.SQL("SELECT * FROM {} WHERE {};")
    return query.format(sql.SQL(target.quoted_table), condition).as_string(None)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
