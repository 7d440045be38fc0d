"""One database out of a file that pg_dumpall made, and what that file holds beside databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from restorehooks.wording import quoted

from .dump.facts import Dump
from .errors import DumpError, UsageError
from .script.survey import survey


def one_database(dump: Dump, name: str | None) -> Dump:
    """Return the part of the database ``name``, the dump itself where it holds one alone.

    Raises DumpError, listing the databases, where a file of pg_dumpall has no such database or
    none is named; UsageError where one is named and the dump is another's.
    """
    if not dump.of_server:
        if name is not None and name != dump.database:
            known = f' of "{dump.database}"' if dump.database else ""
            raise UsageError(
                f"--from-database is for files that pg_dumpall made; {dump.source} is a dump of "
                f"one database{known}."
            )
        return dump
    found = survey(dump)
    parts = found.parts
    if name not in parts:
        held = f"the databases {quoted(parts)}: name one with" if parts else "no whole database for"
        lacking = f'; it has no whole "{name}"' if name else ""
        cut = f"; {found.cut}" if found.cut else ""
        raise DumpError(
            f"{dump.source} was made by pg_dumpall and holds {held} --from-database{lacking}{cut}"
        )
    return replace(dump, part=parts[name], database=name, roles=tuple(found.roles))


def globals_of(dump: Dump) -> Sequence[str]:
    """Return what a file of pg_dumpall creates beside databases, a statement each.

    Passwords are left out of them. Raises DumpError.
    """
    if not dump.of_server:
        raise DumpError(f"{dump.source} was not made by pg_dumpall: it holds no roles")
    return survey(dump).globals_
