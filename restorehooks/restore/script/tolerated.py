"""Statements that may fail without anything being lost, and by which errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from restorehooks.restore.harmless import why_harmless
from restorehooks.restore.superusers import extension_in, hangs_on_it, made_by_superusers

from .lexer import Statement
from .options import ScriptOptions
from .verdicts import LeaveOut
from .wire import StatementFailed, Wire
from .words import Words

_LONGEST = 10_000
"""Bytes of the longest statement that is looked at: pg_dump writes none of these longer."""
UNDEFINED = frozenset(("42704", "42P01", "42883", "42703", "3F000"))
"""An undefined object, table, function or column, an invalid schema name
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
_NO_OWNER = frozenset(("access", "cast", "language", "procedural", "transform", "user"))
"""Kinds of things that have none, or come and go with something else, as DROP names them."""
_DUPLICATE = frozenset(("42710",))
_INITIAL = re.compile(rb"(?:DROP|ALTER|CREATE|SELECT)\s", re.IGNORECASE)
# What ``pg_dump --clean`` puts in the place of a view before it drops what the view needs.
_DUMMY_VIEW = re.compile(rb"CREATE OR REPLACE VIEW [^;']+ AS\nSELECT\n    NULL::")
# Made anew it would lack the privileges that each database gives it, which no dump repeats.
_PUBLIC = re.compile(
    rb"DROP\s+SCHEMA\s+(?:IF\s+EXISTS\s+)?(?:public|\"public\")(?:\s+(?:CASCADE|RESTRICT))?\s*\Z",
    re.IGNORECASE,
)
_PUBLIC_STAYS = LeaveOut(
    "drop", 'the schema "public" stays, with the privileges that all have on it'
)
_DROPPED = LeaveOut("drop", "what the role owns was dropped before, and what others own stays")
_UNMADE = re.compile(rb"\bDROP\s+(?:CONSTRAINT|DEFAULT)\b", re.IGNORECASE)
_UNLINK = re.compile(rb"SELECT (?:pg_catalog\.)?lo_unlink\('?\d+'?\)\s*\Z")
_UNLINKS = re.compile(rb"SELECT (?:pg_catalog\.)?lo_unlink\(")
"""However many: with --if-exists pg_dump asks which are there."""
_LANGUAGE = re.compile(
    rb"CREATE (?:OR REPLACE )?(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE [^;']+\Z", re.IGNORECASE
)


@dataclass(frozen=True)
class Tolerance:
    """That a statement may fail: what it is counted as, and the reason to give.

    ``sqlstates`` are the errors that are tolerated, None for all.
    """

    what: str
    reason: str
    sqlstates: frozenset[str] | None = None

    def covers(self, sqlstate: str | None) -> bool:
        """Return whether the statement may fail by this error."""
        return self.sqlstates is None or sqlstate in self.sqlstates


EXTENSION = "extension"
"""What an extension that was left out is counted as."""
_NOTHING_TO_DROP = Tolerance("drop", "what it drops is not there", UNDEFINED)
_DENIED = frozenset(("42501",))
_ABSENT = frozenset(("0A000", "58P01", "42704"))
"""Its control file is missing, or an extension that it requires."""
_NO_EXTENSION = Tolerance(
    EXTENSION,
    "only a superuser may create it, or it, or one that it needs, is not installed",
    _DENIED | _ABSENT,
)
_NOT_INSTALLED = Tolerance(EXTENSION, "it, or one that it needs, is not installed", _ABSENT)
_NOT_IN_THIS_DATABASE = Tolerance(EXTENSION, "only one database of a server can have it")
_NO_LIBRARY = Tolerance(
    "superuser only",
    "the server has no library with it",
    frozenset(("58P01", "42883", "XX000")),
)
"""A file that is missing, a function that it lacks, a library that was built for another major."""
_DEPENDS_ON_IT = Tolerance(
    "superuser only", "it depends on something that was left out", UNDEFINED | _DENIED
)
_NO_LABELS = Tolerance(
    "security label",
    "what it labels was left out, or the server has not loaded the provider of such labels",
    UNDEFINED | _DENIED | frozenset(("22023",)),
)
_OF_NO_EXTENSION = Tolerance(
    "of an extension", "a table or sequence of an extension that was left out", UNDEFINED
)
_ON_A_TABLE = re.compile(rb"(?:GRANT|REVOKE) |SELECT pg_catalog\.setval\(")
ROWS_OF_NO_EXTENSION = '"{}" belongs to an extension that was left out'
NO_ROWS = Tolerance("no rows", "it copies no rows, and the table belongs to another role", _DENIED)
_NO_POLICY = Tolerance("policy", "it is a comment on one that was left out", UNDEFINED)
_DROPPED_LANGUAGE = re.compile(
    rb"DROP (?:PROCEDURAL )?LANGUAGE (?:IF EXISTS )?[^;']+\Z", re.IGNORECASE
)
_LANGUAGE_STAYS = Tolerance(
    "language", "an extension keeps it", UNDEFINED | _DENIED | frozenset(("2BP01",))
)
"""What depends on it, as pg_dump --clean of 8.4 and older drops PL/pgSQL, which stays since 9.0."""
_LANGUAGE_IS_THERE = Tolerance("language", "the language is there already", _DUPLICATE)


