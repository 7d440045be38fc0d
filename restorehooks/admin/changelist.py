"""The change list that works on a report."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.http import HttpRequest

from restorehooks.sequences.report import Entry

from .queryset import SequenceQuerySet, moves


class SequenceList(ChangeList):
    """Filters, searches and sorts in memory; a report is read whole or not at all."""

    root_queryset: SequenceQuerySet

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: Any = None
    ) -> SequenceQuerySet:
        """Return what the filters and the search leave; the worst first, or by columns."""
        specs, _, _, _, self.has_active_filters = self.get_filters(request)
        self.filter_specs = [spec for spec in specs if len(list(spec.choices(self))) > 1]
        self.has_filters = bool(self.filter_specs)
        left: Any = self.root_queryset
        for spec in specs:
            left = spec.queryset(request, left)
        words = self.query.lower().split()
        self.clear_all_filters_qs = self.get_query_string(remove=list(self.get_filters_params()))
        found = [s for s in left if all(word in _searched(s.entry) for word in words)]
        chosen = self.root_queryset.only_those(found)
        if ORDER_VAR not in self.params:
            return chosen
        return chosen.order_by(*self.get_ordering(request, chosen))

    def get_results(self, request: HttpRequest) -> None:
        """Offer actions only where one would do something."""
        super().get_results(request)
        self.repairable = sum(moves(sequence) for sequence in self.root_queryset)
        self.show_admin_actions = any(moves(sequence) for sequence in self.result_list)
        if not self.show_admin_actions:
            # Not left out: the columns are sorted by their numbers.
            named = {"action_checkbox": "no_checkbox"}
            self.list_display = [named.get(str(each), each) for each in self.list_display]


def _searched(entry: Entry) -> str:
    return "\n".join([entry.sequence, *entry.columns, *entry.models]).lower()
