"""The filters of the list: by database, status, app and schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from restorehooks.sequences.report import Entry
from restorehooks.sequences.verdict import Status

from .queryset import WORST_FIRST, natural

NO_MODEL = "-"


class ReportFilter(admin.SimpleListFilter):
    """A filter whose choices are what the report has, each with how many there are."""

    def has_output(self) -> bool:
        """Say yes; the choices are known only once there is a change list."""
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """Return none; see :meth:`choices`."""
        return []

    def values(self, entry: Entry) -> set[str]:
        """Return the values that an entry is found by."""
        raise NotImplementedError

    def named(self, value: str) -> str:
        """Return what stands for a value on the page."""
        return value

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield "All" and each value."""
        counts = Counter(v for s in changelist.root_queryset for v in self.values(s.entry))
        yield self._choice(changelist, None, gettext("All"))
        for value in sorted(counts, key=self.position):
            yield self._choice(changelist, value, f"{self.named(value)} ({counts[value]})")

    def position(self, value: str) -> Any:
        """Return what the choices are sorted by."""
        return value

    def _choice(self, changelist: Any, value: str | None, display: str) -> dict[str, Any]:
        query = changelist.get_query_string({self.parameter_name: value})
        return {"selected": self.value() == value, "query_string": query, "display": display}

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the sequences with the value that was chosen."""
        if self.value() is None:
            return queryset
        return queryset.only_those([s for s in queryset if self.value() in self.values(s.entry)])


class StatusFilter(ReportFilter):
    """By status, the worst first."""

    title = _("status")
    parameter_name = "status"

    def values(self, entry: Entry) -> set[str]:
        """Return the status."""
        return {entry.status.value}

    def position(self, value: str) -> Any:
        """Return how bad it is."""
        return WORST_FIRST.index(Status(value))


class AppFilter(ReportFilter):
    """By the apps of the models whose tables a sequence numbers."""

    title = _("app")
    parameter_name = "app"

    def values(self, entry: Entry) -> set[str]:
        """Return the app labels."""
        return {label.partition(".")[0] for label in entry.models} or {NO_MODEL}

    def named(self, value: str) -> str:
        """Return the app label."""
        return gettext("no model") if value == NO_MODEL else value


class SchemaFilter(ReportFilter):
    """By the schema that a sequence stands in, which is a tenant's where each has its own."""

    title = _("schema")
    parameter_name = "schema"

    def values(self, entry: Entry) -> set[str]:
        """Return the schema's name."""
        return {entry.found[0].schema} if entry.found else set()

    def position(self, value: str) -> Any:
        """Return the name in natural order."""
        return natural(value)


class DatabaseFilter(admin.SimpleListFilter):
    """The databases; each has a page of its own, so that one that is down affects no other."""

    title = _("database")
    parameter_name = "database"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """Return the aliases that this user may look at."""
        return [(alias, alias) for alias in model_admin.get_aliases(request)]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the address of each one's page."""
        model_admin = changelist.model_admin
        for alias, _title in self.lookup_choices:
            yield {
                "selected": alias == model_admin.get_alias(self.request),
                "query_string": model_admin.get_address(alias),
                "display": alias,
            }

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return all: a report is of one database already."""
        return queryset
