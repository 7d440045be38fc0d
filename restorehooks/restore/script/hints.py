"""What to do about a statement that the server refused, where its message does not say."""

from __future__ import annotations

import re

from restorehooks.restore.superusers import extension_in, made_by_superusers

_LIKE_A_NOT_NULL = re.compile(
    rb"""ALTER TABLE [^;']+\sADD CONSTRAINT (?:"(?:[^"]|""){0,1000}|\w*)_not_null[0-9]*"?\s"""
)
_NAME_TAKEN = (
    "from PostgreSQL 18 on a NOT NULL is a constraint, which may have taken this name: give it "
    "another one where it was dumped (ALTER TABLE ... RENAME CONSTRAINT), and dump again"
)
_HINTS = (
    (
        "42501",
        re.compile(rb"ALTER TABLE [^;']+ (?:DISABLE|ENABLE) TRIGGER ALL\Z"),
        "only a superuser may switch off the triggers that guard foreign keys: dump again without "
        "--disable-triggers, or restore as a superuser",
    ),
    (
        "42501",
        re.compile(rb"SET (?:SESSION |LOCAL )?session_replication_role\b", re.IGNORECASE),
        "only a superuser may set session_replication_role: take that line out of the dump, or "
        "restore as a superuser",
    ),
    (
        "42501",
        re.compile(rb"(?:COPY|INSERT INTO) "),
        "if the table belongs to an extension: let an administrator grant SELECT, INSERT and "
        "DELETE on it, or leave its rows out with --skip-superuser-only",
    ),
    (
        "22023",
        re.compile(rb"SECURITY LABEL "),
        "load the provider (session_preload_libraries), or leave out its labels with "
        "--skip-superuser-only",
    ),
    (
        "0A000",
        re.compile(rb"SET (?:SESSION |LOCAL )?standard_conforming_strings\b", re.IGNORECASE),
        "PostgreSQL 19 and later know no other value than on: dump again with "
        "PGOPTIONS='-c standard_conforming_strings=on' pg_dump",
    ),
    (
        "23503",
        re.compile(rb"(?:COPY|INSERT INTO) "),
        "where the dump has that row, too, it has the tables in the order of their names: dump "
        "again with pg_dump --data-only, which puts those first that others refer to",
    ),
    (
        "55000",
        re.compile(rb"ALTER TABLE ONLY [^;']+ ATTACH PARTITION "),
        "from PostgreSQL 17 on a partition has no identity of its own: take it away in the "
        "database that was dumped (ALTER TABLE ... ALTER COLUMN ... DROP IDENTITY), and dump again",
    ),
    (
        "2BP01",
        re.compile(rb"DROP "),
        "what depends on it is not among what is restored: drop that first and make it again "
        "afterwards, or restore the whole dump beside the live database",
    ),
    ("42710", _LIKE_A_NOT_NULL, _NAME_TAKEN),
)
_SAID_BY_PG_DUMP = re.compile(rb"^pg_dump(?:all)?: ", re.MULTILINE)
STDERR_INSIDE = (
    "what pg_dump wrote to its standard error stands in the middle of the dump (2>&1): dump again "
    "and keep the two apart"
)
DATA_ONLY = (
    "the dump creates no table before it fills them, as pg_dump --data-only makes it: "
    "give --data-only to add its rows to tables that are there"
)
IN_TRIGGER = (
    "a dump sets an empty search_path, so that the functions of triggers find only what they name "
    "with its schema: switch them off (ALTER TABLE ... DISABLE TRIGGER USER) until the rows are "
    "there, or make a plain dump with --disable-triggers and restore it as a superuser"
)
IN_FUNCTION = (
    "a dump sets an empty search_path, so that functions find only what they name with its schema: "
    "change the function (ALTER FUNCTION ... SET search_path = ...), and dump again"
)
FOR_SUPERUSERS = (
    "restore as a superuser, or leave out what only a superuser may make with --skip-superuser-only"
)
NO_LIBRARY = (
    "install what has this library on the server, or leave out what the server has none for with "
    "--skip-superuser-only"
)
WITHOUT_EXTENSION = "leave it out, and its rows with it, by --skip-superuser-only"
OF_OTHERS = (
    "what other roles own stays: restore as its owner (assume_role in the settings, or "
    "PGOPTIONS='-c role=OWNER'), or without --in-place"
)
EXISTS = frozenset(("42P06", "42P07", "42710", "42723"))
"""A duplicate schema, table, object or function."""
_DENIED = "42501"
_NO_LIBRARY = ("58P01", "42883", "XX000")
_MADE = 4000
"""Bytes at the beginning of a statement that tell what it makes."""
_NO_TABLE = ("42P01", "3F000")


def hint(
    statement: bytes, sqlstate: str | None, *, creates: bool, in_function: bool = False
) -> str:
    """Return what to do about a failure, empty where the server's message is all there is to say.

    ``creates`` says that the dump has created something before, and ``in_function`` that a
    function did not find a name.
    """
    if _SAID_BY_PG_DUMP.search(statement):
        return STDERR_INSIDE
    rows_alone = not creates and statement[:5].upper() in (b"COPY ", b"INSER")
    if in_function:
        return IN_TRIGGER if rows_alone else IN_FUNCTION
    if sqlstate in _NO_TABLE and rows_alone:
        return DATA_ONLY
    made = statement[:_MADE].decode(errors="replace")
    if sqlstate == _DENIED and (made_by_superusers(made) or extension_in(made)):
        return FOR_SUPERUSERS
    if extension_in(made):
        return WITHOUT_EXTENSION
    if sqlstate in _NO_LIBRARY and made_by_superusers(made):
        return NO_LIBRARY
    known = (text for code, what, text in _HINTS if code == sqlstate and what.match(statement))
    return next(known, "")


def hint_for_a_constraint(statement: bytes) -> str:
    """Return what to do where its name may be why a constraint could not be made, else nothing.

    For what pg_restore runs, which does not tell SQLSTATEs.
    """
    return _NAME_TAKEN if _LIKE_A_NOT_NULL.match(statement) else ""
