"""What a load over several connections has to know of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from restorehooks.restore.script.owners_and_privileges import plain_names
from restorehooks.restore.script.wire import Wire

# A function of the dump in a constraint or a generated column may read other rows, whatever it is
# declared as; those of extensions do not. Functions of the server have no such entry at all.
TABLES = """
WITH calling AS (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid OPERATOR(pg_catalog.=) ANY (
              '{pg_catalog.pg_proc, pg_catalog.pg_operator}'::pg_catalog.regclass[])
      AND d.classid OPERATOR(pg_catalog.=) ANY (
              '{pg_catalog.pg_constraint, pg_catalog.pg_attrdef}'::pg_catalog.regclass[])
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend AS e
          WHERE e.classid OPERATOR(pg_catalog.=) d.refclassid
            AND e.objid OPERATOR(pg_catalog.=) d.refobjid
            AND e.deptype OPERATOR(pg_catalog.=) 'e'))
SELECT n.nspname, c.relname, pg_catalog.pg_table_is_visible(c.oid), c.oid,
    c.relkind OPERATOR(pg_catalog.=) 'm' OR c.relpersistence OPERATOR(pg_catalog.=) 't'
        OR c.relhasindex OR c.relhastriggers OR c.relhasrules OR c.relrowsecurity
        OR EXISTS (
            SELECT FROM calling AS f JOIN pg_catalog.pg_constraint AS k
                ON k.oid OPERATOR(pg_catalog.=) f.objid
            WHERE f.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass
              AND (k.conrelid OPERATOR(pg_catalog.=) c.oid
                   OR (k.contypid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND EXISTS (
                       SELECT FROM pg_catalog.pg_attribute AS a
                       WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
                         AND a.atttypid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid))))
        OR EXISTS (
            SELECT FROM calling AS f JOIN pg_catalog.pg_attrdef AS v
                ON v.oid OPERATOR(pg_catalog.=) f.objid
            JOIN pg_catalog.pg_attribute AS a
                ON a.attrelid OPERATOR(pg_catalog.=) v.adrelid
               AND a.attnum OPERATOR(pg_catalog.=) v.adnum
            WHERE f.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass
              AND v.adrelid OPERATOR(pg_catalog.=) c.oid
              AND a.attgenerated OPERATOR(pg_catalog.<>) ''),
    c.relhassubclass,
    ARRAY(
        SELECT a.attname FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
        WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
          AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
          AND a.attgenerated OPERATOR(pg_catalog.=) ''
          AND (a.atthasdef OR a.attidentity OPERATOR(pg_catalog.<>) ''
               OR t.typdefault IS NOT NULL))::pg_catalog.text[],
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute AS a
     WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
       AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r, m}')
  AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
  AND (%(one)s::pg_catalog.text IS NULL
       OR c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%(one)s))
"""


@dataclass(frozen=True)
class Table:
    """A table or a materialized view that is no partitioned one.

    name: without its schema's.
    ordered: its rows may depend on the order in which they come, and on other rows.
    has_children: other tables inherit from it.
    defaults: columns that get a value where none is given. columns: the number of all columns.
    """

    oid: int
    name: str
    ordered: bool
    has_children: bool
    defaults: frozenset[str]
    columns: int


class Relations:
    """The tables as a session sees them."""

    def __init__(self, connection: psycopg.Connection[Any], wire: Wire):
        self._connection = connection
        self._wire = wire
        self._all: Mapping[tuple[str, ...], Table] | None = None
        self._asked = False

    def to_be_filled(self, written: bytes, columns: bytes | None) -> Table | None:
        """Return a table whose rows may come in any order, None for any other.

        ``columns`` are those that the rows have, all of them where they are not listed.
        """
        table = self.find(written)
        if not table or table.ordered:
            return None
        listed = columns and {*plain_names(columns, self._connection.info.encoding)}
        return table if not listed or table.defaults <= listed else None

    def find(self, written: bytes) -> Table | None:
        """Return a table by its name as it is written; None where there is none of that name.

        All are asked for once there are two questions with no change between them. Dumps that fill
        each table where they create it would ask for all of them again and again.
        """
        try:
            encoding = self._connection.info.encoding
        except psycopg.NotSupportedError:
            return None
        if encoding == "ascii":
            return None  # it may be anything, and names are bytes to psycopg
        name = tuple(plain_names(written, encoding))
        if self._all is None and self._asked:
            self._all = self._read(None)
        self._asked = True
        known = self._read(written.decode(encoding)) if self._all is None else self._all
        return known.get(name)

    def forget(self) -> None:
        """Take in that tables may have changed, or the path on which they are looked for."""
        self._all, self._asked = None, False

    def _read(self, one: str | None) -> Mapping[tuple[str, ...], Table]:
        found: dict[tuple[str, ...], Table] = {}
        self._wire.settle()
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            for row in cursor.execute(TABLES, {"one": one}, prepare=False).fetchall():
                schema, name, visible, oid, ordered, has_children, defaults, columns = row
                table = Table(oid, name, ordered, has_children, frozenset(defaults), columns)
                found[schema, name] = table
                if visible:
                    found[(name,)] = table
        return found
