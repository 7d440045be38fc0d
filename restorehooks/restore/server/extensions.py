"""Extensions that a dump names, and what the server has of them."""

from __future__ import annotations

from collections.abc import Sequence

from restorehooks.restore.errors import TargetError
from restorehooks.wording import quoted

from .address import Connection

EXTENSIONS = """
SELECT wanted, available.name IS NULL, coalesce(available.superuser, false)
FROM pg_catalog.unnest(%s::text[]) AS wanted
LEFT JOIN (SELECT name, pg_catalog.bool_and(superuser AND NOT trusted) AS superuser
           FROM pg_catalog.pg_available_extension_versions GROUP BY name) AS available
    ON available.name = wanted
"""


def extensions_needed(
    connection: Connection, wanted: Sequence[str], *, some_may_miss: bool = False
) -> list[str]:
    """Return which of these extensions only a superuser may create.

    Raises TargetError for those that are not installed on the server, unless ``some_may_miss``.
    """
    found = connection.execute(EXTENSIONS, [list(wanted)]).fetchall() if wanted else []
    absent = [name for name, absent, _ in found if absent]
    if absent and not some_may_miss:
        raise TargetError(
            f"The dump needs the extensions {quoted(absent)}, which are not installed on the "
            "server: install their packages there, or leave them out with --skip-superuser-only."
        )
    return [name for name, _, needs_superuser in found if needs_superuser]
