"""What the commands write with --format json, held against the schema that is shipped."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = json.loads((files("restorehooks") / "schemas" / "report.json").read_text())


def valid(text: str, command: str) -> dict[str, Any]:
    """Return the report in a command's standard output; it has the shape that is documented."""
    report: dict[str, Any] = json.loads(text)
    # The command's own part, since its errors say more than those of a choice.
    part = {**SCHEMA["$defs"][command], "$defs": SCHEMA["$defs"]}
    problems = list(Draft202012Validator(part).iter_errors(report))
    assert not problems, problems
    Draft202012Validator(SCHEMA).validate(report)
    return report
