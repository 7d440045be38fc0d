"""The situations in cases/rules, a file each, with what a repair must make of them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import ROOT
from tests.support.databases import Database

RULES = sorted((ROOT / "tests" / "cases" / "rules").glob("*.sql"))
ANSWER = re.compile(r"^-- (\w+): (\w+) (-?\d+)$", re.MULTILINE)


def load(database: Database, file: Path) -> dict[str, tuple[str, int]]:
    """Load a situation into a schema of its own; return the answer for each sequence."""
    text = file.read_text().replace("{schema}", file.stem)
    if "{mallory}" in text:
        text = text.replace("{mallory}", database.role("mallory"))
    database.execute(f"CREATE SCHEMA {file.stem}; SET search_path = {file.stem}, public")
    database.execute(text)
    database.execute("RESET search_path")
    found = {f"{file.stem}.{name}": (s, int(n)) for name, s, n in ANSWER.findall(text)}
    assert found, "the file gives no answer"
    return found


def upcoming(database: Database, sequence: str) -> int:
    """Return what a sequence would hand out, whatever its increment, without drawing it."""
    ((number,),) = database.execute(
        "SELECT last_value + CASE WHEN is_called THEN seqincrement ELSE 0 END"
        f" FROM {sequence}, pg_sequence WHERE seqrelid = %s::regclass",
        sequence,
    )
    return int(number)
