"""What a restore wants of a plain dump, and what the server has for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row

TO_SET_ROLE = """
CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4
          OPERATOR(pg_catalog.>=) 160000 THEN 'SET' ELSE 'MEMBER' END
"""
"""The privilege on a role that SET ROLE takes. Since 16 a member may be kept from it, as whoever
made the role with CREATEROLE is; and who gives ownership or a database to it must have it."""
ROLES = f"""
SELECT rolname, pg_catalog.pg_has_role(oid, {TO_SET_ROLE}) FROM pg_catalog.pg_roles
"""  # noqa: S608 - a constant
TABLESPACES = """
SELECT spcname FROM pg_catalog.pg_tablespace
WHERE pg_catalog.has_tablespace_privilege(oid, 'CREATE')
"""

STATISTICS = """
SELECT proname::pg_catalog.text FROM pg_catalog.pg_proc
WHERE pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
  AND proname OPERATOR(pg_catalog.~) '^pg_restore_.*_stats$'
"""


@dataclass(frozen=True)
class ScriptOptions:
    """What the restore wants of a plain dump, and what the server has for it.

    ``for_connection`` reads the server's part. ``None`` for roles, owners or tablespaces leaves
    that question to the server, which answers with an error.

    owners: roles that may be given ownership; statements for others are left out.
    roles: roles that exist; privileges of others are left out.
    tablespaces: where tables may be put; for others the default one is used.
    statistics: functions of the server that take planner statistics; what is for others is left
        out.
    owner_instead: who owns what belongs to a role that does not exist here;
        None for the role that restores.
    no_owner, no_privileges: leave out all of these, as the options of pg_restore do.
    data_only: send rows, and leave out the structure and the positions of sequences (a setval
        outlives a rollback, and may set back a sequence that is ahead).
    drops_may_miss: leave out a DROP of what is not there, which ``pg_dump --clean`` writes for
        every object. It calls that harmless, and so it is where everything is restored.
    keeps_others: leave out a DROP of what may have an owner: what is ours was dropped before.
    standing: (schema, name) of tables, views and sequences of others: nothing takes them over.
    kept_tables: (schema, table) of extensions whose rows stay as they are.
    others: called with the connection, gives (schema, name) of the functions and operators that
        roles without our rights have made, where the dump's calls could take those.
    role_set: called when the session acts as another role.
    skip_superuser_only: leave out what only a superuser may make, or what of it cannot be made
        here even by one, and what hangs on that.
    without_extension: an extension was left out, and what concerns its tables is too.
    one_database: extensions that only one database of a server can have.
    superuser: the role is one.
    acting_role: the role that the session acts as, ``none`` for the one that connects.
    commit_every: how many statements (single rows not counted) make a transaction, for a database
        that is thrown away when the restore fails; None for everything in one transaction.
    extension_made: called with the connection and the name of each extension that was created.
    """

    owners: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    tablespaces: frozenset[str] | None = None
    statistics: frozenset[str] | None = None
    owner_instead: str | None = None
    no_owner: bool = False
    no_privileges: bool = False
    data_only: bool = False
    drops_may_miss: bool = False
    keeps_others: bool = False
    standing: frozenset[tuple[str, str]] = frozenset()
    kept_tables: frozenset[tuple[str, str]] = frozenset()
    others: Callable[[psycopg.Connection[Any]], frozenset[tuple[str, str]]] | None = None
    role_set: Callable[[], None] | None = None
    skip_superuser_only: bool = False
    without_extension: bool = False
    one_database: frozenset[str] = frozenset()
    superuser: bool = False
    acting_role: str = "none"
    commit_every: int | None = None
    extension_made: Callable[[psycopg.Connection[Any], str], None] | None = None

    @classmethod
    def for_connection(cls, connection: psycopg.Connection[Any], **wishes: Any) -> ScriptOptions:
        """Read what the server has for the connection's role; ``wishes`` are the other fields."""
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(ROLES.encode())
            roles: dict[str, bool] = dict(cursor.fetchall())
            tablespaces = cursor.execute(TABLESPACES).fetchall()
            statistics = cursor.execute(STATISTICS).fetchall()
            acting = cursor.execute("SELECT pg_catalog.current_setting('role')").fetchone()
        return cls(
            owners=frozenset(name for name, may_act in roles.items() if may_act),
            roles=frozenset(roles),
            tablespaces=frozenset(name for (name,) in tablespaces),
            statistics=frozenset(name for (name,) in statistics),
            acting_role=str(acting[0]) if acting else "none",
            **wishes,
        )
