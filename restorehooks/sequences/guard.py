"""What goes before a query of another role's table or sequence, in the message that reads it.

Between two messages, and while a lock is waited for, that role can put something else in its
place: a table whose index calls a function, a column whose type has an implicit cast. So its locks
are waited for first, and then it is looked at. CREATE INDEX and RENAME of a schema wait for no
lock of ours, so each statement of a message has a guard of its own.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from restorehooks.driver import sql, text

from .message import in_batches
from .model import Sequence
from .sending import Rows, Statement
from .strangers import STRANGERS_OF_TABLES

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


def combined(questions: abc.Sequence[Question]) -> tuple[list[Statement], list[int]]:
    """Return the statements for many questions, and the places of those that answer them.

    Each puts several questions at once. Where one reads what another role may change, the
    statement has a guard before it; the first guard waits for the locks of all.
    """
    statements = _guard(questions) if len(questions) > QUESTIONS else []
    places: list[int] = []
    for some in in_batches(questions, QUESTIONS):
        statements += _guard(some)
        places.append(len(statements))
        statements.append(f"SELECT {', '.join(f'({each.select})' for each in some)}")
    return statements, places


def _guard(questions: abc.Sequence[Question]) -> list[Statement]:
    numbers = [each.numbers for each in questions if each.numbers]
    sequences = [each.sequence for each in questions if each.sequence]
    if not (numbers or sequences):
        return []
    return [guarded(numbers=numbers, sequences=sequences)]


def answers(results: abc.Sequence[Rows], places: abc.Sequence[int]) -> Iterator[Any]:
    """Yield the answers to combined questions, out of the rows of each statement."""
    return (value for place in places for value in results[place][0])


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
    read = sorted(set(numbers))
    names = sorted({*tables, *(each.table for each in read)})
    by_name = sorted({*sequences, *(Named(each.oid, each.table) for each in read)})
    columns, types = [each.column for each in read], [each.type for each in read]
    body = GUARD.format(
        names=sql.Literal(names),
        tables=sql.Literal([each.table for each in read]),
        columns=sql.Literal(columns),
        types=sql.Literal(types),
        sequences=sql.Literal(sorted({each.name for each in sequences})),
        known=sql.Literal([each.name for each in by_name]),
        oids=sql.Literal([each.oid for each in by_name]),
        index=sql.Literal(index),
        is_last=sql.Literal(is_last),
        found=STRANGERS_OF_TABLES.format(tables=sql.SQL("_tables")),
    )
    return sql.SQL("DO {}").format(sql.Literal(text(body)))


# PREPARE plans nothing, and takes the lock that LOCK TABLE refuses to take on a sequence.
GUARD = sql.SQL("""
DECLARE
    _name text;
    _function text;
    _tables oid[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'another role may have changed % since this % transaction began',
            array_to_string({names}::text[] || {sequences}::text[], ', '),
            current_setting('transaction_isolation');
    END IF;
    SELECT string_agg(n, ', ') INTO _name FROM unnest({names}::text[]) AS n
    JOIN pg_class c ON c.oid = n::regclass AND c.relkind IN ('r', 'p')
        AND has_table_privilege(c.oid, 'SELECT');
    IF _name IS NOT NULL THEN
        EXECUTE 'LOCK TABLE ' || _name || ' IN ACCESS SHARE MODE';
    END IF;
    FOREACH _name IN ARRAY {sequences}::text[] LOOP
        EXECUTE 'PREPARE restorehooks AS SELECT FROM ' || _name;
        DEALLOCATE restorehooks;
    END LOOP;
    SELECT min(n) INTO _name FROM unnest({known}::text[], {oids}::oid[]) AS k (n, oid)
    WHERE n::regclass <> oid;
    IF _name IS NOT NULL THEN
        RAISE '% is another relation than it was', _name;
    END IF;
    WITH RECURSIVE wanted AS (
        SELECT * FROM unnest({tables}::text[], {columns}::text[], {types}::text[])
            AS w (tab, col, type)
    ), base AS (
        SELECT tab, col, a.atttypid AS oid FROM wanted JOIN pg_attribute a
            ON a.attrelid = tab::regclass AND quote_ident(a.attname) = col AND a.attnum > 0
        UNION ALL
        SELECT tab, col, t.typbasetype
        FROM base JOIN pg_type t ON t.oid = base.oid AND t.typtype = 'd'
    )
    SELECT min(tab || '.' || col) INTO _name FROM wanted w
    WHERE NOT EXISTS (SELECT FROM base b
                      WHERE (b.tab, b.col) = (w.tab, w.col) AND format_type(b.oid, NULL) = w.type);
    IF _name IS NOT NULL THEN
        RAISE '% has another type than it had', _name;
    END IF;
    _tables := {names}::text[]::regclass[]::oid[];
    IF {index} IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_index WHERE indexrelid = {index} AND indrelid = ANY(_tables)
    ) THEN
        RAISE 'the index is another one than it was';
    END IF;
    IF EXISTS (  -- few tables have such things, and to plan the whole query takes longer
        WITH RECURSIVE member (oid) AS (
            SELECT unnest(_tables)
            UNION SELECT i.inhrelid FROM member JOIN pg_inherits i ON i.inhparent = member.oid
        )
        SELECT FROM member WHERE EXISTS (
            SELECT FROM pg_index x
            WHERE x.indrelid = oid AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)
        ) OR EXISTS (
            SELECT FROM pg_partitioned_table WHERE partrelid = oid AND partexprs IS NOT NULL
        ) OR EXISTS (
            SELECT FROM pg_statistic_ext WHERE stxrelid = oid AND stxexprs IS NOT NULL
        )
    ) THEN
        SELECT tab::regclass::text, called INTO _name, _function FROM ({found}) AS t (tab, called);
        IF _function IS NOT NULL THEN
            RAISE 'reading % would call %, a function of another role', _name, _function;
        END IF;
    END IF;
    IF {is_last} THEN
        PERFORM set_config('lock_timeout', '1', true);
    END IF;
END
""")
