"""Sphinx directives that write the reference from the code, so that it cannot go stale.

``command`` has a command's own help and options, ``settings`` the options of the RESTOREHOOKS
setting, ``checks`` the system checks, ``report`` what a command writes as JSON.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

DJANGO_OPTIONS = {
    "help", "version", "verbosity", "settings", "pythonpath", "traceback", "no_color",
    "force_color", "skip_checks",
}  # fmt: skip


class Written(Directive):
    """A directive whose content is written as Markdown by ``text``."""

    has_content = False

    def text(self) -> Iterator[str]:
        """Yield the lines."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the lines where the directive stands."""
        container = nodes.container()
        self.state.nested_parse(StringList([*self.text()], source="the code"), 0, container)
        return container.children


class Command(Written):
    """``{command} restoredb``: what it does, and every option."""

    required_arguments = 1

    def text(self) -> Iterator[str]:
        """Yield the help and a table of the options."""
        from django.core.management import load_command_class

        name = self.arguments[0]
        parser = load_command_class("restorehooks", name).create_parser("manage.py", name)
        yield from (parser.description or "").splitlines()
        yield ""
        yield from ("| option | meaning |", "|---|---|")
        for action in parser._actions:
            if action.dest not in DJANGO_OPTIONS:
                yield f"| {_shown(action)} | {_cell(action.help or '')} |"


def _shown(action: Any) -> str:
    takes = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if action.choices:
        takes = "|".join(map(str, action.choices))
    takes = takes if isinstance(takes, str) else " ".join(takes)
    names = action.option_strings or [""]
    has_value = action.nargs != 0
    shown = [f"{name} {takes}".strip() if has_value else name for name in names]
    return ", ".join(f"`{_cell(one)}`" for one in shown)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


class Settings(Written):
    """``{settings}``: the options of the RESTOREHOOKS setting."""

    def text(self) -> Iterator[str]:
        """Yield a table of the options."""
        from restorehooks import conf

        yield from ("| option | default | takes | meaning |", "|---|---|---|---|")
        for name, option in conf.OPTIONS.items():
            function = getattr(conf, name.lower(), None)
            meaning = _cell((inspect.getdoc(function) or "").partition("\n\n")[0])
            yield f"| `{name}` | `{option.default!r}` | {_cell(option.in_words)} | {meaning} |"


class Checks(Written):
    """``{checks}``: the system checks, by the functions that make them."""

    def text(self) -> Iterator[str]:
        """Yield a list of the checks."""
        from restorehooks import checks

        made_here = (
            one
            for _, one in inspect.getmembers(checks, inspect.isfunction)
            if one.__module__ == checks.__name__
        )
        functions = [one for one in made_here if "restorehooks." in (one.__doc__ or "")]
        for function in sorted(functions, key=lambda one: one.__code__.co_firstlineno):
            yield f"- {_cell(function.__doc__ or '')}"


class Report(Written):
    """``{report} restoredb``: what a command writes with --format json, from the JSON Schema."""

    required_arguments = 1

    def text(self) -> Iterator[str]:
        """Yield a table of the fields."""
        schema = json.loads((files("restorehooks") / "schemas" / "report.json").read_text())
        part = schema["$defs"][self.arguments[0]]
        yield from ("| field | holds | meaning |", "|---|---|---|")
        for name, field in part["properties"].items():
            yield f"| `{name}` | {_holds(field)} | {_cell(field.get('description', ''))} |"


def _holds(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if "oneOf" in field:
        return " or ".join(map(_holds, field["oneOf"]))
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if field["type"] == "array":
        return f"list of {_holds(field['items'])}"
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return " or ".join(kinds)


class Files(Written):
    """``{files}``: every file of the package, by folder, with the first line of what it says."""

    def text(self) -> Iterator[str]:
        """Yield a table for each folder."""
        package = Path(__file__).parents[1] / "restorehooks"
        folders = sorted({file.parent for file in package.rglob("*.py")})
        for folder in folders:
            rows = [*_described(folder)]
            if rows:
                yield from (f"**{folder.relative_to(package.parent)}/**", "")
                yield from ("| file | responsibility |", "|---|---|", *rows, "")


def _described(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("*.py")):
        said = ast.get_docstring(ast.parse(file.read_text()))
        if said:
            yield f"| `{file.name}` | {_cell(said.partition(chr(10) * 2)[0])} |"


def setup(app: Any) -> dict[str, Any]:
    """Register the directives with Sphinx."""
    settings.configure(
        INSTALLED_APPS=["restorehooks"],
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "x"}},
    )
    django.setup()
    for directive in (Files, Command, Settings, Checks, Report):
        app.add_directive(directive.__name__.lower(), directive)
    return {"parallel_read_safe": True}
