"""Subject 2: what the hooks cost a project with 60 models, beside the same project without them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.competition import Competitor, Contest, Worker, command, compete, serve
from benchmarks.targets import Target
from restorehooks.embedded import Server

WITH = "with restorehooks"
WITHOUT = "without"
MODELS = 60
OBJECTS = 20_000
MIGRATE = "migrate with nothing to do"
FLUSH = "flush of a TransactionTestCase"
SAVE = "1,000 times Model.save()"
BULK_CREATE = "bulk_create() of 10,000"
LOADDATA = f"loaddata of {OBJECTS:,} objects"
LIMITS = {MIGRATE: 1.03, FLUSH: 1.05, SAVE: 1.0, BULK_CREATE: 1.0, LOADDATA: 1.0}
"""How many times as long each may take with the app as without."""
UNCHANGED = {SAVE, BULK_CREATE, LOADDATA}
"""What must not take measurably longer."""
TARGETS = [
    Target(
        f"{work}: {WITH}, to {WITHOUT}",
        "hooks",
        {"models": MODELS, "work": work},
        WITH,
        WITHOUT,
        most=most,
        by_medians=True,
        or_even=work in UNCHANGED,
    )
    for work, most in LIMITS.items()
]
MANAGE = [sys.executable, "-m", "benchmarks.project.manage"]


def contests(server: Server, *, quick: bool) -> Iterator[Contest]:
    """Compare a project with and without the app, each in a database of its own."""
    rounds = 5 if quick else 20
    environs = {WITH: _environ(server, "hooks_with")}
    environs[WITHOUT] = {**_environ(server, "hooks_without"), "BENCH_WITHOUT": "1"}
    for environ in environs.values():
        command([*MANAGE, "migrate"], environ)
    yield _compare(MIGRATE, "manage.py migrate", ["migrate"], environs, rounds)
    yield from _in_process(environs, rounds)
    with TemporaryDirectory() as folder:
        fixture = Path(folder) / "items.json"
        fixture.write_text(json.dumps([_object(number) for number in range(OBJECTS)]))
        yield _compare(
            LOADDATA,
            "manage.py loaddata items.json",
            ["loaddata", str(fixture)],
            environs,
            1 if quick else 7,
        )


def _environ(server: Server, database: str) -> dict[str, str]:
    server.create_database(database)
    return {
        "DATABASE_URL": server.url(database),
        "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
        "BENCH_MODELS": str(MODELS),
    }


def _object(number: int) -> dict[str, object]:
    fields = {"name": f"item {number}", "amount": number, "created": "2026-01-01T00:00:00Z"}
    return {"model": f"shop.item{number % MODELS}", "pk": number // MODELS + 1, "fields": fields}


def _compare(
    work: str,
    shown: str,
    arguments: list[str],
    environs: dict[str, dict[str, str]],
    rounds: int,
) -> Contest:
    field = [
        Competitor(name, shown, partial(command, [*MANAGE, *arguments, "-v0"], environ))
        for name, environ in environs.items()
    ]
    return compete("hooks", {"models": MODELS, "work": work}, field, rounds)


def _in_process(environs: dict[str, dict[str, str]], rounds: int) -> Iterator[Contest]:
    works = {
        FLUSH: ("flush", "call_command('flush', ...)"),
        SAVE: ("save", "Item(...).save()"),
        BULK_CREATE: ("bulk_create", "Item.objects.bulk_create(...)"),
    }
    module = ["benchmarks.hooks"]
    with (
        closing(Worker(module, environs[WITH])) as one,
        closing(Worker(module, environs[WITHOUT])) as other,
    ):
        for work, (task, shown) in works.items():
            field = [
                Competitor(name, shown, partial(worker.ask, task))
                for name, worker in {WITH: one, WITHOUT: other}.items()
            ]
            for competitor in field:
                competitor.run()
            yield compete("hooks", {"models": MODELS, "work": work}, field, rounds)


def flush() -> None:
    """Empty the database as a TransactionTestCase does after each test."""
    from django.core.management import call_command

    call_command(
        "flush",
        verbosity=0,
        interactive=False,
        reset_sequences=False,
        allow_cascade=False,
        inhibit_post_migrate=False,
    )


def save() -> None:
    """Save a thousand objects, one by one."""
    from benchmarks.project.shop.models import ITEMS

    for number in range(1_000):
        ITEMS[0](name="item", amount=number).save()


def bulk_create() -> None:
    """Save ten thousand objects in one call."""
    from benchmarks.project.shop.models import ITEMS

    ITEMS[1]._default_manager.bulk_create(ITEMS[1](name="item", amount=n) for n in range(10_000))


def main() -> None:
    """Be the process of one project."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.project.settings")
    django.setup()
    serve({"flush": flush, "save": save, "bulk_create": bulk_create})


if __name__ == "__main__":
    main()
