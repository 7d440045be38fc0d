"""How another role's tables and sequences are looked at in the very message that reads them.

Between two messages, and while a lock is waited for, that role can put something else in their
place: a table whose index calls a function, a column whose type has an implicit cast. So their
locks are waited for first, and then they are looked at. CREATE INDEX and RENAME of a schema wait
for no lock of ours, so they are looked at just before each query. All of that is one DO, which
plans what it asks once for all queries of a message.
"""

from __future__ import annotations

import json
from collections import abc
from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from restorehooks.driver import sql, text

from .citus import ROWS_ELSEWHERE
from .message import in_batches
from .model import Sequence
from .planning import NAMESAKE, STRANGERS_OF_TABLES
from .sending import Rows, Statement
from .strangers import is_strangers

QUESTIONS = 20
"""Questions to a statement: fewer results to take in, and no query so long that planning slows."""


class Numbers(NamedTuple):
    """A column that is to be read; names are as PostgreSQL quotes them.

    ``oid`` is the table's, ``type`` the one under any domain.
    """

    oid: int
    table: str
    column: str
    type: str


class Named(NamedTuple):
    """A sequence that is to be read or set by its name, as PostgreSQL quotes it."""

    oid: int
    name: str


class Question(NamedTuple):
    """A SELECT of one value or none; what it reads that another role may change, if it does."""

    select: str
    numbers: Numbers | None = None
    sequence: Named | None = None


def named(sequence: Sequence) -> Named | None:
    """Return what is to be looked at before a sequence is found by its name, if anything is."""
    return Named(sequence.oid, sequence.quoted) if sequence.of_stranger else None


class Combined(NamedTuple):
    """The statements that ask many questions, and whether they look at another role's things."""

    statements: list[Statement]
    is_guarded: bool

    def answers(self, results: abc.Sequence[Rows]) -> Iterator[Any]:
        """Yield the answers, out of the rows of each statement."""
        if not self.is_guarded:
            return (value for rows in results for value in rows[0])
        ((found,),) = results[-1]
        rows = json.loads(found, parse_float=Decimal, parse_int=_whole)
        return (value for row in rows for value in row)


def _whole(digits: str) -> int | Decimal:
    """Return a number; ``int`` refuses a text of thousands of digits."""
    return int(digits) if len(digits) < LONG else Decimal(digits)


LONG = 30


def combined(questions: abc.Sequence[Question]) -> Combined:
    """Return the statements for many questions, each of which puts several at once.

    Where one reads what another role may change, all are put by one DO, in the same order.
    """
    batches = [*in_batches(questions, QUESTIONS)]
    looks = [_Look.before(batch) for batch in batches]
    if not any(look.oids for look in looks):
        together = [", ".join(f"({each.select})" for each in batch) for batch in batches]
        return Combined([f"SELECT {each}" for each in together], is_guarded=False)
    return Combined([_guard(looks), FOUND], is_guarded=True)


def guarded(
    tables: Collection[str] = (),
    *,
    numbers: Collection[Numbers] = (),
    sequences: Collection[Named] = (),
    index: int | None = None,
    is_last: bool = True,
) -> sql.Composable:
    """Return the statement that goes before a query of what another role may change.

    It waits for the locks of ``tables``, of those of ``numbers`` and of ``sequences``, and fails
    where a query would call a stranger's function by then: because of a table's indexes, or because
    a column has another type; and where a name stands for another relation than it did. With
    ``index``, an oid, it fails where that is no index of theirs. What follows in the transaction
    waits for no lock: whoever holds one could change all that in the meantime. Names are as
    PostgreSQL quotes them. One that is not the last lets what follows wait as before.
    """
    return _guard([_Look.at(numbers, sequences)], tables, index=index, is_last=is_last)


class _Look(NamedTuple):
    """What is looked at, and the query that reads it then, if it is not a statement of its own.

    ``names`` and ``oids`` are those of tables and sequences, ``tables``, ``columns`` and ``types``
    those of columns; names are as PostgreSQL quotes them.
    """

    query: str | None
    names: list[str]
    oids: list[int]
    tables: list[str]
    columns: list[str]
    types: list[str]

    @classmethod
    def at(
        cls, numbers: Collection[Numbers], sequences: Collection[Named], query: str | None = None
    ) -> _Look:
        read = sorted(set(numbers))
        found = sorted({*sequences, *(Named(each.oid, each.table) for each in read)})
        names, oids = [each.name for each in found], [each.oid for each in found]
        tables, columns = [each.table for each in read], [each.column for each in read]
        return cls(query, names, oids, tables, columns, [each.type for each in read])

    @classmethod
    def before(cls, questions: abc.Sequence[Question]) -> _Look:
        numbers = [each.numbers for each in questions if each.numbers]
        sequences = [each.sequence for each in questions if each.sequence]
        values = ", ".join(f"({each.select})" for each in questions)
        query = f"SELECT pg_catalog.json_build_array({values})"
        return cls.at(numbers, sequences, query)


def _guard(
    looks: abc.Sequence[_Look],
    tables: Collection[str] = (),
    *,
    index: int | None = None,
    is_last: bool = True,
) -> sql.Composable:
    read = {name for look in looks for name in look.tables}
    others = {name for look in looks for name in look.names} - read
    body = GUARD.format(
        tables=sql.Literal(sorted(tables)),
        locked=sql.Literal(sorted({*tables, *read})),
        sequences=sql.Literal(sorted(others)),
        looks=sql.Literal(json.dumps([look._asdict() for look in looks], ensure_ascii=False)),
        index=sql.Literal(index),
        is_last=sql.Literal(is_last),
        elsewhere=sql.Literal(ELSEWHERE),
        rows_elsewhere=sql.SQL(ROWS_ELSEWHERE.replace("'", "''")),
        namesake=sql.SQL(NAMESAKE).format(index=sql.Literal(index)),
        found=STRANGERS_OF_TABLES.format(tables=sql.SQL("_members")),
    )
    return sql.SQL("DO {}").format(sql.Literal(text(body)))


