"""The command lines that notes and explanations give."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

MANAGE = ("python", "manage.py")


def mending_command(
    using: str, model: type[Model] | None, schema: str, *, program: Sequence[str] = MANAGE
) -> str:
    """Return the command that repairs the sequences of a model, or of a schema without models.

    It names the schema too where another connection may not find the model's table without it, as
    under schema tenants.
    """
    schemas = schema_option(schema) if schema else []
    if model is None:
        return manage("resetsequences", *schemas, using=using, program=program)
    if schema == "public" or '"' in model._meta.db_table:
        schemas = []
    # The automatic table of a many-to-many field has no label of its own.
    creator = model._meta.auto_created
    owner = model if isinstance(creator, bool) else creator
    label = owner._meta.label
    return manage("resetsequences", *schemas, label, using=using, program=program)


def guessing_command(using: str, schema: str, *, program: Sequence[str] = MANAGE) -> str:
    """Return the command that repairs the sequences that only their names lead to columns."""
    arguments = ("resetsequences", "--by-name", *schema_option(schema))
    return manage(*arguments, using=using, program=program)


def schema_option(schema: str) -> list[str]:
    """Return the option for a schema, whose name may begin as an option does."""
    return [f"--schema={schema}"] if schema.startswith("-") else ["--schema", schema]


def explaining_command(using: str, constraint: str) -> str:
    """Return the command that explains a constraint, whatever its name begins with."""
    if not constraint.startswith("-"):
        return manage("explainduplicate", constraint, using=using)
    command = manage("explainduplicate", using=using)
    return f"{command} {shlex.join(['--', constraint])}"


def manage(*arguments: str, using: str, program: Sequence[str] = MANAGE) -> str:
    """Return a command line for a person to copy."""
    database = [] if using == DEFAULT_DB_ALIAS else ["--database", using]
    return shlex.join([*program, *arguments, *database])
