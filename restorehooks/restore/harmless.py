"""Statements of a dump whose failure says nothing about the data: the whole list.

The statement decides, never the server's message, which is translated.
"""

from __future__ import annotations

import re

_HARMLESS = (
    (
        "servers before 17 do not know transaction_timeout, and a client of 17 or later sets it",
        re.compile(r"SET transaction_timeout = 0;"),
    ),
    (
        "the comment on an extension belongs to whoever installed it",
        re.compile(r"COMMENT ON EXTENSION (\"(?:[^\"]|\"\")+\"|\w+) IS '(?:[^']|'')*';"),
    ),
    (
        'the schema "public" is there already',
        re.compile(r'CREATE SCHEMA (?:public|"public");'),
    ),
    (
        'the comment on the schema "public" belongs to its owner',
        re.compile(r"COMMENT ON SCHEMA (?:public|\"public\") IS '(?:[^']|'')*';"),
    ),
)


def why_harmless(statement: str) -> str | None:
    """Return why the failure of this statement does not fail a restore; None where it does.

    ``statement`` is whole, with its semicolon.
    """
    text = statement.strip()
    return next((reason for reason, known in _HARMLESS if known.fullmatch(text)), None)
