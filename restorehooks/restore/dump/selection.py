"""Part of an archive: the tables or schemas that are named, with everything that is theirs.

``pg_restore --table`` gives a bare table: no sequence, default, constraint, index, trigger, comment
or privilege. The table of contents says what belongs to what, so all of it can come along.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from restorehooks.restore.errors import UsageError
from restorehooks.wording import quoted

from .contents import ArchiveEntry

RELATIONS = frozenset(("TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE"))
"""Kinds that ``--table`` can name, as those of pg_restore."""
_TAGGED_BY_TABLE = frozenset(
    ("CHECK CONSTRAINT", "CONSTRAINT", "DEFAULT", "FK CONSTRAINT", "POLICY", "RULE", "TRIGGER")
)
"""Kinds whose tag is the table's name, a blank, and their own."""
_OF_A_RELATION = _TAGGED_BY_TABLE | frozenset(
    (
        "ACL",
        "COMMENT",
        "EXTENDED STATISTICS DATA",
        "INDEX",
        "MATERIALIZED VIEW DATA",
        "PUBLICATION TABLE",
        "ROW SECURITY",
        "SECURITY LABEL",
        "SEQUENCE",
        "SEQUENCE OWNED BY",
        "SEQUENCE SET",
        "STATISTICS",
        "STATISTICS DATA",
        "TABLE DATA",
    )
)
_ABOUT = frozenset(("ACL", "COMMENT", "SECURITY LABEL", "SEQUENCE OWNED BY", "SEQUENCE SET"))
"""Kinds that come with what they are about, whatever that is."""
_ATTACHED = frozenset(("TABLE ATTACH", "INDEX ATTACH"))
_SHOWN = 5
"""Names that a message shows."""


@dataclass(frozen=True)
class Selection:
    """What of an archive is restored: its entries in pg_dump's order, and what is left out."""

    entries: Sequence[ArchiveEntry]
    notes: Sequence[str] = ()


def named(entry: ArchiveEntry) -> str:
    """Return a relation's name with its schema, as a person writes it."""
    return f"{entry.schema}.{entry.tag}" if entry.schema else entry.tag


def select(
    entries: Sequence[ArchiveEntry],
    schemas: Sequence[str],
    tables: Sequence[str],
    *,
    with_needed: bool,
) -> Selection:
    """Return the entries of these tables, of all in these schemas where no table is named.

    A table is named as it is, with or without its schema, or by a pattern with ``*`` and ``?``.
    ``with_needed``: what they need beside them comes along (types, functions, extensions), since
    the target has none of it; a foreign key to a table that does not come is left out.

    Raises UsageError for a name that nothing has, and where what is named needs another table.
    """
    contents = _Contents(entries)
    for schema in schemas:
        contents.require_schema(schema)
    chosen = contents.of_schemas(schemas) if not tables else set()
    for name in tables:
        chosen |= {entry.id for entry in contents.relations_named(name, schemas)}
    if tables:
        chosen = contents.with_partitions(chosen)
    chosen = contents.with_theirs(contents.with_schemas(chosen))
    notes: list[str] = []
    if with_needed:
        chosen, notes = contents.with_needed(chosen)
    return Selection([entry for entry in entries if entry.id in chosen], notes)


def with_theirs(entries: Sequence[ArchiveEntry], ids: set[int]) -> set[int]:
    """Return these entries and what belongs to them: indexes, comments, privileges, rows, ..."""
    return _Contents(entries).with_theirs(ids)


