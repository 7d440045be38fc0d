"""What a column's default draws from, and whether it does nothing else.

A stored expression is read as text, since ``pg_get_expr`` locks the tables that it looks at. What
has none of the simple forms is read through it all the same, a few hundred at a time.
"""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from restorehooks.driver import sql
from restorehooks.wording import LONGEST

from .message import Failed, LockBudget, in_batches, send_each

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# SQL conditions on a column "expression". 1574 is the oid of nextval, 2205 of regclass, 480 and
# 714 of the casts from bigint to integer and smallint (pg_proc.dat and pg_type.dat, the same in
# every version).
CALLS_NEXTVAL = "expression LIKE '%funcid 1574 %'"
"""It calls ``nextval`` somewhere, by an operator perhaps."""
IS_PLAIN_NEXTVAL = """CASE length(expression) - length(replace(expression, '{', ''))
    WHEN 2 THEN expression LIKE '{FUNCEXPR :funcid 1574 %'
    WHEN 3 THEN (expression LIKE '{FUNCEXPR :funcid 480 %'
                 OR expression LIKE '{FUNCEXPR :funcid 714 %')
                AND expression LIKE '%:args ({FUNCEXPR :funcid 1574 %'
    ELSE false
END AND expression LIKE '%:args ({CONST :consttype 2205 %'"""
"""It is one of the two simple forms: that of bigserial, and with a cast that of serial."""
LARGEST = 100_000
"""Bytes of a stored expression up to which it is read at all; a usual default has five hundred."""


def as_text(*stored: str) -> str:
    """Return the expression for the text of stored expressions, NULL where nobody writes as much.

    A few kilobytes may unpack to megabytes. How many is known without unpacking them.
    """
    sizes = " + ".join(f"coalesce(octet_length({each}::text), 0)" for each in stored)
    texts = " || ".join(f"coalesce({each}::text, '')" for each in stored)
    return f"CASE WHEN {sizes} <= {LARGEST} THEN {texts} END"


ODD_DEFAULTS = f"""
SELECT 'pg_attrdef'::regclass::oid, oid
FROM (SELECT oid, adrelid, adnum, {as_text("adbin")} AS expression FROM pg_attrdef) d
WHERE expression IS NOT NULL AND NOT ({IS_PLAIN_NEXTVAL})
  AND ({CALLS_NEXTVAL} OR EXISTS (
      SELECT FROM pg_depend owned JOIN pg_sequence q ON q.seqrelid = owned.objid
      WHERE owned.refobjid = adrelid AND owned.refobjsubid = adnum AND owned.deptype = 'a'
        AND owned.classid = 'pg_class'::regclass AND owned.refclassid = 'pg_class'::regclass))
UNION ALL
SELECT 'pg_type'::regclass::oid, oid
FROM (SELECT oid, {as_text("typdefaultbin")} AS expression FROM pg_type
      WHERE typdefaultbin IS NOT NULL) t
WHERE {CALLS_NEXTVAL} AND NOT ({IS_PLAIN_NEXTVAL})
"""  # noqa: S608 - constants
"""The defaults of columns and domains that call ``nextval`` in no simple form, and those of columns
that own a sequence and do not draw from it: the catalogue's oid, and theirs in it."""


class Stored(NamedTuple):
    """Where a default is: the oid of the catalogue (``pg_attrdef``, ``pg_type``), and its own."""

    catalogue: int
    oid: int


class OddDefault(NamedTuple):
    """A default that is no ``nextval`` in one of the simple forms.

    ``expression`` is its text. ``exact``: it is one ``nextval`` and nothing but casts.
    ``sequence`` is the oid of the sequence that it names by text, None where it names one that
    does not exist, or names none by text.
    """

    stored: Stored
    expression: str
    exact: bool
    by_text: bool
    sequence: int | None = None


def read_odd_defaults(
    connection: BaseDatabaseWrapper, defaults: abc.Sequence[Stored], budget: LockBudget
) -> list[OddDefault]:
    """Return what each of these defaults does, once for every sequence that it names by text."""
    found: list[OddDefault] = []
    named: list[tuple[Stored, str, bool, str]] = []
    for stored, expression in _expressions(connection, defaults, budget):
        names = [name.replace("''", "'") for name in BY_TEXT.findall(expression)]
        exact = is_exactly_nextval(expression)
        named += [(stored, expression, exact, name) for name in names]
        if not names:
            found.append(OddDefault(stored, expression, exact, by_text=False))
    oids = _looked_up(connection, [name for *_, name in named], budget)
    for (stored, expression, exact, _), oid in zip(named, oids, strict=True):
        found.append(OddDefault(stored, expression, exact, by_text=True, sequence=oid))
    return found


def _looked_up(
    connection: BaseDatabaseWrapper, names: list[str], budget: LockBudget
) -> Iterator[int | None]:
    """Yield what each name stands for, None for nothing; a name may be no name at all."""
    for batch in in_batches(names):
        for asked, result in send_each(connection, batch, _lookups, budget, in_own_path=False):
            if isinstance(result, Failed):
                yield from (None for _ in asked)
            else:
                yield from (oid for ((oid,),) in result)


def _lookups(names: abc.Sequence[str]) -> list[sql.Composable]:
    return [
        sql.SQL("SELECT pg_catalog.to_regclass({})::pg_catalog.oid").format(sql.Literal(name))
        for name in names
    ]


def _expressions(
    connection: BaseDatabaseWrapper, defaults: abc.Sequence[Stored], budget: LockBudget
) -> Iterator[tuple[Stored, str]]:
    for batch in in_batches(defaults):
        for asked, result in send_each(connection, batch, _expressions_of, budget):
            if isinstance(result, Failed):
                yield from ((stored, result.message) for stored in asked)
            else:
                yield from ((Stored(*where), expression) for *where, expression in result[-1])


def _expressions_of(defaults: abc.Sequence[Stored]) -> list[sql.Composable]:
    catalogues, oids = ([*part] for part in zip(*defaults, strict=True))
    return [
        sql.SQL("SET LOCAL quote_all_identifiers = off"),
        EXPRESSIONS.format(sql.Literal(catalogues), sql.Literal(oids)),
    ]


EXPRESSIONS = sql.SQL(f"""
SELECT catalogue, oid, left(expression, {LONGEST})
                       || CASE WHEN length(expression) > {LONGEST} THEN '...' ELSE '' END
FROM (
    SELECT t.catalogue, t.oid, coalesce(
        pg_get_expr(e.adbin, e.adrelid), pg_get_expr(d.typdefaultbin, 0), '') AS expression
    FROM unnest({{}}::oid[], {{}}::oid[]) AS t (catalogue, oid)
    LEFT JOIN pg_attrdef e ON t.catalogue = 'pg_attrdef'::regclass AND e.oid = t.oid
    LEFT JOIN pg_type d ON t.catalogue = 'pg_type'::regclass AND d.oid = t.oid
) d
""")  # noqa: S608 - constants
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
