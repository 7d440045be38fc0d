"""Which roles are strangers, whose code is not to be called, and what belongs to them.

Conditions and queries, sent with ``search_path`` set to ``pg_catalog``.
"""

from __future__ import annotations

LOGGED_IN = "(SELECT usesysid FROM pg_stat_get_activity(pg_backend_pid()))"
"""The oid of the role that has connected, whatever the session has been set to since."""
_LOGGED_IN_AS_SUPERUSER = (  # where nobody knows it, too: single-user mode has no such role
    f"coalesce((SELECT rolsuper FROM pg_roles WHERE oid = {LOGGED_IN}), true)"  # noqa: S608
)
IS_TRUSTED = (
    f"(r.rolsuper OR r.oid IS NOT DISTINCT FROM {LOGGED_IN}"
    f" OR r.rolname IN (session_user, current_user) AND NOT {_LOGGED_IN_AS_SUPERUSER})"
)
"""The condition that role ``r`` gains nothing by what it has made being called in this session.

Where a superuser has set another role, a function of that role's can set it back: RESET ROLE, or
RESET SESSION AUTHORIZATION.
"""
STRANGERS = f"SELECT r.oid FROM pg_roles r WHERE NOT {IS_TRUSTED}"  # noqa: S608
"""The query for the roles whose code is not to be called in this session."""


def is_strangers(relation: str, schema: str, strangers: str = STRANGERS) -> str:
    """Return the condition that one of them may put something else in a relation's place.

    That is its owner, or its schema's, who may drop what others have there, and rename the schema.
    ``relation`` and ``schema`` are what the query calls rows of pg_class and pg_namespace.
    """
    return (
        f"({relation}.relowner IN ({strangers}) OR CASE {schema}.nspowner"
        f" WHEN {PG_DATABASE_OWNER} THEN {DATABASES_OWNER} ELSE {schema}.nspowner END"
        f" IN ({strangers}))"
    )


PG_DATABASE_OWNER = 6171  # stands for the database's owner (pg_authid.dat)
DATABASES_OWNER = "(SELECT datdba FROM pg_database WHERE datname = current_database())"


def may_draw(role: str, sequence: str, owner: str) -> str:
    """Return the condition that ``role`` may draw from a sequence, by itself or as its owner.

    Each is an expression for an oid. Whoever may not could let a table, a domain or a name of
    their own draw from it all the same, and lead it to the end of its range by a row.
    """
    return (
        f"({role} = {owner} OR has_sequence_privilege({role}, {sequence}, 'USAGE, UPDATE')"
        f" OR pg_has_role({role}, {owner}, 'USAGE'))"
    )
