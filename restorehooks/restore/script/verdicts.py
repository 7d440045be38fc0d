"""What can become of a statement: it is sent, changed, left out, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


class Refused(Exception):  # noqa: N818 - a verdict
    """A statement that is not restored, and why; nothing after it is sent either."""


@dataclass(frozen=True)
class LeaveOut:
    """The verdict to leave a statement out: what kind of thing it is, and the reason."""

    what: str
    reason: str


@dataclass(frozen=True)
class Replaced:
    """The verdict to send something else: ``omitted`` says what is left out of the statement."""

    statement: bytes
    omitted: LeaveOut


Verdict: TypeAlias = bytes | LeaveOut | Replaced
