"""Killed at a random moment of any step: the live database is right, and what is said is so.

``RESTOREHOOKS_TEST_KILLS`` is how many kills there are, ``RESTOREHOOKS_TEST_SEED`` which ones.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.support.databases import Database
from tests.support.dumps import alone, neighbours
from tests.support.projects import Project
from tests.support.servers import RunningServer

KILLS = int(os.environ.get("RESTOREHOOKS_TEST_KILLS", "6"))
SEED = int(os.environ.get("RESTOREHOOKS_TEST_SEED", "1"))
HOW = ("SIGKILL", "SIGTERM", "server")
BESIDE = ("identify", "prove", "loading", "sequences", "hook", "analyze", "in the place of")
IN_PLACE = ("prove", "dropping", "loading", "sequences", "commit", "hook", "analyze")
AS_IT_WAS = ("The live database is as it was.", "look at it when it does.")
OLD, NEW = "old", "new"


@pytest.fixture
def shop(make_server: Callable[..., RunningServer]) -> Iterator[Database]:
    """A live database on a server that may be stopped; "pristine" is what it is made from."""
    server = make_server()
    server.execute("CREATE DATABASE pristine")
    with server.connect(dbname="pristine") as inside:
        inside.execute("CREATE TABLE precious AS SELECT generate_series(1, 300) AS id")
    database = Database(server, "shop", None, [])
    fresh(database)
    yield database
    database.disconnect()


def fresh(database: Database) -> None:
    database.disconnect()
    for command in ("DROP DATABASE IF EXISTS shop WITH (FORCE)", "CREATE DATABASE shop TEMPLATE"):
        query = command + (" pristine" if command.endswith("TEMPLATE") else "")
        database.server.execute(query)


def state(database: Database) -> str:
    """Return whether it holds all of the old data or all of the new; fail where it is neither."""
    database.disconnect()
    tables = {
        name for (name,) in database.execute("SELECT relname FROM pg_class WHERE relkind='r'")
    }
    if "precious" in tables:
        assert not {"customer", "purchase"} & tables
        assert database.execute("SELECT count(*) FROM precious") == [(300,)]
        return OLD
    counted = "SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM purchase)"
    assert database.execute(counted) == [(500, 5000)]
    assert database.execute("SELECT nextval('purchase_id_seq') > 5000") == [(True,)]
    indexed = "SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'f') AND conrelid >= 16384"
    assert database.execute(indexed) == [(3,)]
    return NEW


def killed(
    project: Project, database: Database, arguments: list[str], step: str, delay: float, how: str
) -> tuple[int, str]:
    """Start a restore, kill it or its server in a step; return its exit code and last line."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "restoredb", *arguments, "--no-input"],
        cwd=project.folder,
        env=project.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if step in line:
            break
    time.sleep(delay)
    if how == "server":
        assert database.server.process
        database.server.process.stop("immediate")
        database.server.process.start()
    elif process.poll() is None:
        process.send_signal(getattr(signal, how))
    said += process.communicate(timeout=200)[0].splitlines()
    return process.returncode, said[-1] if said else ""


def test_at_random_moments(project: Project, shop: Database, backup: Path, tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "10.sql").write_text(
        "CREATE TABLE hooked AS SELECT 1; SELECT pg_sleep(.2)"
    )
    project.settings(DATABASES={"default": shop.settings})
    arguments = [str(backup), f"--hooks-dir={tmp_path / 'hooks'}"]
    chosen = random.Random(SEED)
    seen: Counter[tuple[str, ...]] = Counter()
    for number in range(KILLS):
        how = HOW[number % len(HOW)]
        in_place = number % 2 == 1
        step = chosen.choice(IN_PLACE if in_place else BESIDE)
        delay = chosen.uniform(0, 0.25)
        more = ["--in-place"] if in_place else []
        code, last = killed(project, shop, arguments + more, step, delay, how)
        alone(shop)
        found = state(shop)
        what = f"kill {number}: {how} in {step!r} after {delay:.3f} s: {code} {last!r}, {found}"
        if how == "SIGKILL":
            assert code in (0, -signal.SIGKILL), what
        elif "not known" not in last:
            assert found == (OLD if last.endswith(AS_IT_WAS) else NEW), what
            assert (code == 0) == last.startswith("Restored "), what
        seen["in place" if in_place else "beside", how, found] += 1
        alone(shop)
        if found == NEW:
            fresh(shop)
    # Whatever they left behind, the next one works, and clears it away.
    project.manage("restoredb", *arguments, "--no-input")
    assert state(shop) == NEW
    left = [name for name in neighbours(shop) if "_restoring_" in name]
    assert left == []
    for name in neighbours(shop):
        shop.server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
    logging.getLogger(__name__).info("%s kills: %s", KILLS, sorted(seen.items()))