ELSEWHERE = f"""
SELECT min(c.oid::regclass::text) FROM pg_catalog.pg_dist_partition JOIN pg_class c
    ON c.oid = logicalrelid AND c.oid = ANY($1)
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {is_strangers("c", "n")}
"""  # noqa: S608 - constants
FOUND = "SELECT pg_catalog.current_setting('restorehooks.found')"
# PREPARE plans nothing, and takes the lock that LOCK TABLE refuses to take on a sequence, or for
# whoever may read single columns only.
GUARD = sql.SQL("""
DECLARE
    _name text;
    _function text;
    _look record;
    _members oid[];
    _row text;
    _found text[] := '{{}}';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'another role may have changed % since this % transaction began: repair it later',
            array_to_string({locked}::text[] || {sequences}::text[], ', '),
            current_setting('transaction_isolation');
    END IF;
    SELECT string_agg(n, ', ') INTO _name FROM unnest({locked}::text[]) AS n
    JOIN pg_class c ON c.oid = n::regclass AND c.relkind IN ('r', 'p')
        AND has_table_privilege(c.oid, 'SELECT');
    IF _name IS NOT NULL THEN
        EXECUTE 'LOCK TABLE ' || _name || ' IN ACCESS SHARE MODE';
    END IF;
    FOREACH _name IN ARRAY {sequences}::text[] || ARRAY(
        SELECT n FROM unnest({locked}::text[]) AS n
        WHERE NOT has_table_privilege(n::regclass, 'SELECT')
    ) LOOP
        EXECUTE 'PREPARE restorehooks AS SELECT FROM ' || _name;
        DEALLOCATE restorehooks;
    END LOOP;
    IF {is_last} THEN
        PERFORM set_config('lock_timeout', '1', true);
    END IF;
    FOR _look IN SELECT * FROM json_to_recordset({looks}) AS t (
        query text, names text[], oids oid[], tables text[], columns text[], types text[])
    LOOP
        SELECT min(n) INTO _name FROM unnest(_look.names, _look.oids) AS k (n, oid)
        WHERE n::regclass <> oid;
        IF _name IS NOT NULL THEN
            RAISE '% is another relation than it was', _name;
        END IF;
        _members := ARRAY(
            WITH RECURSIVE member (oid) AS (
                SELECT t::regclass::oid FROM unnest(_look.tables || {tables}::text[]) AS t
                UNION
                SELECT i.inhrelid FROM member JOIN pg_inherits i ON i.inhparent = member.oid
            )
            SELECT oid FROM member);
        SELECT min(oid::regclass::text) INTO _name FROM pg_class
        WHERE oid = ANY(_members) AND relkind NOT IN ('r', 'p');
        IF _name IS NOT NULL THEN
            RAISE '% is no table with rows of its own', _name;
        END IF;
        IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN  -- a node of Citus
            EXECUTE {elsewhere} INTO _name USING _members;
            IF _name IS NOT NULL THEN
                RAISE '% {rows_elsewhere}', _name;
            END IF;
        END IF;
        SELECT min(w.tab || '.' || w.col) INTO _name
        FROM unnest(_look.tables, _look.columns, _look.types) AS w (tab, col, type)
        WHERE NOT EXISTS (
            WITH RECURSIVE base (oid) AS (
                SELECT atttypid FROM pg_attribute
                WHERE attrelid = w.tab::regclass AND quote_ident(attname) = w.col AND attnum > 0
                UNION ALL
                SELECT t.typbasetype
                FROM base JOIN pg_type t ON t.oid = base.oid AND t.typtype = 'd'
            )
            SELECT FROM base WHERE format_type(oid, NULL) = w.type);
        IF _name IS NOT NULL THEN
            RAISE '% has another type than it had', _name;
        END IF;
        IF {index} IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_index WHERE indexrelid = {index}
                AND indrelid = ANY({tables}::text[]::regclass[]::oid[])
        ) THEN
            RAISE 'the index is another one than it was';
        END IF;
        _function := ({namesake});
        IF _function IS NOT NULL THEN
            RAISE 'the index''s text may mean %, a function of another role', _function;
        END IF;
        IF EXISTS (  -- few tables have such things, and to plan the whole query takes longer
            SELECT FROM pg_index
            WHERE indrelid = ANY(_members) AND (indexprs IS NOT NULL OR indpred IS NOT NULL)
        ) OR EXISTS (
            SELECT FROM pg_partitioned_table WHERE partrelid = ANY(_members)
        ) OR EXISTS (
            SELECT FROM pg_statistic_ext WHERE stxrelid = ANY(_members) AND stxexprs IS NOT NULL
        ) OR EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = ANY(_members) AND attgenerated = 'v'
        ) THEN
            SELECT tab::regclass::text, called INTO _name, _function
            FROM ({found}) AS t (tab, called) ORDER BY 1 LIMIT 1;
            IF _function IS NOT NULL THEN
                RAISE 'reading % could run another role''s code, through %', _name, _function;
            END IF;
        END IF;
        IF _look.query IS NOT NULL THEN
            EXECUTE _look.query INTO _row;
            _found := array_append(_found, _row);
        END IF;
    END LOOP;
    PERFORM set_config(
        'restorehooks.found', '[' || array_to_string(_found, ',') || ']', true);
END
""")
