"""What a message sets for itself, whatever the database, the role or the caller has set.

It lasts as long as the message: until its transaction ends, or its savepoint is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator


def local_settings(
    lock_timeout: float, *, within: bool, own_path: bool, version: int
) -> Iterator[str]:
    """Yield the expressions that set them; ``within`` a transaction of the caller's or not.

    ``lock_timeout`` is in seconds, ``version`` the server's (150019 is 15.19).
    """
    settings = {"lock_timeout": str(round(lock_timeout * 1000)), **ALWAYS}
    if own_path:
        settings |= OWN_PATH
    if version >= FIRST_TO_REFUSE_VIEWS.get(version // 10000, 0):
        settings |= NO_VIEWS
    if not within:  # a caller's transaction keeps the caller's timeouts
        settings |= NO_TIMEOUTS
        if version >= 170000:
            settings["transaction_timeout"] = "0"
    for name, value in settings.items():
        yield f"pg_catalog.set_config('{name}', '{value}', true)"
    if not within:
        yield WAIT_FOR_NO_STANDBY


ALWAYS = {
    "row_security": "off",  # an error, where a policy would hide rows without a word
    "constraint_exclusion": "off",  # CHECK constraints are a stranger's code
    "array_nulls": "on",  # else NULL in a list of ours is a word
    "quote_all_identifiers": "off",  # names are compared with those that people have written
    "extra_float_digits": "1",  # below that numbers come rounded
    "jit": "off",  # to compile a query of the catalogue takes longer than to run it
}
# A stranger may put one in place of a table after the catalogue was read.
NO_VIEWS = {"restrict_nonsystem_relation_kind": "view, foreign-table"}
FIRST_TO_REFUSE_VIEWS = {14: 140013, 15: 150008, 16: 160004}
NO_TIMEOUTS = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
WAIT_FOR_NO_STANDBY = (
    "pg_catalog.set_config('synchronous_commit',"
    " CASE WHEN pg_catalog.current_setting('synchronous_commit')"
    " OPERATOR(pg_catalog.=) 'off'::pg_catalog.text THEN 'off' ELSE 'local' END, true)"
)
"""A synchronous standby may be gone, and a commit would wait for it for ever. A row that gets one
of the numbers is committed later, and waits for the standby to have all that came before it."""
AS_WRITTEN = "pg_catalog.set_config('join_collapse_limit', '1', true)"
"""For a query of many joins, written in a good order: to look for a better one takes longer than
to read the catalogue of a few hundred tables (measured: two thirds of its planning)."""
OWN_PATH = {"search_path": "pg_catalog, pg_temp"}
REMEMBER_PATH = (
    "pg_catalog.set_config('restorehooks.path',"
    " pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text, true)"
)
OWN_SCHEMAS = "pg_catalog.array_to_json(pg_catalog.current_schemas(false))::pg_catalog.text"
_REMEMBER = (
    "pg_catalog.set_config('restorehooks.schemas', ("  # noqa: S608
    f"SELECT {OWN_SCHEMAS}"
    " FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path'"
    " AND (setting OPERATOR(pg_catalog.<>) reset_val{})), true)"
)
REMEMBER_TENANT = _REMEMBER.format("")
REMEMBER_OWN_SCHEMAS = _REMEMBER.format(" OR source OPERATOR(pg_catalog.=) 'client'")
"""The same, where the connection's options have set the path, too."""
TENANT = "nullif(pg_catalog.current_setting('restorehooks.schemas', true), '')::json"
"""In a statement sent with REMEMBER_TENANT: the schemas that the session's ``search_path`` has been
set to, a JSON list; NULL where it is what the session began with. Packages for tenants set it.
A parallel worker does not know a setting that is NULL."""
PATH = "pg_catalog.json_array_elements_text(pg_catalog.current_setting('restorehooks.path')::json)"
"""In a statement: the names of the schemas that the caller's names resolve in, in order."""
