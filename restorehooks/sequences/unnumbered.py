"""Automatic fields that no sequence numbers: of a detached partition, or with no default left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from restorehooks.driver import sql

from .finding import Finding
from .message import send
from .scope import LOCK_TIMEOUT, Name, tables_of

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model


def automatic_fields(wanted: Iterable[type[Model]], existing: Collection[str]) -> dict[str, str]:
    """Return the automatic fields of the models that have a table: labels to columns."""
    return {
        f"{model._meta.label}.{field.name}": field.column
        for model in wanted
        if (field := model._meta.auto_field) is not None and field in model._meta.local_fields
        if field.column and model._meta.label in existing
    }


def without_number(
    connection: BaseDatabaseWrapper,
    models: Iterable[type[Model]],
    labels: Mapping[Name, list[str]],
    findings: Iterable[Finding],
) -> tuple[str, ...]:
    """Return the labels of the automatic fields that nothing in the database gives a number.

    That is those of tables whose column has no default, forbids NULL, and is neither numbered by a
    sequence of ``findings`` nor filled by a trigger. ``labels`` are those of the models by the
    names of their tables.
    """
    there = {label for found in labels.values() for label in found}
    automatic = automatic_fields(models, there)
    fields = unnumbered(automatic, findings)
    owners = {field.rpartition(".")[0] for field in fields}
    left = [name for name, found in labels.items() if not owners.isdisjoint(found)]
    if not left:
        return ()
    names = tables_of(connection, left)
    (rows,) = send(connection, [WITHOUT_DEFAULT.format(sql.Literal([*names]))], LOCK_TIMEOUT)
    bare = {(label, column) for oid, column in rows for label in labels[names[oid]]}
    return tuple(field for field in fields if (field.rpartition(".")[0], automatic[field]) in bare)


WITHOUT_DEFAULT = sql.SQL("""
SELECT c.oid, a.attname
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.oid = ANY({}::oid[]) AND c.relkind IN ('r', 'p')
  AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND t.typdefaultbin IS NULL
  AND NOT EXISTS (
      SELECT FROM pg_trigger g  -- before each row that is inserted
      WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgtype & 7 = 7)
""")


def unnumbered(automatic: Mapping[str, str], findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return the labels of the automatic fields that were asked for and that nothing numbers."""
    numbered = {
        (label, column.name)
        for finding in findings
        for label in finding.models
        for column in finding.sequence.columns
    }
    return tuple(
        label
        for label, column in automatic.items()
        if (label.rpartition(".")[0], column) not in numbered
    )
