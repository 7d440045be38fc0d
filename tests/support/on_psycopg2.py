"""A plugin of pytest: Django and the package use psycopg2, and the tests themselves psycopg 3.

``python -m pytest -p tests.support.on_psycopg2 tests/sequences``
"""

from __future__ import annotations

import sys
from importlib import import_module

sys.modules["psycopg"] = None  # type: ignore[assignment]
import_module("django.db.backends.postgresql.base")
if import_module("restorehooks.driver").name != "psycopg2":
    raise ImportError("psycopg2 is not installed")
del sys.modules["psycopg"]
