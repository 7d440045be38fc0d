"""Sequences chosen by name: those alone are looked at and moved."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.databases import Database
from tests.support.sequences import inspect, reset, standing, statuses


def test_only_the_named_sequences_are_moved(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("one", "two", '"Thr""ee %s"')
    names = ["public.two_id_seq", 'public."Thr""ee %s_id_seq"']

    assert set(statuses(inspect("default", sequences=names))) == {
        "two_id_seq",
        '"Thr""ee %s_id_seq"',
    }
    assert set(statuses(reset("default", sequences=names)).values()) == {"advanced"}

    assert standing(database, "one_id_seq") == (1, False)
    assert sum(standing(database, "two_id_seq")) == 6
    assert sum(standing(database, '"Thr""ee %s_id_seq"')) == 6


def test_a_name_that_is_not_there_and_no_name_at_all(
    database: Database, behind: Callable[..., None]
) -> None:
    behind("one")
    assert not reset("default", sequences=["public.nosuch"]).entries
    assert not reset("default", sequences=[]).entries
    assert standing(database, "one_id_seq") == (1, False)
