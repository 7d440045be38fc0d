"""The tables that a plain dump names, and those that are there once it has been run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from restorehooks.wording import first_of, printable, quoted

from .hints import OF_OTHERS
from .owners_and_privileges import NAME, as_kept, plain_names
from .verdicts import Refused

_TABLE = rb"(?:%s\s*\.\s*)?%s" % (NAME, NAME)
# pg_dump names each object in a comment before its statements.
_NAMED = re.compile(rb"-- Name: (.+); Type: TABLE; Schema: ")
_CREATE = re.compile(
    rb"CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(%s)(?=[\s(])" % _TABLE, re.I
)
_TAKES_OVER = re.compile(
    rb"CREATE\s+(?:OR\s+REPLACE\s+(?:RECURSIVE\s+)?VIEW"
    rb"|(?:(?:UNLOGGED|FOREIGN)\s+)?TABLE\s+IF\s+NOT\s+EXISTS"
    rb"|(?:UNLOGGED\s+)?SEQUENCE\s+IF\s+NOT\s+EXISTS"
    rb"|MATERIALIZED\s+VIEW\s+IF\s+NOT\s+EXISTS)\s+(%s)(?=[\s(]|\Z)" % _TABLE,
    re.I,
)
_REPLACES = re.compile(
    rb"CREATE\s+OR\s+REPLACE\s+(?:FUNCTION|PROCEDURE|AGGREGATE)\s+(%s)(?=[\s(])" % _TABLE, re.I
)
_DROP = re.compile(
    rb"DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(%s(?:\s*,\s*%s){0,5000})(?=\s|\Z)" % (_TABLE, _TABLE),
    re.I,
)
_KINDS = rb"SCHEMA|VIEW|MATERIALIZED\s+VIEW|SEQUENCE|FUNCTION|PROCEDURE|TYPE|DOMAIN"
_MADE = re.compile(
    rb"CREATE\s+(%s)\s+(?!IF\s+NOT\s)(%s)(?=[\s(]|\Z)" % (_KINDS, _TABLE), re.IGNORECASE
)
_GONE = re.compile(
    rb"DROP\s+(%s)\s+(?:IF\s+EXISTS\s+)?(%s)\s*(?:\([^;'()]*\)\s*)?(?:(?:CASCADE|RESTRICT)\s*)?\Z"
    % (_KINDS, _TABLE),
    re.IGNORECASE,
)
_ALTERED = re.compile(rb"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(%s)\s" % _TABLE, re.I)
_DROP_SCHEMA = re.compile(
    rb"DROP\s+SCHEMA\s+(?:IF\s+EXISTS\s+)?(%s(?:\s*,\s*%s){0,5000})(?=\s|\Z)" % (NAME, NAME), re.I
)
_MOVE = re.compile(
    rb"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(%s)\s+(RENAME\s+TO|SET\s+SCHEMA)\s+(%s)\s*\Z"
    % (_TABLE, NAME),
    re.I,
)
_RENAME_SCHEMA = re.compile(
    rb"ALTER\s+SCHEMA\s+(%s)\s+RENAME\s+TO\s+(%s)\s*\Z" % (NAME, NAME), re.I
)
_PATH = re.compile(rb"SET\s+search_path\s*(?:=|TO)\s*'?(%s)'?\s*(?:,|\Z)" % NAME, re.IGNORECASE)
_POST_DATA = re.compile(
    rb"CREATE\s+(?:UNIQUE\s+)?INDEX\s|CREATE\s+(?:CONSTRAINT\s+)?TRIGGER\s"
    rb"|ALTER\s+TABLE\s+(?:ONLY\s+)?%s\s+ADD\s+CONSTRAINT\s" % _TABLE,
    re.I,
)
_EACH_TABLE = re.compile(_TABLE)

_LONGEST = 1000
"""Bytes of a name in a comment that are looked at: more than any has."""
Name = tuple[str, str]
"""Schema and table; the schema is empty where the search_path of the session decides."""
BySchema = dict[str, dict[str, None]]
"""Names of tables: a dump may have many, and rename each, or their schema, many times."""


def refuse_to_take_over(
    statement: bytes, standing: frozenset[tuple[str, str]], encoding: str
) -> None:
    """Raise Refused for a CREATE that takes what is there for what it makes.

    ``standing``: schema and name; the names of functions and the like end in "()".
    """
    if not standing:
        return
    called = _REPLACES.match(statement)
    if not (found := called or _TAKES_OVER.match(statement)):
        return
    *schemas, name = plain_names(found[1], encoding)
    name += "()" if called else ""
    meant = standing.intersection((each, name) for each in schemas)
    if not schemas:  # the path of the session decides
        meant = frozenset(one for one in standing if one[1] == name)
    for one in meant:
        raise Refused(f"{quoted(['.'.join(one)])} is there already; {OF_OTHERS}")


class Tables:
    """Follows a dump and knows which tables it has named and made so far.

    Of the other things that may be dropped again it knows those that it has made. What functions
    and DO blocks do is not seen. ``keyed``: there was an index, a key or the like.
    """

    def __init__(self) -> None:
        self.keyed = False
        self._schema = ""
        self._named: Counter[str] = Counter()
        self._made: BySchema = {}
        self._left: BySchema = {}
        self._others: set[tuple[bytes, str, str]] = set()

    @property
    def left(self) -> list[str]:
        """The names, without their schemas, of the tables that are made and not dropped."""
        return _names(self._left)

    def comment(self, text: bytes, encoding: str = "utf-8") -> None:
        """Take in a comment between two statements."""
        if found := _NAMED.match(text):
            self._named[as_kept(found[1][:_LONGEST].decode(encoding, "replace"))] += 1

    def statement(self, text: bytes, encoding: str = "utf-8") -> None:
        """Take in a statement that is run; ``encoding`` is Python's name of the client's."""
        if found := _CREATE.match(text):
            schema, name = self._name(found[1], encoding)
            for tables in (self._made, self._left):
                tables.setdefault(schema, {})[name] = None
        elif found := _DROP.match(text):
            for each in _EACH_TABLE.findall(found[1]):
                schema, name = self._name(each, encoding)
                self._left.get(schema, {}).pop(name, None)
        elif found := _DROP_SCHEMA.match(text):
            for gone in plain_names(found[1], encoding):
                self._left.pop(gone, None)
        elif found := _MOVE.match(text):
            old, to = self._name(found[1], encoding), next(plain_names(found[3], encoding))
            renamed = found[2][:1] in b"Rr"
            self._move(old, (old[0], to) if renamed else (to, old[1]))
        elif found := _RENAME_SCHEMA.match(text):
            before, after = (next(plain_names(each, encoding)) for each in found.groups())
            for tables in (self._made, self._left):
                _rename_schema(tables, before, after)
        elif found := _PATH.match(text):
            self._schema = next(plain_names(found[1], encoding))
        elif found := _MADE.match(text):
            self._others.add(self._key(found, encoding))
        elif not self.keyed:
            self.keyed = _POST_DATA.match(text) is not None

    def makes(self, written: bytes, encoding: str) -> bool:
        """Return whether a table of this name was made, gone again or not."""
        schema, name = self._name(written, encoding)
        return name in self._made.get(schema, {})

    def drops_its_own(self, text: bytes, encoding: str) -> bool:
        """Return whether a statement drops what was all made before, or a part of such a table."""
        if found := _DROP.match(text):
            return all(self.makes(each, encoding) for each in _EACH_TABLE.findall(found[1]))
        if found := _ALTERED.match(text):
            return self.makes(found[1], encoding)
        found = _GONE.match(text)
        return found is not None and self._key(found, encoding) in self._others

    def _key(self, found: re.Match[bytes], encoding: str) -> tuple[bytes, str, str]:
        kind, (schema, name) = found[1].upper(), self._name(found[2], encoding)
        return kind, "" if kind == b"SCHEMA" else schema, name

    def missing(self) -> str | None:
        """Say which tables were named or made and are not there any more; None where all are."""
        named, left = self._named | Counter(_names(self._made)), Counter(_names(self._left))
        gone = [name for name, count in named.items() if left[name] < count]
        if not gone:
            return None
        return (
            f"the dump names {sum(named.values())} tables and makes {left.total()} that stay: "
            f"{shown(gone)} will be MISSING"
        )

    def _name(self, written: bytes, encoding: str) -> Name:
        parts = [*plain_names(written, encoding)]
        return (parts[0], parts[1]) if len(parts) > 1 else (self._schema, parts[0])

    def _move(self, old: Name, new: Name) -> None:
        for tables in (self._made, self._left):
            if old[1] in tables.get(old[0], {}):
                del tables[old[0]][old[1]]
                tables.setdefault(new[0], {})[new[1]] = None
        if self._named[old[1]]:
            self._named.subtract((old[1],))
            self._named[new[1]] += 1


def _names(tables: BySchema) -> list[str]:
    return [name for names in tables.values() for name in names]


def _rename_schema(tables: BySchema, before: str, after: str) -> None:
    moved = tables.pop(before, {})
    fewer, more = sorted((moved, tables.get(after, {})), key=len)
    more.update(fewer)
    if more:
        tables[after] = more


def shown(names: Iterable[str], most: int = 5) -> str:
    """Return the first names as a sentence lists them, and how many more there are."""
    return first_of([quoted([name]) for name in sorted(map(printable, names))], most)
