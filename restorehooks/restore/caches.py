"""What Django keeps of a database in memory as long as a process lives, by alias.

Another database has other keys for its content types and sites, and other oids for the types of
its extensions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.apps import apps
from django.contrib.postgres import signals
from django.db import connections

TYPES_KEPT = frozenset(("citext", "hstore", "postgis", "postgis_raster"))
"""The extensions whose types Django keeps
(django/contrib/postgres/signals.py, django/contrib/gis/db/backends/postgis/base.py)."""


def forget(using: str) -> None:
    """Let Django read anew what it keeps of the database of this alias."""
    for label in ("contenttypes.ContentType", "sites.Site"):
        with suppress(LookupError, AttributeError):  # not installed, or a project's own app
            model: Any = apps.get_model(label)
            model.objects.clear_cache()
    oids: list[Any] = [signals.get_hstore_oids, signals.get_citext_oids]
    for cached in oids:
        cached.cache_clear()
    for by_alias in getattr(connections[using], "_type_infos", {}).values():  # PostGIS's
        by_alias.pop(using, None)
