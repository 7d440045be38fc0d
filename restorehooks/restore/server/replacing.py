"""Tables of an archive that come into a database with others: what is there, and what refers to it.

A table that nothing else refers to is dropped and made anew. One that a view or anything else
refers to keeps its structure, and its rows are replaced. Foreign keys of other tables are taken
off for that and put back, which checks every row. All of it in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from restorehooks.restore.dump.contents import ArchiveEntry
from restorehooks.restore.dump.selection import RELATIONS, named, with_theirs
from restorehooks.restore.errors import TargetError
from restorehooks.sequences.planning import HARMLESS, STRANGERS_OF_TABLES
from restorehooks.sequences.strangers import IS_TRUSTED, STRANGERS
from restorehooks.wording import quoted

from .session_settings import own_names

_ROWS = frozenset(("TABLE DATA", "MATERIALIZED VIEW DATA"))

STANDING = """
SELECT c.oid, c.relkind::text, n.nspname::text, c.relname::text, c.oid::regclass::text
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]))
     AS wanted (schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') ORDER BY c.oid
"""

# What goes with a relation is what depends on it by itself ('a', 'i', ...), its indexes, defaults
# and triggers; its children do not, nor does its place in a publication. Whatever else depends on
# one of these would be lost with it.
REFERRING = """
WITH RECURSIVE part (base, classid, objid) AS (
    SELECT oid, 'pg_class'::regclass::oid, oid FROM pg_catalog.unnest(%(oids)s::oid[]) AS t (oid)
    UNION
    SELECT p.base, d.classid, d.objid
    FROM pg_catalog.pg_depend d JOIN part p ON d.refclassid = p.classid AND d.refobjid = p.objid
    WHERE d.deptype IN ('a', 'i', 'P', 'S') AND d.classid <> 'pg_publication_rel'::regclass
      AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (
              SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = d.objid))
)
SELECT DISTINCT p.base, coalesce(pg_catalog.pg_describe_object('pg_class'::regclass, r.ev_class, 0),
                                 pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_catalog.pg_depend d
JOIN part p ON d.refclassid = p.classid AND d.refobjid = p.objid
LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE NOT EXISTS (SELECT FROM part o WHERE o.classid = d.classid AND o.objid = d.objid)
  AND NOT (d.classid = 'pg_class'::regclass AND d.objid = ANY(%(oids)s::oid[]))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE d.classid = 'pg_constraint'::regclass
                  AND c.oid = d.objid AND c.contype = 'f')
ORDER BY 1, 2
"""

FAMILY = """
SELECT inhrelid, inhparent, inhparent::regclass::text FROM pg_catalog.pg_inherits
WHERE inhrelid = ANY(%(oids)s::oid[])
"""

FOREIGN_KEYS = f"""
SELECT c.conrelid::regclass::text, c.conname::text, pg_catalog.pg_get_constraintdef(c.oid),
       pg_catalog.obj_description(c.oid, 'pg_constraint'), c.conrelid, c.conkey, c.confrelid,
       CASE WHEN NOT {IS_TRUSTED}
                 AND pg_catalog.has_table_privilege(t.oid, 'UPDATE, DELETE, TRUNCATE')
            THEN t.oid::regclass::text END
FROM pg_catalog.pg_constraint c
JOIN pg_catalog.pg_class t ON t.oid = c.confrelid
JOIN pg_catalog.pg_roles r ON r.oid = t.relowner
WHERE c.contype = 'f' AND c.conparentid = 0
  AND (c.confrelid = ANY(%(oids)s::oid[]) OR c.conrelid = ANY(%(oids)s::oid[]))
