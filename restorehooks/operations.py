"""A migration operation, for migrations that write explicit ids."""

from __future__ import annotations

from collections import abc
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.migrations.operations.base import Operation, OperationCategory

from . import conf
from .announce import announce
from .sequences.repair import reset
from .sequences.scope import Scope, concrete_models
from .sequences.statements import decide_and_move

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class ResetSequences(Operation):
    """Move the sequences of models of the migration's app past their rows.

    ::

        operations = [
            migrations.RunPython(import_countries, migrations.RunPython.noop),
            ResetSequences("Country", "City"),
        ]

    ``models`` is one name or a list of them, and more names may follow. Works on the historical
    models, leaves other engines than PostgreSQL alone, and does nothing when reversed. What cannot
    be resolved (an exhausted sequence) is logged and does not stop the migration.
    """

    reduces_to_sql = True
    reversible = True
    category = OperationCategory.SQL

    def __init__(self, models: str | abc.Sequence[str], *more: str) -> None:
        self.models = [models, *more] if isinstance(models, str) else [*models, *more]

    def deconstruct(self) -> tuple[str, abc.Sequence[Any], dict[str, Any]]:
        """Return the names as a list, which squashed migrations can be written with."""
        return type(self).__name__, [], {"models": self.models}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change nothing: sequences are no part of the state."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Reset the sequences, or show the SQL that would where it is only collected."""
        connection = schema_editor.connection
        found = [to_state.apps.get_model(app_label, name) for name in self.models]
        allowed = [m for m in found if self.allow_migrate_model(connection.alias, m)]
        if connection.vendor != "postgresql" or not allowed:
            return
        if not schema_editor.collect_sql:
            report = reset(connection.alias, Scope(allowed), conf.limits())
            announce(report, "ResetSequences")
            return
        for model in concrete_models(allowed):
            for field in model._meta.local_fields:
                if isinstance(field, models.AutoField) and field.column:
                    table = connection.ops.quote_name(model._meta.db_table)
                    schema_editor.execute(decide_and_move(table, field.column), None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Do nothing: a sequence that is ahead harms nobody."""

    def describe(self) -> str:
        """Return what ``migrate --plan`` shows."""
        return f"Reset sequences of {', '.join(self.models)}"

    @property
    def migration_name_fragment(self) -> str:
        """Return what ``makemigrations`` would name a migration with."""
        return f"reset_sequences_{'_'.join(name.lower() for name in self.models)}"
