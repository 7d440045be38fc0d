"""What it costs statements that succeed to have a unique violation explain itself.

One process and one connection; the wrapper around its statements is put in and taken out, and
the process's own CPU time is compared, which is what a wrapper costs.
``python -m benchmarks.duplicates [--quick]`` runs it alone, on a private server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

from benchmarks.competition import ROOT, Competitor, Contest, compete
from restorehooks.embedded import Server, embedded_server

WITH = "with the wrapper"
WITHOUT = "without"
STATEMENTS = 2_000


def contests(server: Server, *, quick: bool) -> Iterator[Contest]:
    """Compare in a process of its own, whose settings are those of the benchmarks' project."""
    server.create_database("duplicates")
    environ = {
        **os.environ,
        "DATABASE_URL": server.url("duplicates"),
        "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
        "BENCH_MODELS": "1",
    }
    arguments = [sys.executable, "-m", "benchmarks.duplicates", "--rounds", "5" if quick else "20"]
    done = subprocess.run(
        arguments, env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    for line in done.stdout.splitlines():
        yield Contest.from_dict(json.loads(line))


def _here(rounds: int) -> Iterator[Contest]:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections, transaction

    from benchmarks.project.shop import models
    from restorehooks.duplicates.watch import explained

    item: Any = models.ITEMS[0]
    call_command("migrate", verbosity=0)
    connection = connections["default"]
    connection.ensure_connection()
    assert connection.execute_wrappers == [explained]

    def selects() -> None:
        with connection.cursor() as cursor:
            for _ in range(STATEMENTS):
                cursor.execute("SELECT 1")

    def saves() -> None:
        with transaction.atomic():
            for number in range(STATEMENTS):
                item(name="item", amount=number).save()

    def bulk() -> None:
        item.objects.bulk_create(item(name="item", amount=n) for n in range(STATEMENTS))

    def competitor(name: str, work: Callable[[], None]) -> Competitor:
        def prepare() -> None:
            connection.execute_wrappers[:] = [explained] if name == WITH else []

        def run() -> float:
            began = process_time()
            work()
            return process_time() - began

        return Competitor(name, work.__name__, run, prepare)

    kinds = {"SELECT 1": selects, "Model.save()": saves, "bulk_create()": bulk}
    for subject, work in kinds.items():
        competitors = [competitor(WITHOUT, work), competitor(WITH, work)]
        circumstances = {"statements": 1 if work is bulk else STATEMENTS}
        yield compete(f"a unique violation's note: {subject}", circumstances, competitors, rounds)


def main() -> None:
    """Run in the process that ``contests`` started, or alone, with a line for each ratio."""
    if "--rounds" in sys.argv:
        for contest in _here(int(sys.argv[-1])):
            print(json.dumps(contest.as_dict()), flush=True)
        return
    with embedded_server() as server:
        for contest in contests(server, quick="--quick" in sys.argv):
            ratio = contest.ratio(WITH, to=WITHOUT)
            assert ratio is not None
            print(
                f"{contest.subject}: {ratio.median:.3f} times as long"
                f" ({ratio.minimum:.3f} to {ratio.maximum:.3f})"
            )


if __name__ == "__main__":
    main()
