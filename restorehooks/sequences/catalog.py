"""Which sequence numbers which columns: one query over pg_catalog that locks no table."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from collections.abc import Sequence as Many
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import sql

from .message import Failed, Patience, in_batches, send_each
from .stored import DRAWS, DRAWS_PLAINLY

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

INTEGERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
"""Integer types, and the first number too large for each."""
FLOATS = {"real": 2**24, "double precision": 2**53}
"""Floating point types, and the last number that each can tell from the next."""


class Column(NamedTuple):
    """A column that a sequence numbers.

    ``schema``, ``table`` and ``name`` are raw; ``quoted_table`` (with its schema) and
    ``quoted_name`` are as PostgreSQL writes them.
    ``type`` is the base type under any domain and ``typmod`` its modifier. ``unseen`` says why
    this role cannot see all of its rows, None where it can. ``indexed``: an index leads with it.
    ``plain``: the table's own file holds all of its rows (no partitions, no children).
    ``nullable``: nothing forbids NULL. ``may_be_empty``: the catalog counts no page of the table,
    which means no rows or no ANALYZE yet. ``visible``: the table's name finds it without a schema.
    ``locks``: so many does a query take that reads the column (tables and their indexes).
    """

    table_oid: int
    schema: str
    table: str
    name: str
    quoted_table: str
    quoted_name: str
    type: str
    typmod: int
    unseen: str | None
    indexed: bool
    plain: bool
    nullable: bool = True
    may_be_empty: bool = True
    visible: bool = True
    locks: int = 2

    @property
    def quoted(self) -> str:
        """Schema, table and column as PostgreSQL writes them."""
        return f"{self.quoted_table}.{self.quoted_name}"

    @property
    def largest(self) -> int | float:
        """The largest number that the type can hold and tell from the one before."""
        if self.type in INTEGERS:
            return INTEGERS[self.type] - 1
        if self.type in FLOATS:
            return FLOATS[self.type]
        if self.type == "numeric" and self.typmod >= 0:
            return int(10 ** max(_integral_digits(self.typmod), 0)) - 1
        return math.inf

    @property
    def smallest(self) -> int | float:
        """The smallest number that the type can hold and tell from the one after."""
        return -INTEGERS[self.type] if self.type in INTEGERS else -self.largest

    @property
    def identifier(self) -> sql.Identifier:
        """The qualified name of the table, for use in a statement."""
        return sql.Identifier(self.schema, self.table)


class Sequence(NamedTuple):
    """A sequence, what this role may do with it, and the columns that it numbers.

    ``schema`` and ``name`` are raw, ``quoted`` is both as PostgreSQL writes them; ``type`` is
    smallint, integer or bigint; ``may_read`` stands for SELECT on it, ``may_draw`` for ``nextval``
    (USAGE or UPDATE) and ``may_set`` for ``setval`` (UPDATE).
    """

    oid: int
    schema: str
    name: str
    quoted: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool
    may_read: bool
    may_draw: bool
    may_set: bool
    columns: tuple[Column, ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The qualified name, for use in a statement."""
        return sql.Identifier(self.schema, self.name)

    @property
    def limit(self) -> int:
        """The last number, in the direction of counting, that it and all its columns can take."""
        up = self.increment > 0
        limit: int | float = self.maximum if up else self.minimum
        for column in self.columns:
            limit = min(limit, column.largest) if up else max(limit, column.smallest)
        return int(limit)


def read_catalog(
    connection: BaseDatabaseWrapper,
    patience: Patience,
    *,
    tables: Collection[int] | None = None,
    schemas: Collection[str] | None = None,
) -> list[Sequence]:
    """Return the sequences in scope, each with every column that it numbers, in order of name.

    ``tables`` (oids) keeps those that number a column of one of them, ``schemas`` those that stand
    in one of them or number a table that does. Temporary, system and extension-owned sequences
    are never among them, nor are columns of temporary tables.
    """
    scope = {"tables": None if tables is None else list(tables), "exact": [], "inexact": []}
    scope |= {"by_text": [], "by_text_sequences": [], "by_text_exact": []}
    rows = _query(connection, scope)
    odd = [row[-1] for row in rows if row[0] is None]
    if odd:
        scope |= _read_odd_defaults(connection, odd, patience)
        rows = _query(connection, scope)
    rows = [row for row in rows if row[0] is not None]
    found = [_assemble(list(group)) for _, group in groupby(rows, key=lambda row: row[0])]
    if schemas is None:
        return found
    return [s for s in found if {s.schema, *(c.schema for c in s.columns)} & set(schemas)]


