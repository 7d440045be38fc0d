"""How much room a restore needs, as far as that is known beforehand, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from restorehooks.wording import size_in_words

from .dump.facts import Dump
from .server.address import Connection
from .server.kept_databases import Kept
from .server.live import Live


@dataclass(frozen=True)
class Room:
    """How much room a restore needs and finds, in bytes.

    live: of the live database. dump: of the dump on disk, compressed or not.
    kept: the previous databases. free: where the server keeps its data, None if that cannot be
    seen from here.
    """

    live: int
    dump: int
    kept: Sequence[Kept]
    free: int | None

    @property
    def is_short(self) -> bool:
        """There is less room than the live database and the dump lead to expect."""
        return self.free is not None and self.free < max(self.live, self.dump)

    def lines(self) -> Iterator[str]:
        """Yield what is known, for a plan."""
        yield (
            f"room      the live database takes {size_in_words(self.live)} and the dump "
            f"{size_in_words(self.dump)}; {self._free()}"
        )
        for one in self.kept:
            size = size_in_words(one.size) if one.size is not None else "size not known"
            yield f"kept      {one.name} ({size}): --drop-previous {one.name} drops it"

    def warning(self) -> str:
        """Return what is to be said where there is little room."""
        kept = ", ".join(f"--drop-previous {one.name}" for one in self.kept)
        remedy = f"; make room with {kept}" if kept else ""
        return (
            f"the restored data may not fit beside the live ones: {self._free()}. A disk that is "
            f"full ends the restore, and stops the server if its WAL is there too{remedy}"
        )

    def _free(self) -> str:
        if self.free is None:
            return "how much is free on the server cannot be seen from here"
        return f"{size_in_words(self.free)} are free where the server keeps its data"


PLACE = """
SELECT coalesce(
    (SELECT nullif(pg_catalog.pg_tablespace_location(t.oid), '')
     FROM pg_catalog.pg_tablespace AS t WHERE t.spcname OPERATOR(pg_catalog.=) %s),
    (SELECT s.setting FROM pg_catalog.pg_settings AS s
     WHERE s.name OPERATOR(pg_catalog.=) 'data_directory'))
"""
"""The folder where the server keeps a database; a role without privileges gets none."""


def room_for(connection: Connection, live: Live, dump: Dump, kept: Sequence[Kept]) -> Room:
    """Return how much room there is and how much is needed."""
    return Room(live.size, dump.size, kept, _free(connection, live))


def _free(connection: Connection, live: Live) -> int | None:
    if not connection.info.host.startswith("/"):  # no socket: another machine, or a container
        return None
    with suppress(OSError, psycopg.Error):
        row = connection.execute(PLACE, [live.properties.get("tablespace")]).fetchone()
        if row and row[0]:
            found = os.statvfs(row[0])
            return found.f_bavail * found.f_frsize
    return None
