"""Telling a dump's own lines from what a shell has put before it."""

from __future__ import annotations

import re

from restorehooks.restore.dump.facts import HEADER

FIRST_LINE = re.compile(rb"^%s\r?$" % re.escape(HEADER), re.MULTILINE)
_WORD = re.compile(rb"[A-Za-z_]+(?![A-Za-z0-9_]*:)")
_SQL = frozenset(
    b"abort alter analyze begin call checkpoint cluster comment commit copy create deallocate "
    b"delete discard do drop end explain grant import insert listen load lock merge notify "
    b"prepare reassign refresh reindex release reset revoke rollback savepoint security select "
    b"set show start table truncate unlisten update vacuum values with".split()
)


def is_sql(line: bytes) -> bool:
    """Return whether a line begins as SQL, a comment or a command of psql does.

    "Password: " and "pg_dump: warning: ..." do not.
    """
    if line.startswith((b"--", b"/*", b"\\", b"(", b";")):
        return True
    word = _WORD.match(line)
    return word is not None and word[0].lower() in _SQL