ORDER BY c.oid
"""  # noqa: S608 - constants

# A key of another type than the one that it refers to is cast for the comparison.
CASTS = f"""
WITH RECURSIVE compared (type) AS (
    SELECT atttypid FROM pg_catalog.pg_attribute
    WHERE attrelid = %(table)s::oid AND attnum = ANY(%(columns)s::int2[])
    UNION
    SELECT t.typbasetype
    FROM compared JOIN pg_catalog.pg_type t ON t.oid = compared.type AND t.typtype = 'd'
)
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
FROM compared
JOIN pg_catalog.pg_cast k ON k.castsource = compared.type AND k.castcontext = 'i'
JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
WHERE NOT {IS_TRUSTED} OR NOT {HARMLESS} AND EXISTS (  -- who may make a cast between the two
    SELECT FROM pg_catalog.pg_type t
    WHERE t.oid IN (k.castsource, k.casttarget) AND t.typowner IN ({STRANGERS}))
"""  # noqa: S608 - constants

THERE = """
SELECT 'SCHEMA', nspname::text FROM pg_catalog.pg_namespace
UNION ALL SELECT 'PUBLICATION', pubname::text FROM pg_catalog.pg_publication
UNION ALL SELECT 'SEQUENCE', n.nspname || '.' || c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY(%(dropped)s::oid[]))
"""


@dataclass(frozen=True)
class Standing:
    """A relation that is there: its oid, pg_class.relkind, name, and name as SQL writes it."""

    oid: int
    relkind: str
    schema: str
    name: str
    written: str


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key that is taken off and put back.

    ``table`` is written as in SQL, ``of`` is its oid; ``columns`` are the numbers of the key's.
    ``to`` is the table that it refers to; ``to_lock`` is that one's name where another role has it
    and this one may lock it.
    """

    table: str
    name: str
    definition: str
    comment: str | None
    of: int
    columns: Sequence[int]
    to: int
    to_lock: str | None


@dataclass(frozen=True)
class Replacement:
    """What becomes of the relations that are there already.

    dropped: they are dropped and made anew.
    kept: they keep their structure, each with what refers to it, and their rows are replaced.
    foreign_keys: those of other tables that refer to them, and those of ``kept``.
    made_anew: those of ``dropped`` that refer to other tables.
    there: kind and name of the schemas, publications and sequences that are there and stay.
    """

    dropped: Sequence[Standing] = ()
    kept: Sequence[tuple[Standing, str]] = ()
    foreign_keys: Sequence[ForeignKey] = ()
    there: frozenset[tuple[str, str]] = frozenset()
    made_anew: Sequence[ForeignKey] = ()

    def entries_of(self, entries: Sequence[ArchiveEntry]) -> list[ArchiveEntry]:
        """Return what of a selection is restored: of what keeps its structure, the rows alone."""
        kept = {f"{one.schema}.{one.name}" for one, _ in self.kept}
        stay = {
            one.id
            for one in entries
            if (one.kind, named(one)) in self.there
            or (one.kind in RELATIONS and named(one) in kept)
        }
        theirs = with_theirs(entries, stay)
        publications = tuple(f"{name} " for kind, name in self.there if kind == "PUBLICATION")
        return [
            entry
            for entry in entries
            if (entry.id not in theirs or entry.kind in _ROWS)
            and (entry.kind != "PUBLICATION TABLE" or entry.tag.startswith(publications))
            # A schema that stays keeps its privileges, and so those of what will be made in it.
            and (entry.kind != "DEFAULT ACL" or ("SCHEMA", entry.schema) not in self.there)
        ]

    def lines(self) -> Iterator[str]:
        """Yield what a person has to know before agreeing to it."""
        if self.dropped:
            names = quoted([f"{one.schema}.{one.name}" for one in self.dropped])
            yield f"{names} will be DROPPED and made anew, with all that the dump has of it"
        for one, why in self.kept:
            name = f'"{one.schema}.{one.name}"'
            if one.relkind == "v":
                yield f"{name} stays as it is: {why} depends on it"
            else:
                yield f"the rows of {name} will be REPLACED; it keeps its structure for {why}"
        for key in self.foreign_keys:
            yield f"the foreign key {key.name} of {key.table} is kept, and checked again"


