"""The statements around a table's rows by which ``pg_dump --disable-triggers`` passes triggers."""

from __future__ import annotations

import re

SWITCH = re.compile(rb"ALTER TABLE [^;']+ (?:DISABLE|ENABLE) TRIGGER ALL\Z")


def switches_triggers(statement: bytes) -> bool:
    """Return whether a statement switches all triggers of a table off or on."""
    return SWITCH.match(statement) is not None
