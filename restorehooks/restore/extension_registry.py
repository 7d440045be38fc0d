"""What some extensions need of a restore, each with the source of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from restorehooks import conf
from restorehooks.wording import first_line

from .errors import TargetError
from .request import Mode, Request
from .server.extension_rows import tables_of_extensions


@dataclass(frozen=True)
class Needs:
    """What an extension needs of a restore beside the live database.

    before: functions of its own to call as soon as the dump has created it.
    after: those to call once everything is loaded.
    one_job: pg_restore may not load with several jobs.
    one_database: it can be created in one database of a server, and so in none beside that.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    one_job: bool = False
    one_database: bool = False


REGISTRY = {
    # https://docs.tigerdata.com/self-hosted/latest/backup-and-restore/logical-backup/
    "timescaledb": Needs(
        before=("timescaledb_pre_restore",), after=("timescaledb_post_restore",), one_job=True
    ),
    # https://github.com/citusdata/pg_cron: "pg_cron can only be installed to one database per
    # cluster"; src/pg_cron.c compares with cron.database_name.
    "pg_cron": Needs(one_database=True),
}


def needing(extensions: Sequence[str]) -> dict[str, Needs]:
    """Return those of these extensions that need something, with what it is.

    What the project says of one in ``EXTENSIONS`` goes before what is known here. Raises
    ImproperlyConfigured.
    """
    told = {name: Needs(**needs) for name, needs in conf.extensions().items()}
    known = {**REGISTRY, **told}
    return {name: known[name] for name in extensions if name in known}


def one_job(extensions: Sequence[str]) -> bool:
    """Return whether one of these extensions may not be loaded with several jobs."""
    return any(needs.one_job for needs in needing(extensions).values())


def of_one_database(extensions: Sequence[str]) -> frozenset[str]:
    """Return those of these extensions that only one database of a server can have."""
    return frozenset(name for name, needs in needing(extensions).items() if needs.one_database)


def require_place(extensions: Sequence[str], mode: Mode, *, may_miss: bool) -> None:
    """Raise TargetError for an extension that no database beside the live one can have.

    ``may_miss``: it may be left out.
    """
    for name in sorted(of_one_database(extensions)):
        if mode == "beside" and not may_miss:
            raise TargetError(
                f'The dump needs the extension "{name}", which only one database of a server can '
                "have, and so none beside it: restore with --in-place into the one that has it, or "
                "without it, and without its rows, by --skip-superuser-only."
            )


def kept_tables(
    connection: psycopg.Connection[Any], mode: Mode, request: Request
) -> frozenset[tuple[str, str]]:
    """Return the tables of extensions whose rows stay as they are; others' rows are replaced."""
    if mode != "in place":
        return frozenset()
    if request.partial:
        return tables_of_extensions(connection)
    skip = request.skip_superuser_only
    return tables_of_extensions(connection, closed=True) if skip else frozenset()


def make_ready(connection: psycopg.Connection[Any], name: str) -> None:
    """Call what an extension needs once the dump has created it, over the session that loads.

    It may set something for that session. Raises TargetError.
    """
    for needs in needing([name]).values():
        for function in needs.before:
            _call(connection, name, function)


def finish(connection: psycopg.Connection[Any], extensions: Sequence[str]) -> None:
    """Call what the extensions that were not left out need once everything is loaded.

    Raises TargetError.
    """
    for name, needs in needing(extensions).items():
        is_here = connection.execute(IS_HERE, [name]).fetchone()
        for function in needs.after if is_here else ():
            _call(connection, name, function)


IS_HERE = """
SELECT 1 FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) %s::pg_catalog.name
"""
MEMBER = """
SELECT n.nspname FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::regclass
    AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_catalog.pg_proc'::regclass
JOIN pg_catalog.pg_proc p ON p.oid = d.objid AND p.proname = %s AND p.pronargs = 0
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE e.extname = %s
"""
"""The extension's own function, never one of the same name that a dump has made."""


def _call(connection: psycopg.Connection[Any], extension: str, function: str) -> None:
    schema = connection.execute(MEMBER, [function, extension]).fetchone()
    if schema is None:
        raise TargetError(f'The extension "{extension}" has no function {function}() here.')
    try:
        connection.execute(sql.SQL("SELECT {}()").format(sql.Identifier(schema[0], function)))
    except psycopg.Error as error:
        raise TargetError(
            f'{function}() of the extension "{extension}" failed: {first_line(error)}'
        ) from None
