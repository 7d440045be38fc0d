"""Automatic fields that no sequence numbers: of a detached partition, or with no default left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from django.db.models import AutoField

from .finding import Finding

if TYPE_CHECKING:
    from django.db.models import Model


def automatic_fields(wanted: Iterable[type[Model]], existing: Collection[str]) -> dict[str, str]:
    """Return the automatic fields of the models that have a table: labels to columns."""
    return {
        f"{model._meta.label}.{field.name}": field.column
        for model in wanted
        if model._meta.label in existing
        for field in model._meta.local_fields
        if isinstance(field, AutoField) and field.column
    }


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
