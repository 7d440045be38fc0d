"""Object ids of rows, which dumps of servers before 12 may have and no server since 12 takes."""

from __future__ import annotations

import re

_CREATE_TABLE = re.compile(rb"CREATE\s+(?:UNLOGGED\s+|TEMP\s+)?TABLE\s", re.IGNORECASE)
_WITH_OIDS = re.compile(rb"(\))\s*WITH\s+OIDS\s*\Z", re.IGNORECASE)
_OIDS_OPTION = re.compile(
    rb"(\)\s*WITH\s*\((?:[^()]*,)?\s*)oids(?:\s*=\s*'?(?:true|on|yes|1)'?)?(?=\s*[,)][^(;']*\Z)",
    re.IGNORECASE,
)
_COPY_OIDS = re.compile(rb"\s{1,9}WITH\s{1,9}OIDS(?=\s{1,9}FROM\s{1,9}stdin\s*\Z)", re.IGNORECASE)
_TAIL = 2000
"""Bytes at the end of a statement in which they are looked for."""


def copies_oids(statement: bytes) -> bytes | None:
    """Return a COPY of object ids (``pg_dump --oids`` before 12) without them; None for others."""
    bare = statement[:-_TAIL] + _COPY_OIDS.sub(b"", statement[-_TAIL:])
    return bare if bare != statement else None


def creates_without_oids(statement: bytes) -> bytes:
    """Return a CREATE TABLE without object ids of its rows, which no server since 12 has."""
    if not _CREATE_TABLE.match(statement):
        return statement
    head, tail = statement[:-_TAIL], statement[-_TAIL:]
    tail = _WITH_OIDS.sub(rb"\1", tail)
    return head + _OIDS_OPTION.sub(rb"\1oids=false", tail)
