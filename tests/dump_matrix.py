"""Which dump goes into which server: every version's dump, in every format, into every version.

``python -m tests.dump_matrix PAGE FOLDER ...`` takes folders of PostgreSQL's programs, one of each
major, and writes the table of what came out into a page. ``nox -s dumps`` fetches them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import product, zip_longest
from pathlib import Path

import django

from restorehooks.restore.errors import RestoreError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.wording import first_line
from tests.support.databases import Database, new_database
from tests.support.dumps import SHOP, alone, dumped, fill, plain
from tests.support.servers import FAST, RunningServer, private_server

FORMATS = ("plain", "custom", "directory", "tar")
KNOWN_TO_ALL = """
DROP TABLE public.quick;
UPDATE public.person SET name = 'Gruss' WHERE name LIKE 'Gr%';
"""
"""Before 15 no sequence is unlogged, and upper() knows no umlaut where the locale is C, as it is in
new clusters before 17: each server computes such a column anew."""
ROWS = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""
CONTENT = """SELECT md5(string_agg(t::text, '|' ORDER BY t::text COLLATE "C")) FROM {} AS t"""
POSITIONS = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"


def main(page: Path, folders: Sequence[Path]) -> int:
    """Run every combination and write the table; return how many did not come out right."""
    os.environ["PATH"] = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    with ExitStack() as stack:
        servers = [stack.enter_context(private_server(FAST, folder)) for folder in folders]
        dumps = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = {major(one): _Source(stack, one, dumps / str(major(one))) for one in servers}
        results = {
            (source.major, major(server)): list(_outcomes(source, server))
            for source, server in product(made.values(), servers)
        }
    before, rest = page.read_text().split("<!-- matrix -->\n")
    table = "".join(f"{line}\n" for line in _table(results, sorted(made)))
    after = rest.partition("<!-- end of matrix -->\n")[2]
    page.write_text(f"{before}<!-- matrix -->\n{table}<!-- end of matrix -->\n{after}")
    return sum(wrong != "" for outcomes in results.values() for wrong in outcomes)


def major(server: RunningServer) -> int:
    """Return the server's major version."""
    return server.version // 10000


class _Source:
    """A database with every kind of object on one server, and its dumps."""

    def __init__(self, stack: ExitStack, server: RunningServer, folder: Path):
        self.major = major(server)
        self.database = stack.enter_context(new_database(server, None, None, "template1"))
        fill(self.database)
        self.database.execute(SHOP + KNOWN_TO_ALL)
        folder.mkdir()
        self.folder = folder
        self.dumps = {form: dumped(self.database, folder / form, form=form) for form in FORMATS}


def _outcomes(source: _Source, server: RunningServer) -> Iterator[str]:
    """Restore each of a source's dumps; yield what went wrong, empty where nothing did."""
    for form, dump in source.dumps.items():
        wrong = _restored(source, server, dump)
        print(f"{source.major} -> {major(server)} {form}: {wrong or 'right'}", flush=True)  # noqa: T201
        yield wrong


def _restored(source: _Source, server: RunningServer, dump: Path) -> str:
    with new_database(server, None, "default", "template1") as target:
        alone(target)
        try:
            restore(Request(str(dump)), confirm=lambda question: True)
        except RestoreError as error:
            return first_line(error)
        if _held(target) != _held(source.database):
            return "rows or positions differ"
        if major(server) == source.major:
            pairs = zip_longest(*(_structure(one, source) for one in (source.database, target)))
            if other := next((pair for pair in pairs if pair[0] != pair[1]), None):
                return f"structure differs: {other[0]!r} became {other[1]!r}"
    return ""


def _structure(database: Database, source: _Source) -> list[str]:
    text = plain(database, source.folder / "structure.sql", "--schema-only").read_text()
    return [line for line in text.splitlines() if not line.startswith("\\")]


def _held(database: Database) -> list[object]:
    """Return the rows of every table, in some order of their own, and where sequences stand."""
    held: list[object] = [*database.execute(POSITIONS)]
    for (table,) in database.execute(ROWS):
        held.append((table, database.execute(CONTENT.format(table))))
    return held


def _table(results: dict[tuple[int, int], list[str]], majors: Sequence[int]) -> Iterator[str]:
    yield f"| dump of | {' | '.join(f'into {major}' for major in majors)} |"
    yield f"|---|{'---|' * len(majors)}"
    for source in majors:
        cells = [_cell(results[source, into]) for into in majors]
        yield f"| {source} | {' | '.join(cells)} |"


def _cell(outcomes: Sequence[str]) -> str:
    right = sum(not wrong for wrong in outcomes)
    return f"{right} of {len(outcomes)}"


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    sys.exit(min(main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]), 1))
