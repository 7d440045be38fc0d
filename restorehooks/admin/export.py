"""The list as a file: CSV and JSON of what the filters and the search leave."""

from __future__ import annotations

import csv
import json
from collections import abc
from io import StringIO

from django.http import HttpResponse

from restorehooks.sequences.report import Entry, Report
from restorehooks.wording import printable

FORMATS = ("csv", "json")
HEADING = (
    "database",
    "sequence",
    "columns",
    "models",
    "status",
    "next_before",
    "next_after",
    "extreme",
    "limit",
    "used_percent",
    "reason",
)
"""The columns of the CSV form; but for two they are the names of the JSON form."""


def file_of(report: Report, entries: abc.Iterable[Entry], kind: str) -> HttpResponse:
    """Return some entries of a report as a file; ``kind`` is one of ``FORMATS``."""
    chosen = Report(report.database, tuple(entries))
    text = _csv(chosen) if kind == "csv" else json.dumps(chosen.as_dict(), indent=2)
    content_type = "text/csv; charset=utf-8" if kind == "csv" else "application/json"
    disposition = f'attachment; filename="sequences.{kind}"'
    return HttpResponse(
        text, content_type=content_type, headers={"Content-Disposition": disposition}
    )


def _csv(report: Report) -> str:
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADING)
    for entry in report:
        values = {**entry.as_dict(), "database": report.database, "models": entry.models}
        writer.writerow([_cell(values[name]) for name in HEADING])
    return text.getvalue()


def _cell(value: object) -> object:
    text = ", ".join(value) if isinstance(value, list | tuple) else value
    return printable(text) if isinstance(text, str) else text
