"""Policies of row security whose roles are not all here: none of them may let anybody see more."""

from __future__ import annotations

import re

from .options import ScriptOptions
from .owners_and_privileges import NAME, lacking, plain_names, those_here
from .verdicts import LeaveOut, Replaced

_POLICY = re.compile(
    rb"(?P<head>CREATE\s+POLICY\s+(?P<name>%s)\s+ON\s+(?P<table>%s(?:\.%s)?)"
    rb"(?:\s+AS\s+(?:PERMISSIVE|(?P<restrictive>RESTRICTIVE)))?(?:\s+FOR\s+[A-Z]+)?\s+TO\s+)"
    rb"(?P<roles>%s(?:\s*,\s*%s){0,5000})(?P<rest>\s+(?:USING|WITH)\b.*|\s*)\Z" % ((NAME,) * 5),
    re.IGNORECASE | re.DOTALL,
)


def policy(statement: bytes, options: ScriptOptions, encoding: str) -> LeaveOut | Replaced | None:
    """Return what becomes of CREATE POLICY, None where it is sent as it is.

    A permissive one is made for those of its roles that are here: where none is, its rows stay
    hidden. A restrictive one is made for everybody: roles that are here may have been members of
    one that is not, and would see what it hid from them.
    """
    found = _POLICY.match(statement)
    if not found or not (missing := lacking(found["roles"], options.roles, encoding)):
        return None
    name = next(plain_names(found["name"], encoding))
    table = ".".join(plain_names(found["table"], encoding))
    which = f'"{name}" of {table}: the role "{missing}" does not exist here'
    if found["restrictive"]:
        said = f"{which}, and the policy restricts everybody instead, so that nobody sees more"
        return _for_roles(found, b"PUBLIC", said)
    if here := those_here(found["roles"], options, encoding):
        return _for_roles(found, b", ".join(here), f"{which}, and the policy is for the others")
    return LeaveOut("policy", f"{which}, and what the policy would show to it stays hidden")


def _for_roles(found: re.Match[bytes], roles: bytes, said: str) -> Replaced:
    return Replaced(found["head"] + roles + found["rest"], LeaveOut("policy", said))
