"""What is meant under schema tenants, where a package has set the session's ``search_path``.

``tenant_schemas`` recognises a tenant, for the hooks and the admin page as well; ``within_tenant``
says what a person's request means in one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from django.db import router

from restorehooks.driver import sql

from .message import send
from .scope import LOCK_TIMEOUT, Scope, concrete_models, tables_named
from .session import REMEMBER_OWN_SCHEMAS, REMEMBER_TENANT, TENANT

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model


def tenant_schemas(connection: BaseDatabaseWrapper, *, by_option: bool = False) -> list[str] | None:
    """Return the schemas that the session has been given, None where it has its usual ones.

    Packages for tenants set ``search_path`` in the session (django-tenants does); what a role, a
    database or the connection's options set is what the session had from the beginning. With
    ``by_option`` those of the options count, too.
    """
    remembered = REMEMBER_OWN_SCHEMAS if by_option else REMEMBER_TENANT
    statement = f"SELECT {TENANT}"
    (rows,) = send(connection, [statement], LOCK_TIMEOUT, remembering=[remembered])
    schemas: list[str] | None = rows[0][0]
    if schemas is None:
        return None
    # The server's own may be named in the path, and so may that for temporary tables.
    return [s for s in schemas if not s.startswith("pg_") and s != "information_schema"]


def within_tenant(connection: BaseDatabaseWrapper, scope: Scope) -> Scope:
    """Return the scope of a person's request, as the tenant that is set narrows or widens it.

    In a tenant's schema it is that schema's and the ones that it shares. In the public one it is
    the whole database, and a model that the router keeps out of it is looked up in every schema.
    """
    schemas = tenant_schemas(connection)
    if schemas is None or scope.schemas is not None:
        return scope
    if scope.models is None:
        return scope if schemas[:1] in ([], ["public"]) else replace(scope, schemas=schemas)
    if is_allowed(connection.alias, scope):
        return scope
    return replace(scope, schemas=_schemas_holding(connection, scope.models) or None)


def is_allowed(using: str, scope: Scope) -> bool:
    """Return whether the router lets one of the scope's models, if it has any, into a database."""
    models = scope.models
    return not models or any(router.allow_migrate_model(using, model) for model in models)


def _schemas_holding(connection: BaseDatabaseWrapper, models: Iterable[type[Model]]) -> list[str]:
    tables = [table for _, table in tables_named(connection, concrete_models(models))]
    (rows,) = send(connection, [HOLDING.format(sql.Literal(tables))], LOCK_TIMEOUT)
    return [schema for (schema,) in rows]


HOLDING = sql.SQL("""
SELECT DISTINCT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY({}::name[]) AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' ORDER BY 1
""")
"""The schemas with a table of one of these names."""
