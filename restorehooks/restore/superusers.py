"""What only a superuser may make, recognised by the statement that makes it."""

from __future__ import annotations

import re

_NAME = r"""(?:"(?:[^"]|"")+"|[\w$]+)"""
_NAMES = rf"{_NAME}(?:\.{_NAME})*"
_OR = r"CREATE (?:OR REPLACE )?"
_MADE = (
    ("event trigger", re.compile(rf"CREATE EVENT TRIGGER ({_NAMES})\s", re.I)),
    (
        "publication of all tables",
        re.compile(
            rf"CREATE PUBLICATION ({_NAMES})\s+FOR (?:ALL (?:TABLES|SEQUENCES)|TABLES IN SCHEMA)\b",
            re.I,
        ),
    ),
    (
        "publication of a schema",
        re.compile(rf"ALTER PUBLICATION ({_NAMES})\s+ADD TABLES IN SCHEMA\b", re.I),
    ),
    ("foreign-data wrapper", re.compile(rf"CREATE FOREIGN DATA WRAPPER ({_NAMES})\s*", re.I)),
    (
        "function in C",
        re.compile(
            rf"{_OR}(?:FUNCTION|PROCEDURE) ({_NAMES})\s*\([^;]*?\bLANGUAGE '?(?:c|internal)\b'?",
            re.I | re.S,
        ),
    ),
    (
        "leakproof function",
        re.compile(
            rf"{_OR}FUNCTION ({_NAMES})\s*\([^;]*?\bLANGUAGE [\w\"]+(?: [A-Z]+)* LEAKPROOF\b",
            re.I | re.S,
        ),
    ),
    (
        "language",
        re.compile(rf"{_OR}(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE ({_NAMES})\s+HANDLER\b", re.I),
    ),
    ("base type", re.compile(rf"CREATE TYPE ({_NAMES})\s*(?:;|\Z)", re.I)),
    ("operator class", re.compile(rf"CREATE OPERATOR (?:CLASS|FAMILY) ({_NAMES})\s", re.I)),
    ("access method", re.compile(rf"CREATE ACCESS METHOD ({_NAMES})\s", re.I)),
    (
        "text search template",
        re.compile(rf"CREATE TEXT SEARCH (?:PARSER|TEMPLATE) ({_NAMES})\s", re.I),
    ),
)
# What may hang on one of these and holds no row: it is left out where its failure shows that.
_DEPENDENT = re.compile(
    r"""
    (?: CREATE\ TYPE\ [^;('"]+\(\s*(?:INTERNALLENGTH|INPUT)
      | CREATE\ (?:OR\ REPLACE\ )?(?:CONSTRAINT\ )?
        (?: FUNCTION|PROCEDURE|AGGREGATE|TRIGGER|SERVER|USER\ MAPPING|FOREIGN\ TABLE|OPERATOR|CAST
          | TRANSFORM|TEXT\ SEARCH|VIEW )
      | (?: ALTER|COMMENT\ ON|(?:GRANT|REVOKE|SECURITY\ LABEL)\ .{1,200}?\ ON )
        \ (?: EVENT\ TRIGGER|PUBLICATION|FOREIGN|SERVER|FUNCTION|PROCEDURE|AGGREGATE|OPERATOR|CAST
            | TEXT\ SEARCH|ACCESS\ METHOD|(?:PROCEDURAL\ )?LANGUAGE|TRIGGER|EXTENSION|VIEW )
      | (?: GRANT|REVOKE|SECURITY\ LABEL)\ .{1,200}?\ ON\ TABLE
      | ALTER\ TABLE\ [^;]{1,200}?\ OWNER\ TO
    ) \b
    """,
    re.I | re.X | re.S,
)
_EXTENSION = re.compile(rf"CREATE EXTENSION (?:IF NOT EXISTS )?({_NAME})", re.I)
LOOKED_AT = 4000
"""Characters of a statement that are looked at."""
LONGEST_NAME = 200
"""Characters of a name that are kept: no server's has as many."""


def made_by_superusers(statement: str) -> str | None:
    """Return what a statement makes that only a superuser may, with its name; None for others."""
    text = statement[:LOOKED_AT].lstrip()
    for kind, known in _MADE:
        if found := known.match(text):
            return f"{kind} {found[1][:LONGEST_NAME]}"
    return None


def hangs_on_it(statement: str) -> bool:
    """Return whether a statement makes or changes what may hang on something of that kind."""
    return bool(_DEPENDENT.match(statement[:LOOKED_AT].lstrip()))


def extension_in(statement: str) -> str | None:
    """Return the name of the extension that a statement creates, None where it creates none."""
    found = _EXTENSION.match(statement)
    if not found:
        return None
    name = found[1][:LONGEST_NAME]
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
