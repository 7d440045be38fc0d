"""What can be told of a unique violation from the exception, the statement and the models."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS
from django.db.models import AutoField, Field, Model, UniqueConstraint
from django.db.models.fields import NOT_PROVIDED

from .key import Key, gives_value, parse_key


class Cause(str, Enum):
    """What a violation comes from, as far as can be told without asking the database."""

    SEQUENCE = "sequence"
    DATA = "data"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Violation:
    """A unique violation.

    ``schema``, ``table`` and ``constraint`` are raw names; ``columns`` are the constraint's, with
    expressions as the server writes them, and empty where they are not known. ``model`` is the
    installed model of the table, if any. ``column`` is the one of them that a sequence numbers,
    and ``statement_sets`` whether the statement gave a value for it (None: cannot be told).
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

    @classmethod
    def of(cls, error: BaseException, using: str, statement: Any = None) -> Violation:
        """Put together what the exception, the statement and the models tell."""
        diag = error.__cause__.diag  # type: ignore[union-attr]
        schema, table = diag.schema_name or "", diag.table_name or ""
        constraint = diag.constraint_name or ""
        model = model_of(table, schema)
        key = parse_key(diag.message_detail or "")
        columns = key.columns if key else _columns_of(model, constraint)
        cause, column, sets = _cause(model, table, columns, key, statement)
        return cls(using, schema, table, constraint, columns, model, cause, column, sets)

    @property
    def command(self) -> str:
        """The command that mends it, or that finds out."""
        if self.cause is Cause.SEQUENCE and self.model is not None:
            return mending_command(self.using, self.model, self.schema)
        return manage("explainduplicate", self.constraint, using=self.using)

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
        """One or two sentences: whose fault it is, and what mends it."""
        if self.cause is Cause.SEQUENCE:
            return self._sequence_behind()
        if self.cause is Cause.UNKNOWN:
            return (
                f'Whether a sequence is behind "{self.constraint}" of {self.where} or its data'
                f" really are duplicated is told by: {self.command}"
            )
        by_hand = f"The statement itself set {self.column}: no" if self.column else "No"
        return (
            f"{by_hand} sequence is to blame, the data really are duplicated. A row of"
            f" {self.where} with the same {self.what} is there already (constraint"
            f' "{self.constraint}").'
        )

    def _sequence_behind(self) -> str:
        fine = "The data are fine"
        if self.statement_sets is None:
            fine = f"If the statement did not set {self.column} itself, the data are fine"
        name = f"{self.table}_{self.column}_seq"
        # Longer ones are shortened by the server, and that depends on its encoding.
        named = f" ({name}, unless renamed)" if len(name) < 64 and name.isascii() else ""
        label = self.model._meta.label if self.model else self.table
        return (
            f"{fine}: the sequence that numbers {label}.{self.what}{named} was behind the rows of"
            f" {self.schema}.{self.table}. This mends it: {self.command}"
        )

    @property
    def where(self) -> str:
        """The model and its table, or the table alone."""
        table = f"{self.schema}.{self.table}" if self.schema else self.table
        return f"{self.model._meta.label} (table {table})" if self.model else f"table {table}"

    @property
    def what(self) -> str:
        """The fields, or else the columns and expressions, that the constraint is on."""
        return ", ".join(_field_name(self.model, column) for column in self.columns)


def model_of(table: str, schema: str = "") -> type[Model] | None:
    """Return the installed model whose rows a table holds; several share one: the first."""
    if not apps.models_ready:
        return None
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy and model._meta.db_table.strip('"') in (
            table,
            f'{schema}"."{table}',
        ):
            return model
    return None


def field_of(model: type[Model] | None, column: str) -> Field[Any, Any] | None:
    """Return the field of a column."""
    fields: Sequence[Any] = model._meta.local_concrete_fields if model else ()
    return next((field for field in fields if field.column == column), None)


MANAGE = ("python", "manage.py")


def mending_command(
    using: str, model: type[Model] | None, schema: str, *, program: Sequence[str] = MANAGE
) -> str:
    """Return the command that repairs the sequences of a model, or of a schema without models."""
    if model is None:
        return manage("resetsequences", "--schema", schema, using=using, program=program)
    # The automatic table of a many-to-many field has no label of its own.
    creator = model._meta.auto_created
    owner = model if isinstance(creator, bool) else creator
    return manage("resetsequences", owner._meta.label, using=using, program=program)


def manage(*arguments: str, using: str, program: Sequence[str] = MANAGE) -> str:
    """Return a command line for a person to copy."""
    database = [] if using == DEFAULT_DB_ALIAS else ["--database", using]
    return shlex.join([*program, *arguments, *database])


def _cause(
    model: type[Model] | None,
    table: str,
    columns: Sequence[str],
    key: Key | None,
    statement: Any,
) -> tuple[Cause, str | None, bool | None]:
    for column in columns:
        numbered = _is_numbered(model, column)
        sets = gives_value(statement, table, column)
        if numbered:
            return Cause.DATA if sets else Cause.SEQUENCE, column, sets
        if numbered is None and not sets and not (key and key.holds_no_number):
            return Cause.UNKNOWN, column, sets
    return Cause.DATA if columns else Cause.UNKNOWN, None, None


def _is_numbered(model: type[Model] | None, column: str) -> bool | None:
    """Whether a sequence numbers a column, by its model; None where that cannot tell."""
    if model is None:
        return None
    field = field_of(model, column)
    if isinstance(field, AutoField):
        return True
    drawn_by_default = getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED
    return None if drawn_by_default else False


def _columns_of(model: type[Model] | None, constraint: str) -> tuple[str, ...]:
    """Return a constraint's columns by the model, for a role that may not see the key's values."""
    if model is None:
        return ()
    if constraint == f"{model._meta.db_table}_pkey":
        return tuple(field.column for field in model._meta.pk_fields if field.column)
    return model_constraints(model).get(constraint, ())


def model_constraints(model: type[Model]) -> Mapping[str, tuple[str, ...]]:
    """Return the columns of each UniqueConstraint on fields that a model declares, by name."""
    return {
        each.name: tuple(str(model._meta.get_field(name).column) for name in each.fields)  # type: ignore[union-attr]
        for each in model._meta.constraints
        if isinstance(each, UniqueConstraint) and each.fields
    }


def _field_name(model: type[Model] | None, column: str) -> str:
    field = field_of(model, column)
    return column if field is None else field.name
