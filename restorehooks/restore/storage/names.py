"""The names that dumpdb gives to dumps in a storage: which database, which server, and when.

``shop_3fa9c1_20261127T072446Z.dump``: the database, percent-encoded where it has other characters
than letters, digits, ``_`` and ``-``; six digits that stand for its server, since a storage may
hold dumps of databases of one name; the time in UTC.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

import psycopg

from restorehooks.restore.dump.facts import Format
from restorehooks.restore.server.address import Address

_NAME = re.compile(
    r"(?P<database>[\w%-]+)_[0-9a-f]{6}_(?P<moment>\d{8}T\d{6}Z)"
    r"\.(?:dump|tar|sql(?:\.(?:gz|lz4|zst))?)",
    re.ASCII,
)
_MOMENT = "%Y%m%dT%H%M%SZ"
_SUFFIX: dict[Format, str] = {"custom": "dump", "tar": "tar", "plain": "sql"}
_COMPRESSED = {"none": "", "0": "", "lz4": ".lz4", "zstd": ".zst"}
SYSTEM = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()"


def stem_for(address: Address) -> str:
    """Return how the names of this database's dumps begin."""
    encoded = quote(address.name, safe="").replace(".", "%2E").replace("~", "%7E")
    return f"{encoded}_{_server(address)}_"


def name_for(stem: str, form: Format, compress: str | None, moment: datetime) -> str:
    """Return the name of a dump; ``moment`` has a zone, ``compress`` is what pg_dump is given."""
    suffix = _SUFFIX[form]
    if form == "plain" and compress is not None:
        suffix += _COMPRESSED.get(compress.partition(":")[0], ".gz")
    return f"{stem}{moment.astimezone(timezone.utc).strftime(_MOMENT)}.{suffix}"


def database_in(name: str) -> str | None:
    """Return the database in a name that was made here, None for any other name."""
    found = _NAME.fullmatch(PurePosixPath(name).name)
    return unquote(found["database"]) if found else None


def moment_in(name: str) -> datetime | None:
    """Return the time in a name that was made here, None for any other name."""
    found = _NAME.fullmatch(PurePosixPath(name).name)
    with suppress(ValueError):  # digits that are no time
        if found:
            return datetime.strptime(found["moment"], _MOMENT).replace(tzinfo=timezone.utc)
    return None


def beyond(names: Iterable[str], stem: str, keep: int) -> list[str]:
    """Return those of the names made with ``stem`` that are not among the latest ``keep``."""
    ours = [name for name in names if _NAME.fullmatch(name) and _is_of(name, stem)]
    return sorted(ours)[: max(0, len(ours) - keep)]


def _is_of(name: str, stem: str) -> bool:
    return name.startswith(stem) and "_" not in name.removeprefix(stem)


def _server(address: Address) -> str:
    """Return six digits that stand for a server.

    initdb gives it an identifier (pg_control_system); one that was made from another's files has
    the same, so that the address counts too. Where it may not be asked, the address alone does.
    """
    identity = f"{address.host}:{address.port}"
    with (
        address.connect(address.name) as connection,
        suppress(psycopg.errors.InsufficientPrivilege),
    ):
        row = connection.execute(SYSTEM).fetchone()
        identity = f"{row[0] if row else ''} {identity}"
    return hashlib.sha256(identity.encode()).hexdigest()[:6]
