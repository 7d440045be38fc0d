"""The RESTOREHOOKS setting: defaults, and what is wrong with it in one sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from restorehooks import conf

ALL = ", ".join(conf.OPTIONS)


def test_defaults_and_values() -> None:
    for given in ({}, {"LOCK_TIMEOUT": 2}):
        with override_settings(RESTOREHOOKS=given):
            assert [*conf.problems()] == []
            assert conf.pre_migrate() is conf.post_migrate() is conf.loaddata() is True
            assert conf.lock_timeout() == 2.0
            assert conf.scan_limit() == 100 * 2**20
    with override_settings(RESTOREHOOKS={"LOADDATA": False, "LOCK_TIMEOUT": 0.5, "SCAN_LIMIT": 1}):
        assert not conf.loaddata()
        assert conf.pre_migrate()
        assert conf.lock_timeout() == 0.5
        assert conf.scan_limit() == 2**20


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "RESTOREHOOKS must be a dictionary, not NoneType."),
        (["PRE_MIGRATE"], "RESTOREHOOKS must be a dictionary, not list."),
        ({"PREMIGRATE": True}, f"RESTOREHOOKS has no option 'PREMIGRATE'; there are {ALL}."),
        ({"pre_migrate": True}, f"RESTOREHOOKS has no option 'pre_migrate'; there are {ALL}."),
        ({1: True}, f"RESTOREHOOKS has no option 1; there are {ALL}."),
        ({"PRE_MIGRATE": 1}, "RESTOREHOOKS['PRE_MIGRATE'] must be True or False, not 1."),
        *(
            (
                {"EXTENSIONS": wrong},
                "RESTOREHOOKS['EXTENSIONS'] must be a dictionary from extensions to dictionaries "
                f"with before, after, one_job or one_database, not {wrong!r}.",
            )
            for wrong in (["x"], {"x": True}, {"x": {"one_job": 1}}, {"x": {"before": "f"}})
        ),
        ({"POST_MIGRATE": "no"}, "RESTOREHOOKS['POST_MIGRATE'] must be True or False, not 'no'."),
        ({"LOADDATA": None}, "RESTOREHOOKS['LOADDATA'] must be True or False, not None."),
        *(
            (
                {"LOCK_TIMEOUT": value},
                "RESTOREHOOKS['LOCK_TIMEOUT'] must be a number of seconds above 0, up to 24 days,"
                f" not {value!r}.",
            )
            for value in (0, -1, True, "2", None, math.nan, math.inf)
        ),
        *(
            (
                {"SCAN_LIMIT": value},
                f"RESTOREHOOKS['SCAN_LIMIT'] must be a number of MiB above 0, not {value!r}.",
            )
            for value in (0, -0.5, False, "many", math.inf)
        ),
        *(
            (
                {"CONNECTIONS": value},
                f"RESTOREHOOKS['CONNECTIONS'] must be a whole number of at least 1, not {value!r}.",
            )
            for value in (0, -1, True, 2.0, "2", None)
        ),
    ],
)
def test_what_is_wrong(given: Any, problem: str) -> None:
    with override_settings(RESTOREHOOKS=given):
        assert [*conf.problems()] == [problem]
        names = given if isinstance(given, dict) and set(given) <= set(conf.OPTIONS) else ()
        for name in names:
            with pytest.raises(ImproperlyConfigured) as caught:
                getattr(conf, name.lower())()
            assert str(caught.value) == problem


def test_a_wrong_option_is_named_where_another_is_wrong_too() -> None:
    given = {"LOCK_TIMEOUT": 0, "PRE_MIGRATE": 0}
    with override_settings(RESTOREHOOKS=given):
        assert len([*conf.problems()]) == 2
        with pytest.raises(ImproperlyConfigured, match="PRE_MIGRATE"):
            conf.pre_migrate()
