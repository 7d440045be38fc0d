"""A glance for hooks: whether there is certainly nothing to do, in two messages where that is so.

A hook runs in every ``migrate`` and after every test that flushes, and hardly ever finds anything.
So it first asks what is answered in a few milliseconds, about what nearly all tables are like: an
integer column that the primary key leads, numbered by a sequence of its own that counts up. Where
all are like that, and stand past their rows, all is fine. Of anything else a glance knows nothing,
and :mod:`restorehooks.sequences.repair` has to look: it errs in this one direction alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from restorehooks.driver import sql

from .defaults import CALLS_NEXTVAL, IS_PLAIN_NEXTVAL, as_text
from .glance_memory import STATE, Memory
from .guard import Numbers, Question, combined
from .message import (
    LAST_VALUES,
    PLAN_LOOKUPS,
    Failed,
    LockBudget,
    array,
    by_locks,
    in_transaction,
    lookup,
    send_once,
)
from .planning import ANY_FUNCTION_OR_TYPE, STRANGERS_CODE
from .sending import Rows, Statement
from .session import TENANT
from .strangers import STRANGERS, is_strangers

if TYPE_CHECKING:
    from collections import abc

    from django.db.backends.base.base import BaseDatabaseWrapper


class _Link(NamedTuple):
    """A sequence and the column that owns it; names are as PostgreSQL quotes them.

    ``is_logged``: neither it nor rows can come without a transaction id, as they may where another
    access method has ids of its own. ``locks``: how many it takes to read both. ``of_stranger``:
    another role may change the table.
    """

    sequence: int
    increment: int
    limit: int
    table_oid: int
    table: str
    column: str
    type: str
    is_plain: bool
    is_empty: bool
    is_logged: bool
    locks: int
    of_stranger: bool

    @property
    def asked(self) -> Question:
        """The question how far its rows have come."""
        numbers = (
            Numbers(self.table_oid, self.table, self.column, self.type)
            if self.of_stranger
            else None
        )
        return Question(lookup(self.table, self.column), numbers)

    def is_past(self, extreme: int | None, last_value: int | None) -> bool:
        """Whether the next number lies past the rows, and there is one."""
        if last_value is None:  # never called: it stands anywhere in its range
            return self.is_empty
        upcoming = last_value + self.increment
        return upcoming <= self.limit and (extreme is None or upcoming > extreme)


def all_fine(connection: BaseDatabaseWrapper, tables: abc.Sequence[str]) -> bool:
    """Whether every sequence of the database that a hook looks after is certainly past its rows.

    Those are the sequences that this role may draw from, and those of ``tables``, names as in
    ``Model._meta.db_table``; where a package for tenants or the connection's options have set
    ``search_path``, those of its schemas.
    False says nothing; where somebody's lock is in the way or a privilege is lacking it is soon
    the answer. Within a transaction it always is: what is read here would stay locked.
    """
    if in_transaction(connection):
        return False
    memory = Memory.of(connection)
    memory.fine = None
    query = LINKS.format(sql.Literal(list(tables))).as_string(connection.connection)
    found = _asked_of_catalogue(connection, memory, query)
    if found is None and memory.gives_up_plan():
        found = _asked_of_catalogue(connection, memory, query)
    if found is None:
        return False
    state, rows, ((is_odd, has_any),) = found
    if is_odd or (has_any and _may_call(connection)):
        return False
    links = [_Link._make(row) for row in rows]
    is_fine = all(link.is_plain for link in links) and all(
        _are_past(connection, some) for some in by_locks(links, lambda link: link.locks)
    )
    if is_fine and all(link.is_logged for link in links):
        memory.keep(state, tables)
    return is_fine


def _asked_of_catalogue(
    connection: BaseDatabaseWrapper, memory: Memory, query: str
) -> tuple[Rows, Rows, Rows] | None:
    """Return the state, the links that ``query`` finds, and what is odd."""
    planned, about_session = memory.planned(query), memory.questions
    statements = [STATE, *planned, ANYTHING_ODD, *about_session]
    found = _asked(connection, statements, remembering=memory.remembering)
    if found is None:
        return None
    memory.learn(connection, found[len(statements) - len(about_session) :])
    return found[0], found[len(planned)], found[len(planned) + 1]


def still_fine(connection: BaseDatabaseWrapper, tables: abc.Sequence[str]) -> bool:
    """Whether all was fine at this session's last glance, and nobody can have changed it since.

    One message tells, and False says nothing.
    """
    if in_transaction(connection):
        return False
    memory = Memory.of(connection)
    if memory.fine is None:
        return False
    found = _asked(connection, [STATE], remembering=memory.remembering)
    return found is not None and memory.still_holds(found[0], tables)


def _may_call(connection: BaseDatabaseWrapper) -> bool:
    """Whether planning for some table may call another role's function."""
    found = _asked(connection, [f"SELECT EXISTS ({STRANGERS_CODE})"])
    return found is None or bool(found[0][0][0])


