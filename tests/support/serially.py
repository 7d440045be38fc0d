"""Loads each plain dump once more, over one connection, and compares what has come of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg import sql

from restorehooks.programs import find
from restorehooks.restore.archive import commands
from restorehooks.restore.dump.proof import open_plain
from restorehooks.restore.errors import AddressError
from restorehooks.restore.load_statements import connected, options_for
from restorehooks.restore.run import Run
from restorehooks.restore.script.feed import run_script
from tests.support.dumps import without_key, without_order

Load = Callable[[Run, str], None]
_numbers = count(1)


def compared(load: Load) -> Load:
    """Return the load with a comparison after it; standard input is read once, and not compared."""

    def load_and_compare(run: Run, database: str) -> None:
        load(run, database)
        dump = run.plan.dump
        if run.plan.jobs < 2 or not dump.path.is_file():
            return
        try:
            run.plan.address.environment()
        except AddressError:  # secrets that no program can be given, and pg_dump is one
            return
        with _database_like(run, database) as serial:
            with connected(run, serial) as connection, open_plain(dump) as stream:
                options = options_for(run, connection)
                line = dump.part.line if dump.part else 1
                run_script(stream, connection, options=options, first_line=line)
            assert _as_sql(run, database) == _as_sql(run, serial)

    return load_and_compare


@contextmanager
def _database_like(run: Run, database: str) -> Iterator[str]:
    connection, name = run.lock.connection, f"serially_{next(_numbers)}"
    found = connection.execute(
        "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype"
        " FROM pg_database WHERE datname = %s",
        [database],
    ).fetchone()
    assert found
    owner, *locale = found
    create = "CREATE DATABASE {} TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}"
    connection.execute(
        sql.SQL(create).format(
            sql.Identifier(name), sql.Identifier(owner), *map(sql.Literal, locale)
        )
    )
    try:
        yield name
    finally:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        connection.execute(drop.format(sql.Identifier(name)))


def _as_sql(run: Run, database: str) -> str:
    address, major = run.plan.address, run.plan.live.server_version // 10000
    with TemporaryDirectory() as folder:
        path = Path(folder) / "as.sql"
        commands.write(
            find("pg_dump", at_least=major),
            path,
            conninfo=address.conninfo(database),
            environment=address.environment(),
            flags=["--format=plain"],
        )
        lines = without_key(path).splitlines(keepends=True)
    # A server of 15.20 gives a column another version in each database.
    return without_order("".join(line for line in lines if "(pg_attver=" not in line))
