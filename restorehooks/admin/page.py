"""The page itself: who may see it, what it reads, and its one action."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import Error, connections
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from restorehooks import conf
from restorehooks.models import Sequence
from restorehooks.sequences import repair
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import Scope
from restorehooks.sequences.tenants import tenant_schemas

from .addresses import Addresses
from .changelist import SequenceList
from .columns import Columns, addresses_of_lists
from .export import file_of
from .filters import AppFilter, DatabaseFilter, SchemaFilter, StatusFilter
from .queryset import SequenceQuerySet, moves
from .repairs import cannot_be_asked, carry_out, confirmation


@admin.register(Sequence)
class SequenceAdmin(Columns, Addresses):
    """Where sequences stand, the worst first, and an action that moves them past their rows.

    Override :meth:`get_aliases` and :meth:`get_schemas` to say who may look at which database, and
    at which schemas of it.
    """

    list_display = ("sequence", "status", "next_id", "last_id", "used")
    list_display_links = None
    list_filter = (DatabaseFilter, StatusFilter, AppFilter, SchemaFilter)
    list_per_page = 100
    search_fields = ("name",)
    search_help_text = _("Words in the name of a sequence, a column or a model")
    show_facets = admin.ShowFacets.NEVER
    actions = ("repair_sequences",)

    class Media:  # noqa: D106
        css = {"all": ("restorehooks/sequences.css",)}  # noqa: RUF012 - as Django declares it

    def get_schemas(self, request: HttpRequest) -> Collection[str] | None:
        """Return the schemas of the page's database that this user may look at; None means all.

        Where a package for tenants has set the connection's ``search_path``, these are its schemas.
        """
        return tenant_schemas(connections[self.get_alias(request)])

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say no, also to a superuser."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say no, also to a superuser."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say no, also to a superuser."""
        return False

    def has_repair_permission(self, request: HttpRequest) -> bool:
        """Say whether this user may repair what the page shows."""
        return request.user.has_perm("restorehooks.repair_sequence")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that works on a report."""
        return SequenceList

    def get_queryset(self, request: HttpRequest) -> SequenceQuerySet:
        """Read every sequence of the page's database, or say why that could not be done."""
        alias = self.get_alias(request)
        try:
            if connections[alias].vendor == "postgresql":
                scope = Scope(schemas=self.get_schemas(request))
                report = repair.inspect(alias, scope, conf.limits(hook=True))
                return SequenceQuerySet.of(report)
            problem = gettext("Database “%(alias)s” is on %(engine)s, not on PostgreSQL.") % {
                "alias": alias,
                "engine": connections[alias].vendor,
            }
        except (Error, ImproperlyConfigured) as error:
            problem = cannot_be_asked(alias, error)
        return SequenceQuerySet.of(Report(alias), problem)

    def changelist_view(
        self,
        request: HttpRequest,
        extra_context: dict[str, Any] | None = None,
        alias: str | None = None,
        kind: str | None = None,
    ) -> HttpResponse:
        """Show the list, carry out an action on it, or return it as a file of a ``kind``."""
        there = self.get_aliases(request)
        if not there or not self.has_view_permission(request):
            raise PermissionDenied
        if alias is not None and alias not in there:
            said = gettext("There is no database “%(alias)s”; there are: %(there)s.")
            self.message_user(
                request, said % {"alias": alias, "there": ", ".join(there)}, messages.ERROR
            )
            return HttpResponseRedirect(self.get_address())
        if kind is not None:
            return self._file(request, kind)
        subtitle = self.get_alias(request) if len(there) > 1 else None
        context = {"title": gettext("Sequences"), "subtitle": subtitle, **(extra_context or {})}
        return super().changelist_view(request, context)

    def _file(self, request: HttpRequest, kind: str) -> HttpResponse:
        found: Any = self.get_changelist_instance(request)
        if found.root_queryset.problem:
            return HttpResponse(found.root_queryset.problem, "text/plain; charset=utf-8", 503)
        return file_of(found.root_queryset.report, [s.entry for s in found.queryset], kind)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the change list, whose sequences know where their models' lists are."""
        found = super().get_changelist_instance(request)
        links = addresses_of_lists(self.admin_site, request)
        for sequence in found.result_list:
            sequence.links = links
        return found

    @admin.action(permissions=["repair"], description=_("Repair selected %(verbose_name_plural)s"))
    def repair_sequences(
        self, request: HttpRequest, queryset: SequenceQuerySet
    ) -> HttpResponse | None:
        """Ask first, then move the sequences that are behind past their rows."""
        to_move = [sequence for sequence in queryset if moves(sequence)]
        alias = queryset.report.database
        if not to_move:
            said = gettext("Nothing was changed: none of these sequences is behind its rows.")
            self.message_user(request, said, messages.WARNING)
        elif "confirmed" not in request.POST:
            return confirmation(self, request, alias, to_move)
        else:
            carry_out(self, request, alias, [s.entry.sequence for s in to_move])
        return None
