"""A plugin of pytest: Django and the package use psycopg2, and the tests themselves psycopg 3.

What needs psycopg 3 has the marker ``psycopg3``, with the reason, and is skipped.

``python -m pytest -p tests.support.on_psycopg2 tests/sequences``
"""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

sys.modules["psycopg"] = None  # type: ignore[assignment]
import_module("django.db.backends.postgresql.base")
if import_module("restorehooks.driver").name != "psycopg2":
    raise ImportError("psycopg2 is not installed")
del sys.modules["psycopg"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs psycopg 3."""
    for item in items:
        if marker := item.get_closest_marker("psycopg3"):
            item.add_marker(pytest.mark.skip(reason=marker.args[0]))
