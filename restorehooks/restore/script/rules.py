"""What of a plain dump is sent, what is left out and named, and what is refused.

A statement is judged by its first words. No quotation can hide them, and a statement is always
sent alone, so what the server runs begins with the same words. What concerns other databases,
roles or the whole server is left out where pg_dump writes it, and refused elsewhere; so is what
pg_dump never writes. This is no cage: functions, DO blocks and settings are sent, and can do what
the restoring role can.
"""

from __future__ import annotations

import re

from restorehooks.restore.superusers import made_by_superusers

from .oids import copies_oids, creates_without_oids
from .options import ScriptOptions
from .owners_and_privileges import (
    NAME,
    SAME_ROLE,
    authorization,
    missing_role,
    ownership,
    plain_names,
    privileges,
)
from .policies import policy
from .rows import takes_away
from .tolerated import needless_drop, needless_unlink
from .verdicts import LeaveOut, Refused, Replaced, Verdict
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
_ACTING_ROLE = (["role"], ['"role"'], ["session_authorization"], ['"session_authorization"'])
_NO_MODE: tuple[list[str], ...] = ([], ["work"], ["transaction"])
POSITION, LONGEST_POSITION = "sequence position", 1000
"""What is left out where it might set back a sequence, and more bytes than pg_dump's has."""
_ALONE = "only the restore itself begins and ends transactions"

# What may stand between COPY and FROM, every name written as n: a table, and up to 1600 columns.
_TABLE = re.compile(r"n(\.n)*(\(n(,n)*\))?")
_MAPPED = re.compile(rb"CREATE\s+USER\s+MAPPING\s+FOR\s+(%s)" % NAME, re.IGNORECASE)
_TABLESPACE = re.compile(rb"SET\s+default_tablespace\s*=\s*(%s)\s*\Z" % NAME, re.IGNORECASE)
_FILLED = re.compile(
    rb"(?:INSERT\s+INTO|COPY)\s+(%s(?:\.%s)?)(?=\s|\()" % (NAME, NAME), re.IGNORECASE
)
_CALLED = re.compile(
    rb"CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE|AGGREGATE|OPERATOR)\s+"
    rb"(?:(%s)\s*\.\s*)?(%s|[-+*/<>=~!@#%%^&|`?]+)" % (NAME, NAME),
    re.IGNORECASE,
)
_OPTIONS = re.compile(
    rb"(ALTER (?:FOREIGN )?TABLE ONLY .+ ALTER COLUMN .+ SET \()([^()']*)\)\Z", re.DOTALL
)
_VERSION = LeaveOut(
    "column version",
    "the server that was dumped keeps it for itself; a pg_dump of its own release leaves it out",
)
_TRIGGERS = re.compile(rb"ALTER TABLE [^;']+ (?:DISABLE|ENABLE) TRIGGER ALL\Z")
_STATISTICS = re.compile(rb"SELECT (?:\* FROM )?pg_catalog\.(pg_restore_[a-z]+_stats)\(")
_SETVAL = re.compile(rb"SELECT\s+(?:pg_catalog\.)?setval\s*\(", re.IGNORECASE)
_NO_OIDS = LeaveOut("object ids", "rows have none of their own since PostgreSQL 12")
_HEAD = 8
"""Words at the beginning of a statement that tell what it is."""
_MADE = 4000
"""Bytes at the beginning of a statement that tell what it makes."""


def decide(statement: bytes, words: Words, options: ScriptOptions, encoding: str) -> Verdict:
    """Return what to send for this statement (itself, nearly always), or why it is left out.

    ``words`` are the statement's own; ``encoding`` is Python's name of the client encoding. Raises
    Refused.
    """
    if options.kept_tables and (kept := _kept_rows(statement, options, encoding)):
        return kept
    if options.data_only and (taking := takes_away(statement, words)):
        raise Refused(f"rows are only added to those that are there, and {taking} is more")
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
        return _setting(statement, head, options, encoding)
    if found := _STATISTICS.match(statement):
        return _statistics(found[1].decode(), options) or statement
    if options.data_only and _SETVAL.match(statement):
        return LeaveOut(POSITION, "sequences are never set back")
    if first in _STRUCTURE:
        return _structure(statement, words, options, encoding)
    return needless_unlink(statement, options) or statement


