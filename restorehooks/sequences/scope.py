"""Whose sequences are meant: models, and the tables that stand for them in one database."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import router

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model


def concrete_models(models: Iterable[type[Model]]) -> list[type[Model]]:
    """Return the models whose tables hold what the given ones save.

    A proxy stands for the model below it, a child of multi-table inheritance for its parents too,
    and a model for the automatic tables of its many-to-many fields.
    """
    found: dict[type[Model], None] = {}
    for model in models:
        own = model._meta.concrete_model
        if own is None or own._meta.swapped:
            continue
        through = [f.remote_field.through for f in own._meta.local_many_to_many]
        automatic = [t for t in through if t._meta.auto_created]  # type: ignore[union-attr]
        for each in (own, *own._meta.get_parent_list(), *automatic):
            found[each] = None  # type: ignore[index]
    return list(found)


def installed_models(using: str) -> list[type[Model]]:
    """Return every installed model, automatic ones included, that the router allows there."""
    if not apps.ready:
        return []
    every = apps.get_models(include_auto_created=True)
    return [model for model in every if router.allow_migrate_model(using, model)]


def tables_of(
    connection: BaseDatabaseWrapper, models: Iterable[type[Model]]
) -> dict[int, list[str]]:
    """Return the oids of the tables that exist, each with the labels of its models.

    Names are looked up by the server, so schema-qualified ones and the ``search_path`` count. A
    table of a schema that is closed to this role is among them, to be told rather than passed over.
    """
    labels: dict[tuple[str | None, str], list[str]] = {}
    for model in models:
        quoted = QUOTED.fullmatch(connection.ops.quote_name(model._meta.db_table))
        if quoted is not None:
            schema, table = (part and part.replace('""', '"') for part in quoted.groups())
            labels.setdefault((schema, table), []).append(model._meta.label)
    if not labels:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(TABLES, [[schema for schema, _ in labels], [table for _, table in labels]])
        return {oid: labels[schema, table] for oid, schema, table in cursor.fetchall() if oid}


QUOTED = re.compile(r'(?:"((?:[^"]|"")+)"\.)?"((?:[^"]|"")+)"')
# to_regclass raises an error for a name in a schema that is closed to this role.
TABLES = """
SELECT CASE WHEN s IS NULL THEN pg_catalog.to_regclass(pg_catalog.quote_ident(t))::oid
            ELSE (SELECT c.oid FROM pg_catalog.pg_class c
                  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = s::name AND c.relname = t::name) END, s, t
FROM unnest(%s::text[], %s::text[]) AS names (s, t)
"""


def models_for(models_or_labels: Iterable[type[Model] | str]) -> list[type[Model]]:
    """Return the models that are meant; a label is an app's ("shop") or a model's ("shop.Order").

    Raises ``LookupError`` in one sentence for a label that names nothing installed.
    """
    found: list[type[Model]] = []
    for wanted in models_or_labels:
        if not isinstance(wanted, str):
            found.append(wanted)
            continue
        app_label, _, model_name = wanted.partition(".")
        config = apps.app_configs.get(app_label)
        if config is None:
            there = ", ".join(sorted(apps.app_configs)) or "none"
            raise LookupError(f'There is no app "{app_label}"; installed are: {there}.')
        of_app = {model.__name__.lower(): model for model in config.get_models()}
        if model_name and model_name.lower() not in of_app:
            there = ", ".join(sorted(model.__name__ for model in of_app.values())) or "none"
            raise LookupError(f'App "{app_label}" has no model "{model_name}"; it has: {there}.')
        found += [of_app[model_name.lower()]] if model_name else of_app.values()
    return found


def check_schemas(connection: BaseDatabaseWrapper, schemas: Iterable[str]) -> None:
    """Raise ``LookupError`` in one sentence for a schema that the database does not have."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nspname FROM pg_catalog.pg_namespace"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1"
        )
        there = [name for (name,) in cursor.fetchall()]
    for schema in schemas:
        if schema not in there:
            raise LookupError(
                f'Database "{connection.alias}" has no schema "{schema}"; it has:'
                f" {', '.join(there)}."
            )
