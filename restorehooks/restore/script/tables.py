"""The tables that a plain dump names, and those that are there once it has been run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from restorehooks.wording import first_of, printable, quoted

from .owners_and_privileges import NAME, as_kept, plain_names

_TABLE = rb"(?:%s\s*\.\s*)?%s" % (NAME, NAME)
# pg_dump names each object in a comment before its statements.
_NAMED = re.compile(rb"-- Name: (.+); Type: TABLE; Schema: ")
_CREATE = re.compile(
    rb"CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(%s)(?=[\s(])" % _TABLE, re.I
)
_DROP = re.compile(
    rb"DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(%s(?:\s*,\s*%s)*)(?=\s|\Z)" % (_TABLE, _TABLE), re.I
)
_DROP_SCHEMA = re.compile(
    rb"DROP\s+SCHEMA\s+(?:IF\s+EXISTS\s+)?(%s(?:\s*,\s*%s)*)(?=\s|\Z)" % (NAME, NAME), re.I
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


class Tables:
    """Follows a dump and knows which tables it has named and made so far.

    What functions and DO blocks do is not seen. ``keyed``: there was an index, a key or the like.
    """

    def __init__(self) -> None:
        self.keyed = False
        self._schema = ""
        self._named: Counter[str] = Counter()
        self._made: set[Name] = set()
        self._left: dict[Name, None] = {}

    @property
    def left(self) -> list[str]:
        """The names, without their schemas, of the tables that are made and not dropped."""
        return [name for _, name in self._left]

    def comment(self, text: bytes, encoding: str = "utf-8") -> None:
        """Take in a comment between two statements."""
        if found := _NAMED.match(text):
            self._named[as_kept(found[1][:_LONGEST].decode(encoding, "replace"))] += 1

    def statement(self, text: bytes, encoding: str = "utf-8") -> None:
        """Take in a statement that is run; ``encoding`` is Python's name of the client's."""
        if found := _CREATE.match(text):
            name = self._name(found[1], encoding)
            self._made.add(name)
            self._left[name] = None
        elif found := _DROP.match(text):
            for each in _EACH_TABLE.findall(found[1]):
                self._left.pop(self._name(each, encoding), None)
        elif found := _DROP_SCHEMA.match(text):
            gone = set(plain_names(found[1], encoding))
            self._left = {name: None for name in self._left if name[0] not in gone}
        elif found := _MOVE.match(text):
            old, to = self._name(found[1], encoding), next(plain_names(found[3], encoding))
            renamed = found[2][:1] in b"Rr"
            self._rename({old: (old[0], to) if renamed else (to, old[1])})
        elif found := _RENAME_SCHEMA.match(text):
            before, after = (next(plain_names(each, encoding)) for each in found.groups())
            self._rename({one: (after, one[1]) for one in self._left if one[0] == before})
        elif found := _PATH.match(text):
            self._schema = next(plain_names(found[1], encoding))
        elif not self.keyed:
            self.keyed = _POST_DATA.match(text) is not None

    def makes(self, written: bytes, encoding: str) -> bool:
        """Return whether a table of this name was made, gone again or not."""
        return self._name(written, encoding) in self._made

    def drops_its_own(self, text: bytes, encoding: str) -> bool:
        """Return whether a statement drops tables that were all made before."""
        found = _DROP.match(text)
        return bool(
            found and all(self.makes(each, encoding) for each in _EACH_TABLE.findall(found[1]))
        )

    def missing(self) -> str | None:
        """Say which tables were named or made and are not there any more; None where all are."""
        named, left = self._named | Counter(name for _, name in self._made), Counter(self.left)
        gone = [name for name, count in named.items() if left[name] < count]
        if not gone:
            return None
        return (
            f"the dump names {sum(named.values())} tables and makes {len(self._left)} that stay: "
            f"{shown(gone)} will be MISSING"
        )

    def _name(self, written: bytes, encoding: str) -> Name:
        parts = [*plain_names(written, encoding)]
        return (parts[0], parts[1]) if len(parts) > 1 else (self._schema, parts[0])

    def _rename(self, names: dict[Name, Name]) -> None:
        self._left = {names.get(one, one): None for one in self._left}
        self._made = {names.get(one, one) for one in self._made}
        for (_, old), (_, new) in names.items():
            if self._named[old]:
                self._named.subtract((old,))
                self._named[new] += 1


def shown(names: Iterable[str], most: int = 5) -> str:
    """Return the first names as a sentence lists them, and how many more there are."""
    return first_of([quoted([name]) for name in sorted(map(printable, names))], most)
