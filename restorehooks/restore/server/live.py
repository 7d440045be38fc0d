"""The live database: what it is and holds, read and never written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
from psycopg.rows import dict_row

from restorehooks.restore.errors import TargetError
from restorehooks.wording import first_line

from .address import Address, Connection
from .extension_rows import filled_tables

DATABASE = """
SELECT d.oid, d.datname AS name, pg_catalog.pg_get_userbyid(d.datdba) AS owner,
       pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS collate, d.datctype AS ctype, t.spcname AS tablespace,
       d.dattablespace <> (SELECT dattablespace FROM pg_catalog.pg_database
                           WHERE datname = 'template0') AS elsewhere,
       d.datconnlimit AS connection_limit, d.datistemplate AS is_template,
       d.datallowconn AS enterable,
       pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
       pg_catalog.to_jsonb(d) ->> 'datlocprovider' AS provider,
       coalesce(pg_catalog.to_jsonb(d) ->> 'datlocale',
                pg_catalog.to_jsonb(d) ->> 'daticulocale') AS locale,
       pg_catalog.to_jsonb(d) ->> 'daticurules' AS rules
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = %s
"""

SIZE = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database()), current_user"

OWN_OBJECTS = """
SELECT kind, pg_catalog.count(*) FROM (
    SELECT 'relation' AS kind, 'pg_class'::regclass AS catalog, c.oid
    FROM pg_catalog.pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL SELECT 'function', 'pg_proc'::regclass, oid FROM pg_catalog.pg_proc
    UNION ALL SELECT 'type', 'pg_type'::regclass, oid FROM pg_catalog.pg_type
        -- A composite type is a relation too, and an extension's member as a type alone.
        WHERE typtype IN ('d', 'e', 'r') OR typrelid IN (SELECT oid FROM pg_catalog.pg_class
                                                         WHERE relkind = 'c')
           OR NOT typisdefined  -- CREATE TYPE name, and no more
    UNION ALL SELECT 'schema', 'pg_namespace'::regclass, oid FROM pg_catalog.pg_namespace
        -- The schema that CREATE EXTENSION makes is no member of the extension.
        WHERE nspname !~ '^pg_(toast|temp)'
          AND oid NOT IN (SELECT extnamespace FROM pg_catalog.pg_extension)
    UNION ALL SELECT 'large object', 'pg_largeobject'::regclass, oid
        FROM pg_catalog.pg_largeobject_metadata
    UNION ALL SELECT 'operator', 'pg_operator'::regclass, oid FROM pg_catalog.pg_operator
    UNION ALL SELECT 'operator family', 'pg_opfamily'::regclass, oid FROM pg_catalog.pg_opfamily
    UNION ALL SELECT 'cast', 'pg_cast'::regclass, oid FROM pg_catalog.pg_cast
    UNION ALL SELECT 'conversion', 'pg_conversion'::regclass, oid FROM pg_catalog.pg_conversion
    UNION ALL SELECT 'text search dictionary', 'pg_ts_dict'::regclass, oid
        FROM pg_catalog.pg_ts_dict
    UNION ALL SELECT 'text search configuration', 'pg_ts_config'::regclass, oid
        FROM pg_catalog.pg_ts_config
    UNION ALL SELECT 'foreign-data wrapper', 'pg_foreign_data_wrapper'::regclass, oid
        FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT 'collation', 'pg_collation'::regclass, oid FROM pg_catalog.pg_collation
    UNION ALL SELECT 'publication', 'pg_publication'::regclass, oid FROM pg_catalog.pg_publication
    UNION ALL SELECT 'server', 'pg_foreign_server'::regclass, oid
        FROM pg_catalog.pg_foreign_server
    UNION ALL SELECT 'event trigger', 'pg_event_trigger'::regclass, oid
        FROM pg_catalog.pg_event_trigger
) AS object
WHERE (oid >= 16384 OR kind = 'large object')  -- FirstNormalObjectId: below came with initdb
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = catalog AND d.objid = object.oid AND d.deptype = 'e')
GROUP BY kind ORDER BY kind
"""


@dataclass(frozen=True)
class Live:
    """The database an alias points at: what pg_database says, None as ``oid`` if it is missing.

    ``size`` is in bytes. ``objects`` counts what it holds by kind, without what belongs to
    extensions, but with their tables that hold rows of users: nothing in there means that it is
    empty. ``role`` is whom a session there acts as, which ALTER ROLE and ALTER DATABASE may set.
    """

    name: str
    oid: int | None = None
    owner: str = ""
    size: int = 0
    objects: Mapping[str, int] = field(default_factory=dict)
    server_version: int = 0
    properties: Mapping[str, Any] = field(default_factory=dict, repr=False)
    role: str = ""

    @property
    def missing(self) -> bool:
        """There is no such database."""
        return self.oid is None

    @property
    def empty(self) -> bool:
        """Nothing would be lost: it is missing, or holds what extensions have made alone."""
        return not self.objects


def read_live(address: Address, maintenance: Connection | None) -> Live:
    """Return what stands where the alias points, asked through the maintenance connection if any.

    Raises TargetError for a database that this role may not enter.
    """
    connection = maintenance or address.connect(address.name)
    try:
        version = connection.info.server_version
        cursor = connection.cursor(row_factory=dict_row).execute(DATABASE, [address.name])
        if (found := cursor.fetchone()) is None:
            return Live(address.name, server_version=version)
        size, role, objects = _contents(address, address.name)
        return Live(
            name=address.name,
            oid=found["oid"],
            owner=found["owner"],
            size=size,
            objects=objects,
            server_version=version,
            properties=found,
            role=role,
        )
    finally:
        if connection is not maintenance:
            connection.close()


def is_empty(address: Address, name: str) -> bool:
    """Tell whether nothing would be lost with this database."""
    *_, objects = _contents(address, name)
    return not objects


def _contents(address: Address, name: str) -> tuple[int, str, dict[str, int]]:
    try:
        with address.connect(name) as inside:
            row = inside.execute(SIZE).fetchone()
            counted: dict[str, int] = dict(cast(list[Any], inside.execute(OWN_OBJECTS).fetchall()))
            if filled := filled_tables(inside):
                counted["filled extension table"] = filled
            assert row  # noqa: S101 - it has no FROM
            return row[0], row[1], counted
    except psycopg.OperationalError as error:
        raise TargetError(f'"{name}" cannot be entered: {first_line(error)}') from None
