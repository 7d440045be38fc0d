"""``python -m benchmarks [--quick] [SUBJECT ...]``: compare, and write table and picture."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import hooks, picture, report, restores, sequences
from benchmarks.competition import ROOT, Contest, Fact
from restorehooks.embedded import Server, server_folder

SUBJECTS = {"sequences": sequences, "hooks": hooks, "restores": restores}
HERE = Path(__file__).parent
PACKAGES = ["Django", "psycopg", "django-pgclone", "django-dbbackup"]
MARKERS = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- end of benchmarks -->)", re.DOTALL)


def main() -> None:
    """Run the subjects that are asked for, all of them without one."""
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__)
    parser.add_argument(
        "subject", nargs="*", help=f"{', '.join(SUBJECTS)}; all of them without one"
    )
    parser.add_argument("--quick", action="store_true", help="smaller and fewer: under 5 minutes")
    asked = parser.parse_args()
    for name in set(asked.subject) - set(SUBJECTS):
        parser.error(f'there is no subject "{name}": choose from {", ".join(SUBJECTS)}')
    chosen = asked.subject or [*SUBJECTS]
    results = HERE / "results.json" if not asked.quick else ROOT / ".cache/benchmarks/results.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(results.read_text()) if results.exists() else {}
    for name, value in _run(chosen, quick=asked.quick).items():
        kept[name] = value
    ordered = {name: kept[name] for name in ("about", *SUBJECTS) if name in kept}
    results.write_text(json.dumps(ordered, indent=1) + "\n")
    _write(ordered, results.parent, readme=not asked.quick)


def _run(chosen: list[str], *, quick: bool) -> dict[str, Any]:
    for name in [*os.environ]:
        if name == "DATABASE_URL" or (name.startswith("PG") and name != "PG_BINDIR"):
            del os.environ[name]
    # Packages are compiled when they are installed; one that is edited here is when it first runs.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="restorehooks-benchmarks-") as folder:
        Path(folder).chmod(0o711)
        options = {"listen_addresses": "127.0.0.1", "port": str(_free_port())}
        with Server(Path(folder) / "server", server_folder(), options) as server:
            found: dict[str, Any] = {"about": _about(server, quick=quick)}
            for name in chosen:
                contests = SUBJECTS[name].contests(server, quick=quick)
                found[name] = [asdict(each) for each in contests]
    return found


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port: int = tried.getsockname()[1]
    return port


def _about(server: Server, *, quick: bool) -> dict[str, str]:
    """Return what ran and where, as far as it matters to ratios."""
    about = {
        "Run": "scripts/bench.sh --quick" if quick else "scripts/bench.sh",
        "PostgreSQL": f"{server.version // 10000}.{server.version % 10000}, its own defaults",
        "Python": platform.python_version(),
    }
    about |= {package: version(package) for package in PACKAGES}
    about["Machine"] = f"{platform.machine()}, {os.cpu_count()} CPUs"
    about["Tables"] = (
        f"{sequences.ROWS:,} rows each with a primary key, one in {sequences.EMPTY} is empty"
    )
    about["Restored"] = "a database of which about half is indexes"
    return about


def _write(results: dict[str, Any], folder: Path, *, readme: bool) -> None:
    every = [each for name in SUBJECTS for each in results.get(name, [])]
    contests = [Contest.from_dict(each) for each in every if "results" in each]
    facts = [Fact(**each) for each in every if "results" not in each]
    picture.draw(contests, folder / "results.svg")
    text = report.everything(contests, facts, results["about"])
    (folder / "RESULTS.md").write_text(text)
    if not readme:
        sys.stdout.write(text)
        return
    picture.draw(contests, folder / "summary.svg", picture.SUMMARY)
    page = ROOT / "docs/benchmarks.md"
    image = "![How many times as long the others take](../benchmarks/results.svg)"
    excerpt = f"{image}\n\n{report.excerpt(contests, facts, results['about'])}\n"
    page.write_text(MARKERS.sub(lambda m: m[1] + excerpt + m[2], page.read_text()))


if __name__ == "__main__":
    main()
