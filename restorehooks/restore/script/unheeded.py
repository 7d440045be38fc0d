"""GRANT and REVOKE that the server answers with a warning, since this role may not do so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.errors import Diagnostic

from .verdicts import LeaveOut

_REASONS = {
    "01006": "this role may not revoke all of it, and who had it has it still",
    "01007": "this role may not grant all of it",
}
"""privilege_not_revoked, privilege_not_granted
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""


class Unheeded:
    """What the server has warned of since it was asked last."""

    def __init__(self) -> None:
        self._codes: set[str] = set()

    def hear(self, diagnostic: Diagnostic) -> None:
        """Take in a notice of the server."""
        if diagnostic.sqlstate in _REASONS:
            self._codes.add(diagnostic.sqlstate)

    def taken(self) -> list[LeaveOut]:
        """Return what was not done of the statement before, and forget it."""
        codes, self._codes = self._codes, set()
        return [LeaveOut("privileges", _REASONS[code]) for code in sorted(codes)]


@contextmanager
def unheeded(connection: psycopg.Connection[Any]) -> Iterator[Unheeded]:
    """Listen to the server while the block runs."""
    found = Unheeded()
    connection.add_notice_handler(found.hear)
    try:
        yield found
    finally:
        connection.remove_notice_handler(found.hear)
