"""A glance for hooks: whether there is certainly nothing to do, in two messages where that is so.

A hook runs in every ``migrate`` and after every test that flushes, and hardly ever finds anything.
So it first asks what is answered in a few milliseconds, about what nearly all tables are like: an
integer column that the primary key leads, numbered by a sequence of its own that counts up. Where
all are like that, and stand past their rows, all is fine. Of anything else a glance knows nothing,
and :mod:`restorehooks.sequences.repair` has to look: it errs in this one direction alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from .defaults import CALLS_NEXTVAL, IS_PLAIN_NEXTVAL
from .message import (
    LAST_VALUES,
    PLAN_LOOKUPS,
    Failed,
    LockBudget,
    Rows,
    Statement,
    array,
    by_locks,
    combined,
    in_transaction,
    lookup,
    send_once,
)

if TYPE_CHECKING:
    from collections import abc

    from django.db.backends.base.base import BaseDatabaseWrapper


class _Link(NamedTuple):
    """A sequence and the column that owns it; names are as PostgreSQL quotes them.

    ``locks``: so many does it take to read both.
    """

    sequence: int
    increment: int
    limit: int
    table: str
    column: str
    is_plain: bool
    is_empty: bool
    locks: int

    def is_past(self, extreme: int | None, last_value: int | None) -> bool:
        """Whether the next number lies past the rows, and there is one."""
        if last_value is None:  # never called: it stands anywhere in its range
            return self.is_empty
        upcoming = last_value + self.increment
        return upcoming <= self.limit and (extreme is None or upcoming > extreme)


def all_fine(connection: BaseDatabaseWrapper, tables: abc.Sequence[str]) -> bool:
    """Whether every sequence that numbers one of these tables is certainly past its rows.

    ``tables`` are names as in ``Model._meta.db_table``; those that do not exist do not matter.
    False says nothing; where somebody's lock is in the way or a privilege is lacking it is soon
    the answer. Within a transaction it always is: what is read here would stay locked.
    """
    if in_transaction(connection) or not all(map(_is_simple, tables)):
        return False
    names = sql.Literal(list(tables))
    found = _asked(connection, [LINKS.format(names), ANYTHING_ODD])
    if found is None or found[1][0][0]:
        return False
    links = [_Link._make(row) for row in found[0]]
    return all(link.is_plain for link in links) and all(
        _are_past(connection, some) for some in by_locks(links, lambda link: link.locks)
    )


def _is_simple(table: str) -> bool:
    return '"' not in table and "." not in table


def _are_past(connection: BaseDatabaseWrapper, links: abc.Sequence[_Link]) -> bool:
    filled = [link for link in links if not link.is_empty]
    lookups = combined([lookup(link.table, link.column) for link in filled])
    # Rows come first: a number drawn and inserted meanwhile is no sequence behind its rows.
    last = LAST_VALUES % array(link.sequence for link in links)
    found = _asked(connection, [PLAN_LOOKUPS, *lookups, last])
    if found is None:
        return False
    last_values: dict[int, int | None] = dict(found.pop())
    extremes = dict(zip(filled, (value for rows in found[1:] for value in rows[0]), strict=True))
    return all(link.is_past(extremes.get(link), last_values[link.sequence]) for link in links)


def _asked(
    connection: BaseDatabaseWrapper, statements: abc.Sequence[Statement]
) -> list[Rows] | None:
    # Whoever holds a lock is waited for by the full look, if it comes to that.
    found = send_once(connection, statements, LockBudget(0))
    return None if isinstance(found, Failed) else found


LINKS = sql.SQL("""
SELECT q.seqrelid, q.seqincrement,
       least(q.seqmax, CASE a.atttypid WHEN 'pg_catalog.int2'::regtype THEN 32767
                                       WHEN 'pg_catalog.int4'::regtype THEN 2147483647 END),
       c.relnamespace::regnamespace::text || '.' || pg_catalog.quote_ident(c.relname),
       pg_catalog.quote_ident(a.attname),
       c.relkind = 'r' AND NOT c.relhassubclass AND NOT c.relrowsecurity AND a.attinhcount = 0
           AND a.atttypid IN ('pg_catalog.int2'::regtype, 'pg_catalog.int4'::regtype,
                              'pg_catalog.int8'::regtype)
           AND q.seqincrement > 0 AND NOT q.seqcycle AND q.seqcache = 1
           AND pg_catalog.has_sequence_privilege(q.seqrelid, 'SELECT')
           AND EXISTS (SELECT FROM pg_catalog.pg_index x
                       WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid
                             AND x.indkey[0] = a.attnum),
       CASE WHEN c.relkind = 'r' AND c.relpages = 0
            THEN pg_catalog.pg_relation_size(c.oid) = 0 ELSE false END,
       (SELECT 2 + count(*) FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_depend d ON d.refobjid = c.oid AND d.refobjsubid > 0
    AND d.refclassid = 'pg_catalog.pg_class'::regclass
    AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.objid
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE c.relname = ANY({}::name[]) AND pg_catalog.pg_table_is_visible(c.oid)
""")

# Any default, whoever's, that draws from something else than the sequence which its column owns,
# or does more than draw. Few databases have one, so that no more is asked about it.
ANYTHING_ODD = f"""
SELECT EXISTS (
    SELECT FROM (SELECT oid, adrelid, adnum, adbin::text AS expression
                 FROM pg_catalog.pg_attrdef) e
    WHERE {CALLS_NEXTVAL} AND NOT ({IS_PLAIN_NEXTVAL} AND EXISTS (
        SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_depend owned
            ON owned.objid = d.refobjid AND owned.classid = 'pg_catalog.pg_class'::regclass
               AND owned.refclassid = 'pg_catalog.pg_class'::regclass AND owned.deptype = 'a'
               AND owned.refobjid = e.adrelid AND owned.refobjsubid = e.adnum
        WHERE d.objid = e.oid AND d.classid = 'pg_catalog.pg_attrdef'::regclass
          AND d.refclassid = 'pg_catalog.pg_class'::regclass))
) OR EXISTS (
    SELECT FROM (SELECT typdefaultbin::text AS expression FROM pg_catalog.pg_type
                 WHERE typdefaultbin IS NOT NULL) t
    WHERE {CALLS_NEXTVAL}
)
"""  # noqa: S608
