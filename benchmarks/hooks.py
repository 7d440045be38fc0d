"""Subject 2: what the hooks cost a project with 60 models, beside the same project without them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from benchmarks.competition import Competitor, Contest, Worker, command, compete, serve
from benchmarks.targets import Target
from benchmarks.tenants import CREATING, NOTHING, SCHEMAS
from benchmarks.tenants import contests as of_tenants
from restorehooks.embedded import Server

WITH = "with restorehooks"
WITHOUT = "without"
MODELS = 60
OBJECTS = 20_000
MIGRATE = "migrate with nothing to do"
FLUSH = "flush of a TransactionTestCase"
ADMIN_FLUSH = "flush, in a project with the admin"
SAVE = "1,000 times Model.save()"
BULK_CREATE = "bulk_create() of 10,000"
LOADDATA = f"loaddata of {OBJECTS:,} objects"
LIMITS = {
    MIGRATE: 1.03,
    FLUSH: 1.03,
    ADMIN_FLUSH: 1.03,
    SAVE: 1.0,
    BULK_CREATE: 1.0,
    LOADDATA: 1.0,
}
"""How many times as long each may take with the app as without."""
UNCHANGED = {SAVE, BULK_CREATE, LOADDATA}
"""What must not take measurably longer."""
WHY = {
    MIGRATE: "a glance of two messages, in a session that knows no catalogue yet",
    FLUSH: "a glance takes 3 ms, and 5 after TRUNCATE: the server puts together anew what it knows"
    " of each of the 60 tables to say that they are empty",
    ADMIN_FLUSH: "Django creates the permissions for the page anew after each, with six queries,"
    " and the hook's own two come on top",
}
WHY_TENANTS = {
    NOTHING: "a glance at 40 tables takes up to 5 ms of 55, and twice that in a schema that the"
    " session has not met: the server opens each table and each sequence once",
    CREATING: "two glances take 0.04 of the rest, and each app that is installed, this one too, has"
    " its content types and permissions created in the schema",
}
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
        why=WHY.get(work, ""),
    )
    for work, most in LIMITS.items()
] + [
    Target(
        f"{work}, one of {SCHEMAS}: {WITH}, to {WITHOUT}",
        "hooks",
        {"schemas": SCHEMAS, "work": work},
        WITH,
        WITHOUT,
        most=1.03,
        by_medians=True,
        why=WHY_TENANTS[work],
    )
    for work in (NOTHING, CREATING)
]
MANAGE = [sys.executable, "-m", "benchmarks.project.manage"]


def contests(server: Server, *, quick: bool) -> Iterator[Contest]:
    """Compare a project with and without the app, each in a database of its own."""
    rounds = 5 if quick else 20
    environs = _environs(server, "hooks")
    yield _compare(MIGRATE, "manage.py migrate", ["migrate"], environs, rounds)
    yield from _in_process(environs, rounds, [FLUSH, SAVE, BULK_CREATE])
    with_admin = _environs(server, "hooks_admin", {"BENCH_ADMIN": "1"})
    yield from _in_process(with_admin, rounds, [ADMIN_FLUSH])
    yield from of_tenants(server, quick=quick)
    with TemporaryDirectory() as folder:
        fixture = Path(folder) / "items.json"
        fixture.write_text(json.dumps([_object(number) for number in range(OBJECTS)]))
        yield _compare(
            LOADDATA,
            "manage.py loaddata items.json",
            ["loaddata", str(fixture)],
            environs,
            1 if quick else 5,
        )


def _environs(
    server: Server, database: str, more: Mapping[str, str] = MappingProxyType({})
) -> dict[str, dict[str, str]]:
    """Return the environment of the project with the app and without it, each migrated."""
    environs = {}
    for name, own in ((WITH, {}), (WITHOUT, {"BENCH_WITHOUT": "1"})):
        its = database if name == WITH else f"{database}_without"
        server.create_database(its)
        environs[name] = {
            "DATABASE_URL": server.url(its),
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "BENCH_MODELS": str(MODELS),
            **own,
            **more,
        }
        command([*MANAGE, "migrate"], environs[name])
    return environs


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


IN_PROCESS = {
    FLUSH: ("flush", "call_command('flush', ...)"),
    ADMIN_FLUSH: ("flush", "call_command('flush', ...)"),
    SAVE: ("save", "Item(...).save()"),
    BULK_CREATE: ("bulk_create", "Item.objects.bulk_create(...)"),
}


def _in_process(
    environs: dict[str, dict[str, str]], rounds: int, works: list[str]
) -> Iterator[Contest]:
    module = ["benchmarks.hooks"]
    with (
        closing(Worker(module, environs[WITH])) as one,
        closing(Worker(module, environs[WITHOUT])) as other,
    ):
        for work in works:
            task, shown = IN_PROCESS[work]
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