def _kept_rows(statement: bytes, options: ScriptOptions, encoding: str) -> LeaveOut | None:
    """Leave out rows for a table of an extension whose rows stay as they are."""
    filled = filled_by(statement)
    names = tuple(plain_names(filled, encoding)) if filled else ()
    for schema, table in options.kept_tables:
        if names in ((schema, table), (table,)):
            reason = f'"{schema}.{table}" belongs to an extension, and its rows stay as they are'
            return LeaveOut("rows", reason)
    return None


def filled_by(statement: bytes) -> bytes | None:
    """Return the name, as it is written, of the table that a statement adds rows to."""
    found = _FILLED.match(statement)
    return found[1] if found else None


def brings_statistics(statement: bytes) -> bool:
    """Return whether a statement puts planner statistics where they were, as pg_dump writes it."""
    return _STATISTICS.match(statement) is not None


def _statistics(function: str, options: ScriptOptions) -> LeaveOut | None:
    """Leave out statistics that the server cannot take, or that rows added to others belie."""
    if options.data_only:
        return LeaveOut("statistics", "rows are added to others: ANALYZE gathers them")
    if options.statistics is not None and function not in options.statistics:
        return LeaveOut("statistics", f"the server has no {function}(): ANALYZE gathers them")
    return None


def left_out_around(words: Words) -> LeaveOut | None:
    """Return why a statement before or after a whole dump is left out, None where it is judged."""
    first, *rest = words.first(3)
    if first in ("begin", "start") or (first in ("commit", "end") and rest in _NO_MODE):
        return LeaveOut("transaction", _ALONE)
    if first in ("analyze", "vacuum"):
        return LeaveOut("statistics", "they are gathered once everything is loaded")
    if first in ("checkpoint", "discard", "show"):
        return LeaveOut("session", "it is no part of the dump and changes no data")
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
        if word == "from" or len(shape) > 10_000:
            return next(each, "") == "stdin" and bool(_TABLE.fullmatch(shape))
        is_name = word.startswith('"') or word.isalpha() or (len(word) > 1 and word[0] != "'")
        shape += "n" if is_name else word
    return False


def _structure(statement: bytes, words: Words, options: ScriptOptions, encoding: str) -> Verdict:
    head = words.first(_HEAD)
    if beyond := _beyond_the_schemas(head, words):
        return beyond
    if options.data_only:
        only_triggers = _TRIGGERS.match(statement)
        return statement if only_triggers else LeaveOut("structure", "only data was asked for")
    if needless := needless_drop(statement, words, options):
        return needless
    first = head[0]
    beginning = statement[:_MADE].decode(encoding, "replace")
    leaves_out = options.skip_superuser_only and not options.superuser
    if leaves_out and (made := made_by_superusers(beginning)):
        return LeaveOut("superuser only", f"only a superuser may make the {made}")
    if first in ("grant", "revoke") or head[:3] == ["alter", "default", "privileges"]:
        return privileges(statement, options, encoding) or statement
    if first == "alter" and (unversioned := _without_version(statement)):
        return unversioned
    if mapped := _MAPPED.match(statement):
        return missing_role(mapped[1], options, encoding, "user mapping") or statement
    if first == "create" and (bare := creates_without_oids(statement)) != statement:
        return Replaced(bare, _NO_OIDS)
    if head[:2] == ["create", "policy"]:
        return policy(statement, options, encoding) or statement
    return (first == "alter" and ownership(statement, options, encoding)) or statement


