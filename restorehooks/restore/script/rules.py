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
from dataclasses import dataclass
from typing import TypeAlias

from restorehooks.restore.superusers import made_by_superusers

from .oids import copies_oids, creates_without_oids
from .policy import Policy
from .words import Words

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
_SAME_ROLE = "the role that restores does so throughout"
_NO_OWNER = "leaving out ownership was asked for"
_NO_MODE: tuple[list[str], ...] = ([], ["work"], ["transaction"])
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
    rb"(?:RESET|SET)\s+SESSION\s+AUTHORIZATION(?:\s+('(?:[^'\\]|'')*'|%s))?\s*\Z" % _NAME,
    re.IGNORECASE,
)
_FILLED = re.compile(
    rb"(?:INSERT\s+INTO|COPY)\s+(%s(?:\.%s)?)(?=\s|\()" % (_NAME, _NAME), re.IGNORECASE
)
_TRIGGERS = re.compile(rb"ALTER TABLE [^;']+ (?:DISABLE|ENABLE) TRIGGER ALL\Z")
_SETVAL = re.compile(rb"SELECT pg_catalog\.setval\(")
_HEAD = 8
"""Words at the beginning of a statement that tell what it is."""
_MADE = 4000
"""Bytes at the beginning of a statement that tell what it makes."""
_TAIL = 2000
"""Bytes at the end of a statement in which its roles are looked for."""


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
_NO_OIDS = LeaveOut("object ids", "rows have none of their own since PostgreSQL 12")


def decide(statement: bytes, words: Words, policy: Policy, encoding: str) -> Verdict:
    """Return what to send for this statement (itself, nearly always), or why it is left out.

    ``words`` are the statement's own; ``encoding`` is Python's name of the client encoding. Raises
    Refused.
    """
    if policy.kept_tables and (kept := _kept_rows(statement, policy, encoding)):
        return kept
    if statement.startswith(b"INSERT INTO "):
        return statement
    head = words.first(_HEAD)
    first = head[0]
    if first in _TRANSACTION:
        return _transaction(head)
    if first not in _STRUCTURE | _DATA | _READING | _SETTING:
        raise Refused("pg_dump writes no such statement")
    if first == "copy" and (without_oids := copies_oids(statement)):
        return Replaced(without_oids, _NO_OIDS)
    if first == "copy" and not copies_in(words):
        raise Refused("a dump holds its own rows: only COPY table FROM stdin is read")
    if first in _SETTING:
        return _setting(statement, head, policy, encoding)
    if policy.data_only and _SETVAL.match(statement):
        return LeaveOut("sequence position", "sequences are never set back")
    if first in _STRUCTURE:
        return _structure(statement, words, policy, encoding)
    return statement


def _kept_rows(statement: bytes, policy: Policy, encoding: str) -> LeaveOut | None:
    """Leave out rows for a table of an extension that stays in the database, with its rows."""
    found = _FILLED.match(statement)
    names = tuple(_plain(found[1], encoding)) if found else ()
    for schema, table in policy.kept_tables:
        if names in ((schema, table), (table,)):
            reason = f'"{schema}.{table}" belongs to an extension that stays, with its rows'
            return LeaveOut("rows", reason)
    return None


def left_out_around(words: Words) -> LeaveOut | None:
    """Return why a statement before or after a whole dump is left out, None where it is judged."""
    first, *rest = words.first(3)
    if first in ("begin", "start") or (first in ("commit", "end") and rest in _NO_MODE):
        return LeaveOut("transaction", _ALONE)
    if first in ("analyze", "vacuum"):
        return LeaveOut("statistics", "they are gathered once everything is loaded")
    return None


def resets_all(words: Words) -> bool:
    """Return whether a statement puts all settings of the session back."""
    return words.first(3) == ["reset", "all"]


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


def _structure(statement: bytes, words: Words, policy: Policy, encoding: str) -> Verdict:
    head = words.first(_HEAD)
    if beyond := _beyond_the_schemas(head, words):
        return beyond
    if policy.data_only:
        only_triggers = _TRIGGERS.match(statement)
        return statement if only_triggers else LeaveOut("structure", "only data was asked for")
    first = head[0]
    beginning = statement[:_MADE].decode(encoding, "replace")
    if policy.skip_superuser_only and (made := made_by_superusers(beginning)):
        return LeaveOut("superuser only", f"only a superuser may make the {made}")
    if first in ("grant", "revoke") or head[:3] == ["alter", "default", "privileges"]:
        return _privileges(statement, policy, encoding) or statement
    if mapped := _MAPPED.match(statement):
        return _missing(mapped[1], policy, encoding, "user mapping") or statement
    if first == "create" and (bare := creates_without_oids(statement)) != statement:
        return Replaced(bare, _NO_OIDS)
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


def _setting(statement: bytes, head: list[str], policy: Policy, encoding: str) -> Verdict:
    name = head[1:]
    if name[:1] in (["session"], ["local"]) and name[1:2] != ["authorization"]:
        name = name[1:]
    if name[:2] == ["session", "authorization"]:
        return _authorization(statement, policy, encoding)
    if name[:1] in _ACTING_ROLE:
        return LeaveOut("role", _SAME_ROLE)
    if name[:1] in (["transaction"], ["characteristics"]):
        raise Refused(_ALONE)
    if name[:1] == ["default_with_oids"] and "false" not in name:
        return _NO_OIDS
    found = _TABLESPACE.match(statement)
    if found and policy.tablespaces is not None:
        unknown = set(_plain(found[1], encoding)) - policy.tablespaces
        return b"SET default_tablespace = ''" if unknown else statement
    return statement


def _authorization(statement: bytes, policy: Policy, encoding: str) -> Verdict:
    """Act as the owner of what follows, as ``pg_dump --use-set-session-authorization`` wants it."""
    if policy.owners is None or policy.data_only or not (found := _AUTHORIZATION.match(statement)):
        return LeaveOut("role", _SAME_ROLE)
    own = b"NONE"
    if policy.acting_role != "none":
        own = b'"%s"' % policy.acting_role.replace('"', '""').encode(encoding)
    name = found[1] or b"DEFAULT"
    if name.upper() == b"DEFAULT":
        return b"SET ROLE " + own
    if name.startswith(b"'"):
        name = b'"%s"' % name[1:-1].replace(b"''", b"'").replace(b'"', b'""')
    if policy.no_owner:
        return LeaveOut("owner", _NO_OWNER)
    if why := _cannot_own(name, policy, encoding):
        return Replaced(b"SET ROLE " + own, why)
    return b"SET ROLE " + name


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
        return LeaveOut("owner", _NO_OWNER)
    return _cannot_own(owner[1], policy, encoding)


def _cannot_own(name: bytes, policy: Policy, encoding: str) -> LeaveOut | None:
    if unable := _lacking(name, policy.owners, encoding):
        reason = f'this role cannot give ownership to the role "{unable}"'
        return _missing(name, policy, encoding, "owner") or LeaveOut("owner", reason)
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
