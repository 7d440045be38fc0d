"""Sequences and the tables that they number, at random, for hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from hypothesis import strategies as st

SCHEMA = "generated"
BOUNDS = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
LARGEST = {**BOUNDS, "numeric": 10**25, "numeric(3,0)": 999, "double precision": 2**53}
"""The largest number of each type that a column may have."""
OWNING = ("identity", "always", "serial", "trigger", "nothing", "constant", "product")
"""How a column that owns a sequence may get its numbers: as a default, from a trigger, ..."""
DRAWING = ("default", "text", "domain", "product")
"""How one that does not may."""
EXACT = ("identity", "always", "serial", "default", "text", "domain")
"""The ways in which the database knows that the sequence makes the numbers as they are."""
EXACTLY = 2**50
"""Up to here all types with fractions tell halves from whole numbers."""
IDENTITY = {"identity": "BY DEFAULT", "always": "ALWAYS"}


def smallest(type_: str) -> int:
    """Return the smallest number of a type."""
    return -LARGEST[type_] - (type_ in BOUNDS)


@dataclass(frozen=True)
class Table:
    """A table whose column gets numbers: ``how``, its type and shape, and the rows that are there.

    ``shape`` is "plain", "list" (partitions by another column), "ranges" (partitions by the
    number), "attached" (a partition that owns the sequence, attached later) or "child" (a table
    inherits from it). ``index`` is "primary", "key", "index" or "none". ``is_strange``: it belongs
    to another role than the sequence. ``is_readable``: all roles may read it. ``is_filtered``: a
    policy shows no rows to others. ``has_odd_rows``: some are no numbers, or infinite.
    """

    name: str
    column: str
    how: str
    type: str
    shape: str
    index: str
    numbers: tuple[int, ...]
    has_fractions: bool
    has_odd_rows: bool
    is_strange: bool
    is_readable: bool
    is_filtered: bool
    owns: bool

    @property
    def quoted(self) -> str:
        return qualified(self.name)

    @property
    def is_exact(self) -> bool:
        """Whether the database knows that the sequence makes the numbers as they are."""
        return self.how in EXACT

    @property
    def quoted_column(self) -> str:
        doubled = self.column.replace('"', '""')
        return f'"{doubled}"'

    @property
    def values(self) -> list[Decimal]:
        """Return the numbers of the rows, as far as they are finite."""
        half = Decimal("0.5" if self.has_fractions else "0")
        return [n + half if abs(n) < EXACTLY else Decimal(n) for n in self.numbers]

    def members(self) -> list[str]:
        """Return the names of the table and of its partitions or child."""
        parts = {"plain": 0, "child": 1}.get(self.shape, 2)
        return [self.quoted, *(qualified(f"{self.name} {part}") for part in range(1, parts + 1))]

    def doors(self, version: int) -> list[tuple[str, int]]:
        """Return the ways to insert a row without a number: a table's name, and the partition."""
        if not self.is_exact and self.how != "trigger":
            return []
        root, *parts = self.members()
        found = [(root, 1), (root, 2)]
        if self.shape == "child" and self.how not in IDENTITY:
            found.append((parts[0], 1))
        if self.shape in ("list", "attached") and (self.how not in IDENTITY or version >= 170000):
            found.append((parts[1], 2))
        return found


@dataclass(frozen=True)
class Numbering:
    """A sequence, where it stands, what the repairing role may do with it, and its tables."""

    name: str
    type: str
    increment: int
    minimum: int
    maximum: int
    last_value: int
    is_called: bool
    cycle: bool
    cache: int
    granted: tuple[str, ...]
    is_open: bool
    tables: tuple[Table, ...]

    @property
    def quoted(self) -> str:
        return qualified(self.name)

    @property
    def literal(self) -> str:
        """Return its name as a literal."""
        return "'" + self.quoted.replace("'", "''") + "'"


