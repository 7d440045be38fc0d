"""Which sequences a run is about: models and the tables that stand for them, schemas, names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from django.apps import apps
from django.db import router
from django.db.migrations.recorder import MigrationRecorder

from restorehooks.driver import sql
from restorehooks.wording import first_of, no, printable

from .message import send
from .session import PATH

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model


LOCK_TIMEOUT = 2.0


@dataclass(frozen=True)
class Scope:
    """Which sequences of a database are meant; None leaves a field without effect.

    ``models`` keeps the sequences that number their tables, ``schemas`` those that stand in one of
    these schemas or number a table there, ``sequences`` those with these names (as in
    ``Entry.sequence``). ``only_usable`` leaves out those that this role may not draw from, unless
    they number the table of an installed model.
    """

    models: Collection[type[Model]] | None = None
    schemas: Collection[str] | None = None
    sequences: Collection[str] | None = None
    only_usable: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole database."""
        return self.models is None and self.schemas is None and self.sequences is None


@dataclass(frozen=True)
class Limits:
    """How much a run may do.

    ``lock_timeout`` is the number of seconds that it waits, in all, for locks. ``scan_limit`` is
    the number of bytes of a table beyond which a column that no index leads is left unread; None
    reads every column. ``follows_lone_rows``: a sequence is moved past a single row that stands
    far beyond all others, too; nothing brings it back from there. ``names`` says what happens to a
    column that only the sequence's name leads to: it is "ignored", "reported" or "repaired".
    ``ignore`` maps names and patterns of sequences and columns that are left alone to the reasons,
    ``links`` maps columns (``app.Model.field`` or ``schema.table.column``) to the sequences that
    clients or triggers draw their numbers from. ``connections`` is how many a run may use at once
    where there is much to do, the caller's included.
    """

    lock_timeout: float = LOCK_TIMEOUT
    scan_limit: int | None = None
    follows_lone_rows: bool = True
    names: Literal["ignored", "reported", "repaired"] = "reported"
    ignore: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    connections: int = 1

    def reason_to_ignore(self, name: str) -> str | None:
        """Return why a sequence or column is left alone, None where it is not."""
        return next((why for each, why in self.ignore.items() if fnmatchcase(name, each)), None)


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
    """Return every installed model, automatic ones included, that the router allows there.

    Among them is the one of ``django_migrations``, which is in no registry.
    """
    if not apps.ready:
        return []
    every = apps.get_models(include_auto_created=True)
    allowed = [model for model in every if router.allow_migrate_model(using, model)]
    return [*allowed, MigrationRecorder.Migration]


def tables_named(
    connection: BaseDatabaseWrapper, models: Iterable[type[Model]]
) -> dict[Name, list[str]]:
    """Return the names of the models' tables, each with the labels of its models."""
    labels: dict[Name, list[str]] = {}
    for model in models:
        schema, table = None, model._meta.db_table
        if '"' in table:
            quoted = QUOTED.fullmatch(connection.ops.quote_name(table))
            if quoted is None:
                continue
            schema, table = (part and part.replace('""', '"') for part in quoted.groups())
        table = table.encode()[:NAME_LIMIT].decode(errors="ignore")
        labels.setdefault((schema, table), []).append(model._meta.label)
    return labels


def in_schemas(labels: dict[Name, list[str]], schemas: Collection[str]) -> dict[Name, list[str]]:
    """Return the same names, each in all of these schemas where the model does not name one.

    A schema that is asked for is where the tables are looked up, whatever the ``search_path`` is.
    """
    return {
        (each, table): found
        for (schema, table), found in labels.items()
        for each in ([schema] if schema is not None else schemas)
    }


def tables_of(connection: BaseDatabaseWrapper, names: Collection[Name]) -> dict[int, Name]:
    """Return the oids of the tables that exist.

    Names are looked up by the server, so the ``search_path`` counts. A table of a schema that is
    closed to this role is among them, so that it is reported.
    """
    if not names:
        return {}
    wanted = json.dumps([{"s": s, "t": t} for s, t in names])
    (found,) = send(connection, [FIND_TABLES.format(sql.Literal(wanted))], LOCK_TIMEOUT)
    return {oid: (schema, table) for oid, schema, table in found}


