"""What the package says of itself is the same wherever it is said."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

import restorehooks
from tests.support import ROOT

PYPROJECT = (ROOT / "pyproject.toml").read_text()
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}


def classified(what: str) -> set[str]:
    """Return the versions that the classifiers name."""
    return set(re.findall(rf'"{what} :: (\d+\.\d+)"', PYPROJECT))


def matrix(column: int) -> set[str]:
    """Return the versions in one column of the matrix in noxfile.py."""
    rows = re.findall(r'^    \("(.*?)"\),$', (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    return {row.split('", "')[column] for row in rows}


def test_the_versions_are_those_that_are_tested() -> None:
    assert classified("Programming Language :: Python") == matrix(0)
    assert classified("Framework :: Django") == matrix(1)
    (job,) = (job for job in WORKFLOWS["ci"]["jobs"].values() if "strategy" in job)
    assert set(job["strategy"]["matrix"]["python"]) == matrix(0)
    table = (ROOT / "docs" / "compatibility.md").read_text()
    tested = {*re.findall(r"^\| (\d\.\d+) \|", table, re.MULTILINE)}
    assert tested == matrix(0)


def test_there_is_one_version() -> None:
    assert f'\nversion = "{restorehooks.__version__}"\n' in PYPROJECT
    assert f"\n## {restorehooks.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_workflow_may_do_no_more_than_it_has_to(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] in ({}, {"contents": "read"})
    granted = {job: each.get("permissions", {}) for job, each in workflow["jobs"].items()}
    writers = {job for job, rights in granted.items() if "write" in rights.values()}
    assert writers == ({"publish"} if name == "release" else set())
    for job in workflow["jobs"].values():
        for step in steps(job):
            if step["uses"].startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for step in job["steps"] if "uses" in step]


def test_the_workflows_run_what_is_there() -> None:
    runs = [
        step["run"]
        for workflow in WORKFLOWS.values()
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    scripts = set(re.findall(r"\bscripts/\S+", "\n".join(runs)))
    assert scripts
    assert all((ROOT / script).exists() for script in scripts)
    sessions = re.findall(r"nox --session (\w+)", "\n".join(runs))
    assert all(f"\ndef {name}(" in (ROOT / "noxfile.py").read_text() for name in sessions)


def test_issue_templates_ask_for_something() -> None:
    forms = [*(ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")]
    assert forms
    for form in forms:
        read = yaml.safe_load(form.read_text())
        assert read["name"]
        assert any(part["type"] == "textarea" for part in read["body"])
