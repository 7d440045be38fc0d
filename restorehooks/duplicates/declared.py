"""The installed models, by what the server calls their tables, columns and constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Field, Model, UniqueConstraint

from restorehooks.sequences.scope import installed_models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def model_of(table: str, schema: str = "") -> type[Model] | None:
    """Return the installed model whose rows a table holds; several share one: the first."""
    if not apps.models_ready or not table:
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


def columns_of(model: type[Model] | None, constraint: str) -> tuple[str, ...]:
    """Return a constraint's columns by the model, for a role that may not see the key's values."""
    if model is None:
        return ()
    if constraint == f"{model._meta.db_table}_pkey":
        return tuple(field.column for field in model._meta.pk_fields if field.column)
    return constraints_of(model).get(constraint, ())


def constraints_of(model: type[Model]) -> Mapping[str, tuple[str, ...]]:
    """Return the columns of each UniqueConstraint on fields that a model declares, by name."""
    return {
        each.name: _columns(model, each.fields)
        for each in model._meta.constraints
        if isinstance(each, UniqueConstraint) and each.fields
    }


def declared(
    connection: BaseDatabaseWrapper,
) -> Mapping[str, tuple[type[Model], tuple[str, ...]]]:
    """Return the unique constraints that the models declare, by the names that Django gives."""
    found = {}
    editor: Any = connection.schema_editor(collect_sql=True)
    for model in installed_models(connection.alias):
        meta = model._meta
        together = [_columns(model, names) for names in meta.unique_together]
        fields = [f for f in meta.local_fields if f.unique and not f.primary_key]
        alone = [(str(field.column),) for field in fields]
        for columns in chain(together, alone):
            # What ALTER TABLE is given; the constraint may be wanted, and its rows forbid it.
            name = str(editor._create_index_name(meta.db_table, columns, suffix="_uniq"))
            found[name] = (model, columns)
        for name, columns in constraints_of(model).items():
            found[name] = (model, columns)
    return found


def _columns(model: type[Model], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(model._meta.get_field(name).column) for name in names)  # type: ignore[union-attr]
