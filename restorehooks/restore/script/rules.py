"""What of a plain dump is sent, what is left out and named, and what is refused.

A statement is judged by its first words. No quotation can hide them, and a statement is always
sent alone, so what the server runs begins with the same words. What concerns other databases,
roles or the whole server is left out where pg_dump writes it, and refused elsewhere; so is what
pg_dump never writes. This is no cage: functions, DO blocks and settings are sent, and can do what
the restoring role can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from .words import Words

ROLES = """
SELECT rolname, pg_catalog.pg_has_role(oid, {privilege}) FROM pg_catalog.pg_roles
"""
TABLESPACES = """
SELECT spcname FROM pg_catalog.pg_tablespace
WHERE pg_catalog.has_tablespace_privilege(oid, 'CREATE')
"""

_STRUCTURE = frozenset(("create", "alter", "drop", "comment", "grant", "revoke", "security"))
_DATA = frozenset(("copy", "delete", "insert", "merge", "truncate", "update"))
_READING = frozenset(
    ("analyze", "call", "do", "lock", "refresh", "select", "table", "values", "with")
)
_SETTING = frozenset(("set", "reset"))
_TRANSACTION = frozenset(
    ("abort", "begin", "commit", "end", "prepare", "release", "rollback", "savepoint", "start")
)
_CLUSTER_WIDE = frozenset(("group", "owned", "parameter", "role", "system", "tablespace", "user"))
_ANYBODY = frozenset(("public", "current_user", "current_role", "session_user"))
_ACTING_ROLE = (["role"], ['"role"'], ["session_authorization"], ['"session_authorization"'])
_ALONE = "the restore alone begins and ends transactions"

_BLANK = rb"(?:[ \t\n\r\f\v]|--[^\r\n]*[\r\n]|/\*(?:(?!/\*|\*/).)*\*/)*"
_NAME = rb"""(?:"(?:[^"]|"")+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"""
_NAMES = rb"%s(?:%s,%s%s)*" % (_NAME, _BLANK, _BLANK, _NAME)
#: What may stand between COPY and FROM, every name written as n: a table, and columns of it.
_TABLE = re.compile(r"n(\.n)*(\(n(,n)*\))?")
_OWNER = re.compile(rb"\sOWNER\s+TO\s+(%s)\s*\Z" % _NAME, re.IGNORECASE)
_GRANTEES = re.compile(
    rb"\s(?:TO|FROM)\s+(?:GROUP\s+)?(%s)"
    rb"(?:\s+WITH\s+GRANT\s+OPTION)?(?:\s+GRANTED\s+BY\s+%s)?(?:\s+CASCADE|\s+RESTRICT)?\s*\Z"
    % (_NAMES, _NAME),
    re.IGNORECASE,
)
_DEFAULTS_OF = re.compile(rb"ALTER\s+DEFAULT\s+PRIVILEGES\s+FOR\s+ROLE\s+(%s)" % _NAMES, re.I)
_MAPPED = re.compile(rb"CREATE\s+USER\s+MAPPING\s+FOR\s+(%s)" % _NAME, re.IGNORECASE)
_TABLESPACE = re.compile(rb"SET\s+default_tablespace\s*=\s*(%s)\s*\Z" % _NAME, re.IGNORECASE)
_AUTHORIZATION = re.compile(
    rb"SET\s+SESSION\s+AUTHORIZATION\s+('(?:[^']|'')+'|%s)\s*\Z" % _NAME, re.IGNORECASE
)
_TRIGGERS = re.compile(rb"ALTER TABLE [^;']+ (?:DISABLE|ENABLE) TRIGGER ALL\Z")
_SETVAL = re.compile(rb"SELECT pg_catalog\.setval\(")
_HEAD = 8
"""Words at the beginning of a statement that tell what it is."""
_TAIL = 2000
"""Bytes at the end of a statement in which its roles are looked for."""


class Refused(Exception):  # noqa: N818 - a verdict
    """A statement that is not restored, and why; nothing after it is sent either."""


@dataclass(frozen=True)
class LeaveOut:
    """The verdict to leave a statement out: what kind of thing it is, and the reason.

    ``instead`` is sent in its place, where there is something.
    """

    what: str
    reason: str
    instead: bytes = field(default=b"", compare=False)


@dataclass(frozen=True)
class Policy:
    """What the restore wants of a plain dump, and what the server has for it.

    ``for_connection`` reads the server's part. ``None`` for roles, owners or tablespaces leaves
    that question to the server, which answers with an error.

    owners: roles that may be given ownership; statements for others are left out.
    roles: roles that exist; privileges of others are left out.
    tablespaces: where tables may be put; for others the default one is used.
    owner_instead: who becomes the owner of what belongs to a role that does not exist here; None
        for the role that restores.
    acting: the role that restores; None leaves out what would change it.
    no_owner, no_privileges: leave out all of these, as the options of pg_restore do.
    data_only: send rows, and leave out the structure and the positions of sequences (a setval
        outlives a rollback, and may set back a sequence that is ahead).
    commit_every: how many statements (single rows not counted) make a transaction, for a database
        that is thrown away when the restore fails; None for everything in one transaction.
    """

    owners: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    tablespaces: frozenset[str] | None = None
    owner_instead: str | None = None
    acting: str | None = None
    no_owner: bool = False
    no_privileges: bool = False
    data_only: bool = False
    commit_every: int | None = None

    @classmethod
    def for_connection(cls, connection: psycopg.Connection[Any], **wishes: Any) -> Policy:
        """Read what this server has for the connection's role; ``wishes`` are the other fields."""
        # Since 16 a member may be kept from acting as the role, and who gives ownership must.
        privilege = "SET" if connection.info.server_version >= 160000 else "MEMBER"
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(sql.SQL(ROLES).format(privilege=privilege))
            roles: dict[str, bool] = dict(cursor.fetchall())
            tablespaces = cursor.execute(TABLESPACES).fetchall()
            acting = cursor.execute("SELECT current_user::text").fetchone()
        return cls(
            owners=frozenset(name for name, may_act in roles.items() if may_act),
            roles=frozenset(roles),
            tablespaces=frozenset(name for (name,) in tablespaces),
            acting=acting[0] if acting else None,
            **wishes,
        )