def _without_version(statement: bytes) -> LeaveOut | Replaced | None:
    """Leave out an option of a column that no other server knows, pg_attver of 15.20 and the like.

    An older pg_dump, of whatever major, takes it for one that a user has set.
    """
    if len(statement) >= _MADE or b"pg_attver=" not in statement:
        return None
    if not (found := _OPTIONS.match(statement)):
        return None
    options = found[2].split(b", ")
    others = [option for option in options if not option.startswith(b"pg_attver=")]
    if others == options:
        return None
    return Replaced(found[1] + b", ".join(others) + b")", _VERSION) if others else _VERSION


def called_by_name(statement: bytes, encoding: str) -> tuple[str, str] | None:
    """Return schema and name of a function or operator that a statement makes.

    The schema is empty where the search_path decides.
    """
    if not (found := _CALLED.match(statement)):
        return None
    schema, name = (_plain(one or b"", encoding) for one in found.groups())
    return schema, name


def _plain(name: bytes, encoding: str) -> str:
    """Return a name, or an operator's, as the server keeps it."""
    return next(plain_names(name, encoding), name.decode(encoding, "replace"))


def _beyond_the_schemas(head: list[str], words: Words) -> LeaveOut | None:
    """Leave out or refuse what concerns a database as a whole, a role, or the server."""
    first = head[0]
    kind, rest = "".join(head[1:2]), head[2:]
    if first in ("grant", "revoke", "comment"):
        kind = words.after("on")
    if first == "security":
        kind = _labelled(head)
    if first in ("grant", "revoke") and not kind:
        raise Refused("role memberships belong to the server, not to one database")
    if kind == "database":
        return LeaveOut("database", "the database that is restored into has its own")
    if kind == "subscription":
        return LeaveOut(
            "subscription", "a restored copy takes no part in the original's replication"
        )
    if first == "alter" and kind in ("role", "user") and rest[1:3] == ["in", "database"]:
        return LeaveOut("database", "the database that is restored into has its own")
    # Without FOR it is a user of that name.
    if kind in _CLUSTER_WIDE and not (kind == "user" and _names_a_mapping(rest)):
        raise Refused(f"{first.upper()} {kind.upper()} reaches beyond the one database")
    return None


def _labelled(head: list[str]) -> str:
    """Return what kind of thing a SECURITY LABEL is for.

    A string for its provider could hold what looks like the rest of the statement.
    """
    provider, place = ("".join(head[3:4]), head[4:]) if head[2:3] == ["for"] else ("", head[2:])
    if len(place) < 2 or place[0] != "on" or provider.startswith("'"):
        raise Refused("pg_dump writes no such statement")
    return place[1]


def _names_a_mapping(rest: list[str]) -> bool:
    options = {"if", "not", "exists"}
    words = [word for word in rest if word not in options]
    return words[:2] == ["mapping", "for"]


def _transaction(head: list[str]) -> LeaveOut:
    # pg_dump puts BEGIN and COMMIT around the contents of large objects.
    if head not in (["begin"], ["commit"]):
        raise Refused(_ALONE)
    return LeaveOut("transaction", _ALONE)


def _setting(statement: bytes, head: list[str], options: ScriptOptions, encoding: str) -> Verdict:
    name = head[1:]
    if name[:1] in (["session"], ["local"]) and name[1:2] != ["authorization"]:
        name = name[1:]
    if name[:2] == ["u", "&"]:
        raise Refused("pg_dump writes no such statement")
    if name[:2] == ["session", "authorization"]:
        return authorization(statement, options, encoding)
    if name[:1] in _ACTING_ROLE:
        return LeaveOut("role", SAME_ROLE)
    if head[1:2] == ["local"] or name[:1] in (["transaction"], ["characteristics"]):
        raise Refused(_ALONE)
    if name[:1] == ["default_with_oids"] and "false" not in name:
        return _NO_OIDS
    found = _TABLESPACE.match(statement)
    if found and options.tablespaces is not None:
        for unknown in set(plain_names(found[1], encoding)) - options.tablespaces:
            reason = f'"{unknown}" is missing, or closed to this role: the default one is used'
            return Replaced(b"SET default_tablespace = ''", LeaveOut("tablespace", reason))
    return statement
