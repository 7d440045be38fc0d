"""The page "Sequences" of the admin: the change list of a model without a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import Error, connections, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from . import conf
from .announce import announce
from .models import Sequence
from .sequences import repair
from .sequences.forms import SHOWN
from .sequences.report import Entry, Report
from .sequences.scope import Scope, tenant_schemas
from .sequences.verdict import Status

if TYPE_CHECKING:
    _QuerySet = QuerySet[Sequence]
    _ModelAdmin = admin.ModelAdmin[Sequence]
else:
    _QuerySet, _ModelAdmin = QuerySet, admin.ModelAdmin

WORST_FIRST = (
    Status.EXHAUSTED,
    Status.BEHIND,
    Status.FAILED,
    Status.UNVERIFIED,
    Status.OK,
)
NO_MODEL = "-"


class SequenceQuerySet(_QuerySet):
    """The sequences of one report, which no query is sent for; ``problem`` says why there is none.

    Paging, counting and choosing by primary key work; other filters change nothing.
    """

    report: Report
    problem: str | None

    @classmethod
    def of(cls, report: Report, problem: str | None = None) -> SequenceQuerySet:
        """Return the sequences of a report, the worst first."""
        found = cls(Sequence)
        found.report, found.problem = report, problem
        return found.only_those(
            [Sequence.found(report.database, entry) for entry in sorted(report, key=_badness)]
        )

    def only_those(self, sequences: list[Sequence]) -> SequenceQuerySet:
        """Return a query set of these."""
        chosen = SequenceQuerySet(Sequence)
        chosen.report, chosen.problem = self.report, self.problem
        chosen._result_cache = sequences
        return chosen

    def filter(self, *args: Any, **kwargs: Any) -> SequenceQuerySet:
        """Return those with one of the keys ``pk__in``, as an action asks for them."""
        keys = set(kwargs["pk__in"]) if "pk__in" in kwargs else None
        return self.only_those([each for each in self if keys is None or each.pk in keys])

    def _clone(self) -> SequenceQuerySet:
        return self.only_those(list(self))


class SequenceList(ChangeList):
    """Filters and searches in memory; a report is read whole or not at all."""

    root_queryset: SequenceQuerySet

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: Any = None
    ) -> SequenceQuerySet:
        """Return what the filters and the search leave, in the order of the report."""
        specs, _, _, _, self.has_active_filters = self.get_filters(request)
        self.filter_specs = [spec for spec in specs if len(list(spec.choices(self))) > 1]
        self.has_filters = bool(self.filter_specs)
        left: Any = self.root_queryset
        for spec in specs:
            left = spec.queryset(request, left)
        words = self.query.lower().split()
        self.clear_all_filters_qs = self.get_query_string(remove=list(self.get_filters_params()))
        found = [s for s in left if all(word in _searched(s.entry) for word in words)]
        return self.root_queryset.only_those(found)

    def get_results(self, request: HttpRequest) -> None:
        """Offer actions only where one would do something."""
        super().get_results(request)
        self.repairable = sum(_moves(sequence) for sequence in self.root_queryset)
        self.show_admin_actions = any(_moves(sequence) for sequence in self.result_list)
        if not self.show_admin_actions:
            self.list_display = [each for each in self.list_display if each != "action_checkbox"]


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


class DatabaseFilter(admin.SimpleListFilter):
    """The databases; each has a page of its own, so that one that is down is in nobody's way."""

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