class _Contents:
    """The entries of an archive, and what depends on what."""

    def __init__(self, entries: Sequence[ArchiveEntry]):
        self._entries = entries
        self._by_id = {entry.id: entry for entry in entries}
        self._relations = [entry for entry in entries if entry.kind in RELATIONS]

    def require_schema(self, name: str) -> None:
        there = {one.tag for one in self._entries if one.kind == "SCHEMA"}
        there |= {one.schema for one in self._entries if one.schema}
        if name not in there:
            raise UsageError(f'The dump has no schema "{name}"{_but(name, there)}.')

    def relations_named(self, name: str, schemas: Sequence[str]) -> list[ArchiveEntry]:
        """Return the relations that a name or pattern means. Raises UsageError for none."""
        among = [one for one in self._relations if not schemas or one.schema in schemas]
        plain = _unquoted(name)
        found = [one for one in among if plain in (one.tag, named(one))]
        is_exact = '"' in name and found
        if ("*" in name or "?" in name) and not is_exact:
            # An archive's names may be long: fnmatch goes back over none of what has matched.
            pattern = re.compile(fnmatch.translate(plain.replace("[", "[[]")))
            full = "." in plain
            found = [one for one in among if pattern.fullmatch(named(one) if full else one.tag)]
        # A pattern that fits a table fits the sequence of its column too, which comes anyway.
        found = [one for one in found if one.kind != "SEQUENCE"] or found
        if not found:
            there = {named(one) for one in among if one.kind != "SEQUENCE"}
            raise UsageError(f'The dump has no table "{name}"{_but(plain, there)}.')
        return found

    def of_schemas(self, schemas: Sequence[str]) -> set[int]:
        return {
            entry.id
            for entry in self._entries
            if (entry.schema in schemas and entry.kind != "PUBLICATION TABLE")
            or (entry.kind == "SCHEMA" and entry.tag in schemas)
        }

    def with_partitions(self, chosen: set[int]) -> set[int]:
        """Add the partitions of the tables: a partitioned table has no rows of its own."""
        attached: dict[int, list[int]] = {}
        for entry in self._entries:
            if entry.kind == "TABLE ATTACH":
                tables = [n for n in entry.depends_on if self._is_table(n)]
                for parent in (n for n in tables if self._by_id[n].tag != entry.tag):
                    attached.setdefault(parent, []).extend(tables)
        found, waiting = set(chosen), [*chosen]
        while waiting:
            more = set(attached.get(waiting.pop(), ())) - found
            found |= more
            waiting += more
        return found

    def with_schemas(self, chosen: set[int]) -> set[int]:
        """Add the schemas that the chosen relations are in."""
        names = {self._by_id[number].schema for number in chosen}
        return chosen | {
            one.id for one in self._entries if one.kind == "SCHEMA" and one.tag in names
        }

    def _is_table(self, number: int) -> bool:
        return number in self._by_id and self._by_id[number].kind in RELATIONS

    def with_theirs(self, chosen: set[int]) -> set[int]:
        """Add what belongs to what is chosen, in one pass: it comes later in the contents."""
        found = set(chosen)
        for entry in self._entries:
            known = [n for n in entry.depends_on if n in self._by_id]
            if entry.kind in _ATTACHED:
                if known and found.issuperset(known):
                    found.add(entry.id)
            elif any(self._is_of(entry, n) for n in known if n in found):
                found.add(entry.id)
        return found

    def _is_of(self, entry: ArchiveEntry, number: int) -> bool:
        whole = self._by_id[number]
        if entry.kind in _ABOUT:
            return True
        if entry.kind not in _OF_A_RELATION or whole.kind not in RELATIONS:
            return False
        by_tag = entry.kind in _TAGGED_BY_TABLE
        return not by_tag or (
            entry.schema == whole.schema and entry.tag.startswith(f"{whole.tag} ")
        )

    def with_needed(self, chosen: set[int]) -> tuple[set[int], list[str]]:
        """Add what the chosen entries need, and leave out foreign keys to tables not chosen."""
        notes = []
        kept = set(chosen)
        for number in sorted(chosen):
            entry = self._by_id[number]
            if entry.kind == "PUBLICATION TABLE":
                kept.discard(number)
            elif entry.kind == "FK CONSTRAINT" and (to := self._others(entry, chosen)):
                kept.discard(number)
                notes.append(
                    f'the foreign key "{entry.tag}" is left out: {quoted(to)} '
                    "is not among what is restored"
                )
        for entry in self._entries:  # comments on those foreign keys
            if entry.kind in _ABOUT and set(entry.depends_on) & (chosen - kept):
                kept.discard(entry.id)
        waiting = list(kept)
        while waiting:
            entry = self._by_id[waiting.pop()]
            for number in entry.depends_on:
                if number not in self._by_id or number in kept:
                    continue
                needed = self._by_id[number]
                if needed.kind in RELATIONS - {"SEQUENCE"}:
                    raise UsageError(
                        f'{entry.kind} "{entry.tag}" needs "{named(needed)}", which is not among '
                        "what is named: name it too."
                    )
                kept.add(number)
                waiting.append(number)
        about = {
            entry.id
            for entry in self._entries
            if entry.kind in _ABOUT and any(n in kept for n in entry.depends_on)
        }
        return kept | about, notes

    def _others(self, entry: ArchiveEntry, chosen: set[int]) -> list[str]:
        """Return the tables that a foreign key refers to and that are not chosen."""
        needed = set(entry.depends_on)
        for number in entry.depends_on:  # the primary key, of the table that is meant
            if number in self._by_id:
                needed.update(self._by_id[number].depends_on)
        return sorted({named(self._by_id[n]) for n in needed - chosen if self._is_table(n)})


def _unquoted(name: str) -> str:
    """Return a name without SQL's double quotes around it, or around its parts."""
    if '"' not in name:
        return name
    parts = re.findall(r'"((?:[^"]|"")*)"|([^".]+)', name)
    return ".".join(inside.replace('""', '"') if inside else outside for inside, outside in parts)


def _but(name: str, there: Iterable[str]) -> str:
    """Say what is there instead: what is spelled nearly so, else the first ones."""
    known = sorted(there)
    near = get_close_matches(name, known, _SHOWN, 0.6)
    by_last = {one.rpartition(".")[2].lower(): one for one in known}
    near = near or [
        by_last[one]
        for one in get_close_matches(name.rpartition(".")[2].lower(), [*by_last], _SHOWN, 0.6)
    ]
    if near:
        return f"; it has {quoted(near)}"
    more = ", ..." if len(known) > _SHOWN else ""
    return f"; it has {quoted(known[:_SHOWN])}{more}" if known else ": it has none at all"
