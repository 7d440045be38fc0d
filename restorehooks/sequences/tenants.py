"""What is meant under schema tenants, where a package has set the session's ``search_path``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from django.db import router

from restorehooks.driver import sql

from .message import send
from .scope import LOCK_TIMEOUT, Scope, concrete_models, tables_named, tenant_schemas

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model


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
