"""The addresses of the page: one list for each database, and where log entries lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode

from restorehooks.models import Sequence

from .export import FORMATS

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Sequence]
else:
    _ModelAdmin = admin.ModelAdmin


class Addresses(_ModelAdmin):
    """A list for each database that a user may look at."""

    def get_aliases(self, request: HttpRequest) -> list[str]:
        """Return the databases that this user may look at; each is an alias of DATABASES."""
        return list(connections)

    def get_urls(self) -> list[URLPattern]:
        """Return the list, once per database, the same as a file, and where log entries lead."""
        # In a transaction the reading is slower, and one begun on a database that is down fails.
        listed = self.admin_site.admin_view(self.changelist_view)
        for alias in connections:
            listed = transaction.non_atomic_requests(using=alias)(listed)
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        found = self.admin_site.admin_view(self.change_view)
        files = [
            path(f"{place}sequences.{kind}", listed, {"kind": kind})
            for kind in FORMATS
            for place in ("", "database/<path:alias>/")
        ]
        return [
            path("", listed, name=f"{name}_changelist"),
            *files,
            path("database/<path:alias>/", listed, name=f"{name}_database"),
            path("<path:object_id>/change/", found, name=f"{name}_change"),
        ]

    def get_alias(self, request: HttpRequest) -> str:
        """Return the database that a page is about: the one in its address, else the first."""
        asked = request.resolver_match.kwargs.get("alias") if request.resolver_match else None
        return asked or self.get_aliases(request)[0]

    def get_address(self, alias: str | None = None) -> str:
        """Return the address of a database's page, or of the first one's."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        current_app = self.admin_site.name
        if alias is None:
            return reverse(f"{name}_changelist", current_app=current_app)
        return reverse(f"{name}_database", args=[alias], current_app=current_app)

    def change_view(  # type: ignore[override]
        self, request: HttpRequest, object_id: str, **kwargs: Any
    ) -> HttpResponse:
        """Lead from a log entry to the sequence in the list, or to the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        name = unquote(object_id)
        for alias in self.get_aliases(request):
            if name.startswith(f"{alias}:"):
                query = urlencode({"q": name.removeprefix(f"{alias}:")})
                return HttpResponseRedirect(f"{self.get_address(alias)}?{query}")
        return HttpResponseRedirect(self.get_address())
