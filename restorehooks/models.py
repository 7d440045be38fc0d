"""One model without a table, for permissions, content types and the admin page to hang on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from .sequences.report import Entry


NO_LINKS: Mapping[str, str] = MappingProxyType({})


class NoRows(models.Manager["Sequence"]):
    """Finds nothing and asks no database: there is no table.

    It is the base manager too, so ``dumpdata --all``, the serialisation of test databases and
    whatever else walks through all models never look for one.
    """

    def get_queryset(self) -> models.QuerySet[Sequence]:
        """Return no sequence."""
        return super().get_queryset().none()


class Sequence(models.Model):
    """A sequence as a report found it; made in memory only, by :meth:`found`.

    The app has no migrations: ``migrate`` creates content type and permissions all the same.
    """

    name = models.TextField(primary_key=True)
    entry: Entry
    links: Mapping[str, str] = NO_LINKS
    """The addresses of the models' lists that the visitor may see, by the labels of the models."""

    objects = NoRows()

    class Meta:  # noqa: D106
        managed = False
        base_manager_name = "objects"
        default_permissions = ("view",)
        permissions = (("repair_sequence", "Can repair sequence"),)
        ordering = ("name",)
        verbose_name = _("sequence")
        verbose_name_plural = _("sequences")

    def __str__(self) -> str:
        return self.name.partition(":")[2]

    @classmethod
    def found(cls, using: str, entry: Entry) -> Sequence:
        """Return the sequence of an entry; its ``name`` begins with the alias and a colon."""
        sequence = cls(name=f"{using}:{entry.sequence}")
        sequence.entry = entry
        return sequence
