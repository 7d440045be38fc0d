"""A migration operation, for migrations that write explicit ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.migrations.operations.base import Operation, OperationCategory
from psycopg import sql

from . import conf
from .announce import announce
from .sequences.repair import reset

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

    def __init__(self, models: str | Sequence[str], *more: str) -> None:
        self.models = [models, *more] if isinstance(models, str) else [*models, *more]

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
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
            report = reset(connection.alias, allowed, lock_timeout=conf.lock_timeout())
            announce(report, "ResetSequences")
            return
        for model in allowed:
            for field in model._meta.local_fields:
                if isinstance(field, models.AutoField) and field.column:
                    table = connection.ops.quote_name(model._meta.db_table)
                    schema_editor.execute(_statement(table, field.column))

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


def _statement(quoted_table: str, column: str) -> str:
    """Return what ``sqlmigrate`` shows: it finds sequence and rows when it is run."""
    return (
        sql.SQL(
            "SELECT pg_catalog.setval(seq, top, true) FROM ("
            "SELECT pg_catalog.pg_get_serial_sequence({name}, {column_name})::regclass AS seq,"
            " max({column}) AS top FROM {table}) AS t"
            " WHERE top > coalesce(pg_catalog.pg_sequence_last_value(seq),"
            " (SELECT seqstart - 1 FROM pg_catalog.pg_sequence WHERE seqrelid = seq))"
        )
        .format(
            name=sql.Literal(quoted_table),
            column_name=sql.Literal(column),
            column=sql.Identifier(column),
            table=sql.SQL(quoted_table),  # by Django
        )
        .as_string()
    )
