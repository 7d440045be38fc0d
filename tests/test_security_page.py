"""The threat model names every command, and the tests that hold it: each is there."""

from __future__ import annotations

import re

import pytest
from django.core.management import find_commands

from tests.support import ROOT

PAGE = (ROOT / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
ROWS = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| (?!who tries)", line)]


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_is_named_is_there(file: str, test: str) -> None:
    assert f"def {test}(" in (ROOT / file).read_text() if test else (ROOT / file).is_file()


def test_tests_are_named_at_all() -> None:
    assert len(NAMED) > 15


def test_every_row_names_a_test_and_every_command_has_a_row() -> None:
    threats = [row for row in ROWS if len(row) == 3]
    assert [who for who, _, held_by in threats if "`tests/" not in held_by] == []
    commands = {
        *find_commands(str(ROOT / "restorehooks/management")),
        "dbshell",
        "check",
        "migrate",
    }
    may_do = " ".join(row[0] for row in ROWS if len(row) == 4)
    assert {name for name in commands if not re.search(rf"`{name}[` ]", may_do)} == set()
