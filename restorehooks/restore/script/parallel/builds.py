"""Statements that read a whole table to build something: indexes, keys, foreign keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from restorehooks.restore.script.lexer import Statement
from restorehooks.restore.script.owners_and_privileges import NAME

from .relations import Relations

Kind = Literal["index", "key", "foreign key"]

_TABLE = rb"(?:ONLY\s+)?(?P<table>%s(?:\.%s)?)" % (NAME, NAME)
_COLUMNS = rb"\(%s(?:,\s*%s){0,2000}\)" % (NAME, NAME)
_ADD = rb"ALTER\s+TABLE\s+%s\s+ADD\s+CONSTRAINT\s+%s\s+" % (_TABLE, NAME)
_KEY = rb"(?:PRIMARY\s+KEY|UNIQUE(?:\s+NULLS\s+NOT\s+DISTINCT)?)\s*\(|EXCLUDE\s+(?:USING\s|\()"
_KINDS: tuple[tuple[Kind, re.Pattern[bytes]], ...] = (
    (
        "index",
        re.compile(
            rb"CREATE\s+(?:UNIQUE\s+)?INDEX\s+%s\s+ON\s+%s\s+USING\s" % (NAME, _TABLE), re.I
        ),
    ),
    ("key", re.compile(rb"%s(?:%s)" % (_ADD, _KEY), re.I)),
    (
        "foreign key",
        re.compile(
            rb"%sFOREIGN\s+KEY\s+%s\s+REFERENCES\s+(?P<other>%s(?:\.%s)?)\s*\("
            % (_ADD, _COLUMNS, NAME, NAME),
            re.I,
        ),
    ),
)
_FURTHER_ACTION = re.compile(
    rb",\s*(?:ADD|ALTER|CLUSTER|DISABLE|DROP|ENABLE|FORCE|INHERIT|NO|NOT|OF|OWNER|REPLICA|RESET"
    rb"|SET|VALIDATE)\s",
    re.I,
)
_ON_WHAT_IS_BUILT = re.compile(
    rb"COMMENT ON (?:INDEX|CONSTRAINT) |ALTER TABLE %s (?:CLUSTER ON|REPLICA IDENTITY USING INDEX) "
    % _TABLE
)


_NONE: frozenset[int] = frozenset()
_MOST, _MOST_BYTES = 5000, 16 << 20
"""Statements that are collected, in memory, and their bytes."""


@dataclass(frozen=True)
class Build:
    """A statement that builds something: tables that it reads, or locks against all others."""

    statement: Statement
    is_foreign_key: bool
    reads: frozenset[int]
    locks: frozenset[int]


class Builds:
    """Statements that follow each other and build something, which may be done in any order.

    ``after`` are statements between them that depend on what was built, and on nothing else.
    Without ``tables`` they will be run in their order, and what they lock is of no interest.
    """

    def __init__(self, tables: Relations | None):
        self._tables = tables
        self._found: list[Build] = []
        self._after: list[Statement] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def recognise(self, statement: Statement) -> Build | None:
        """Return what a statement builds, None where it may do something else as well."""
        for kind, pattern in _KINDS:
            if not (found := pattern.match(statement.text)):
                continue
            if kind != "index" and _FURTHER_ACTION.search(statement.text, found.end()):
                return None
            if self._tables is None:
                return Build(statement, kind == "foreign key", _NONE, _NONE)
            tables = {self._tables.find(name) for name in found.groupdict().values()}
            oids = frozenset(one.oid for one in tables if one and not one.has_children)
            if len(oids) < len(tables):
                return None
            reads, locks = (oids, _NONE) if kind == "index" else (_NONE, oids)
            return Build(statement, kind == "foreign key", reads, locks)
        return None

    def has_room_for(self, build: Build) -> bool:
        """Return whether it may be built with the others: foreign keys come after all else."""
        return self._has_room and (
            build.is_foreign_key or not self._found or not self._found[-1].is_foreign_key
        )

    def add(self, build: Build) -> None:
        """Take in something to build."""
        self._found.append(build)
        self._bytes += len(build.statement.text)

    def add_after(self, statement: Statement) -> bool:
        """Take in a statement that depends on what is built alone; return whether it is one."""
        if depends := bool(
            self._found and self._has_room and _ON_WHAT_IS_BUILT.match(statement.text)
        ):
            self._after.append(statement)
            self._bytes += len(statement.text)
        return depends

    @property
    def _has_room(self) -> bool:
        return len(self._found) + len(self._after) < _MOST and self._bytes < _MOST_BYTES

    def take(self) -> tuple[Sequence[Build], Sequence[Statement]]:
        """Return what is to be built, and what is to be sent after it; that is all then."""
        taken = self._found, self._after
        self._found, self._after, self._bytes = [], [], 0
        return taken


def most_waited_for_first(builds: Sequence[Build], bytes_of: Mapping[int, int]) -> list[Build]:
    """Return builds in the order to begin them: those first that the most work waits for.

    A foreign key waits for all else of its tables, and has no other process to help it: begun last
    it would be alone. ``bytes_of`` are the rows' by table; a build takes as long as its tables are
    large.
    """
    waiting: Counter[int] = Counter()
    for one in builds:
        if one.is_foreign_key:
            size = sum(bytes_of[oid] for oid in one.locks)
            waiting.update(dict.fromkeys(one.locks, size))

    def work(one: Build) -> int:
        tables = one.reads | one.locks
        own = sum(bytes_of[oid] for oid in tables)
        return own if one.is_foreign_key else own + sum(waiting[oid] for oid in tables)

    return sorted(builds, key=work, reverse=True)
