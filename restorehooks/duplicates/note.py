"""What an exception, its statement and the models say of a unique violation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from django.db.models import AutoField, Model

from . import EXCLUSION_VIOLATION, sqlstate
from .commands import explaining_command, manage, mending_command
from .declared import columns_of, field_of, model_of
from .key import parse_key
from .statement import columns_in, gives_value, names_table, only_changes
from .words import of_table, quoted_name, without_shard


class Cause(str, Enum):
    """What a violation comes from, as far as is known without asking the database."""

    SEQUENCE = "sequence"
    DATA = "data"
    UNKNOWN = "unknown"


class Place(NamedTuple):
    """Where a violation happened: raw names, each empty where it is not known."""

    schema: str
    table: str
    constraint: str

    @classmethod
    def of(cls, error: BaseException, statement: Any) -> Place:
        """Return what the server's fields say, or else its message and the statement.

        A violation of a Citus shard has no fields, or the shard's where that is on the same node;
        one that a function raises has none.
        """
        diag = error.__cause__.diag  # type: ignore[union-attr]
        if diag.table_name:
            names = of_table(diag.table_name, diag.constraint_name or "")
            return cls(diag.schema_name or "", *names)
        constraint = diag.constraint_name or quoted_name(diag.message_primary or "") or ""
        return cls(*names_table(statement), without_shard(constraint))


@dataclass(frozen=True)
class Violation:
    """A unique violation.

    ``schema``, ``table`` and ``constraint`` are raw names, empty where they are not known;
    ``columns`` are the constraint's, with expressions as the server writes them, and empty where
    they are not known. ``model`` is the installed model of the table, if any. ``column`` is the one
    of them that a sequence numbers by the model, and ``statement_sets`` whether the statement gave
    a value for it (None: not known). ``overlaps``: the constraint is one of exclusion.
    """

    using: str
    schema: str
    table: str
    constraint: str
    columns: tuple[str, ...]
    model: type[Model] | None
    cause: Cause
    column: str | None = None
    statement_sets: bool | None = None
    overlaps: bool = False

    @classmethod
    def of(cls, error: BaseException, using: str, statement: Any = None) -> Violation:
        """Put together what the exception, the statement and the models say."""
        schema, table, constraint = Place.of(error, statement)
        model = model_of(table, schema)
        key = parse_key(error.__cause__.diag.message_detail or "")  # type: ignore[union-attr]
        columns = key.columns if key else columns_of(model, constraint)
        cause, column, sets = _cause(model, table, columns, statement)
        overlaps = sqlstate(error) == EXCLUSION_VIOLATION
        return cls(using, schema, table, constraint, columns, model, cause, column, sets, overlaps)

    @property
    def is_explained(self) -> bool:
        """Whether there is something to say: rows that overlap are nobody's sequence."""
        return not (self.overlaps and self.cause is Cause.DATA)

    @property
    def command(self) -> str:
        """The command that mends it, or that finds out."""
        if self.cause is Cause.SEQUENCE and self.model is not None:
            return mending_command(self.using, self.model, self.schema)
        if not self.constraint:
            return manage("resetsequences", "--check", using=self.using)
        name = self.constraint
        if self.schema not in ("", "public"):
            name = f"{self.schema}.{name}"
        return explaining_command(self.using, name)

    @property
    def extra(self) -> dict[str, Any]:
        """What the log record carries beside its text."""
        return {
            "database": self.using,
            "schema": self.schema,
            "table": self.table,
            "column": self.column,
            "constraint": self.constraint,
            "model": self.model._meta.label if self.model else None,
            "command": self.command,
        }

    @property
    def sentences(self) -> str:
        """One or two sentences: what it comes from, and what mends it."""
        if self.cause is Cause.SEQUENCE:
            return self._sequence_behind()
        if self.cause is Cause.UNKNOWN:
            return (
                f"Either a sequence is behind or the data really are duplicated{self._at()}."
                f" This shows which: {self.command}"
            )
        by_hand = f"The statement itself set {self.column}: no" if self.column else "No"
        return (
            f"{by_hand} sequence is to blame, the data really are duplicated. A row of"
            f" {self.where} with the same {self.what} is there already{self._named()}."
        )

    def _at(self) -> str:
        place = " of ".join(filter(None, [self._constraint, self.where if self.table else ""]))
        return f" ({place})" if place else ""

    @property
    def _constraint(self) -> str:
        return f'constraint "{self.constraint}"' if self.constraint else ""

    def _named(self) -> str:
        return f" ({self._constraint})" if self.constraint else ""

    def _sequence_behind(self) -> str:
        fine = "The data are fine"
        if self.statement_sets is None:
            fine = f"If the statement did not set {self.column} itself, the data are fine"
        name = f"{self.table}_{self.column}_seq"
        # Longer ones are shortened by the server, and that depends on its encoding.
        named = f" ({name}, unless renamed)" if len(name) < 64 and name.isascii() else ""
        label = self.model._meta.label if self.model else self.table
        return (
            f"{fine}: the sequence that numbers {label}.{self.field}{named} was behind the rows of"
            f" {self._quoted_table}. This mends it: {self.command}"
        )

    @property
    def _quoted_table(self) -> str:
        return ".".join(filter(None, [self.schema, self.table]))

    @property
    def where(self) -> str:
        """The model and its table, or the table alone."""
        table = f"table {self._quoted_table}"
        return f"{self.model._meta.label} ({table})" if self.model else table

    @property
    def what(self) -> str:
        """The fields, or else the columns and expressions, that the constraint is on."""
        return ", ".join(self._field_names(self.columns))

    @property
    def field(self) -> str:
        """The field, or else the column, that a sequence numbers."""
        return ", ".join(self._field_names(filter(None, [self.column])))

    def _field_names(self, columns: Iterable[str]) -> list[str]:
        fields = ((field_of(self.model, column), column) for column in columns)
        return [column if field is None else field.name for field, column in fields]


def _cause(
    model: type[Model] | None, table: str, columns: Sequence[str], statement: Any
) -> tuple[Cause, str | None, bool | None]:
    """Return the cause: the data, only where the statement gave each column its value."""
    numbered = [c for c in columns if isinstance(field_of(model, c), AutoField)]
    given = {column: _gives(statement, table, column) for column in columns}
    if only_changes(statement) and True in given.values():
        given = dict.fromkeys(columns, True)  # what an UPDATE leaves out was there before
    for column in numbered:
        if not given[column]:
            return Cause.SEQUENCE, column, given[column]
    by_model = numbered[0] if numbered else None
    if columns and all(given.values()):
        return Cause.DATA, by_model, True if numbered else None
    return Cause.UNKNOWN, by_model, None


def _gives(statement: Any, table: str, column: str) -> bool | None:
    """Return the answer for a column, or for the columns that an expression may be made of."""
    if (given := gives_value(statement, table, column)) is not False:
        return given
    names = columns_in(column)
    each = [gives_value(statement, table, name) for name in names]
    return bool(each) and all(each)
