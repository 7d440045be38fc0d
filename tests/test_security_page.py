"""The threat model names the tests that hold it: each is there."""

from __future__ import annotations

import re

import pytest

from tests.support import ROOT

NAMED = sorted(
    set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/security.md").read_text()))
)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_is_named_is_there(file: str, test: str) -> None:
    assert f"def {test}(" in (ROOT / file).read_text() if test else (ROOT / file).is_file()


def test_tests_are_named_at_all() -> None:
    assert len(NAMED) > 15
