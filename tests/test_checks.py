"""The system checks, through ``manage.py check``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support import ROOT
from tests.support.projects import Project

THEIRS = """
    from {base} import Command as Base

    class Command(Base):
        pass
"""
DJANGOS = "django.core.management.commands.loaddata"
OURS = "restorehooks.management.commands.loaddata"


def with_loaddata(project: Project, label: str, base: str) -> None:
    project.app(label)
    for package in ("management", "management/commands"):
        project.write(f"{label}/{package}/__init__.py", "")
    project.write(f"{label}/management/commands/loaddata.py", THEIRS.format(base=base))


def test_wrong_settings_stop_check_and_migrate(project: Project) -> None:
    fine = project.manage("check")
    assert fine.stdout == "System check identified no issues (0 silenced).\n"

    project.settings(RESTOREHOOKS={"LOADDATA": "no", "LOCKTIMEOUT": 1})
    for command in ("check", "migrate"):
        done = project.manage(command, check=False)
        assert done.returncode == 1
        assert (
            "?: (restorehooks.E001) RESTOREHOOKS['LOADDATA'] must be True or False, not 'no'.\n"
            "\tHINT: The options are PRE_MIGRATE, POST_MIGRATE, LOADDATA, LOCK_TIMEOUT, SCAN_LIMIT"
        ) in done.stderr
        assert "(restorehooks.E001) RESTOREHOOKS has no option 'LOCKTIMEOUT'" in done.stderr
    project.settings(RESTOREHOOKS={"LOADDATA": "no"}, SILENCED_SYSTEM_CHECKS=["restorehooks.E001"])
    assert "(1 silenced)" in project.manage("check").stdout


def test_loaddata_in_both_orders(project: Project) -> None:
    with_loaddata(project, "theirs", DJANGOS)
    with_loaddata(project, "kin", OURS)
    project.settings(INSTALLED_APPS=["theirs", "restorehooks"])
    done = project.manage("check")
    assert (
        "?: (restorehooks.W001) The loaddata command of theirs.management.commands.loaddata is"
        " used instead of the one of restorehooks, so sequences are not repaired when"
        " fixtures are loaded.\n"
        "\tHINT: List restorehooks before that app in INSTALLED_APPS, or let its command subclass"
        " restorehooks.management.commands.loaddata.Command.\n"
    ) in done.stderr
    assert "W002" not in done.stderr

    project.settings(INSTALLED_APPS=["restorehooks", "theirs"])
    done = project.manage("check")
    assert (
        "?: (restorehooks.W002) The loaddata command of restorehooks hides that of theirs.\n"
        "\tHINT: List theirs before restorehooks in INSTALLED_APPS and let its command subclass"
        " restorehooks.management.commands.loaddata.Command.\n"
    ) in done.stderr
    assert "W001" not in done.stderr

    project.settings(INSTALLED_APPS=["kin", "restorehooks"])
    assert "no issues" in project.manage("check").stdout


def test_no_two_checks_share_an_id() -> None:
    """What an id means is said once, and each is said."""
    text = (ROOT / "restorehooks" / "checks.py").read_text()
    documented = re.findall(r"[(, ](?:restorehooks\.)?([EWI]\d{3})[),]", " ".join(docstrings(text)))
    assert sorted(set(documented)) == sorted(documented)
    assert set(documented) == set(re.findall(r'id="restorehooks\.([EWI]\d{3})"', text))


def docstrings(text: str) -> Iterator[str]:
    """Yield the docstrings of the functions in a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            yield ast.get_docstring(node) or ""