def qualified(name: str) -> str:
    """Return a name in the schema of generated tables, quoted."""
    doubled = name.replace('"', '""')
    return f'{SCHEMA}."{doubled}"'


def _numbers(type_: str, minimum: int, maximum: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Make numbers near the bounds of the sequence, of the type, and of 0."""
    largest = LARGEST[type_]
    places = [0, minimum, maximum, largest, smallest(type_), 100]
    near = st.builds(int.__add__, st.sampled_from(places), st.integers(-12, 12))
    mostly = st.integers(minimum, min(minimum + 60, maximum))
    each = st.one_of(mostly, mostly, near).filter(lambda n: smallest(type_) <= n <= largest)
    return st.lists(each, unique=True, max_size=6).map(tuple)


@st.composite
def _table(draw: st.DrawFn, name: str, bounds: tuple[str, int, int], owns: bool) -> Table:
    sequence_type, minimum, maximum = bounds
    how = draw(st.sampled_from(OWNING if owns else DRAWING))
    type_ = draw(st.sampled_from([*LARGEST]))
    if how in IDENTITY:
        type_ = sequence_type
    shapes = ["plain", "plain", "list", "child"]
    if how != "trigger":  # it cannot move a row to another partition
        shapes.append("ranges")
    if owns and how in ("serial", "trigger", "nothing"):
        shapes.append("attached")
    exact = type_ in BOUNDS or type_ == "numeric(3,0)"
    return Table(
        name=name,
        column=draw(st.sampled_from(["id", 'I "d" %s'])),
        how=how,
        type=type_,
        shape=draw(st.sampled_from(shapes)),
        index=draw(st.sampled_from(["primary", "primary", "key", "index", "none"])),
        numbers=draw(_numbers(type_, minimum, maximum)),
        has_fractions=not exact and draw(st.booleans()),
        has_odd_rows=not exact and draw(st.booleans()),
        is_strange=not owns and draw(st.booleans()),
        is_readable=draw(st.booleans()),
        is_filtered=draw(st.sampled_from([False, False, False, True])),
        owns=owns,
    )


@st.composite
def numberings(draw: st.DrawFn, number: int) -> Numbering:
    """Make a sequence and up to three tables; ``number`` keeps its names apart from others'."""
    type_ = draw(st.sampled_from([*BOUNDS]))
    bound = BOUNDS[type_]
    increment = draw(st.sampled_from([1, 1, 1, 2, 7, 50, -1, -3]))
    low, high = draw(st.sampled_from([(None, None), (1, 20), (-30, 40), (900, 30_000)]))
    if low is None or high is None:
        low, high = (1, bound) if increment > 0 else (-bound - 1, -1)
    first = low if increment > 0 else high
    stands = st.integers(0, 40).map(lambda steps: first + steps * (1 if increment > 0 else -1))
    late = [low, high, 995, BOUNDS["smallint"] - 1, BOUNDS["integer"] - 1]
    last_value = draw(st.one_of(st.just(first), stands, st.sampled_from(late)))
    prefix = draw(st.sampled_from(["t", 'Tä. "%s" ']))
    owned = draw(st.booleans())
    tables = tuple(
        draw(_table(f"{prefix}{number}{index}", (type_, low, high), owned and not index))
        for index in range(draw(st.integers(1, 3)))
    )
    return Numbering(
        name=f"{draw(st.sampled_from(['s', 'S.', 's ']))}{number}",
        type=type_,
        increment=increment,
        minimum=low,
        maximum=high,
        last_value=min(max(last_value, low), high),
        is_called=draw(st.booleans()),
        cycle=draw(st.sampled_from([False, False, False, True])),
        cache=draw(st.sampled_from([1, 1, 1, 4])),
        granted=draw(st.sampled_from(GRANTS)),
        is_open=draw(st.booleans()),
        tables=tables,
    )


GRANTS = [(), ("SELECT",), ("USAGE",), ("SELECT", "USAGE"), ("SELECT", "UPDATE"), ("ALL",)]