def with_parents(
    connection: BaseDatabaseWrapper, names: Collection[tuple[str, str]], lock_timeout: float
) -> list[int]:
    """Return the oids of tables, and of what they are partitions or children of.

    ``names`` are raw schemas and names; ``lock_timeout`` is in seconds.
    """
    schemas, relations = ([*part] for part in zip(*names, strict=True))
    lineage = WITH_PARENTS.format(sql.Literal(schemas), sql.Literal(relations))
    (rows,) = send(connection, [lineage], lock_timeout)
    return [oid for (oid,) in rows]


WITH_PARENTS = sql.SQL("""
WITH RECURSIVE kin (oid) AS (
    SELECT c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN unnest({}::name[], {}::name[]) AS wanted (schema, name)
        ON wanted.schema = n.nspname AND wanted.name = c.relname
    UNION
    SELECT i.inhparent FROM kin JOIN pg_catalog.pg_inherits i ON i.inhrelid = kin.oid
)
SELECT oid FROM kin
""")

Name = tuple[str | None, str]
"""The raw schema, None for one that the ``search_path`` finds, and name of a table."""
NAME_LIMIT = 63
"""Bytes of a name that PostgreSQL looks at (NAMEDATALEN - 1)."""
QUOTED = re.compile(r'(?:"((?:[^"]|"")+)"\.)?"((?:[^"]|"")+)"')
# As to_regclass does it, which raises an error, though, for a name in a schema that is closed to
# this role, and takes ten times as long for a thousand names.
FIND_TABLES = sql.SQL(f"""
SELECT DISTINCT ON (s, t) c.oid, s, t
FROM json_to_recordset({{}}) AS names (s text, t text)
JOIN pg_class c ON c.relname = t::name
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN {PATH} WITH ORDINALITY AS path (name, position) ON path.name = n.nspname
WHERE CASE WHEN s IS NULL THEN path.position IS NOT NULL ELSE n.nspname = s::name END
ORDER BY s, t, path.position
""")  # noqa: S608 - constants


def models_for(models_or_labels: Iterable[type[Model] | str]) -> list[type[Model]]:
    """Return the models that are meant; a label is an app's ("shop") or a model's ("shop.Order").

    Raises ``LookupError`` in one sentence for a label that names nothing installed.
    """
    found: list[type[Model]] = []
    for wanted in models_or_labels:
        if not isinstance(wanted, str):
            found.append(wanted)
            continue
        app_label, dot, model_name = wanted.partition(".")
        config = apps.app_configs.get(app_label)
        if config is None:
            there = ", ".join(sorted(apps.app_configs)) or "none"
            raise LookupError(f"There is {no('app', app_label)}; installed are: {there}.")
        of_app = {model.__name__.lower(): model for model in config.get_models()}
        if dot and model_name.lower() not in of_app:
            there = ", ".join(sorted(model.__name__ for model in of_app.values())) or "none"
            raise LookupError(f'App "{app_label}" has no model "{model_name}"; it has: {there}.')
        found += [of_app[model_name.lower()]] if model_name else of_app.values()
    return found


def schemas_named(connection: BaseDatabaseWrapper, wanted: Iterable[str]) -> list[str]:
    """Return the schemas that are meant, each by its name or by a pattern such as ``tenant_*``.

    A pattern means all that fit, also where somebody has a schema of that very name. Raises
    ``LookupError`` in one sentence for one that the database does not have.
    """
    (rows,) = send(connection, [SCHEMAS], LOCK_TIMEOUT)
    there = [name for (name,) in rows]
    found: dict[str, None] = {}
    for name in wanted:
        meant = [s for s in there if s == name or fnmatchcase(s, name)]
        if not meant:
            some = first_of([*map(printable, there)], SHOWN)
            raise LookupError(
                f'Database "{connection.alias}" has no schema "{name}"; it has: {some}.'
            )
        found |= dict.fromkeys(meant)
    return list(found)


SHOWN = 20
"""How many schemas a sentence names: under tenants there may be hundreds."""


SCHEMAS = (
    "SELECT nspname FROM pg_namespace"
    " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1"
)
