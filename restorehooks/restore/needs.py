"""What a dump needs of the server, found out before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import django
from django.db import connections

from restorehooks.programs import Program, package
from restorehooks.wording import first_of

from .dump.contents import ArchiveEntry, strings_are_off
from .dump.facts import Dump
from .errors import ProgramError, TargetError
from .request import Mode, Request
from .script.survey import survey
from .server.address import Connection
from .server.obstacles import Rights
from .superusers import made_by_superusers


@dataclass(frozen=True)
class Holds:
    """What a dump holds that decides how it can be restored.

    extensions: those that it creates. for_superusers: what it makes that only a superuser may.
    rows: it has rows. rows_alone: it fills tables and creates nothing.
    strings_off: it sets standard_conforming_strings to off.
    row_security: it was made with --enable-row-security.
    keys: it has indexes, keys or the like, or no tables, or was not read to its end.
    missing_tables: a sentence where it names tables that it does not make, or drops again.
    """

    extensions: Sequence[str] = ()
    for_superusers: Sequence[str] = ()
    rows: bool = True
    rows_alone: bool = False
    strings_off: bool = False
    row_security: bool = False
    keys: bool = True
    missing_tables: str | None = None


def held_by(
    dump: Dump,
    entries: Sequence[ArchiveEntry],
    *,
    to_the_end: bool,
    watch: Callable[[int], None] | None = None,
) -> Holds:
    """Return what a dump holds.

    A plain dump is read for that, up to its first row where not ``to_the_end``. Raises DumpError.
    """
    if dump.format == "plain":
        found = survey(dump, to_the_end=to_the_end, watch=watch)
        return Holds(
            extensions=[*found.extensions],
            for_superusers=[*found.for_superusers],
            rows=found.has_rows,
            rows_alone=found.fills and not found.creates,
            strings_off=found.strings_off,
            row_security=found.row_security,
            keys=found.tables.keyed or not found.tables.left or not found.ended,
            missing_tables=found.tables.missing(),
        )
    kinds = {entry.kind for entry in entries}
    rows = bool(kinds & _ROWS)
    return Holds(
        extensions=[*{entry.tag: None for entry in entries if entry.kind == "EXTENSION"}],
        for_superusers=[*{made: None for entry in entries if (made := _made_by_superusers(entry))}],
        rows=rows,
        rows_alone=rows and kinds <= _ROWS | _BESIDE_ROWS,
        strings_off=strings_are_off(dump),
    )


_ROWS = frozenset(("TABLE DATA", "BLOBS", "BLOB DATA"))
_BESIDE_ROWS = frozenset(("SEQUENCE SET", "STATISTICS DATA", "EXTENDED STATISTICS DATA"))


def _made_by_superusers(entry: ArchiveEntry) -> str | None:
    return made_by_superusers(entry.definition) if entry.definition else None


def require_rows_with_tables(holds: Holds, request: Request) -> None:
    """Raise TargetError for a dump of rows alone, which has nothing to put them in."""
    if holds.rows_alone and not request.data_only:
        raise TargetError(
            "The dump holds rows and creates no table, as pg_dump --data-only makes it: give "
            "--data-only to add the rows to the tables that are there."
        )


def require_server(server_version: int, using: str, holds: Holds) -> None:
    """Raise TargetError where the server is too old for Django, or too new for the dump.

    ``server_version`` is libpq's: 150019 for 15.19.
    """
    major = server_version // 10000
    needed = connections[using].features.minimum_database_version
    if needed and major < needed[0]:
        raise TargetError(
            f"Django {django.get_version()} works with PostgreSQL {needed[0]} and later, and the "
            f"server is {major}: what follows the load would fail. Use a newer server, or an "
            "older Django."
        )
    if holds.strings_off and major >= STRINGS_ALWAYS_ON:
        raise TargetError(
            f"The dump sets standard_conforming_strings to off, which PostgreSQL {major} refuses: "
            "dump again with PGOPTIONS='-c standard_conforming_strings=on' pg_dump, which "
            "writes the same data."
        )


STRINGS_ALWAYS_ON = 19
"""The first major that knows standard_conforming_strings as on alone."""
REFUSES_NEWER_SERVERS = 18
"""The first major of pg_restore that connects to no server newer than itself."""


def require_program(program: Program | None, server_version: int, mode: Mode) -> None:
    """Raise ProgramError where this pg_restore would refuse the server. In place none connects."""
    major = server_version // 10000
    if program and mode == "beside" and REFUSES_NEWER_SERVERS <= program.major < major:
        raise ProgramError(
            f"{program.path} is of PostgreSQL {program.version} and refuses a server of "
            f"{major}: install the newer one with {package(major, major)}, or set PG_BINDIR to the "
            "folder that holds it."
        )


MANAGED = ("rds_superuser", "cloudsqlsuperuser", "azure_pg_admin", "neon_superuser")
"""Roles whose members a provider lets do some of what only a superuser may."""
MAY_SOME = """
SELECT coalesce(pg_catalog.bool_or(pg_catalog.pg_has_role(oid, 'MEMBER')), false)
FROM pg_catalog.pg_roles WHERE rolname = ANY(%s)
"""


def require_superuser(
    connection: Connection, holds: Holds, request: Request, rights: Rights
) -> None:
    """Raise TargetError for what only a superuser may make, all of it at once."""
    if rights.superuser or not holds.for_superusers or request.data_only:
        return
    if request.skip_superuser_only or connection.execute(MAY_SOME, [[*MANAGED]]).fetchone() == (
        True,
    ):
        return
    named = first_of(holds.for_superusers, _SHOWN)
    raise TargetError(
        f"The dump makes what only a superuser may: {named}. Restore as a superuser, or leave "
        "that out with --skip-superuser-only."
    )


_SHOWN = 10
