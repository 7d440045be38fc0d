"""What CREATE DATABASE and a rename do not take over, and the statements that carry it over."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import partial

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from restorehooks.restore.errors import TargetError

from .address import Connection
from .database_privileges import grants
from .database_property import Carry
from .held_up import freed
from .live import DATABASE, Live
from .lock import RestoreLock

_SETTINGS = """
SELECT r.rolname, pg_catalog.split_part(setting, '=', 1),
       pg_catalog.substr(setting, pg_catalog.strpos(setting, '=') + 1)
FROM pg_catalog.pg_db_role_setting s
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
CROSS JOIN pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS one (setting, number)
WHERE s.setdatabase = {} ORDER BY r.rolname NULLS FIRST, number
"""
SETTINGS = _SETTINGS.format("%s")
SETTINGS_OF_NAME = _SETTINGS.format("(SELECT oid FROM pg_catalog.pg_database WHERE datname = %s)")
LABELS = """
SELECT provider, label FROM pg_catalog.pg_shseclabel
WHERE classoid = 'pg_database'::regclass AND objoid = %s
"""

LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
"""The parameters whose value is a list of names (GUC_LIST_QUOTE in guc_tables.c)."""


LIMITS = {
    "default_transaction_read_only",
    "statement_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
}
"""Settings that are not meant for a restore: they come with the swap."""


Setting = tuple[str | None, str, str]
"""The role, or None for all, name and value of ``ALTER DATABASE`` or ``ALTER ROLE ... SET``."""
Named = tuple[str | None, str]
"""Role and name alone."""


def settings_of(connection: Connection, oid: int) -> set[Setting]:
    """Return the settings of the database with this oid."""
    return {(role, name, value) for role, name, value in connection.execute(SETTINGS, [oid])}


def carried(
    connection: Connection, live: Live, to: str, changed: Collection[Setting] = ()
) -> Iterator[Carry]:
    """Yield what CREATE DATABASE does not take over, as it stands now, for the database ``to``.

    ``changed`` are settings of that one that stay as they are, whatever value they have.
    """
    stay = {(role, name) for role, name, _ in changed}
    for role, name, carry in _settings(connection, live, to):
        if (role, name) not in stay:
            yield carry
    yield from grants(connection, live, to)
    yield from _attributes(connection, live, to)


def _settings(
    connection: Connection, live: Live, to: str, given: Collection[Named] | None = None
) -> Iterator[tuple[str | None, str, Carry]]:
    wanted = connection.execute(SETTINGS, [live.oid]).fetchall()
    for role, name, value in wanted:
        to_value = sql.SQL(", ").join(
            sql.Literal(part) for part in (_names(value) if name in LISTS else [value])
        )
        yield role, name, _setting(role, name, to, sql.SQL("SET {} TO {}"), to_value)
    # What was taken away from the live database meanwhile.
    kept = {(role, name) for role, name, _ in wanted}
    for role, name, _ in connection.execute(SETTINGS_OF_NAME, [to]).fetchall():
        if (role, name) not in kept and (given is None or (role, name) in given):
            yield role, name, _setting(role, name, to, sql.SQL("RESET {}"))


def _setting(role: str | None, name: str, to: str, what: sql.SQL, *value: sql.Composable) -> Carry:
    head = sql.SQL("ALTER DATABASE {} ").format(sql.Identifier(to))
    if role is not None:
        head = sql.SQL("ALTER ROLE {} IN DATABASE {} ").format(
            sql.Identifier(role), sql.Identifier(to)
        )
    written = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
    whose = f' of the role "{role}"' if role is not None else ""
    return Carry(f"the setting {name}{whose}", head + what.format(written, *value))


def _names(value: str) -> list[str]:
    """Split a list of names as it is stored: ``"$user", public``."""
    found = re.findall(r'"((?:[^"]|"")*)"|([^,\s"]+)', value)
    return [plain or quoted.replace('""', '"') for quoted, plain in found] or [""]


def _attributes(connection: Connection, live: Live, to: str) -> Iterator[Carry]:
    row = connection.cursor(row_factory=dict_row).execute(DATABASE, [live.name]).fetchone()
    now = row or live.properties
    name = sql.Identifier(to)
    if now["connection_limit"] != -1:
        limit = sql.Literal(now["connection_limit"])
        query = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, limit)
        yield Carry("the connection limit", query)
    if not now["enterable"]:  # it was closed meanwhile
        query = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name)
        yield Carry("that it lets nobody connect", query)
    if now["is_template"]:
        query = sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(name)
        yield Carry("the template flag", query)
    comment = sql.Literal(now["comment"]) if now["comment"] is not None else sql.SQL("NULL")
    yield Carry("the comment", sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, comment))
    for provider, label in connection.execute(LABELS, [live.oid]).fetchall():
        query = sql.SQL("SECURITY LABEL FOR {} ON DATABASE {} IS {}").format(
            sql.Identifier(provider), name, sql.Literal(label)
        )
        yield Carry(f"the security label of {provider}", query)


FOR_THE_LOAD = {
    "array_nulls",
    "bytea_output",
    "datestyle",
    "default_text_search_config",
    "extra_float_digits",
    "gin_fuzzy_search_limit",
    "intervalstyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "session_preload_libraries",
    "timezone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmlbinary",
}
"""Settings under which rows mean something else, or a materialized view or a generated column has
other values; and what a superuser lets sessions load, such as the provider of security labels."""


def carry_settings(
    lock: RestoreLock,
    live: Live,
    side: str,
    *,
    for_the_load: bool = False,
    given: Collection[Named] = (),
) -> set[Named]:
    """Give the side database the live one's settings for the hooks to run under, but its limits.

    ``for_the_load`` those alone that decide about rows, extensions' and users' own (with a dot in
    their names) among them: all else is the dump's to set.
    What this role may not set is left out: it was named before loading began. Of what the side
    has, only what was ``given`` earlier is taken away again: the rest is an extension's or a
    hook's. Returns what was given by now.
    """
    now = set(given)
    for role, name, carry in _settings(lock.connection, live, side, given):
        now.add((role, name))
        decides = "." in name or name.lower() in FOR_THE_LOAD
        if decides if for_the_load else name not in LIMITS:
            with suppress(psycopg.Error, TargetError):
                freed(lock, carry.what, partial(Connection.execute, query=carry.statement))
    return now