def _query(connection: BaseDatabaseWrapper, scope: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(CATALOG, scope)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


# What a default draws from is read off the stored expression: a sequence's dependency says that
# the default mentions it, not that the default is nothing more. What calls nextval in no simple
# form comes back as an odd row, to be read through pg_get_expr, which locks tables.
CATALOG = f"""
WITH RECURSIVE
drawing AS MATERIALIZED (
    SELECT kind, oid, tab, att,
           {DRAWS_PLAINLY.replace("%", "%%")} AS simple
    FROM (
        SELECT 'pg_catalog.pg_attrdef'::regclass AS kind, oid, adrelid AS tab, adnum AS att,
               adbin::text AS expression
        FROM pg_catalog.pg_attrdef
        UNION ALL  -- a column without a default of its own takes its domain's
        SELECT 'pg_catalog.pg_type'::regclass, t.oid, a.attrelid, a.attnum, t.typdefaultbin::text
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_attribute a
            ON a.atttypid = t.oid AND NOT a.atthasdef AND a.attnum > 0
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'f')
        WHERE t.typdefaultbin IS NOT NULL
          AND EXISTS (SELECT FROM pg_catalog.pg_type WHERE typdefaultbin IS NOT NULL)
    ) d
    WHERE {DRAWS.replace("%", "%%")}
),
by_text AS (
    SELECT drawing.tab, drawing.att, t.seq, t.exact
    FROM unnest(%(by_text)s::oid[], %(by_text_sequences)s::oid[], %(by_text_exact)s::bool[])
         AS t (attrdef, seq, exact)
    JOIN drawing ON drawing.oid = t.attrdef AND drawing.kind = 'pg_catalog.pg_attrdef'::regclass
),
in_scope AS MATERIALIZED (
    SELECT objid AS seq FROM pg_catalog.pg_depend
    WHERE refclassid = 'pg_catalog.pg_class'::regclass AND refobjid = ANY(%(tables)s::oid[])
          AND classid = 'pg_catalog.pg_class'::regclass AND deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid FROM drawing JOIN pg_catalog.pg_depend d
        ON d.classid = drawing.kind AND d.objid = drawing.oid
           AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid = 0
    WHERE drawing.tab = ANY(%(tables)s::oid[])
    UNION
    SELECT seq FROM by_text WHERE tab = ANY(%(tables)s::oid[])
),
me AS MATERIALIZED (
    SELECT oid, rolsuper AS may_all, rolsuper OR rolbypassrls AS passes
    FROM pg_catalog.pg_roles WHERE rolname = current_user
),
sequence AS MATERIALIZED (
    SELECT q.*, c.relname, n.nspname,
           pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS quoted,
           me.may_all OR pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS is_open,
           me.may_all OR (c.relacl IS NULL AND c.relowner = me.oid) AS may_all
    FROM pg_catalog.pg_sequence q
    JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN me
    WHERE c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND (%(tables)s::oid[] IS NULL OR q.seqrelid IN (SELECT seq FROM in_scope))
      AND q.seqrelid NOT IN (
          SELECT objid FROM pg_catalog.pg_depend
          WHERE refclassid = 'pg_catalog.pg_extension'::regclass
                AND classid = 'pg_catalog.pg_class'::regclass AND deptype = 'e')
),
link AS MATERIALIZED (
    SELECT seq, tab, att, bool_and(exact) AS exact
    FROM (
        SELECT d.objid AS seq, d.refobjid AS tab, d.refobjsubid AS att, true AS exact
        FROM pg_catalog.pg_depend d
        WHERE d.objid = ANY(ARRAY(SELECT seqrelid FROM sequence))
          AND d.classid = 'pg_catalog.pg_class'::regclass
          AND d.refclassid = 'pg_catalog.pg_class'::regclass
          AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
        UNION ALL
        SELECT d.refobjid, drawing.tab, drawing.att,
               drawing.simple OR drawing.oid = ANY(%(exact)s::oid[])
        FROM drawing JOIN pg_catalog.pg_depend d
            ON d.classid = drawing.kind AND d.objid = drawing.oid
               AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid = 0
        UNION ALL
        SELECT seq, tab, att, exact FROM by_text
    ) l
    GROUP BY seq, tab, att
),
domain (oid, base, typmod) AS (
    SELECT oid, typbasetype, typtypmod FROM pg_catalog.pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT domain.oid, t.typbasetype, t.typtypmod
    FROM domain JOIN pg_catalog.pg_type t ON t.oid = domain.base AND t.typtype = 'd'
),
kin (root, member) AS (
    SELECT inhparent, inhparent FROM pg_catalog.pg_inherits
    WHERE inhparent IN (SELECT tab FROM link)
    UNION
    SELECT kin.root, i.inhrelid FROM kin JOIN pg_catalog.pg_inherits i ON i.inhparent = kin.member
),
numbered AS MATERIALIZED (
    SELECT link.seq, link.exact, c.oid AS tab, n.nspname, c.relname, a.attname,
           pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS quoted,
           coalesce(pg_catalog.format_type(b.base, NULL), pg_catalog.format_type(a.atttypid, NULL))
               AS type,
           CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE b.typmod END AS typmod,
           c.relkind = 'v' AS is_view,
           c.relkind = 'f' OR EXISTS (
               SELECT FROM kin JOIN pg_catalog.pg_class f ON f.oid = kin.member
               WHERE kin.root = c.oid AND f.relkind = 'f') AS is_foreign,
           me.may_all OR (
               pg_catalog.has_schema_privilege(n.oid, 'USAGE')
               AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) AS may_read,
           c.relrowsecurity AND NOT me.passes
               AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(c.relowner, 'USAGE'))
               AS is_filtered,
           EXISTS (
               SELECT FROM pg_catalog.pg_index x
               WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid
                     AND x.indkey[0] = a.attnum
                     AND NOT c.relhassubclass)
           OR c.relkind IN ('r', 'p') AND NOT EXISTS (
               SELECT FROM (SELECT c.oid AS member
                            UNION SELECT kin.member FROM kin WHERE kin.root = c.oid) m
               JOIN pg_catalog.pg_class t ON t.oid = m.member AND t.relkind IN ('r', 'p')
               JOIN pg_catalog.pg_attribute ta
                   ON ta.attrelid = t.oid AND ta.attname = a.attname
               WHERE NOT EXISTS (
                   SELECT FROM pg_catalog.pg_index x
                   JOIN pg_catalog.pg_class xc ON xc.oid = x.indexrelid AND xc.relam = 403
                   WHERE x.indrelid = t.oid AND x.indkey[0] = ta.attnum
                     AND x.indisvalid AND x.indpred IS NULL)) AS indexed,
           c.relkind = 'r' AND NOT c.relhassubclass AS plain,
           NOT a.attnotnull AS nullable, c.relpages = 0 AS may_be_empty,
           pg_catalog.pg_table_is_visible(c.oid) AS visible,
           CASE WHEN c.relhassubclass THEN (SELECT count(*) FROM kin WHERE kin.root = c.oid)
                ELSE 1 END
           * (1 + (SELECT count(*) FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid)) AS locks
    FROM link
    JOIN pg_catalog.pg_class c ON c.oid = link.tab AND c.relpersistence <> 't'
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a
        ON a.attrelid = c.oid AND a.attnum = link.att AND NOT a.attisdropped
    LEFT JOIN domain b
        ON b.oid = a.atttypid AND b.base NOT IN (SELECT d.oid FROM domain d)
    CROSS JOIN me
    WHERE a.attinhcount = 0 OR NOT EXISTS (  -- what a parent's rows include is not read twice
        SELECT FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_attribute pa ON pa.attrelid = i.inhparent AND pa.attname = a.attname
        JOIN link parent ON parent.seq = link.seq
            AND parent.tab = i.inhparent AND parent.att = pa.attnum
        WHERE i.inhrelid = link.tab)
)
SELECT s.seqrelid, s.nspname, s.relname, s.quoted, pg_catalog.format_type(s.seqtypid, NULL),
       s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
       s.is_open AND (
           s.may_all OR pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT')),
       s.may_all OR pg_catalog.has_sequence_privilege(s.seqrelid, 'USAGE, UPDATE'),
       s.may_all OR pg_catalog.has_sequence_privilege(s.seqrelid, 'UPDATE'),
       t.tab, t.nspname, t.relname, t.attname, t.quoted, pg_catalog.quote_ident(t.attname),
       t.type, t.typmod, t.indexed, t.plain, t.nullable, t.may_be_empty, t.visible, t.locks,
       t.exact, t.is_view, t.is_foreign, t.may_read, t.is_filtered, NULL::oid
FROM sequence s LEFT JOIN numbered t ON t.seq = s.seqrelid
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, drawing.oid
FROM drawing
WHERE NOT simple AND kind = 'pg_catalog.pg_attrdef'::regclass
  AND NOT drawing.oid = ANY(%(exact)s::oid[] || %(inexact)s::oid[] || %(by_text)s::oid[])
ORDER BY 2, 3, 1, 16, 17, 18
"""  # noqa: S608


def _assemble(rows: Many[tuple[Any, ...]]) -> Sequence:
    columns = tuple(_column(row[14:33]) for row in rows if row[14] is not None)
    return Sequence._make((*rows[0][:14], columns))


def _column(row: tuple[Any, ...]) -> Column:
    column = Column._make((*row[:8], None, *row[8:14]))
    unseen = _why_unseen(column, *row[14:])
    return column if unseen is None else column._replace(unseen=unseen)


def _why_unseen(
    column: Column, exact: bool, is_view: bool, is_foreign: bool, may_read: bool, is_filtered: bool
) -> str | None:
    if column.type not in INTEGERS and column.type not in FLOATS and column.type != "numeric":
        return f"{column.quoted} is of type {column.type}, not a number"
    if column.type == "numeric" and column.typmod >= 0 and _scale(column.typmod) < 0:
        return f"{column.quoted} rounds whole numbers"
    if not exact:
        return f"the default of {column.quoted} is more than nextval"
    if is_view:  # what a stranger's view calls would run with the rights of this role
        return f"{column.quoted_table} is a view"
    if is_foreign:
        return f"{column.quoted} has rows in a foreign table"
    if not may_read:
        return f"no SELECT privilege on {column.quoted}"
    if is_filtered:
        return f"row-level security may hide rows of {column.quoted}"
    return None


def _integral_digits(typmod: int) -> int:
    return (((typmod - 4) >> 16) & 0xFFFF) - _scale(typmod)


def _scale(typmod: int) -> int:
    return (((typmod - 4) & 0x7FF) ^ 1024) - 1024  # signed since PostgreSQL 15


def _read_odd_defaults(
    connection: BaseDatabaseWrapper, odd: list[int], patience: Patience
) -> dict[str, Any]:
    """Sort the defaults that are not of the simple form: exact or more, by regclass or by text."""
    found: dict[str, list[Any]] = {
        "exact": [], "inexact": [], "by_text": [], "by_text_sequences": [], "by_text_exact": []
    }  # fmt: skip
    for attrdef, expression in _expressions(connection, odd, patience):
        names = [name.replace("''", "'") for name in BY_TEXT.findall(expression)]
        exact = is_exactly_nextval(expression)
        if not names:
            found["exact" if exact else "inexact"].append(attrdef)
        for name in names:
            found["by_text"].append(attrdef)
            found["by_text_sequences"].append(name)
            found["by_text_exact"].append(exact)
    found["by_text_sequences"] = list(_looked_up(connection, found["by_text_sequences"], patience))
    return found


def _looked_up(
    connection: BaseDatabaseWrapper, names: list[str], patience: Patience
) -> Iterator[int | None]:
    """Yield what each name stands for, None for nothing; a name may be no name at all."""
    for batch in in_batches(names):
        for asked, result in send_each(connection, batch, _lookups, patience):
            if isinstance(result, Failed):
                yield from (None for _ in asked)
            else:
                yield from (oid for ((oid,),) in result)


def _lookups(names: Many[str]) -> list[sql.Composable]:
    return [
        sql.SQL("SELECT pg_catalog.to_regclass({})::oid").format(sql.Literal(name))
        for name in names
    ]


def _expressions(
    connection: BaseDatabaseWrapper, odd: list[int], patience: Patience
) -> Iterator[tuple[int, str]]:
    for batch in in_batches(odd):
        for oids, result in send_each(connection, batch, _expressions_of, patience):
            if isinstance(result, Failed):
                yield from ((oid, result.message) for oid in oids)
            else:
                yield from result[-1]


def _expressions_of(oids: Many[int]) -> list[sql.Composable]:
    return [
        sql.SQL("SET LOCAL quote_all_identifiers = off"),
        sql.SQL(
            "SELECT oid, coalesce(pg_catalog.pg_get_expr(adbin, adrelid), '')"
            " FROM pg_catalog.pg_attrdef WHERE oid = ANY({}::oid[])"
        ).format(sql.Literal(list(oids))),
    ]


LITERAL = r"'((?:[^']|'')*)'"
BY_TEXT = re.compile(rf"nextval\(\({LITERAL}::(?:text|character varying)\)::regclass\)")
ONE_CALL = re.compile(rf"nextval\((?:{LITERAL}::regclass|\({LITERAL}::[a-z ]+\)::regclass)\)")
CAST = re.compile(r'\(#\)::(?:[\w. ]|"(?:[^"]|"")*")+(?:\([\d,]+\))?')


def is_exactly_nextval(expression: str) -> bool:
    """Whether a default, as ``pg_get_expr`` writes it, is one ``nextval`` and nothing but casts."""
    rest = ONE_CALL.sub("#", expression, count=1)
    while rest != (shorter := CAST.sub("#", rest, count=1)):
        rest = shorter
    return rest == "#"