@admin.register(Sequence)
class SequenceAdmin(_ModelAdmin):
    """Where sequences stand, the worst first, and an action that moves them past their rows.

    Override :meth:`get_aliases` and :meth:`get_schemas` to say who may look at which database, and
    at which schemas of it.
    """

    list_display = ("sequence", "status", "next_id", "last_id", "used")
    list_display_links = None
    list_filter = (DatabaseFilter, StatusFilter, AppFilter)
    list_per_page = 100
    search_fields = ("name",)
    search_help_text = _("Words in the name of a sequence, a column or a model")
    show_facets = admin.ShowFacets.NEVER
    actions = ("repair_sequences",)

    class Media:  # noqa: D106
        css = {"all": ("restorehooks/sequences.css",)}  # noqa: RUF012  as Django declares it

    def get_aliases(self, request: HttpRequest) -> list[str]:
        """Return the databases that this user may look at; any alias of DATABASES will do."""
        return list(connections)

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

    # The pages.

    def get_urls(self) -> list[URLPattern]:
        """Return the list, once per database, and where log entries lead."""
        # In a transaction the reading is slower, and one begun on a database that is down fails.
        listed = self.admin_site.admin_view(self.changelist_view)
        for alias in connections:
            listed = transaction.non_atomic_requests(using=alias)(listed)
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        found = self.admin_site.admin_view(self.change_view)
        return [
            path("", listed, name=f"{name}_changelist"),
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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that works on a report."""
        return SequenceList

    def get_queryset(self, request: HttpRequest) -> SequenceQuerySet:
        """Look at every sequence of the page's database, or say why that could not be done."""
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
            problem = _cannot_be_asked(alias, error)
        return SequenceQuerySet.of(Report(alias), problem)

    def changelist_view(
        self,
        request: HttpRequest,
        extra_context: dict[str, Any] | None = None,
        alias: str | None = None,
    ) -> HttpResponse:
        """Show the list, or carry out an action on it."""
        there = self.get_aliases(request)
        if not there:
            raise PermissionDenied
        if alias is not None and alias not in there:
            said = gettext("There is no database “%(alias)s”; there are: %(there)s.")
            self.message_user(
                request, said % {"alias": alias, "there": ", ".join(there)}, messages.ERROR
            )
            return HttpResponseRedirect(self.get_address())
        subtitle = self.get_alias(request) if len(there) > 1 else None
        context = {"title": gettext("Sequences"), "subtitle": subtitle, **(extra_context or {})}
        return super().changelist_view(request, context)

    def change_view(  # type: ignore[override]
        self, request: HttpRequest, object_id: str, **kwargs: Any
    ) -> HttpResponse:
        """Lead from a log entry to the sequence in the list."""
        name = unquote(object_id)
        for alias in self.get_aliases(request):
            if name.startswith(f"{alias}:"):
                query = urlencode({"q": name.removeprefix(f"{alias}:")})
                return HttpResponseRedirect(f"{self.get_address(alias)}?{query}")
        return HttpResponseRedirect(self.get_address())

    # The action.

    @admin.action(permissions=["repair"], description=_("Repair selected %(verbose_name_plural)s"))
    def repair_sequences(
        self, request: HttpRequest, queryset: SequenceQuerySet
    ) -> HttpResponse | None:
        """Ask first, then move the sequences that are behind past their rows."""
        to_move = [sequence for sequence in queryset if _moves(sequence)]
        if not to_move:
            said = gettext("Nothing was changed: none of these sequences is behind its rows.")
            self.message_user(request, said, messages.WARNING)
        elif "confirmed" not in request.POST:
            return self._confirmation(request, to_move)
        else:
            self._repair(request, queryset.report.database, [s.entry.sequence for s in to_move])
        return None

    def _confirmation(self, request: HttpRequest, to_move: list[Sequence]) -> TemplateResponse:
        all_of_them = request.POST.get("select_across") == "1"
        shown = self.list_per_page
        context = {
            **self.admin_site.each_context(request),
            "title": ngettext(
                "Repair %(count)d sequence?", "Repair %(count)d sequences?", len(to_move)
            )
            % {"count": len(to_move)},
            "opts": self.opts,
            "cl": {"opts": self.opts},
            "media": self.media,
            "actions_on_top": True,  # or the change list's template has a style sheet within
            "alias": self.get_alias(request),
            "to_move": [sequence.entry for sequence in to_move[:shown]],
            "more": len(to_move[shown:]),
            "all_of_them": all_of_them,
            "checkbox": ACTION_CHECKBOX_NAME,
            "keys": ["all"] if all_of_them else [sequence.pk for sequence in to_move],
            "back": request.get_full_path(),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request, "admin/restorehooks/sequence/repair_confirmation.html", context
        )

    def _repair(self, request: HttpRequest, alias: str, names: list[str]) -> None:
        try:
            report = repair.reset(alias, Scope(sequences=names), conf.limits(hook=True))
        except (Error, ImproperlyConfigured) as error:
            self.message_user(request, _cannot_be_asked(alias, error), messages.ERROR)
            return
        announce(report, "admin", printed=True)
        self._log(request, report)
        if report.read_only:
            said = gettext("Nothing was changed: %(reason)s.") % {"reason": report.read_only}
            self.message_user(request, said, messages.ERROR)
            return
        if report.changed:
            self.message_user(request, _moved(report), messages.SUCCESS)
        for entry in report.unresolved[:SHOWN]:
            said = gettext("Sequence %(name)s is %(status)s: %(reason)s.") % {
                "name": entry.sequence,
                "status": entry.status.value,
                "reason": entry.reason,
            }
            self.message_user(request, said, messages.WARNING)

    def _log(self, request: HttpRequest, report: Report) -> None:
        content_type = get_content_type_for_model(self.model)
        LogEntry.objects.bulk_create(
            LogEntry(
                user_id=request.user.pk,
                content_type_id=content_type.pk,
                object_id=f"{report.database}:{entry.sequence}",
                object_repr=f"{entry.sequence} ({report.database})"[:200],
                action_flag=CHANGE,
                change_message=f"Moved from {entry.next_before} to {entry.next_after}.",
            )
            for entry in report.changed
        )

    # The columns of the list.

    def action_checkbox(self, obj: Sequence) -> SafeString:
        """Return a checkbox where there is something to repair."""
        return super().action_checkbox(obj) if _moves(obj) else SafeString("&nbsp;")

    @admin.display(description=_("sequence"))
    def sequence(self, obj: Sequence) -> str:
        """Return the name, the first few columns and models, and what is to be said about it."""
        entry = obj.entry
        about = [_first_few(entry.columns), _first_few(entry.models), entry.reason]
        lines = format_html_join("", '<div class="help">{}</div>', ((x,) for x in about if x))
        return format_html('<span class="name">{}</span>{}', entry.sequence, lines)

    @admin.display(description=_("status"))
    def status(self, obj: Sequence) -> str:
        """Return the status."""
        return format_html('<span class="status {0}">{0}</span>', obj.entry.status.value)

    @admin.display(description=_("next id"))
    def next_id(self, obj: Sequence) -> int | None:
        """Return what nextval would hand out."""
        return obj.entry.next_before

    @admin.display(description=_("rows end at"))
    def last_id(self, obj: Sequence) -> int | None:
        """Return the farthest number among the rows: MAX, or MIN where it counts down."""
        return obj.entry.extreme

    @admin.display(description=_("used"))
    def used(self, obj: Sequence) -> str | None:
        """Return a bar: the share of its range, and of its columns' types, that is used up."""
        if obj.entry.used_percent is None:
            return None
        return format_html(
            '{1}% <meter min="0" max="100" low="{0}" high="{0}" optimum="0" value="{1}"'
            ' aria-hidden="true"></meter>',
            f"{conf.max_used_percent():g}",
            f"{obj.entry.used_percent:g}",
        )


def _badness(entry: Entry) -> tuple[int, float, str]:
    return WORST_FIRST.index(entry.status), -(entry.used_percent or 0), entry.sequence


def _moves(sequence: Sequence) -> bool:
    return sequence.entry.plan is not None


def _searched(entry: Entry) -> str:
    return "\n".join([entry.sequence, *entry.columns, *entry.models]).lower()


def _first_few(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:SHOWN])
    rest = len(names) - SHOWN
    if rest <= 0:
        return shown
    return gettext("%(shown)s and %(rest)d more") % {"shown": shown, "rest": rest}


def _moved(report: Report) -> str:
    moved = [f"{entry.sequence} to {entry.next_after}" for entry in report.changed]
    said = ngettext(
        "Moved %(count)d sequence past its rows: %(moved)s.",
        "Moved %(count)d sequences past their rows: %(moved)s.",
        len(moved),
    )
    return said % {"count": len(moved), "moved": _first_few(tuple(moved))}


def _cannot_be_asked(alias: str, error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    said = gettext("Database “%(alias)s” cannot be asked: %(reason)s")
    return said % {"alias": alias, "reason": first_line}
