"""The moves of a sequence, step by step, in every order in which sessions can take them.

Each session is a list of atomic steps. What a step does is what PostgreSQL does: ``nextval`` is one
step and waits while somebody holds the sequence; holding waits while somebody who has drawn is
still in a transaction. The checker walks all interleavings and looks for a number that was handed
out twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

TARGET = 4


@dataclass(frozen=True)
class World:
    """The sequence, who holds it, who has drawn and is still in a transaction, and memories."""

    last: int = 1
    holder: int | None = None
    drawers: frozenset[int] = frozenset()
    drawn: tuple[int, ...] = ()
    seen: tuple[tuple[int, int], ...] = field(default=())

    def saw(self, who: int) -> int:
        return dict(self.seen)[who]


Step = Callable[[World, int], World | None]
"""Returns the world after the step; None where the session has to wait."""


def draw(world: World, who: int) -> World | None:
    if world.holder not in (None, who):
        return None
    number = world.last + 1
    return replace(world, last=number, drawn=(*world.drawn, number), drawers=world.drawers | {who})


def commit(world: World, who: int) -> World:
    holder = None if world.holder == who else world.holder
    return replace(world, holder=holder, drawers=world.drawers - {who})


def look(world: World, who: int) -> World:
    seen = {**dict(world.seen), who: world.last}
    return replace(world, seen=tuple(sorted(seen.items())))


def hold(world: World, who: int) -> World | None:
    if world.holder not in (None, who) or world.drawers - {who}:
        return None
    return replace(world, holder=who)


def set_forward(world: World, who: int) -> World | None:
    if world.holder not in (None, who):
        return None
    return replace(world, last=TARGET) if world.saw(who) < TARGET else world


def draw_if_behind(world: World, who: int) -> World | None:
    return draw(world, who) if world.saw(who) < TARGET else world


WRITER: list[Step] = [draw, draw, commit]
AUTOCOMMITTING: list[Step] = [draw, commit, draw, commit, draw, commit]
HELD: list[Step] = [hold, look, set_forward, commit]
DRAWN: list[Step] = [look, draw_if_behind, draw_if_behind, draw_if_behind, commit]
GUARDED: list[Step] = [look, set_forward, commit]


def ends(sessions: list[list[Step]]) -> Iterator[World]:
    """Yield the world at the end of every interleaving; a deadlock ends it, too."""
    known = set()
    todo = [(World(), (0,) * len(sessions))]
    while todo:
        world, positions = todo.pop()
        if (world, positions) in known:
            continue
        known.add((world, positions))
        went_on = False
        for who, steps in enumerate(sessions):
            if positions[who] == len(steps):
                continue
            after = steps[positions[who]](world, who)
            if after is not None:
                went_on = True
                moved = tuple(p + (w == who) for w, p in enumerate(positions))
                todo.append((after, moved))
        if not went_on:
            assert all(p == len(s) for p, s in zip(positions, sessions, strict=True)), "deadlock"
            yield world


@pytest.mark.parametrize("repair", [HELD, DRAWN], ids=["held", "drawn"])
@pytest.mark.parametrize("other", [HELD, DRAWN, AUTOCOMMITTING], ids=["held", "drawn", "writer"])
def test_no_number_is_handed_out_twice(repair: list[Step], other: list[Step]) -> None:
    worlds = list(ends([WRITER, repair, other]))
    assert len(worlds) > 1
    for world in worlds:
        assert len(set(world.drawn)) == len(world.drawn)
        assert world.last >= TARGET


def test_the_checker_finds_what_a_guard_without_holding_does() -> None:
    assert any(
        len(set(w.drawn)) < len(w.drawn) for w in ends([AUTOCOMMITTING, AUTOCOMMITTING, GUARDED])
    )