def decide(statement: bytes, words: Words, policy: Policy, encoding: str) -> bytes | LeaveOut:
    """Return what to send for this statement (itself, nearly always), or why it is left out.

    ``words`` are the statement's own; ``encoding`` is Python's name of the client encoding. Raises
    Refused.
    """
    if statement.startswith(b"INSERT INTO "):
        return statement
    head = words.first(_HEAD)
    first = head[0]
    if first in _TRANSACTION:
        return _transaction(head)
    if first not in _STRUCTURE | _DATA | _READING | _SETTING:
        raise Refused("pg_dump writes no such statement")
    if first == "copy" and not copies_in(words):
        raise Refused("a dump holds its own rows: only COPY table FROM stdin is read")
    if first in _SETTING:
        return _setting(statement, head, policy, encoding)
    if policy.data_only and _SETVAL.match(statement):
        return LeaveOut("sequence position", "sequences are never set back")
    if first in _STRUCTURE:
        return _structure(statement, words, policy, encoding)
    return statement


def copies_in(words: Words) -> bool:
    """Return whether this is ``COPY table (columns) FROM stdin``, whose rows follow in the dump."""
    each = iter(words)
    if next(each, "") != "copy":
        return False
    shape = ""
    for word in each:
        if word == "from":
            return next(each, "") == "stdin" and bool(_TABLE.fullmatch(shape))
        is_name = word.startswith('"') or word.isalpha() or (len(word) > 1 and word[0] != "'")
        shape += "n" if is_name else word
    return False


def _structure(statement: bytes, words: Words, policy: Policy, encoding: str) -> bytes | LeaveOut:
    head = words.first(_HEAD)
    if beyond := _beyond_the_schemas(head, words):
        return beyond
    if policy.data_only:
        only_triggers = _TRIGGERS.match(statement)
        return statement if only_triggers else LeaveOut("structure", "only data was asked for")
    first = head[0]
    if first in ("grant", "revoke") or head[:3] == ["alter", "default", "privileges"]:
        return _privileges(statement, policy, encoding) or statement
    if mapped := _MAPPED.match(statement):
        return _missing(mapped[1], policy, encoding, "user mapping") or statement
    return (first == "alter" and _ownership(statement, policy, encoding)) or statement


def _beyond_the_schemas(head: list[str], words: Words) -> LeaveOut | None:
    """Leave out or refuse what concerns a database as a whole, a role, or the server."""
    first = head[0]
    kind, rest = "".join(head[1:2]), head[2:]
    if first in ("grant", "revoke", "comment", "security"):
        kind = words.after("on")
    if first in ("grant", "revoke") and not kind:
        raise Refused("who belongs to which role is not a database's affair")
    if kind == "database":
        return LeaveOut("database", "the database that is restored into has its own")
    if kind == "subscription":
        return LeaveOut("subscription", "a copy takes no part in somebody's replication")
    if first == "alter" and kind in ("role", "user") and rest[1:3] == ["in", "database"]:
        return LeaveOut("database", "the database that is restored into has its own")
    if kind in _CLUSTER_WIDE and not (kind == "user" and rest[:1] == ["mapping"]):
        raise Refused(f"{first.upper()} {kind.upper()} reaches beyond the one database")
    return None