def _are_past(connection: BaseDatabaseWrapper, links: abc.Sequence[_Link]) -> bool:
    filled = [link for link in links if not link.is_empty]
    questions = combined([link.asked for link in filled])
    # Rows come first: a number drawn and inserted in between is no sequence behind its rows.
    last = LAST_VALUES % array(link.sequence for link in links)
    found = _asked(connection, [PLAN_LOOKUPS, *questions.statements, last])
    if found is None:
        return False
    extremes = dict(zip(filled, questions.answers(found[1:-1]), strict=True))
    last_values: dict[int, int | None] = dict(found[-1])
    return all(link.is_past(extremes.get(link), last_values[link.sequence]) for link in links)


def _asked(
    connection: BaseDatabaseWrapper, statements: abc.Sequence[Statement], **how: Any
) -> list[Rows] | None:
    # Somebody's lock is waited for by the full reading, if it comes to that.
    found = send_once(connection, statements, LockBudget(0), **how)
    return None if isinstance(found, Failed) else found


# Every table and sequence depends on its schema: pg_class has no index that leads to these.
_OF_TENANT = f"""
      SELECT objid FROM pg_depend
      WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_namespace'::regclass
        AND refobjid = ANY(ARRAY(
            SELECT oid FROM pg_namespace
            WHERE nspname IN (SELECT json_array_elements_text({TENANT}))))"""  # noqa: S608
LINKS = sql.SQL(f"""
WITH stranger AS MATERIALIZED ({STRANGERS})
SELECT q.seqrelid, q.seqincrement,
       least(q.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767
                                       WHEN 'int4'::regtype THEN 2147483647 END),
       c.oid,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(a.attname),
       format_type(a.atttypid, NULL),
       c.relkind = 'r' AND NOT c.relhassubclass AND NOT c.relrowsecurity AND a.attinhcount = 0
           AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
           AND q.seqincrement > 0 AND NOT q.seqcycle AND q.seqcache = 1
           AND (d.deptype = 'i' OR EXISTS (
               SELECT FROM pg_attrdef e JOIN pg_depend draws ON draws.objid = e.oid
                   AND draws.classid = 'pg_attrdef'::regclass AND draws.refobjid = q.seqrelid
                   AND draws.refclassid = 'pg_class'::regclass
               WHERE e.adrelid = c.oid AND e.adnum = a.attnum))
           AND has_sequence_privilege(q.seqrelid, 'SELECT')
           AND EXISTS (SELECT FROM pg_index x
                       WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid
                             AND NOT x.indisexclusion AND x.indkey[0] = a.attnum),
       CASE WHEN c.relkind = 'r' AND c.relpages = 0 AND c.relam = 2
            THEN pg_relation_size(c.oid) = 0 ELSE false END,
       s.relpersistence = 'p' AND c.relam = 2,
       (SELECT 2 + count(*) FROM pg_index x WHERE x.indrelid = c.oid),
       {is_strangers("c", "n", "SELECT oid FROM stranger")}
FROM pg_sequence q
JOIN pg_class s ON s.oid = q.seqrelid AND s.relpersistence <> 't'
JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_depend d ON d.objid = q.seqrelid AND d.refobjsubid > 0
    AND d.refclassid = 'pg_class'::regclass
    AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class c ON c.oid = d.refobjid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
JOIN pg_type t ON t.oid = a.atttypid AND t.typcategory = 'N'
WHERE (c.relname = ANY({{}}::name[]) OR has_sequence_privilege(q.seqrelid, 'USAGE, UPDATE'))
  AND sn.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND q.seqrelid = ANY(ARRAY(  -- by the index, so that other tenants cost little
      SELECT seqrelid FROM pg_sequence WHERE {TENANT} IS NULL
      UNION {_OF_TENANT}
      UNION SELECT objid FROM pg_depend
      WHERE refclassid = 'pg_class'::regclass AND refobjid = ANY(ARRAY({_OF_TENANT}))
        AND classid = 'pg_class'::regclass AND refobjsubid > 0 AND deptype IN ('a', 'i')))
""")  # noqa: S608

# Any default, whoever's, that draws from something else than the sequence which its column owns,
# or does more than draw; a standby, and rows that are not in their table's own file. Few databases
# have one, so that no more is asked about it. And whether another role has made a function at all:
# to plan the query for those that a table leads to takes as long as the rest of it.
ANYTHING_ODD = f"""
SELECT EXISTS (
    SELECT FROM (SELECT oid, adrelid, adnum, {as_text("adbin")} AS expression FROM pg_attrdef) e
    WHERE {CALLS_NEXTVAL} AND NOT ({IS_PLAIN_NEXTVAL} AND EXISTS (
        SELECT FROM pg_depend d JOIN pg_depend owned
            ON owned.objid = d.refobjid AND owned.classid = 'pg_class'::regclass
               AND owned.refclassid = 'pg_class'::regclass AND owned.deptype = 'a'
               AND owned.refobjid = e.adrelid AND owned.refobjsubid = e.adnum
        WHERE d.objid = e.oid AND d.classid = 'pg_attrdef'::regclass
          AND d.refclassid = 'pg_class'::regclass))
) OR EXISTS (
    SELECT FROM (SELECT {as_text("typdefaultbin")} AS expression FROM pg_type
                 WHERE typtype = 'd' OFFSET 0) t  -- sorted out by the first columns of a row
    WHERE {CALLS_NEXTVAL}
) OR pg_is_in_recovery() OR to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL,
  {ANY_FUNCTION_OR_TYPE}
"""  # noqa: S608
