"""The columns of the list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from restorehooks import conf
from restorehooks.models import NO_LINKS, Sequence
from restorehooks.sequences.forms import SHOWN
from restorehooks.sequences.report import Entry
from restorehooks.sequences.statements import move_for_dba
from restorehooks.wording import printable_sql

from .queryset import moves

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Sequence]
else:
    _ModelAdmin = admin.ModelAdmin


class Columns(_ModelAdmin):
    """Shows one sequence of a report in a row."""

    def action_checkbox(self, obj: Sequence) -> SafeString:
        """Return a checkbox where there is something to repair."""
        return super().action_checkbox(obj) if moves(obj) else SafeString("&nbsp;")

    @admin.display(description="")
    def no_checkbox(self, obj: Sequence) -> str:
        """Return what stands in place of all checkboxes where nothing can be repaired."""
        return ""

    @admin.display(description=_("sequence"), ordering="sequence")
    def sequence(self, obj: Sequence) -> str:
        """Return the name, the first few columns and models, and what is to be said about it."""
        entry = obj.entry
        about = [first_few(entry.columns), first_few(entry.models, obj.links), entry.reason]
        lines = format_html_join("", '<div class="help">{}</div>', ((x,) for x in about if x))
        name = format_html('<span class="name">{}</span>{}', entry.sequence, lines)
        return format_html("{}{}", name, _to_copy(statements(entry)))

    @admin.display(description=_("status"), ordering="status")
    def status(self, obj: Sequence) -> str:
        """Return the status."""
        return format_html('<span class="status {0}">{0}</span>', obj.entry.status.value)

    @admin.display(description=_("next id"), ordering="next_id")
    def next_id(self, obj: Sequence) -> int | None:
        """Return what nextval would hand out."""
        return obj.entry.next_before

    @admin.display(description=_("rows end at"), ordering="last_id")
    def last_id(self, obj: Sequence) -> int | None:
        """Return the farthest number among the rows: MAX, or MIN where it counts down."""
        return obj.entry.extreme

    @admin.display(description=_("used"), ordering="-used")
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


def addresses_of_lists(site: admin.AdminSite, request: HttpRequest) -> dict[str, str]:
    """Return the addresses of the models' lists on this site, by the labels of the models."""
    found = {}
    for model in apps.get_models():
        if not site.is_registered(model) or not site.get_model_admin(model).has_view_permission(
            request
        ):
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        try:
            found[model._meta.label] = reverse(name, current_app=site.name)
        except NoReverseMatch:  # this model's admin has addresses of its own
            continue
    return found


def statements(entry: Entry) -> list[str]:
    """Return the SQL that mends a sequence, or that makes room for one near its end."""
    found = [printable_sql(move_for_dba(*entry.plan))] if entry.plan else []
    if (entry.used_percent or 0) >= conf.max_used_percent():
        found += [f"{statement};" for statement in entry.makes_room]
    return found


def _to_copy(lines: list[str]) -> str:
    if not lines:
        return ""
    return format_html(
        '<details><summary>{}</summary><pre class="sql">{}</pre></details>',
        gettext("SQL"),
        "\n".join(lines),
    )


def first_few(names: tuple[str, ...], links: Mapping[str, str] = NO_LINKS) -> str:
    """Return the first few names as HTML, with the links there are, and how many more there are."""
    shown = format_html_join(", ", "{}", ((_linked(name, links),) for name in names[:SHOWN]))
    rest = len(names) - SHOWN
    return shown if rest <= 0 else format_html(gettext("{} and {} more"), shown, rest)


def _linked(name: str, links: Mapping[str, str]) -> str:
    return format_html('<a href="{}">{}</a>', links[name], name) if name in links else name
