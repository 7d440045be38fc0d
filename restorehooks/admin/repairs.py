"""What the action does: ask, repair, and say and log what was done."""

from __future__ import annotations

from collections import abc
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext

from restorehooks import conf
from restorehooks.announce import announce
from restorehooks.models import Sequence
from restorehooks.sequences import repair
from restorehooks.sequences.forms import SHOWN
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import Scope
from restorehooks.wording import first_line

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Sequence]
else:
    ModelAdmin = admin.ModelAdmin

CONFIRMATION = "admin/restorehooks/sequence/repair_confirmation.html"
LOGGED_NAME = 200
"""The characters that ``LogEntry.object_repr`` holds."""


def confirmation(
    page: ModelAdmin, request: HttpRequest, alias: str, to_move: list[Sequence]
) -> TemplateResponse:
    """Return the page that asks whether to move these."""
    all_of_them = request.POST.get("select_across") == "1"
    shown = page.list_per_page
    title = ngettext("Repair %(count)d sequence?", "Repair %(count)d sequences?", len(to_move))
    context: dict[str, Any] = {
        **page.admin_site.each_context(request),
        "title": title % {"count": len(to_move)},
        "opts": page.opts,
        "cl": {"opts": page.opts},
        "media": page.media,
        "actions_on_top": True,  # or the change list's template has a style sheet within
        "alias": alias,
        "to_move": [sequence.entry for sequence in to_move[:shown]],
        "more": len(to_move[shown:]),
        "all_of_them": all_of_them,
        "checkbox": ACTION_CHECKBOX_NAME,
        "keys": ["all"] if all_of_them else [sequence.pk for sequence in to_move],
        "back": request.get_full_path(),
    }
    request.current_app = page.admin_site.name
    return TemplateResponse(request, CONFIRMATION, context)


def carry_out(page: ModelAdmin, request: HttpRequest, alias: str, names: list[str]) -> None:
    """Move the sequences of these names past their rows, and say to the user what was done."""
    try:
        report = repair.reset(alias, Scope(sequences=names), conf.limits(hook=True))
    except (Error, ImproperlyConfigured) as error:
        page.message_user(request, cannot_be_asked(alias, error), messages.ERROR)
        return
    announce(report, "admin", printed=True)
    _log(page, request, report)
    for level, said in _told(report):
        page.message_user(request, said, level)


def _told(report: Report) -> abc.Iterator[tuple[int, str]]:
    if report.read_only:
        said = gettext("Nothing was changed: %(reason)s.") % {"reason": report.read_only}
        yield messages.ERROR, said
        return
    if report.changed:
        yield messages.SUCCESS, _moved(report)
    for entry in report.unresolved[:SHOWN]:
        said = gettext("Sequence %(name)s is %(status)s: %(reason)s.") % {
            "name": entry.sequence,
            "status": entry.status.value,
            "reason": entry.reason,
        }
        yield messages.WARNING, said


def _log(page: ModelAdmin, request: HttpRequest, report: Report) -> None:
    """Write one entry for all that was moved; it names each, with both numbers."""
    moved = report.changed
    if not moved:
        return
    name = moved[0].sequence if len(moved) == 1 else ""
    lines = [f"{e.sequence} from {e.next_before} to {e.next_after}" for e in moved]
    if name:
        said = f"Moved from {moved[0].next_before} to {moved[0].next_after}."
    else:
        said = f"Moved {len(moved)} sequences: {', '.join(lines)}."
    LogEntry.objects.create(
        user_id=request.user.pk,
        content_type_id=get_content_type_for_model(page.model).pk,
        object_id=f"{report.database}:{name}",
        object_repr=f"{name or f'{len(moved)} sequences'} ({report.database})"[:LOGGED_NAME],
        action_flag=CHANGE,
        change_message=said,
    )


def _moved(report: Report) -> str:
    moved = [f"{entry.sequence} to {entry.next_after}" for entry in report.changed]
    shown = ", ".join(moved[:SHOWN])
    if len(moved) > SHOWN:
        shown = gettext("%(shown)s and %(rest)d more") % {
            "shown": shown,
            "rest": len(moved) - SHOWN,
        }
    said = ngettext(
        "Moved %(count)d sequence past its rows: %(moved)s.",
        "Moved %(count)d sequences past their rows: %(moved)s.",
        len(moved),
    )
    return said % {"count": len(moved), "moved": shown}


def cannot_be_asked(alias: str, error: Exception) -> str:
    """Return what is said of a database that gives no answer."""
    said = gettext("Database “%(alias)s” cannot be asked: %(reason)s")
    return said % {"alias": alias, "reason": first_line(error)}
