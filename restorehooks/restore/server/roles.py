"""Whose the restored objects are: what of OWNER TO and GRANT can hold here, what is left out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from restorehooks.restore.dump.contents import ArchiveEntry
from restorehooks.restore.errors import TargetError
from restorehooks.restore.script.lexer import Lexer, Statement
from restorehooks.restore.script.policy import Policy
from restorehooks.restore.script.rules import LeaveOut, decide
from restorehooks.restore.script.words import Words
from restorehooks.wording import quoted

from .address import Connection
from .live import Live


@dataclass(frozen=True)
class Ownership:
    """What is decided: whether owners and privileges are restored, and as which role to load.

    ``owner`` and ``privileges`` are for archives; a plain dump is decided on by statement.
    ``load_as`` None is the role that connects. ``notes`` say what is left out.
    """

    owner: bool = False
    privileges: bool = False
    load_as: str | None = None
    notes: tuple[str, ...] = ()


MEMBER = "SELECT pg_catalog.pg_has_role(%s, 'MEMBER')"
MISSING_ROLES = """
SELECT wanted FROM unnest(%s::text[]) AS wanted
WHERE wanted NOT IN (SELECT rolname FROM pg_catalog.pg_roles) ORDER BY 1
"""


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
    owners = sorted({entry.owner for entry in entries if entry.owner})
    missing = missing_roles(connection, owners)
    if owner and missing:
        raise TargetError(
            f"--owner was asked for, and the roles {quoted(missing)} do not exist here; create "
            "them, or leave the ownership out with --no-owner."
        )
    # Giving things away takes more than membership; for a superuser alone it is sure to work.
    keep = owner if owner is not None else superuser and not missing
    load_as = None
    if live.owner not in ("", user) and not keep and may_act_as_owner:
        member = connection.execute(MEMBER, [live.owner]).fetchone() == (True,)
        load_as = live.owner if member else None
    notes = [*_strangers(user, live, owners, keep, load_as)]
    if privileges is None:
        policy = policy_for(connection, user=user, superuser=superuser)
        if why := next(_unable(_grants(entries), policy), None):
            notes.append(f"privileges are left out: {why}")
        privileges = why is None
    return Ownership(keep, privileges, load_as, tuple(notes))


def missing_roles(connection: Connection, names: Sequence[str]) -> list[str]:
    """Return which of these roles do not exist on the server."""
    return [row[0] for row in connection.execute(MISSING_ROLES, [list(names)])]


def _strangers(
    user: str, live: Live, owners: Sequence[str], keep: bool, load_as: str | None
) -> Iterator[str]:
    """Yield what the person who restores should know about whose the objects will be."""
    foreign = live.owner not in ("", user)
    # Who owns what in a plain dump is not known before it is read; an archive's owners are.
    if foreign and not load_as and not (keep and owners):
        which = "what has no owner that exists here" if keep else "what is restored"
        yield f'{which} will belong to "{user}", while "{live.owner}" owns the database'
    left_out = [name for name in owners if name != (load_as or user)]
    if left_out and not keep:
        yield f"ownership by {quoted(left_out)} is left out"


def policy_for(connection: psycopg.Connection[Any], *, user: str, superuser: bool) -> Policy:
    """Return what of owners and privileges the server has the roles for."""
    policy = Policy.for_connection(connection)
    return policy if superuser else replace(policy, owners=frozenset({user}))


def _grants(entries: Iterable[ArchiveEntry]) -> Iterator[Statement]:
    """Yield the GRANT, REVOKE and ALTER DEFAULT PRIVILEGES statements of an archive."""
    for entry in entries:
        lexer = Lexer(io.BytesIO(entry.definition.encode(errors="surrogateescape")))
        while piece := lexer.next(escapes=False):
            if isinstance(piece, Statement):
                yield piece


def _unable(statements: Iterable[Statement], policy: Policy) -> Iterator[str]:
    for statement in statements:
        verdict = decide(statement.text, Words(statement.text), policy, "utf-8")
        if isinstance(verdict, LeaveOut) and verdict.what != "database":
            yield verdict.reason
