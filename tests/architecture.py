"""What the package is made of: its layers, who imports whom, and the sizes of its parts.

``python -m tests.architecture`` prints the largest files, functions and classes, the layers, and
every import that does not run down. The tests assert that there is none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from tests.support import ROOT

PACKAGE = "restorehooks"
Kind = Literal["import", "deferred", "typing"]

LAYERS = {
    "the command that needs no project": ["__main__"],
    "what is imported by name": ["", "apps"],
    "system checks": ["checks"],
    "commands, admin page, operation": ["management.commands", "admin", "operations"],
    "what these share": ["management", "api", "receivers", "models"],
    "a restore: the story": [
        "restore.restore",
        "restore.undo",
        "restore.backup",
        "restore.backup_to_stream",
        "restore.backup_to_storage",
    ],
    "a restore: the ways to do it": [
        "restore.beside",
        "restore.in_place",
        "restore.sources",
        "restore.cluster",
        "restore.from_server",
        "restore.storage",
    ],
    "a restore: its steps": ["restore.load", "restore.load_statements", "restore.hooks"],
    "a restore: what is known of it": ["restore.run", "restore.report"],
    "a restore: the plan": [
        *("restore.plan", "restore.known", "restore.mode", "restore.needs", "restore.notes"),
        *("restore.extension_registry", "restore.jobs", "restore.request", "restore.room"),
    ],
    "a restore: what it works on": [
        "restore.hook_files",
        "restore.alias",
        "restore.archive",
    ],
    "the server and its databases": ["restore.server"],
    "a plain dump as statements": ["restore.script"],
    "what a dump is": ["restore.dump"],
    "duplicate keys": ["duplicates"],
    "settings, and who is told of a repair": ["conf", "announce", "standalone"],
    "sequences": ["sequences"],
    "the private server": ["embedded"],
    "PostgreSQL's programs": ["programs"],
    "processes and progress": [
        "restore.processes",
        "restore.rename",
        "restore.new_folder",
        "restore.interrupts",
        "restore.progress",
    ],
    "ground floor": [
        "signals",
        "streams",
        "exit_codes",
        "driver",
        "database_url",
        "wording",
        "trust",
        "restore.errors",
        "restore.harmless",
        "restore.superusers",
        "restore",
    ],
}
"""The layers, the highest first; each is a list of modules and packages without the first name.

A module may import from the layers below its own and, as long as no circle comes of it, from its
own. The longest name that fits decides. An import within a function counts like any other; one
under TYPE_CHECKING is counted separately, and may run down only too.
"""


@dataclass(frozen=True)
class Import:
    """One module of the package imports another one."""

    importer: str
    imported: str
    kind: Kind
    line: int


@dataclass(frozen=True)
class Part:
    """A file, a function or a class."""

    name: str
    lines: int


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def parts(self, *kinds: type[ast.AST]) -> Iterator[Part]:
        """Yield the functions or classes, however deep they are."""
        yield from _parts(self.tree, self.name, kinds)


def _parts(node: ast.AST, within: str, kinds: tuple[type[ast.AST], ...]) -> Iterator[Part]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{within}.{child.name}"
            if isinstance(child, kinds):
                yield Part(name, (child.end_lineno or child.lineno) - child.lineno + 1)
            yield from _parts(child, name, kinds)
        else:
            yield from _parts(child, within, kinds)


def files() -> list[Part]:
    """Return the files of the package, the largest first."""
    return _sorted(Part(m.name, len(m.text.splitlines())) for m in modules().values())


def functions() -> list[Part]:
    """Return the functions and methods of the package, the largest first."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return _sorted(part for m in modules().values() for part in m.parts(*kinds))


def classes() -> list[Part]:
    """Return the classes of the package, the largest first."""
    return _sorted(part for m in modules().values() for part in m.parts(ast.ClassDef))


def _sorted(parts: Iterable[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: (-part.lines, part.name))


@cache
def modules(folder: Path = ROOT / PACKAGE) -> dict[str, Module]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        words = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(words[:-1] if words[-1] == "__init__" else words)
        found[name] = Module(name, path)
    return found


def layer_of(name: str) -> int:
    """Return the number of a module's layer, 0 for the highest; KeyError if it is in none."""
    short = name.removeprefix(PACKAGE).removeprefix(".")
    fitting = {
        each: number
        for number, names in enumerate(LAYERS.values())
        for each in names
        if each == short or (each and short.startswith(f"{each}."))
    }
    if not fitting:
        raise KeyError(f"{name} is in no layer: put it into LAYERS of tests/architecture.py")
    return fitting[max(fitting, key=len)]


def upward(imports: Iterable[Import]) -> list[Import]:
    """Return the imports that run from a lower layer to a higher one."""
    return [each for each in imports if layer_of(each.importer) > layer_of(each.imported)]


def circles(imports: Iterable[Import]) -> list[tuple[str, ...]]:
    """Return the modules that import each other, directly or through others."""
    below: dict[str, set[str]] = {}
    for each in imports:
        below.setdefault(each.importer, set()).add(each.imported)
    reached = {name: _reachable(name, below) for name in below}
    found = {
        tuple(sorted(other for other in reached[name] if name in reached.get(other, ())))
        for name in below
    }
    return sorted(circle for circle in found if circle)


def _reachable(name: str, below: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        for other in below.get(waiting.pop(), set()) - reached:
            reached.add(other)
            waiting.append(other)
    return reached


def all_imports() -> list[Import]:
    """Return every import of the package's modules from each other."""
    known = modules()
    return [each for module in known.values() for each in imports_of(module, known)]


def imports_of(module: Module, known: dict[str, Module]) -> Iterator[Import]:
    """Yield what a module imports from the package, each with how."""
    for node, kind in _statements(module.tree, "import"):
        for name in _names(node, module):
            target = name if name in known else name.rpartition(".")[0]
            if target in known and target != module.name:
                yield Import(module.name, target, kind, node.lineno)


def _statements(node: ast.AST, kind: Kind) -> Iterator[tuple[ast.Import | ast.ImportFrom, Kind]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, kind
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _statements(child, "deferred")
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _statements(ast.Module([statement], []), "typing")
        else:
            yield from _statements(child, kind)


def _names(node: ast.Import | ast.ImportFrom, module: Module) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        up = module.name.split(".")
        up = up[: len(up) - node.level + module.is_package]
        base = ".".join([*up, *([node.module] if node.module else [])])
    yield from (f"{base}.{alias.name}" for alias in node.names)


def main() -> None:
    """Print it all."""
    for what, parts in (("files", files()), ("functions", functions()), ("classes", classes())):
        print(f"The largest {what} of {len(parts)}:")
        for part in parts[:5]:
            print(f"  {part.lines:4}  {part.name}")
    imports = all_imports()
    print("The layers, each of which imports from those below it:")
    for number, (layer, names) in enumerate(LAYERS.items()):
        inside = [m for m in modules() if layer_of(m) == number]
        print(f"  {layer}: {', '.join(name or PACKAGE for name in names)} ({len(inside)} files)")
    typing = sum(each.kind == "typing" for each in imports)
    print(f"{len(imports)} imports, {typing} of them for types alone. Upward:")
    for each in upward(imports):
        print(f"  {each.importer}:{each.line} imports {each.imported} ({each.kind})")
    for circle in circles(imports):
        print(f"  in a circle: {', '.join(circle)}")
    if not upward(imports) and not circles(imports):
        print("  none, and no circles")


if __name__ == "__main__":
    main()
