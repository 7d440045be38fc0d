"""What a database beside the live one is for: a marker in its comment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from psycopg import sql

from .address import Connection

Role = Literal["side", "previous"]
_MARK = "restorehooks "


@dataclass(frozen=True)
class Marker:
    """What a database beside the live one is for, kept in its comment.

    role: "side" for one that is being loaded, "previous" for one that was live.
    live: the name of the live database.
    at: the server's time, UTC in ISO 8601.
    by: the dump that it is loaded from, or what has taken its place.
    comment: what its comment was before.
    number: counts the swaps of ``live``: the highest was the latest.
    origin: the dump that a previous one came from, None where that is not known.
    successor: the oid of the database that has taken the place of a previous one.
    successor_origin: the dump which that one came from.
    """

    role: Role
    live: str
    at: str
    by: str = ""
    comment: str | None = None
    number: int = 0
    origin: str | None = None
    successor: int | None = None
    successor_origin: str | None = None

    def __str__(self) -> str:
        return _MARK + json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, comment: str | None) -> Marker | None:
        """Return the marker in a database's comment, None where there is none well formed."""
        if not comment or not comment.startswith(_MARK):
            return None
        with suppress(ValueError, RecursionError):
            found = json.loads(comment.removeprefix(_MARK))
            if isinstance(found, dict) and _well_formed(found):
                # A later version may have added more.
                return cls(**{key: found[key] for key in _TYPES if key in found})
        return None


_TEXT, _NUMBER, _OPTIONAL_TEXT = (str,), (int,), (str, type(None))
_TYPES: Mapping[str, tuple[type, ...]] = {
    "role": _TEXT,
    "live": _TEXT,
    "at": _TEXT,
    "by": _TEXT,
    "comment": _OPTIONAL_TEXT,
    "number": _NUMBER,
    "origin": _OPTIONAL_TEXT,
    "successor": (int, type(None)),
    "successor_origin": _OPTIONAL_TEXT,
}


def _well_formed(found: Mapping[str, Any]) -> bool:
    """Tell whether it is a marker; raise ValueError where its time is none."""
    if not {"role", "live", "at"} <= found.keys() or found["role"] not in ("side", "previous"):
        return False
    # type() and not isinstance(): True is no number.
    if any(type(found[key]) not in types for key, types in _TYPES.items() if key in found):
        return False
    return bool(datetime.fromisoformat(found["at"]))


def mark(connection: Connection, name: str, marker: Marker | str | None) -> None:
    """Write a database's comment: what it is for, or what it was before."""
    text = sql.SQL("NULL") if marker is None else sql.Literal(str(marker))
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), text))


NOW = "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8"
"""In seconds: how a time is written depends on DateStyle, and psycopg does not read every one."""


def server_time(connection: Connection) -> datetime:
    """Return the server's time, to the second, in UTC: clocks of clients differ."""
    row = connection.execute(NOW).fetchone()
    assert row  # noqa: S101 - it has no FROM
    return datetime.fromtimestamp(int(row[0]), timezone.utc)
