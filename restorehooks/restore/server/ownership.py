"""Whose the restored objects are: what of owners and privileges can hold here.

What of it is kept is decided statement by statement, by the rules of a plain dump (``decide``): an
owner or a grant that has its role here is kept, whatever becomes of the others.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from restorehooks.restore.dump.contents import ArchiveEntry
from restorehooks.restore.errors import TargetError
from restorehooks.restore.script.buffer import LexingError
from restorehooks.restore.script.lexer import Lexer, Statement
from restorehooks.restore.script.options import TO_SET_ROLE, ScriptOptions
from restorehooks.restore.script.rules import decide
from restorehooks.restore.script.verdicts import LeaveOut, Refused, Replaced
from restorehooks.restore.script.words import Words
from restorehooks.wording import quoted

from .address import Connection
from .live import Live


@dataclass(frozen=True)
class Ownership:
    """What is decided of owners and privileges.

    owner, privileges: they are restored, where the roles that they name exist.
    load_as: the role to load as, None for the one that connects.
    instead: who owns what belongs to a role that does not exist here, None for who restores.
    notes: what is left out of an archive, by role. Of a plain dump it is not known before.
    """

    owner: bool = False
    privileges: bool = False
    load_as: str | None = None
    instead: str | None = None
    notes: tuple[str, ...] = ()


MEMBER = f"SELECT pg_catalog.pg_has_role(%s, {TO_SET_ROLE})"


def plan_ownership(
    connection: Connection,
    *,
    user: str,
    superuser: bool,
    live: Live,
    entries: Sequence[ArchiveEntry],
    owner: bool | None,
    privileges: bool | None,
    may_act_as_owner: bool,
) -> Ownership:
    """Decide on it; None for ``owner`` or ``privileges`` is "where it can hold".

    ``entries`` are the archive's, none for a plain dump. Raises TargetError where owners were
    asked for that do not exist.
    """
    options = script_options(connection, user=user, all_owners=superuser or owner is True)
    missing = sorted({one.owner for one in entries if one.owner} - (options.roles or set()))
    if owner and missing:
        raise TargetError(
            f"--owner was asked for, and the roles {quoted(missing)} do not exist here; create "
            "them, or leave the ownership out with --no-owner."
        )
    # Giving things away takes more than membership; for a superuser alone it is sure to work.
    keep = superuser if owner is None else owner
    foreign = live.owner not in ("", user)
    load_as = instead = None
    if foreign and keep and superuser:
        instead = live.owner
    elif foreign and not keep and may_act_as_owner:
        member = connection.execute(MEMBER, [live.owner]).fetchone() == (True,)
        load_as = live.owner if member else None
    ownership = Ownership(keep, privileges is not False, load_as, instead)
    notes = _notes(ownership, options, user, live, entries)
    return replace(ownership, notes=tuple(notes))


def missing_roles(connection: Connection, names: Sequence[str]) -> list[str]:
    """Return which of these roles do not exist on the server."""
    there = {row[0] for row in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    return sorted(set(names) - there)


def _notes(
    ownership: Ownership,
    options: ScriptOptions,
    user: str,
    live: Live,
    entries: Sequence[ArchiveEntry],
) -> Iterator[str]:
    """Yield what the person who restores should know about whose the objects will be."""
    mine = ownership.load_as or user
    if live.owner not in ("", mine) and not ownership.instead:
        yield f'what is restored will belong to "{user}", while "{live.owner}" owns the database'
    owners = {entry.owner for entry in entries if entry.owner}
    kept = (options.owners or frozenset()) if ownership.owner else frozenset()
    if left_out := sorted(owners - kept - {mine}):
        heir = f': "{ownership.instead}" owns it' if ownership.instead else ""
        yield f"ownership by {quoted(left_out)} is left out{heir}"
    if ownership.privileges:
        grants = _statements(entries, "ACL", "DEFAULT ACL")
        reasons = Counter(one.reason for one in _left_out(grants, options, "privileges"))
        for reason, count in reasons.items():
            yield f"privileges are left out: {reason} ({count})"
    for one in _left_out(_statements(entries, "POLICY"), options, "policy"):
        yield f"policy {one.reason}"


def script_options(
    connection: psycopg.Connection[Any], *, user: str, all_owners: bool
) -> ScriptOptions:
    """Return what of owners, privileges and tablespaces the server has for this role.

    ``all_owners``: give things to every role that may be acted for, and not to ``user`` alone.
    """
    options = ScriptOptions.for_connection(connection)
    return options if all_owners else replace(options, owners=frozenset({user}))


def _statements(entries: Iterable[ArchiveEntry], *kinds: str) -> Iterator[Statement]:
    """Yield the statements of an archive's entries of some kinds, which have their definitions."""
    for entry in entries:
        if entry.kind not in kinds:
            continue
        lexer = Lexer(io.BytesIO(entry.definition.encode(errors="surrogateescape")))
        with suppress(LexingError):  # the load will say so
            while piece := lexer.next(escapes=False):
                if isinstance(piece, Statement):
                    yield piece


def _left_out(
    statements: Iterable[Statement], options: ScriptOptions, what: str
) -> Iterator[LeaveOut]:
    """Yield what of the statements is left out, of one kind."""
    for statement in statements:
        try:
            verdict = decide(statement.text, Words(statement.text), options, "utf-8")
        except Refused:  # so will the load
            continue
        omitted = verdict.omitted if isinstance(verdict, Replaced) else verdict
        if isinstance(omitted, LeaveOut) and omitted.what == what:
            yield omitted