def _transaction(head: list[str]) -> LeaveOut:
    # pg_dump puts BEGIN and COMMIT around the contents of large objects.
    if head not in (["begin"], ["commit"]):
        raise Refused(_ALONE)
    return LeaveOut("transaction", _ALONE)


def _setting(statement: bytes, head: list[str], policy: Policy, encoding: str) -> bytes | LeaveOut:
    name = head[1:]
    if name[:1] in (["session"], ["local"]) and name[1:2] != ["authorization"]:
        name = name[1:]
    if name[:2] == ["session", "authorization"]:
        return _acting(statement, policy, encoding)
    if name[:1] in _ACTING_ROLE:
        return LeaveOut("role", "the role that restores does so throughout")
    if name[:1] in (["transaction"], ["characteristics"]):
        raise Refused(_ALONE)
    found = _TABLESPACE.match(statement)
    if found and policy.tablespaces is not None:
        for unknown in set(_plain(found[1], encoding)) - policy.tablespaces:
            reason = f'"{unknown}" is not here, or not for this role: the default one is used'
            return LeaveOut("tablespace", reason, b"SET default_tablespace = ''")
    return statement


def _acting(statement: bytes, policy: Policy, encoding: str) -> LeaveOut | bytes:
    """Turn SET SESSION AUTHORIZATION into SET ROLE, where the role may be acted for.

    ``pg_dump --use-set-session-authorization`` gives everything its owner that way, and privileges
    that somebody else than the owner has granted always come that way.
    """
    throughout = LeaveOut("role", "the role that restores does so throughout")
    if policy.no_owner or policy.owners is None or policy.acting is None:
        return throughout
    back = b"SET ROLE " + _quoted(policy.acting, encoding)
    found = _AUTHORIZATION.match(statement)
    if not found or found[1].upper() == b"DEFAULT":
        return back
    role = _literal(found[1], encoding)
    if role in policy.owners:
        return b"SET ROLE " + _quoted(role, encoding)
    if role in (policy.roles or ()):
        return replace(throughout, instead=back)
    why, who = f'the role "{role}" does not exist here', policy.owner_instead
    if who:
        give = b"SET ROLE " + _quoted(who, encoding)
        return LeaveOut("owner", f'{why}, and "{who}" owns it', give)
    return LeaveOut("owner", why, back)


def _literal(name: bytes, encoding: str) -> str:
    """Return what is written as a string, or as a name."""
    if name.startswith(b"'"):
        return name[1:-1].decode(encoding, "replace").replace("''", "'")
    return next(_plain(name, encoding))


def _quoted(name: str, encoding: str) -> bytes:
    return ('"' + name.replace('"', '""') + '"').encode(encoding)


def _privileges(statement: bytes, policy: Policy, encoding: str) -> LeaveOut | None:
    if policy.no_privileges:
        return LeaveOut("privileges", "leaving out privileges was asked for")
    if givers := _DEFAULTS_OF.match(statement):
        unable = _lacking(givers[1], policy.owners, encoding)
        if unable:
            return LeaveOut("privileges", f'this role cannot act for the role "{unable}"')
    grantees = _GRANTEES.search(statement[-_TAIL:])
    return _missing(grantees[1], policy, encoding, "privileges") if grantees else None


def _ownership(statement: bytes, policy: Policy, encoding: str) -> LeaveOut | None:
    owner = _OWNER.search(statement[-_TAIL:])
    if not owner:
        return None
    if policy.no_owner:
        return LeaveOut("owner", "leaving out ownership was asked for")
    if unable := _lacking(owner[1], policy.owners, encoding):
        if policy.roles is None or unable in policy.roles:
            reason = f'this role cannot give ownership to the role "{unable}"'
            return LeaveOut("owner", reason)
        reason = f'the role "{unable}" does not exist here'
        if not (who := policy.owner_instead):
            return LeaveOut("owner", reason)
        given = statement[: len(statement) - len(owner[0])] + b" OWNER TO "
        return LeaveOut("owner", f'{reason}, and "{who}" owns it', given + _quoted(who, encoding))
    return None


def _missing(names: bytes, policy: Policy, encoding: str, what: str) -> LeaveOut | None:
    if role := _lacking(names, policy.roles, encoding):
        return LeaveOut(what, f'the role "{role}" does not exist here')
    return None


def _lacking(names: bytes, known: frozenset[str] | None, encoding: str) -> str | None:
    """Return the first of the roles, as SQL writes them, that is not among the known ones."""
    if known is None:
        return None
    roles = (role for role in _plain(names, encoding) if role not in _ANYBODY)
    return next((role for role in roles if role not in known), None)


def _plain(names: bytes, encoding: str) -> Iterator[str]:
    """Yield names without the quotes of SQL."""
    for name in re.findall(_NAME, names):
        text = name.decode(encoding, "replace")
        yield text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
