"""Whose the objects of a dump will be: owners, privileges, and the role that makes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from restorehooks.sequences.scope import NAME_LIMIT

from .options import ScriptOptions
from .verdicts import LeaveOut, Replaced, Verdict

# Quoted, the others are names of roles.
_ANYBODY = re.compile(rb'(?i:PUBLIC|CURRENT_USER|CURRENT_ROLE|SESSION_USER)|"public"')
SAME_ROLE = "the role that restores does so throughout"
_NO_OWNER = "leaving out ownership was asked for"
# Of what is repeated in a pattern each repetition is kept in memory: none is without a bound.
_COMMENT = rb"(?:--[^\r\n]*[\r\n]|/\*(?:(?!/\*|\*/).){0,1000}\*/)"
_BLANK = rb"[ \t\n\r\f\v]*(?:%s[ \t\n\r\f\v]*){0,10}" % _COMMENT
NAME = rb"""(?:"(?:[^"]|"")+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"""
_NAMES = rb"%s(?:%s,%s%s){0,5000}" % (NAME, _BLANK, _BLANK, NAME)
_OWNER = re.compile(rb"\sOWNER\s+TO\s+(%s)\s*\Z" % NAME, re.IGNORECASE)
_GRANTEES = re.compile(
    rb"\s(?:TO|FROM)\s+(?:GROUP\s+)?(%s)"
    rb"(?:\s+WITH\s+GRANT\s+OPTION)?(?:\s+GRANTED\s+BY\s+%s)?(?:\s+CASCADE|\s+RESTRICT)?\s*\Z"
    % (_NAMES, NAME),
    re.IGNORECASE,
)
_DEFAULTS_OF = re.compile(rb"ALTER\s+DEFAULT\s+PRIVILEGES\s+FOR\s+ROLE\s+(%s)" % _NAMES, re.I)
_AUTHORIZATION = re.compile(
    rb"(?:RESET|SET)\s+SESSION\s+AUTHORIZATION(?:\s+('(?:[^'\\]|''){0,1000}'|%s))?\s*\Z" % NAME,
    re.IGNORECASE,
)
_TAIL = 2000
"""Bytes at the end of a statement in which its roles are looked for."""


def authorization(statement: bytes, options: ScriptOptions, encoding: str) -> Verdict:
    """Act as the owner of what follows, as ``pg_dump --use-set-session-authorization`` wants it."""
    if (
        options.owners is None
        or options.data_only
        or not (found := _AUTHORIZATION.match(statement))
    ):
        return LeaveOut("role", SAME_ROLE)
    own = b"NONE"
    if options.acting_role != "none":
        own = _quoted(options.acting_role, encoding)
    name = found[1] or b"DEFAULT"
    if name.upper() == b"DEFAULT":
        return b"SET ROLE " + own
    if not name.startswith(b"'"):
        # So pg_dump names who grants what follows, and a superuser grants in the owner's name.
        options = replace(options, owner_instead=None)
    else:
        name = b'"%s"' % name[1:-1].replace(b"''", b"'").replace(b'"', b'""')
    if options.no_owner:
        return LeaveOut("owner", _NO_OWNER)
    if why := _cannot_own(name, options, encoding):
        heir = _heir(name, options, encoding)
        return Replaced(b"SET ROLE " + (heir or own), why)
    return b"SET ROLE " + name


def privileges(
    statement: bytes, options: ScriptOptions, encoding: str
) -> LeaveOut | Replaced | None:
    """Return what becomes of a statement about privileges, None where it is sent as it is.

    Of several roles those that are here are kept.
    """
    if options.no_privileges:
        return LeaveOut("privileges", "leaving out privileges was asked for")
    if givers := _DEFAULTS_OF.match(statement):
        unable = lacking(givers[1], options.owners, encoding)
        if unable:
            return LeaveOut("privileges", f'this role cannot act for the role "{unable}"')
    start = max(0, len(statement) - _TAIL)
    grantees = _GRANTEES.search(statement, start)
    why = missing_role(grantees[1], options, encoding, "privileges") if grantees else None
    if grantees and why and (here := those_here(grantees[1], options, encoding)):
        first, last = grantees.span(1)
        return Replaced(statement[:first] + b", ".join(here) + statement[last:], why)
    return why


def those_here(names: bytes, options: ScriptOptions, encoding: str) -> list[bytes]:
    """Return those of the roles that are here, as SQL writes them."""
    return [one for one in re.findall(NAME, names) if not lacking(one, options.roles, encoding)]


def ownership(
    statement: bytes, options: ScriptOptions, encoding: str
) -> LeaveOut | Replaced | None:
    """Return what becomes of ALTER ... OWNER TO, None where it is sent as it is."""
    owner = _OWNER.search(statement[-_TAIL:])
    if not owner:
        return None
    if options.no_owner:
        return LeaveOut("owner", _NO_OWNER)
    why = _cannot_own(owner[1], options, encoding)
    if why and (heir := _heir(owner[1], options, encoding)):
        return Replaced(statement[: -len(owner[0])] + b" OWNER TO " + heir, why)
    return why


def _heir(name: bytes, options: ScriptOptions, encoding: str) -> bytes | None:
    """Return who owns what belongs to this role, where the role does not exist here."""
    if options.owner_instead and lacking(name, options.roles, encoding):
        return _quoted(options.owner_instead, encoding)
    return None


def _quoted(name: str, encoding: str) -> bytes:
    return b'"%s"' % name.replace('"', '""').encode(encoding)


def _cannot_own(name: bytes, options: ScriptOptions, encoding: str) -> LeaveOut | None:
    if unable := lacking(name, options.owners, encoding):
        reason = f'this role cannot give ownership to the role "{unable}"'
        missing = missing_role(name, options, encoding, "owner")
        if missing and options.owner_instead:
            return replace(missing, reason=f'{missing.reason}: "{options.owner_instead}" owns it')
        return missing or LeaveOut("owner", reason)
    return None


def missing_role(names: bytes, options: ScriptOptions, encoding: str, what: str) -> LeaveOut | None:
    """Return why a statement is left out that names a role which is not here."""
    if role := lacking(names, options.roles, encoding):
        return LeaveOut(what, f'the role "{role}" does not exist here')
    return None


def lacking(names: bytes, known: frozenset[str] | None, encoding: str) -> str | None:
    """Return the first of the roles, as SQL writes them, that is not among the known ones."""
    if known is None:
        return None
    named = b",".join(one for one in re.findall(NAME, names) if not _ANYBODY.fullmatch(one))
    return next((role for role in plain_names(named, encoding) if role not in known), None)


def plain_names(names: bytes, encoding: str) -> Iterator[str]:
    """Yield names as the server keeps them: without the quotes of SQL, and not too long."""
    for name in re.findall(NAME, names):
        # Like the server, which folds ASCII letters alone.
        text = name[1:-1].replace(b'""', b'"') if name.startswith(b'"') else name.lower()
        yield as_kept(text.decode(encoding, "replace"))


def as_kept(name: str) -> str:
    """Return as much of a name as the server keeps."""
    return name.encode()[:NAME_LIMIT].decode(errors="ignore")
