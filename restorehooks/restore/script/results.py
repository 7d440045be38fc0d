"""What became of a plain dump, and how a statement of it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from restorehooks.restore.errors import ScriptError
from restorehooks.wording import printable

from .tables import Tables
from .verdicts import LeaveOut

_SECRET = re.compile(r"(?i)\b(?:OPTIONS|CONNECTION|(?:ENCRYPTED )?PASSWORD|PASSWD|\w*CONNINFO)\b.*")
"""What may come before a password: of a role, a server, a user mapping, a subscription."""
_SHOWN = 100
"""Characters of a statement that a message shows."""
_MOST, MORE = 1000, "for reasons of the same kind, each with another name"
"""Reasons that are told apart."""


@dataclass(frozen=True)
class LeftOut:
    """Statements that were left out, all for one reason.

    what: the kind of thing they are.
    statement, line: the first of them, its beginning in one line, and where it stands in the dump.
    reason: why they were left out.
    count: how many they are.
    """

    what: str
    statement: str
    line: int
    reason: str
    count: int

    def __str__(self) -> str:
        return f"{self.what}: {self.reason} ({self.count}, the first: {self.statement})"


class Collected:
    """What was left out so far, gathered by reason."""

    def __init__(self) -> None:
        self._found: dict[LeaveOut, LeftOut] = {}

    def add(self, omitted: LeaveOut, text: bytes, line: int, encoding: str) -> None:
        """Take in a piece of the dump that is left out; the first of each reason is shown."""
        if len(self._found) >= _MOST and omitted not in self._found:
            omitted = LeaveOut(omitted.what, MORE)
        first = LeftOut(omitted.what, shown(text, encoding), line, printable(omitted.reason), 0)
        known = self._found.get(omitted, first)
        self._found[omitted] = replace(known, count=known.count + 1)

    def all(self) -> list[LeftOut]:
        """Return it, one of each reason."""
        return list(self._found.values())


@dataclass
class ScriptResult:
    """What was sent and what was not: the numbers of statements and of rows.

    ``statistics`` counts the statements that brought planner statistics.

    ``complete`` says that pg_dump's last line was seen and that nothing follows it that changes
    anything. Otherwise ``reason`` says what is missing, and nothing of it may be committed or used
    unless somebody accepts that. ``tables`` are those that were named and made.
    """

    statements: int = 0
    rows: int = 0
    statistics: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    complete: bool = False
    reason: str = ""
    tables: Tables = field(default_factory=Tables)
    _positions: dict[str, str] = field(default_factory=dict)

    @property
    def positions(self) -> list[str]:
        """The ``setval`` of sequences that were left out, since only rows were asked for."""
        return list(self._positions.values())

    def set_position(self, statement: str) -> None:
        """Take in a ``setval`` that is left out; of each sequence the last one counts."""
        self._positions[statement.partition("', ")[0]] = statement


def shown(text: bytes, encoding: str) -> str:
    """Return the beginning of a statement in one line, without a password it may hold."""
    line = printable(" ".join(text[: 10 * _SHOWN].decode(encoding, "replace").split()))
    line = _SECRET.sub("...", line)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def script_error(
    line: int, reason: str, statement: str = "", sqlstate: str | None = None
) -> ScriptError:
    """Return the error for what stands in a line of the dump."""
    code = f" (SQLSTATE {sqlstate})" if sqlstate else ""
    shown = f", in: {statement}" if statement else ""
    message = printable(f"line {line} of the dump: {reason}{code}{shown}")
    return ScriptError(message, line, sqlstate)
