"""The names that dumpdb gives to dumps in a storage: which database, which server, and when.

``shop_3fa9c1_20261127T072446Z.dump``: the database, percent-encoded where it has other characters
than letters, digits, ``_`` and ``-``; six digits that stand for its server, since a storage may
hold dumps of databases of one name; the time in UTC.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

import psycopg

from .dump.facts import Format
from .server.address import Address

_NAME = re.compile(r"(?P<database>[\w%-]+)_[0-9a-f]{6}_\d{8}T\d{6}Z\.(?:dump|tar|sql)")
_SUFFIX: dict[Format, str] = {"custom": "dump", "tar": "tar", "plain": "sql"}
SYSTEM = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()"


def stem_for(address: Address) -> str:
    """Return how the names of this database's dumps begin."""
    return f"{quote(address.name, safe='')}_{_server(address)}_".replace(".", "%2E")


def name_for(stem: str, form: Format, moment: datetime) -> str:
    """Return the name of a dump; ``moment`` has a zone."""
    return f"{stem}{moment.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}.{_SUFFIX[form]}"


def database_in(name: str) -> str | None:
    """Return the database in a name that was made here, None for any other name."""
    found = _NAME.fullmatch(PurePosixPath(name).name)
    return unquote(found["database"]) if found else None


def beyond(names: Iterable[str], stem: str, keep: int) -> list[str]:
    """Return those of the names made with ``stem`` that are not among the latest ``keep``."""
    ours = [name for name in names if _NAME.fullmatch(name) and _is_of(name, stem)]
    return sorted(ours)[: max(0, len(ours) - keep)]


def _is_of(name: str, stem: str) -> bool:
    return name.startswith(stem) and "_" not in name.removeprefix(stem)


def _server(address: Address) -> str:
    """Return six digits that stand for a server, whatever its address.

    A server's identifier is made by initdb (pg_control_system); where it may not be asked, the
    address stands for it.
    """
    identity = f"{address.host}:{address.port}"
    with address.connect(address.name) as connection:
        try:
            row = connection.execute(SYSTEM).fetchone()
            identity = row[0] if row else identity
        except psycopg.errors.InsufficientPrivilege:
            pass
    return hashlib.sha256(identity.encode()).hexdigest()[:6]