def plan_replacement(
    connection: psycopg.Connection[Any], entries: Sequence[ArchiveEntry]
) -> Replacement:
    """Say what becomes of what is there of the relations in an archive; changes nothing.

    Raises TargetError where that could run another role's code.
    """
    with _every_name_with_its_schema(connection) as cursor:
        standing = _standing(cursor, entries)
        oids = [one.oid for one in standing]
        whys: dict[int, str] = {}
        for oid, what in cursor.execute(REFERRING, {"oids": oids}).fetchall():
            whys.setdefault(oid, what)
        family = cursor.execute(FAMILY, {"oids": oids}).fetchall()
        _spread(whys, family, set(oids))
        kept = [(one, whys[one.oid]) for one in standing if one.oid in whys]
        dropped = [one for one in standing if one.oid not in whys]
        which = {
            "oids": oids,
            "kept": [one.oid for one, _ in kept],
            "dropped": [one.oid for one in dropped],
        }
        keys = [ForeignKey(*row) for row in cursor.execute(FOREIGN_KEYS, which).fetchall()]
        there = cursor.execute(THERE, which).fetchall()
    left = set(which["dropped"])
    staying = [key for key in keys if key.of not in left]
    made_anew = [key for key in keys if key.of in left and key.to not in left]
    require_own_code(connection, [*staying, *made_anew], dropped=left)
    names = frozenset((kind, name) for kind, name in there)
    return Replacement(dropped, kept, staying, names, made_anew)


def require_own_code(
    connection: psycopg.Connection[Any],
    keys: Sequence[ForeignKey],
    dropped: Collection[int] = (),
) -> None:
    """Raise TargetError for a foreign key that cannot be checked without a stranger's code.

    Both its tables are read for that, but those that are ``dropped`` before, with the rights of the
    role that restores.
    """
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        tables = {table for key in keys for table in (key.of, key.to)}.difference(dropped)
        query = STRANGERS_OF_TABLES.format(tables=sql.Literal(sorted(tables)))
        found: dict[int, str] = dict(cursor.execute(query).fetchall())
        for key in keys:
            cast = cursor.execute(CASTS, {"table": key.of, "columns": list(key.columns)}).fetchone()
            if called := found.get(key.of) or found.get(key.to) or (cast and cast[0]):
                raise TargetError(
                    f"To check the foreign key {key.name} of {key.table} would call {called}, and"
                    " so could run another role's code with the rights of this one: drop the"
                    " foreign key first."
                )


@contextmanager
def _every_name_with_its_schema(
    connection: psycopg.Connection[Any],
) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    """Give a cursor; the server writes no name in a way that depends on the search_path."""
    path = "SELECT pg_catalog.current_setting('search_path')"
    put = "SELECT pg_catalog.set_config('search_path', %s, false)"
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        before = cursor.execute(path).fetchone()
        cursor.execute(put, [""])
        yield cursor
        cursor.execute(put, before)


def _standing(
    cursor: psycopg.Cursor[tuple[Any, ...]], entries: Sequence[ArchiveEntry]
) -> list[Standing]:
    wanted = [entry for entry in entries if entry.kind in RELATIONS]
    names = [entry.schema for entry in wanted], [entry.tag for entry in wanted]
    return [Standing(*row) for row in cursor.execute(STANDING, names).fetchall()]


def _spread(whys: dict[int, str], family: Sequence[tuple[Any, ...]], oids: set[int]) -> None:
    """Keep parents with their children, and children with their parents."""
    for child, parent, name in family:
        if parent not in oids:
            whys.setdefault(child, f"table {name}, whose child it is")
    before = -1
    while before != len(whys):
        before = len(whys)
        for child, parent, _ in family:
            if parent in oids and (child in whys or parent in whys):
                why = whys.get(child) or whys[parent]
                whys.setdefault(child, why)
                whys.setdefault(parent, why)
