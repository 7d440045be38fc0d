"""Extensions that an archive names, and what the server has of them."""

from __future__ import annotations

from collections.abc import Sequence

from restorehooks.restore.dump.contents import ArchiveEntry
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


def extensions_needed(connection: Connection, entries: Sequence[ArchiveEntry]) -> list[str]:
    """Return the extensions of an archive that only a superuser may create.

    Raises TargetError for those that are not installed on the server.
    """
    wanted = [entry.tag for entry in entries if entry.kind == "EXTENSION"]
    found = connection.execute(EXTENSIONS, [wanted]).fetchall() if wanted else []
    if absent := [name for name, absent, _ in found if absent]:
        raise TargetError(
            f"The dump needs the extensions {quoted(absent)}, which are not installed on the "
            "server: install their packages there."
        )
    return [name for name, _, needs_superuser in found if needs_superuser]
