"""A role's default privileges, which would be added to those that a dump gives to what it makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from .session_settings import own_names

# Those of a schema are added to those of the database, which take the place of PostgreSQL's own.
DEFAULTS = """
SELECT one.now, n.nspname::text, d.defaclobjtype::text,
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


@dataclass(frozen=True)
class _Default:
    """One privilege: as it is ``now``, or else as it is where nobody has set anything."""

    now: bool
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
        head = sql.SQL("ALTER DEFAULT PRIVILEGES{} ").format(place)
        return head + what + sql.SQL(words) + whom


@contextmanager
def default_privileges_off(connection: psycopg.Connection) -> Iterator[bool]:
    """Let what the block makes have no privileges but its own, within the caller's transaction.

    The current role's default privileges are put back after it, beside those that the block sets.
    Gives whether there are any.
    """
    with own_names(connection), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        found = [_Default(*row) for row in cursor.execute(DEFAULTS).fetchall()]
    now, usual = [one for one in found if one.now], [one for one in found if not one.now]
    _change(connection, now, usual)
    yield bool(found)
    _change(connection, usual, now)


def _change(
    connection: psycopg.Connection, before: Iterable[_Default], after: Iterable[_Default]
) -> None:
    for one in before:
        connection.execute(one.statement(sql.SQL("REVOKE ALL"), "FROM"))
    for one in after:
        granted = one.statement(sql.SQL("GRANT " + one.privilege), "TO")
        connection.execute(granted + sql.SQL(" WITH GRANT OPTION" if one.grantable else ""))
