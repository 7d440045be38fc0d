"""The SQL of the package: every statement in its source, and the names that each one leaves open.

PostgreSQL's own parser reads it (pglast, which is GPL: it is run by these tests and is no part of
what is installed).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pglast.parser import ParseError, parse_sql_json

from tests.support import ROOT

VERBS = "SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|EXPLAIN|SET|RESET|LOCK|CREATE|ALTER|DROP|COMMENT"
_BEGINS = re.compile(rf"\s*({VERBS})\s+\S")
_PLACE = re.compile(r"%\(\w+\)s|%[sb]|\{\w*\}")


@dataclass(frozen=True)
class Statement:
    """One statement in the source of a module; {} and %s are values or names filled in later."""

    module: str
    line: int
    text: str


@dataclass(frozen=True)
class Open:
    """A name in a statement that the server looks up in the search_path."""

    kind: str
    name: str


def statements() -> Iterator[Statement]:
    """Yield every statement of the package."""
    return (each for each in texts() if _BEGINS.match(each.text))


def texts() -> Iterator[Statement]:
    """Yield every string of the package: statements, parts of them, and words for people."""
    for path in sorted((ROOT / "restorehooks").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for line, text in _texts(ast.parse(path.read_text())):
            yield Statement(module, line, text)


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif id(node) not in inside and isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                yield node.lineno, node.value
            elif isinstance(node.value, bytes):
                yield node.lineno, node.value.decode("latin-1")


def parsed(text: str) -> list[dict[str, Any]] | None:
    """Return the trees of a statement, None for what is no whole one (a part, a sentence)."""
    for place in ("$1", "x.x", "x"):
        with_names = _PLACE.sub(place, text).replace("%%", "%")
        try:
            found: list[dict[str, Any]] = json.loads(parse_sql_json(with_names))["stmts"]
        except ParseError:
            continue
        return found
    return None


def open_names(tree: Any) -> Iterator[Open]:
    """Yield what a tree names without a schema: functions, operators, types and relations."""
    own = {value["ctename"] for key, value in _nodes(tree) if key == "CommonTableExpr"}
    for key, value in _nodes(tree):
        if key == "FuncCall" and len(value["funcname"]) == 1:
            yield Open("function", _last(value["funcname"]))
        elif key == "A_Expr" and len(value["name"]) == 1:
            yield Open("operator", _last(value["name"]))
        elif key == "SubLink" and "testexpr" in value and len(value.get("operName", [])) < 2:
            yield Open("operator", _last(value.get("operName", [])))
        elif (key == "CaseExpr" and "arg" in value) or (
            key == "JoinExpr" and "usingClause" in value
        ):
            yield Open("operator", "=")
        elif key == "typeName" and len(value.get("names", [])) == 1:
            yield Open("type", _last(value["names"]))
        elif key in ("RangeVar", "relation") and "schemaname" not in value:
            yield from [Open("relation", name) for name in {value["relname"]} - own]


def mentioned(text: str) -> Iterator[Open]:
    """Yield what may be a function or an operator of a text: it may be a part of a statement."""
    for name in re.findall(r"(\w+) ?\(", text):
        yield Open("function", name)
    for name in re.findall(r"(?<![^\s.])[<>=!~+*/|&@#%^-]+(?![^\s)])", text):
        yield Open("operator", name)
    if " LIKE " in text:
        yield Open("operator", "~~")


def _nodes(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, list):
        for each in tree:
            yield from _nodes(each)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield key, value
            yield from _nodes(value)


def _last(names: list[dict[str, Any]]) -> str:
    return str(names[-1]["String"]["sval"]) if names else "="
