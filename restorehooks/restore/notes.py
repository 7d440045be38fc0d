"""What the person who restores should know before it begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from restorehooks.wording import printable, quoted

from .caches import TYPES_KEPT
from .dump.facts import Dump
from .extension_registry import needing
from .request import Mode
from .server.address import Connection
from .server.database_privileges import lost_grantors
from .server.live import Live
from .server.obstacles import Rights
from .server.ownership import missing_roles


def notes_on_roles(connection: Connection, dump: Dump) -> Iterator[str]:
    """Yield which roles of a file that pg_dumpall made the server lacks."""
    if missing := missing_roles(connection, dump.roles):
        yield (
            f"the roles {quoted(missing)} are in the dump and not on the server: what concerns "
            "them is left out, unless an administrator creates them first (--show-globals)"
        )


def notes_on_grants(connection: Connection, live: Live) -> Iterator[str]:
    """Yield whose grants on the database become the owner's."""
    if not live.missing and (lost := lost_grantors(connection, live)):
        yield (
            f"what {quoted(lost)} granted on the database is granted by its owner then, since "
            "this role may not SET ROLE to the grantor"
        )


def notes_on_standbys(connection: Connection) -> Iterator[str]:
    """Yield that nothing waits for the synchronous standbys, which may be gone, where some are."""
    row = connection.execute("SHOW synchronous_standby_names").fetchone()
    if row and row[0]:
        yield (
            f"the synchronous standbys ({printable(row[0])}) are not waited for: what goes live is "
            "on this server's disk, and reaches them when they follow"
        )


def notes_on_extensions(extensions: Sequence[str], mode: Mode, live: Live) -> Iterator[str]:
    """Yield what is done for extensions, and what is to be done on account of their types."""
    for name, needs in needing(extensions).items():
        if needs.one_job and mode == "beside":
            yield f'"{name}" is made ready before the load, and loaded by one job'
        if needs.one_database and mode == "beside":
            yield (
                f'the extension "{name}" is left out, and its rows with it: only one database of a '
                "server can have it"
            )
    kept = sorted(TYPES_KEPT.intersection(extensions))
    if kept and mode == "beside" and not live.empty:
        yield (
            f"start the project's processes again afterwards: what {quoted(kept)} brings gets new "
            "oids, and Django keeps the old ones as long as a process lives"
        )


def warnings(dump: Dump, live: Live, user: str, rights: Rights) -> Iterator[str]:
    """Yield what the dump itself gives reason to say."""
    dumped, server = dump.server_major, live.server_version // 10000
    if rights.superuser:
        yield (
            f'"{user}" is a superuser, and what the dump holds is run with its rights: '
            "restore a stranger's dump into a server of its own"
        )
    if dumped and dumped > server:
        yield (
            f"the dump is from PostgreSQL {dumped} and the server is {server}: what it does not "
            "know yet makes the restore fail, with the live database as it was"
        )
    if dump.crlf:
        yield (
            "the dump's lines end with a carriage return and a line feed: strings and functions "
            "of several lines keep both"
        )
    if live.missing and dump.format != "plain":
        yield (
            "the database is made anew: owner, settings, privileges and comment that the dump has "
            "for it are left out; pg_restore --create --schema-only -f - shows them"
        )
    if dump.creates_database:
        yield "the dump's own CREATE DATABASE and settings of it are left out"


def notes_on_unbelieved(names: Sequence[str]) -> Iterator[str]:
    """Yield what is said of databases that only look like what a killed restore left."""
    for name in names:
        yield (
            f'"{name}" is named like what a killed restore leaves behind, but has no marker that '
            "can be believed: it is left alone"
        )
