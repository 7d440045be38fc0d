"""The package's layers and sizes, with the exceptions that there are, each with its reason."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import architecture
from tests.architecture import Import, Part

FILE, FUNCTION, CLASS = 300, 40, 150
"""The lines that a file, a function and a class may have."""

EXCEPTIONS: dict[str, str] = {}
"""The files, functions and classes that are larger, and why."""
CIRCLES = {
    ("restorehooks.sequences.forms", "restorehooks.sequences.report"): (
        "a report can be shown in several forms, and these import its type"
    ),
}
"""The modules that import each other, and why."""


def too_large(parts: list[Part], most: int) -> dict[str, int]:
    return {part.name: part.lines for part in parts if part.lines > most}


def test_no_part_is_larger_than_a_screen_but_for_those_named() -> None:
    found = {
        **too_large(architecture.files(), FILE),
        **too_large(architecture.functions(), FUNCTION),
        **too_large(architecture.classes(), CLASS),
    }
    assert {name: lines for name, lines in found.items() if name not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) - set(found) == set(), "within bounds now: take them off the list"


def test_every_module_is_in_a_layer() -> None:
    for name in architecture.modules():
        architecture.layer_of(name)
    with pytest.raises(KeyError, match=r"restorehooks\.newcomer is in no layer"):
        architecture.layer_of("restorehooks.newcomer")


def test_imports_run_down_only() -> None:
    """Those within functions and those for types alone included."""
    assert architecture.upward(architecture.all_imports()) == []


def test_there_are_no_circles_of_imports_but_for_those_named() -> None:
    assert architecture.circles(architecture.all_imports()) == [*CIRCLES]


def test_imports_are_found_in_all_their_forms(tmp_path: Path) -> None:
    package = tmp_path / "restorehooks"
    (package / "restore").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "restore" / "__init__.py").write_text("")
    (package / "signals.py").write_text("def f():\n    from restorehooks.restore import plan\n")
    (package / "wording.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .restore.plan import Plan\n"
    )
    (package / "restore" / "plan.py").write_text(
        "import restorehooks.signals\nfrom .. import wording"
    )
    known = architecture.modules(package)
    found = [each for module in known.values() for each in architecture.imports_of(module, known)]
    plan = "restorehooks.restore.plan"
    up = [
        Import("restorehooks.signals", plan, "deferred", 2),
        Import("restorehooks.wording", plan, "typing", 3),
    ]
    down = [
        Import(plan, "restorehooks.signals", "import", 1),
        Import(plan, "restorehooks.wording", "import", 2),
    ]
    assert found == [*down, *up]
    assert architecture.upward(found) == up
    assert architecture.circles(found) == [(plan, "restorehooks.signals", "restorehooks.wording")]


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name
        for name, module in architecture.modules().items()
        if module.text.strip() and not ast.get_docstring(module.tree)
    ]
    assert silent == []
