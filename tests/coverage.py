"""How much of the package the tests run, in all the processes that they start.

    python -m tests.coverage install          let the processes of this environment note it
    RESTOREHOOKS_COVERAGE=FOLDER pytest       note it, in files of this folder
    python -m tests.coverage report FOLDER    print the figure of each file, and that of all

Most tests run short processes, of which coverage.py would make each a quarter longer by its own
import. Since Python 3.12 the interpreter itself reports each line once (:mod:`sys.monitoring`),
and all that a process does here is write the list down when it ends. coverage.py prints it.
"""

from __future__ import annotations

import atexit
import os
import sys
import sysconfig
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parent.parent
PACKAGE = str(ROOT / "restorehooks") + os.sep


def install() -> None:
    """Write a file that every Python of this environment reads when it starts."""
    run = f"runpy.run_path({__file__!r}, run_name='coverage of restorehooks')"
    start = f"import os; 'RESTOREHOOKS_COVERAGE' in os.environ and exec(\"import runpy; {run}\")"
    packages = Path(sysconfig.get_path("purelib"))
    (packages / "restorehooks_coverage.pth").write_text(f"{start}\n")


def note(folder: Path) -> None:
    """Note the lines of the package that this process runs, and write them down at its end."""
    ran: set[tuple[str, int]] = set()
    monitoring = sys.monitoring

    def start(code: CodeType, offset: int) -> object:
        if code.co_filename.startswith(PACKAGE):
            monitoring.set_local_events(monitoring.COVERAGE_ID, code, monitoring.events.LINE)
        return monitoring.DISABLE

    def line(code: CodeType, number: int) -> object:
        ran.add((code.co_filename, number))
        return monitoring.DISABLE

    def write() -> None:
        if ran:
            text = "".join(f"{number} {name}\n" for name, number in sorted(ran))
            (folder / f"{os.getpid()}-{os.urandom(4).hex()}").write_text(text)

    if monitoring.get_tool(monitoring.COVERAGE_ID):  # the file is read twice, by lib and lib64
        return
    monitoring.use_tool_id(monitoring.COVERAGE_ID, "restorehooks")
    monitoring.register_callback(monitoring.COVERAGE_ID, monitoring.events.LINE, line)
    monitoring.register_callback(monitoring.COVERAGE_ID, monitoring.events.PY_START, start)
    monitoring.set_events(monitoring.COVERAGE_ID, monitoring.events.PY_START)
    atexit.register(write)


def report(folder: Path) -> None:
    """Print what coverage.py makes of the noted lines."""
    from coverage import Coverage, CoverageData

    lines: dict[str, set[int]] = {}
    for file in folder.iterdir():
        for noted in file.read_text().splitlines():
            number, _, name = noted.partition(" ")
            # A process that was killed as it wrote has left half a line.
            if number.isdecimal() and Path(name).is_file():
                lines.setdefault(name, set()).add(int(number))
    if not lines:
        sys.stdout.write("No line was noted: that takes Python 3.12 or later.\n")
        return
    whole = folder.with_suffix(".sqlite")
    whole.unlink(missing_ok=True)
    data = CoverageData(str(whole))
    data.add_lines(lines)
    data.write()
    coverage = Coverage(str(whole), source=[PACKAGE], config_file=False)
    coverage.load()
    coverage.report(skip_covered=True, sort="Miss", show_missing=True)


if __name__ == "__main__":
    install() if sys.argv[1:] == ["install"] else report(Path(sys.argv[2]))
elif sys.version_info >= (3, 12) and "RESTOREHOOKS_COVERAGE" in os.environ:
    note(Path(os.environ["RESTOREHOOKS_COVERAGE"]))
