"""What CREATE DATABASE and a rename do not take over, and the statements that carry it over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from restorehooks.wording import first_line

from .address import Connection
from .live import DATABASE, Live


@dataclass(frozen=True)
class Carry:
    """One property of the live database and the statement that gives it to another one."""

    what: str
    to: Callable[[str], sql.Composed]


SETTINGS = """
SELECT r.rolname, split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
FROM pg_catalog.pg_db_role_setting s
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
CROSS JOIN unnest(s.setconfig) WITH ORDINALITY AS one (setting, number)
WHERE s.setdatabase = %s ORDER BY r.rolname NULLS FIRST, number
"""
GRANTS = """
SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
       a.privilege_type, a.is_grantable
FROM pg_catalog.pg_database d CROSS JOIN aclexplode(d.datacl) a
WHERE d.oid = %s AND d.datacl IS NOT NULL ORDER BY 1 NULLS FIRST, 2
"""
HAS_GRANTS = "SELECT datacl IS NOT NULL FROM pg_catalog.pg_database WHERE oid = %s"
LABELS = """
SELECT provider, label FROM pg_catalog.pg_shseclabel
WHERE classoid = 'pg_database'::regclass AND objoid = %s
"""

#: The parameters whose value is a list of names (GUC_LIST_QUOTE in guc_tables.c).
LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}


def carried(connection: Connection, live: Live) -> Iterator[Carry]:
    """Yield what CREATE DATABASE does not take over, as it stands now."""
    yield from _settings(connection, live)
    yield from _grants(connection, live)
    yield from _attributes(connection, live)


def _settings(connection: Connection, live: Live) -> Iterator[Carry]:
    for role, name, value in connection.execute(SETTINGS, [live.oid]).fetchall():
        setting = sql.SQL(" SET {} TO {}").format(
            sql.SQL(".").join(sql.Identifier(part) for part in name.split(".")),
            sql.SQL(", ").join(
                sql.Literal(part) for part in (_names(value) if name in LISTS else [value])
            ),
        )

        def to(database: str, role: str | None = role, end: sql.Composed = setting) -> sql.Composed:
            head = sql.SQL("ALTER DATABASE {}").format(sql.Identifier(database))
            if role is not None:
                head = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(
                    sql.Identifier(role), sql.Identifier(database)
                )
            return head + end

        whose = f' of the role "{role}"' if role is not None else ""
        yield Carry(f"the setting {name}{whose}", to)


def _names(value: str) -> list[str]:
    """Split a list of names as it is stored: ``"$user", public``."""
    found = re.findall(r'"((?:[^"]|"")*)"|([^,\s"]+)', value)
    return [plain or quoted.replace('""', '"') for quoted, plain in found] or [""]


def _grants(connection: Connection, live: Live) -> Iterator[Carry]:
    if connection.execute(HAS_GRANTS, [live.oid]).fetchone() != (True,):
        return
    whom: sql.Composable
    for whom in (sql.SQL("PUBLIC"), sql.Identifier(live.owner)):

        def revoked(database: str, role: sql.Composable = whom) -> sql.Composed:
            return sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(
                sql.Identifier(database), role
            )

        yield Carry("the privileges on the database", revoked)
    for grantee, privilege, grantable in connection.execute(GRANTS, [live.oid]).fetchall():

        def granted(
            database: str,
            grantee: str | None = grantee,
            privilege: str = privilege,
            grantable: bool = grantable,
        ) -> sql.Composed:
            return sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(privilege),
                sql.Identifier(database),
                sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )

        yield Carry(f'{privilege} granted to "{grantee or "PUBLIC"}"', granted)


def _attributes(connection: Connection, live: Live) -> Iterator[Carry]:
    def alter(query: str, *values: sql.Composable) -> Callable[[str], sql.Composed]:
        return lambda name: sql.SQL(query).format(sql.Identifier(name), *values)

    row = connection.cursor(row_factory=dict_row).execute(DATABASE, [live.name]).fetchone()
    now = row or live.properties
    if now["connection_limit"] != -1:
        limit = sql.Literal(now["connection_limit"])
        yield Carry("the connection limit", alter("ALTER DATABASE {} CONNECTION LIMIT {}", limit))
    if now["is_template"]:
        yield Carry("the template flag", alter("ALTER DATABASE {} IS_TEMPLATE true"))
    comment = sql.Literal(now["comment"]) if now["comment"] is not None else sql.SQL("NULL")
    yield Carry("the comment", alter("COMMENT ON DATABASE {} IS {}", comment))
    for provider, label in connection.execute(LABELS, [live.oid]).fetchall():
        query = "SECURITY LABEL FOR {1} ON DATABASE {0} IS {2}"
        values = (sql.Identifier(provider), sql.Literal(label))
        yield Carry(f"the security label of {provider}", alter(query, *values))


def carry_settings(connection: Connection, live: Live, side: str) -> None:
    """Give the side database the live one's settings, for the hooks to run under.

    What this role may not set is passed over here: it was named before loading began.
    """
    for carry in _settings(connection, live) if not live.missing else ():
        with suppress(psycopg.Error):
            connection.execute(carry.to(side))


def refusal(connection: Connection, statement: sql.Composed) -> str | None:
    """Run a statement under a savepoint; return why the server refused it, None if it did not."""
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return first_line(error)
    return None