def tolerance(
    statement: bytes, words: Words, options: ScriptOptions, encoding: str
) -> Tolerance | None:
    """Return by which errors a statement may fail without harm; None for most."""
    if len(statement) > _LONGEST:
        return None
    if reason := why_harmless(f"{statement.decode(encoding, 'replace')};"):
        return Tolerance("failed without harm", reason)
    if options.skip_superuser_only:
        text = statement.decode(encoding, "replace")
        if extension := extension_in(text):
            known = _NOT_INSTALLED if options.superuser else _NO_EXTENSION
            known = _NOT_IN_THIS_DATABASE if extension in options.one_database else known
            return replace(known, reason=f'"{extension}": {known.reason}')
        if made_by_superusers(text):
            return _NO_LIBRARY
        if statement.startswith(b"SECURITY LABEL "):
            return _NO_LABELS
        if hangs_on_it(text):
            return _DEPENDS_ON_IT
        if options.without_extension and _ON_A_TABLE.match(statement):
            return _OF_NO_EXTENSION
    if statement.startswith(b"COMMENT ON POLICY "):
        return _NO_POLICY
    if not _INITIAL.match(statement):
        return None
    if _DROPPED_LANGUAGE.match(statement):
        return _LANGUAGE_STAYS
    if options.drops_may_miss and _drops(statement, words):
        return _NOTHING_TO_DROP
    return _LANGUAGE_IS_THERE if _LANGUAGE.match(statement) else None


def _drops(statement: bytes, words: Words) -> bool:
    """Return whether a statement does nothing but drop, or prepare that as pg_dump does."""
    first = words.first(1)[0]
    if first == "alter":
        said = set(words)
        return "drop" in said and said.isdisjoint(("add", ","))
    return first == "drop" or any(known.match(statement) for known in (_DUMMY_VIEW, _UNLINK))


def needless_drop(statement: bytes, words: Words, options: ScriptOptions) -> LeaveOut | None:
    """Return why a DROP is left out, None where it is sent."""
    if _PUBLIC.match(statement):
        return _PUBLIC_STAYS
    return _DROPPED if options.keeps_others and _drops_what_is_owned(statement, words) else None


def needless_unlink(statement: bytes, options: ScriptOptions) -> LeaveOut | None:
    """Return why large objects are not removed, None where they are.

    Those that are there may be others than the dump's, of the same oids.
    """
    if not _UNLINKS.match(statement):
        return None
    if options.data_only:
        return LeaveOut("structure", "only data was asked for")
    return _DROPPED if options.keeps_others else None


def _drops_what_is_owned(statement: bytes, words: Words) -> bool:
    """Return whether a statement drops, or prepares to drop, something that has an owner."""
    if words.first(1) == ["alter"] and not _UNMADE.search(statement):
        return False  # a column, say, that the dump has made itself
    kind, *rest = words.first(4)[1:]
    without = kind in _NO_OWNER or (kind == "text" and rest[1] in ("parser", "template"))
    return not without and _drops(statement, words)


def sent_under_savepoint(
    wire: Wire, statement: Statement, may_fail: Tolerance, send: Callable[[Statement], None]
) -> bool:
    """Send a statement so that its failure, where it is tolerated, ends nothing else.

    Return whether it went through. Raises StatementFailed.
    """
    wire.command(b"SAVEPOINT restorehooks")
    try:
        send(statement)
        went_through = True
    except StatementFailed as error:
        if not may_fail.covers(error.sqlstate):
            raise
        wire.command(b"ROLLBACK TO SAVEPOINT restorehooks")
        went_through = False
    wire.command(b"RELEASE SAVEPOINT restorehooks")
    return went_through
