"""Sequences, the columns that they number, and what was read of both: data, no database."""

from __future__ import annotations

import math
from typing import NamedTuple

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
    ``plain``: the table has no partitions and no children.
    ``nullable``: nothing forbids NULL. ``may_be_empty``: the catalogue counts no page of a table
    whose rows are in its own file, which means no rows or no ANALYZE yet. ``sized``: the size of
    its file, or of its partitions', is that of its rows. ``visible``: the table's name finds it
    without a schema. ``locks``: how many a query takes that reads the column
    (tables and their indexes). ``draws``: it is an identity column on the sequence, or its default
    is exactly ``nextval`` of it; a column that only owns the sequence may be filled by a trigger.
    ``guessed``: nothing but the sequence's name leads to it. ``of_stranger``: another role, who is
    no superuser, may change the table while it is read.
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
    draws: bool = True
    guessed: bool = False
    sized: bool = True
    of_stranger: bool = False

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
            return int(10 ** max(self._integral_digits, 0)) - 1
        return math.inf

    @property
    def smallest(self) -> int | float:
        """The smallest number that the type can hold and tell from the one after."""
        return -INTEGERS[self.type] if self.type in INTEGERS else -self.largest

    @property
    def holds_numbers(self) -> bool:
        """Whether the type is one of numbers."""
        return self.type in INTEGERS or self.type in FLOATS or self.type == "numeric"

    @property
    def rounds(self) -> bool:
        """Whether it is a numeric that keeps tens or hundreds only."""
        return self.type == "numeric" and self.typmod >= 0 and self._scale < 0

    @property
    def _integral_digits(self) -> int:
        return (((self.typmod - 4) >> 16) & 0xFFFF) - self._scale

    @property
    def _scale(self) -> int:
        return (((self.typmod - 4) & 0x7FF) ^ 1024) - 1024  # signed since PostgreSQL 15


class Sequence(NamedTuple):
    """A sequence, what this role may do with it, and the columns that it numbers.

    ``schema`` and ``name`` are raw, ``quoted`` is both as PostgreSQL writes them; ``type`` is
    smallint, integer or bigint; ``may_read`` stands for SELECT on it, ``may_draw`` for ``nextval``
    (USAGE or UPDATE), ``may_set`` for ``setval`` (UPDATE) and ``may_alter`` for owning it.
    ``owner`` is the quoted name of the role that does. ``is_rewritten``: the present transaction
    has rewritten it, so that its rollback undoes what moves the sequence now. ``hint`` says what
    is wrong with the column that owns it, remedy included; ``ignored`` why it is left alone.
    ``uncounted`` are columns that own it or draw from it, and whose rows do not count.
    ``own_end`` is the last number of this node's own, None where no other node numbers the same
    rows. ``on_node``: the database is a node of a Citus cluster. ``of_stranger``: another role, who
    is no superuser, may put something else in its place while it is read. ``barred``: it numbers
    nothing that counts, and this is a column, quoted, that draws from it, with the quoted name of
    the role (the table's owner, or its domain's) that may not.
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
    may_alter: bool = False
    owner: str = ""
    is_rewritten: bool = False
    hint: str | None = None
    ignored: str | None = None
    uncounted: tuple[Column, ...] = ()
    own_end: int | None = None
    on_node: bool = False
    of_stranger: bool = False
    barred: tuple[str, str] | None = None

    @property
    def counts_up(self) -> bool:
        """Whether its numbers grow."""
        return self.increment > 0

    @property
    def limit(self) -> int:
        """The last number, in the direction of counting, that it and what draws from it can take.

        A column that only owns it does not bound it, unless nothing draws.
        """
        columns = self.columns if len(self.columns) == 1 else self.bounding
        if self.increment < 0:
            return int(max([self.minimum, *[column.smallest for column in columns]]))
        limit: int | float = (
            self.maximum if self.own_end is None else min(self.maximum, self.own_end)
        )
        for column in columns:  # asked for several times of each of thousands
            if column.largest < limit:
                limit = column.largest
        return int(limit)

    @property
    def bounding(self) -> tuple[Column, ...]:
        """The columns that draw from it; all of them where none does."""
        return tuple(column for column in self.columns if column.draws) or self.columns

    def still_drawing(self, number: int) -> Sequence | None:
        """Return it with the columns alone that can take a number, None where all can or none."""
        columns = tuple(c for c in self.columns if c.smallest <= number <= c.largest)
        draws = any(column.draws for column in columns)
        return self._replace(columns=columns) if draws and columns != self.columns else None

    @property
    def is_short(self) -> bool:
        """Whether its range ends where its own type does, and a larger type would go further."""
        bound = INTEGERS[self.type] - 1 if self.counts_up else -INTEGERS[self.type]
        own = self.maximum if self.counts_up else self.minimum
        return self.type != "bigint" and own == bound == self.limit


class Lone(NamedTuple):
    """Rows that stand alone at the end of the others, and leave numbers free before them.

    ``number`` is how many, ``first`` the nearest of their numbers. ``others`` is where the other
    rows end, None where there are none; ``after`` is that or where the sequence stands, whichever
    is farther.
    """

    number: int
    first: int
    others: int | None
    after: int


class Reading(NamedTuple):
    """What was read of one sequence.

    ``last_value`` and ``is_called`` are the sequence's own; both None when it could not be read.
    ``extreme`` is the largest number among its rows (the smallest when it counts down) that lies
    within its reach, None when there is none. Only where there is none, and where the range ends
    with the sequence's own small type, it is the row past that: the columns were widened without
    the sequence. ``unseen`` says why the sequence or some rows could not be seen, ``doubts`` why
    more may be there than was seen; ``margin`` is the number of increments by which the sequence
    may stand further back than it seems. ``lone`` is None, or says that a few rows stand alone at
    the end. ``error`` is the server's message when reading failed. ``taken_at_source`` is the last
    number that is taken by the sequence's partner in another database, None where there is none.
    """

    last_value: int | None = None
    is_called: bool | None = None
    extreme: int | None = None
    unseen: tuple[str, ...] = ()
    error: str | None = None
    doubts: tuple[str, ...] = ()
    margin: int = 0
    lone: Lone | None = None
    taken_at_source: int | None = None
