"""Default privileges, which would be added to those that a dump gives to what it makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from .session_settings import own_names

# Those of a schema are added to those of the database, which take the place of PostgreSQL's own.
DEFAULTS = """
SELECT one.now, pg_catalog.pg_get_userbyid(d.defaclrole)::text, n.nspname::text,
       d.defaclobjtype::text,
       CASE WHEN one.grantee <> 0 THEN pg_catalog.pg_get_userbyid(one.grantee)::text END,
       one.privilege_type, one.is_grantable
FROM pg_catalog.pg_default_acl d
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL (
    SELECT true AS now, * FROM pg_catalog.aclexplode(d.defaclacl)
    UNION ALL SELECT false, * FROM pg_catalog.aclexplode(pg_catalog.acldefault(
        CASE d.defaclobjtype WHEN 'S' THEN 's'::"char" ELSE d.defaclobjtype END, d.defaclrole))
    WHERE d.defaclnamespace = 0
) AS one
WHERE pg_catalog.pg_get_userbyid(d.defaclrole) = current_user
"""
ROLE = "SELECT pg_catalog.current_setting('role'), current_user::text"
SET_ROLE = "SELECT pg_catalog.set_config('role', %s, true)"
KINDS = {
    "r": "TABLES",
    "S": "SEQUENCES",
    "f": "FUNCTIONS",
    "T": "TYPES",
    "n": "SCHEMAS",
    "L": "LARGE OBJECTS",
}
"""pg_default_acl.defaclobjtype
(https://www.postgresql.org/docs/current/catalog-pg-default-acl.html)."""


class _Default(NamedTuple):
    """One privilege on what a role makes."""

    role: str
    schema: str | None
    kind: str
    grantee: str | None
    privilege: str
    grantable: bool

    def statement(self, what: sql.Composable, grantee: str) -> sql.Composed:
        """Return the statement that grants or revokes ``what``."""
        place: sql.Composable = sql.SQL("")
        if self.schema is not None:
            place = sql.SQL(" IN SCHEMA {}").format(sql.Identifier(self.schema))
        whom = sql.SQL("PUBLIC") if self.grantee is None else sql.Identifier(self.grantee)
        words = f" ON {KINDS[self.kind]} {grantee} "
        head = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {}{} ")
        return head.format(sql.Identifier(self.role), place) + what + sql.SQL(words) + whom


@contextmanager
def default_privileges_off(connection: psycopg.Connection) -> Iterator[DefaultPrivileges]:
    """Let what the block makes have no privileges but its own, within the caller's transaction.

    The default privileges of the current role, and of those for which the block calls ``put_off``,
    are put back after it, beside what the block sets and revokes.
    """
    found = DefaultPrivileges(connection)
    found.put_off()
    yield found
    found.put_back()


class DefaultPrivileges:
    """Those of the roles that a dump makes something as; each is put off as the role itself.

    Others are left alone: a role could hold up whoever changes its own.
    """

    def __init__(self, connection: psycopg.Connection):
        self._connection = connection
        self._before: dict[str, tuple[list[_Default], list[_Default]]] = {}

    @property
    def any(self) -> bool:
        """Whether there were any."""
        return any(now or usual for now, usual in self._before.values())

    def put_off(self) -> None:
        """Put off those of the role that the session acts as by now."""
        _, role = self._roles()
        if role not in self._before:
            now, usual = self._before[role] = _read(self._connection)
            _change(self._connection, now, usual)

    def put_back(self) -> None:
        """Put back all that were put off."""
        for role, (now, usual) in self._before.items():
            setting, acting = self._roles()
            if role != acting:
                self._connection.execute(SET_ROLE, [role])
            set_now, usual_then = _read(self._connection)
            revoked = set(usual_then).difference(set_now)
            _change(self._connection, usual, [one for one in now if one not in revoked])
            if role != acting:
                self._connection.execute(SET_ROLE, [setting])

    def _roles(self) -> tuple[str, str]:
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            setting, acting = cursor.execute(ROLE).fetchone() or ("none", "")
        return setting, acting


def _read(connection: psycopg.Connection) -> tuple[list[_Default], list[_Default]]:
    """Return privileges as they are set, and as they are of the same kinds where nothing is."""
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        rows = cursor.execute(DEFAULTS).fetchall()
    now, usual = (
        [_Default(*one) for is_now, *one in rows if is_now is which] for which in (True, False)
    )
    return now, usual


def _change(
    connection: psycopg.Connection, before: Iterable[_Default], after: Iterable[_Default]
) -> None:
    for one in before:
        connection.execute(one.statement(sql.SQL("REVOKE ALL"), "FROM"))
    for one in after:
        granted = one.statement(sql.SQL("GRANT " + one.privilege), "TO")
        connection.execute(granted + sql.SQL(" WITH GRANT OPTION" if one.grantable else ""))
