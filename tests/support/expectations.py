"""What a repair must make of a generated sequence, worked out from its rows alone.

It shares no code with the package: where the two disagree, one of them is wrong.
"""

from __future__ import annotations

import math

from tests.support.numberings import EXACT, LARGEST, Numbering, Table, smallest

AT_THE_END = 10
DRAWN = 1_000_000
"""The largest gap, in increments, that one who is not the owner surely closes."""


class Expectation:
    """How one sequence stands for a role: "superuser", "owner" or "other".

    ``counting`` are the tables whose rows count, ``seen`` those whose rows the role sees, and
    ``limit`` is the last number that the sequence and all that draw from it can take. ``next`` is
    what ``nextval`` would hand out before the repair, None where the role cannot know it, and
    ``target`` what it has to hand out afterwards, None where it has to stay as it is.
    """

    def __init__(self, numbering: Numbering, who: str) -> None:
        granted = {*numbering.granted}
        self.numbering = numbering
        self.up = numbering.increment > 0
        self.owns = who != "other"
        self.may_read = self.owns or bool({"SELECT", "ALL"} & granted)
        self.may_move = self.owns or bool({"USAGE", "UPDATE", "ALL"} & granted)
        self.counting = counting(numbering)
        self.seen = [t for t in self.counting if _is_seen(t, who)]
        self.drawing = [t for t in self.counting if t.is_exact] or self.counting
        self.limit = self._limit_of(self.drawing)
        self.next = following(numbering, numbering.last_value, numbering.is_called)
        self.extreme = self._extreme(self.limit)
        past = self.first_past(self.next, self.extreme)
        self.wanted = past if self._is_before(self.next, past) else self.next
        self.fits = not self._is_before(self.limit, self.wanted)
        self.free = self._free()
        moves = self.free not in (None, self.next) and self.may_read and self.may_move
        self.target = self.free if moves else None

    @property
    def status(self) -> str:
        """What a report of the repair has to say."""
        if not self.may_read:
            return "unverified"
        if self._is_full() and not self.numbering.cycle:
            return "exhausted"
        if len(self.seen) < len(self.counting) or self.is_barred:
            return "unverified"
        if not self.fits or self.wanted == self.next:
            return "ok"
        return "advanced" if self.may_move else "failed"

    @property
    def is_barred(self) -> bool:
        """Whether all that draws from it is a table whose owner may not."""
        draws = any(t.is_exact or t.how == "product" for t in self.numbering.tables)
        return draws and not self.counting

    def may_be_left(self) -> bool:
        """Whether one who may only draw cannot move it so far, or uses up its last numbers."""
        if self.owns or self.free is None:
            return False
        steps = (self.free - self.next) // self.numbering.increment
        blocks = self.free + (self.numbering.cache - 1) * self.numbering.increment
        return steps > DRAWN or self._is_before(self.limit, blocks)

    def saves(self, table: Table) -> bool:
        """Whether the role can see to it that an insert into one of the tables succeeds."""
        is_able = self.may_read and self.may_move and not self.may_be_left()
        return (
            table in self.seen
            and self.free is not None
            and _holds(table, self.free)
            and (is_able or self.free == self.next)
        )

    def _free(self) -> int | None:
        """Return the first number that a repair can make the next one, None where there is none.

        It is past all rows or, where these go up to the end, past all but the last ten.
        """
        if self.numbering.cycle and not self.fits:
            return None
        limit = self.limit
        if self._is_before(limit, self.next):  # then those of a larger type go on
            holding = [t for t in self.drawing if _holds(t, self.next)]
            limit = self._limit_of(holding)
            if not holding:
                return None
        for others in self._ends(limit):
            past = self.first_past(self.next, others)
            free = past if self._is_before(self.next, past) else self.next
            if not self._is_before(limit, free) and free not in self.numbers:
                return free
        return None

    def _ends(self, limit: int) -> list[int | None]:
        low, high = (self.numbering.minimum, limit) if self.up else (limit, self.numbering.maximum)
        within = sorted({n for n in self.numbers if low <= n <= high}, reverse=self.up)
        return [*within, None][: AT_THE_END + 1]

    def first_past(self, number: int, extreme: int | None) -> int:
        """Return the first number past the extreme that is whole steps from another."""
        if extreme is None:
            return number
        steps = (extreme - number) // self.numbering.increment + 1
        return number + steps * self.numbering.increment

    def _extreme(self, limit: int) -> int | None:
        return self._ends(limit)[0]

    @property
    def numbers(self) -> set[int]:
        """The numbers of the rows that count and are seen, decimals cut off towards the start."""
        towards = math.floor if self.up else math.ceil
        return {towards(value) for table in self.seen for value in table.values}

    def _is_full(self) -> bool:
        """Whether no number is left; a small type of the sequence's own may be all that ends it."""
        bound = LARGEST[self.numbering.type] if self.up else smallest(self.numbering.type)
        is_short = self.numbering.type != "bigint" and self.limit == bound == self._own_limit
        beyond = any(self._is_before(self.limit, number) for number in self.numbers)
        return not self.fits or (is_short and beyond and self.extreme is None)

    @property
    def _own_limit(self) -> int:
        return self.numbering.maximum if self.up else self.numbering.minimum

    def _limit_of(self, tables: list[Table]) -> int:
        if self.up:
            return min([self._own_limit, *(LARGEST[t.type] for t in tables)])
        return max([self._own_limit, *(smallest(t.type) for t in tables)])

    def _is_before(self, one: int, other: int) -> bool:
        return one < other if self.up else one > other


def following(numbering: Numbering, last_value: int, is_called: bool) -> int:
    """Return what ``nextval`` hands out next; past the bounds where it fails."""
    if not is_called:
        return last_value
    number = last_value + numbering.increment
    if numbering.cycle and not numbering.minimum <= number <= numbering.maximum:
        return numbering.minimum if numbering.increment > 0 else numbering.maximum
    return number


def counting(numbering: Numbering) -> list[Table]:
    """Return the tables whose rows count for the sequence."""
    tables = [t for t in numbering.tables if numbering.is_open or not t.is_strange]
    # Another role's table says nothing of what the sequence's owner no longer uses.
    draws = any(t.is_exact and not t.is_strange for t in tables)
    found = [
        t
        for t in tables
        if t.how in (*EXACT, "product", "trigger") or (t.how == "nothing" and not draws)
    ]
    return found or [t for t in tables if t.how == "constant"]


def _holds(table: Table, number: int) -> bool:
    return smallest(table.type) <= number <= LARGEST[table.type]


def _is_seen(table: Table, who: str) -> bool:
    if table.how in ("product", "constant"):
        return False
    if who == "superuser" or (who == "owner" and not table.is_strange):
        return True
    return table.is_readable and not table.is_filtered
