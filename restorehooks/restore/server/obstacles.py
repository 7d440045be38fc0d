"""What stands in the way of a swap, found before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import psycopg

from restorehooks.restore.errors import TargetError
from restorehooks.restore.script.options import TO_SET_ROLE

from .address import Connection
from .carried import carried
from .database_property import refusal
from .live import Live
from .sessions import found_in


@dataclass(frozen=True)
class Obstacle:
    """Something that stands in the way of a swap.

    ``kind`` is "refused" where nothing helps but to change it, "lost" where it would not come
    over to the new database and ``--accept-lost-settings`` agrees to that.
    """

    kind: Literal["refused", "lost"]
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


RIGHTS = f"""
SELECT r.rolname, r.rolsuper, r.rolsuper OR r.rolcreatedb,
       r.rolsuper OR coalesce((SELECT pg_catalog.pg_has_role(d.datdba, 'USAGE')
                                  AND pg_catalog.pg_has_role(d.datdba, {TO_SET_ROLE})
                               FROM pg_catalog.pg_database d WHERE d.datname = %(live)s), true),
       coalesce((SELECT pg_catalog.has_tablespace_privilege(d.dattablespace, 'CREATE')
                 OR d.dattablespace = (SELECT t.dattablespace FROM pg_catalog.pg_database t
                                       WHERE t.datname = 'template0')
                 FROM pg_catalog.pg_database d WHERE d.datname = %(live)s), true)
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""  # noqa: S608 - a constant

STAYING = """
SELECT 'logical replication slot "' || slot_name || '"', false
FROM pg_catalog.pg_replication_slots WHERE database = %(live)s
UNION ALL
SELECT 'subscription "' || subname || '"', false FROM pg_catalog.pg_subscription s
JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = %(live)s
UNION ALL
SELECT 'prepared transaction "' || gid || '"', true
FROM pg_catalog.pg_prepared_xacts WHERE database = %(live)s
"""


@dataclass(frozen=True)
class Rights:
    """What a role may do: whether it is a superuser, and what it lacks for a swap.

    ``lacking`` is empty where it may create and rename databases as it has to.
    """

    role: str
    superuser: bool
    lacking: tuple[Obstacle, ...] = ()


def read_rights(connection: Connection, live: Live) -> Rights:
    """Return what the role of a connection may do with the live database."""
    row = connection.execute(RIGHTS, {"live": live.name}).fetchone()
    assert row  # noqa: S101 - current_user is a role
    role, superuser, creates, owns, place = row
    return Rights(role, superuser, tuple(_lacking(role, live, creates, owns, place)))


def _lacking(user: str, live: Live, creates: bool, owns: bool, place: bool) -> Iterator[Obstacle]:
    if not creates:
        yield Obstacle(
            "refused",
            f'the role "{user}" may not create databases',
            f'a superuser grants it with ALTER ROLE "{user}" CREATEDB, or restore --in-place, which'
            " has no --undo",
        )
    if not owns:
        yield Obstacle(
            "refused",
            f'the role "{user}" does not own the database "{live.name}", "{live.owner}" does',
            f'restore as "{live.owner}" or as a member that may SET ROLE to it, or --in-place',
        )
    if not place:
        yield Obstacle(
            "refused",
            f'the role "{user}" may not create in the tablespace '
            f'"{live.properties["tablespace"]}" of "{live.name}"',
            "a superuser grants it with GRANT CREATE ON TABLESPACE",
        )


def obstacles(connection: Connection, live: Live) -> list[Obstacle]:
    """Return what would be lost by a swap, and what would prevent it; changes nothing."""
    if live.missing:
        return []
    found = []
    for what, refused in connection.execute(STAYING, {"live": live.name}).fetchall():
        if refused:
            remedy = "COMMIT PREPARED or ROLLBACK PREPARED it first"
            found.append(Obstacle("refused", f'the {what} is open in "{live.name}"', remedy))
        else:
            found.append(Obstacle("lost", f"the {what} would stay with the old database", ACCEPTED))
    foreign: dict[str, int] = {}
    for _, user, endable in found_in(connection, [live.name]):
        if not endable:
            foreign[user] = foreign.get(user, 0) + 1
    for user, count in foreign.items():
        whose = f'{count} session(s) of "{user}"' if user else f"{count} background worker(s)"
        found.append(
            Obstacle(
                "lost",
                f'{whose} in "{live.name}" cannot be ended by this role',
                f"disconnect them first, or {ACCEPTED} (the swap waits for them)",
            )
        )
    return found + _rehearsed(connection, live)


ACCEPTED = "--accept-lost-settings agrees to it"


def _rehearsed(connection: Connection, live: Live) -> list[Obstacle]:
    # The server alone knows what this role may set: ask it, on the live database, and roll back.
    found = []
    try:
        with connection.transaction(force_rollback=True):
            for carry in carried(connection, live, live.name):
                if why := refusal(connection, carry.statement):
                    what = f"{carry.what} cannot be carried over ({why})"
                    found.append(Obstacle("lost", what, ACCEPTED))
    except psycopg.errors.LockNotAvailable:
        raise TargetError(
            f'A change of {carry.what} of "{live.name}" is not committed yet: wait until it is, or '
            "end the session that is idle in its transaction (pg_stat_activity)"
        ) from None
    return found
