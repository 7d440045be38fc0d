"""What the hooks cost a migrate of one of many schemas, as packages for tenants run it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count

from benchmarks.competition import Competitor, Contest, Worker, compete, serve
from restorehooks.embedded import Server

WITH = "with restorehooks"
WITHOUT = "without"
MODELS = 32
"""With those of Django's own apps a schema has 40 tables."""
SCHEMAS = 200
FEWER = 20
NOTHING = "migrate of a tenant's schema, nothing to do"
CREATING = "migrate of a tenant's schema, every table to make"


def contests(server: Server, *, quick: bool) -> Iterator[Contest]:
    """Migrate schemas of one database with the app and without it, by turns."""
    name, schemas = "hooks_tenants", FEWER if quick else SCHEMAS
    server.create_database(name)
    environ = {
        "DATABASE_URL": server.url(name),
        "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
        "BENCH_MODELS": str(MODELS),
        "BENCH_SCHEMAS": str(schemas),
    }
    module = ["benchmarks.tenants"]
    with (
        closing(Worker(module, environ)) as one,
        closing(Worker(module, {**environ, "BENCH_WITHOUT": "1"})) as other,
    ):
        one.ask("make")
        for work, task in ((NOTHING, "nothing"), (CREATING, "create")):
            field = [
                Competitor(name, "call_command('migrate')", partial(worker.ask, task),
                           partial(worker.ask, "drop"))
                for name, worker in {WITH: one, WITHOUT: other}.items()
            ]  # fmt: skip
            for competitor in field:
                competitor.prepare()
                competitor.run()
            rounds = 5 if quick else 20
            yield compete("hooks", {"schemas": schemas, "work": work}, field, rounds)


def _migrate(schema: str) -> None:
    from django.core.management import call_command

    _execute(f"SET search_path = {schema}")
    call_command("migrate", verbosity=0)


def _execute(statement: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)


def _make() -> None:
    """Migrate one schema, and make the others like it."""
    from django.db import connection

    _execute("CREATE SCHEMA tenant0")
    _migrate("tenant0")
    tables = connection.introspection.table_names()
    for number in range(1, int(os.environ["BENCH_SCHEMAS"])):
        copies = [
            f"CREATE TABLE tenant{number}.{table} (LIKE tenant0.{table} INCLUDING ALL);"
            f"INSERT INTO tenant{number}.{table} OVERRIDING SYSTEM VALUE SELECT * FROM"
            f" tenant0.{table};"
            for table in tables
        ]
        _execute(f"CREATE SCHEMA tenant{number}; {''.join(copies)}")
    # A migrate of the app's own puts the copies' sequences past their rows.
    for number in range(int(os.environ["BENCH_SCHEMAS"])):
        _migrate(f"tenant{number}")
    _execute("ANALYZE")


def main() -> None:
    """Be the process of one project."""
    import django

    django.setup()
    numbers = count()
    fresh = f"fresh{os.getpid()}"
    tasks: dict[str, Callable[[], object]] = {
        "make": _make,
        "drop": lambda: _execute(f"DROP SCHEMA IF EXISTS {fresh} CASCADE; CREATE SCHEMA {fresh}"),
        "nothing": lambda: _migrate(f"tenant{next(numbers) % int(os.environ['BENCH_SCHEMAS'])}"),
        "create": lambda: _migrate(fresh),
    }
    serve(tasks)


if __name__ == "__main__":
    main()
