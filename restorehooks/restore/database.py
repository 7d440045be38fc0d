"""The side database: create it, swap it with the live one, undo that, drop what is left.

The live database is touched by one statement pair alone: two renames in one transaction. A marker
in the comment of the other databases says what each is for, and an advisory lock that a killed
run cannot keep says whether that run still lives.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from restorehooks.restore.address import Address

Connection = psycopg.Connection[tuple[Any, ...]]

NAME_LIMIT = 63
"""Bytes in the name of a database (NAMEDATALEN - 1)."""
SECONDS_TO_SWAP = 30.0
SECONDS_TO_READ_BACK = 60.0


class TargetError(Exception):
    """Something stands in the way of the target; one sentence, remedy included."""


class OutcomeUnknownError(TargetError):
    """The connection was lost at COMMIT and the server does not answer any more."""


# --- Markers -----------------------------------------------------------------------------------

_MARK = "restorehooks "


@dataclass(frozen=True)
class Marker:
    """What a database beside the live one is for, kept in its comment.

    ``at`` is UTC in ISO 8601; ``comment`` is what the comment was before.
    """

    role: Literal["side", "previous"]
    live: str
    at: str
    by: str = ""
    comment: str | None = None

    def __str__(self) -> str:
        return _MARK + json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, comment: str | None) -> Marker | None:
        """Return the marker in a database's comment, None where there is none."""
        if comment and comment.startswith(_MARK):
            with suppress(ValueError, TypeError):
                return cls(**json.loads(comment.removeprefix(_MARK)))
        return None


def now() -> str:
    """Return the time as markers have it: UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def beside(live: str, word: str, taken: Sequence[str] = ()) -> str:
    """Return a name for a database beside ``live`` that says what it is and when it was made."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%d_%H%M%S")
    for number in range(1, 1000):
        ending = f"_{word}_{moment}" + (f"_{number}" if number > 1 else "")
        stem = live.encode()[: NAME_LIMIT - len(ending)].decode(errors="ignore")
        if stem + ending not in taken:
            return stem + ending
    raise TargetError(f'There are too many databases beside "{live}".')


# --- The maintenance connection ----------------------------------------------------------------


def connect_beside(address: Address, maintenance: str | None = None) -> Connection:
    """Connect to a database that is not the live one, since that one has to be renamed.

    Raises TargetError when none of them can be entered, psycopg.OperationalError when the server
    itself cannot be reached.
    """
    names = [maintenance] if maintenance else ["postgres", "template1"]
    refused = []
    for name in names:
        if name == address.name:
            continue
        try:
            return address.connect(name)
        except psycopg.OperationalError as error:
            # No such database, no CONNECT privilege, no line in pg_hba.conf: try the next one.
            # (libpq gives no SQLSTATE for a refused connection.)
            if "FATAL" not in str(error) or "password" in str(error):
                raise
            refused.append(str(error).strip().splitlines()[-1])
    raise TargetError(
        f"A second database is needed to work from while {address} is renamed, and none can be "
        f"entered ({'; '.join(refused) or 'it is the live one'}); name one with --maintenance-db, "
        "or restore with --in-place."
    )


class Turn:
    """One run's turn at a live database: a connection beside it that holds an advisory lock.

    The lock ends with the session, so a killed run loses its turn at once.
    """

    def __init__(self, address: Address, maintenance: str | None = None) -> None:
        self.address = address
        self.maintenance = maintenance
        self._connection = self._taken()

    @property
    def connection(self) -> Connection:
        """The connection; a new one, with the turn taken again, where the old one was lost."""
        if not self._connection.closed:
            with suppress(psycopg.OperationalError):
                self._connection.execute("SELECT")
                return self._connection
        self._connection = self._taken()
        return self._connection

    def close(self) -> None:
        """Give the turn back."""
        self._connection.close()

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _taken(self) -> Connection:
        connection = connect_beside(self.address, self.maintenance)
        try:
            key = _key(self.address.name)
            connection.execute("SELECT pg_try_advisory_lock(%s)", [key])
            # Advisory locks are per database, and another run may work from another one.
            holders = connection.execute(HOLDERS, [key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF])
            if others := [str(pid) for (pid, mine) in holders if not mine]:
                raise TargetError(
                    f"Another restore of {self.address} is running (server process "
                    f"{', '.join(others)}); wait for it or end it."
                )
        except BaseException:
            connection.close()
            raise
        return connection


HOLDERS = """
SELECT pid, pid = pg_backend_pid() FROM pg_catalog.pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid = %s AND objid = %s
"""


def _key(name: str) -> int:
    digest = hashlib.sha256(b"restorehooks:restore:" + name.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


# --- What is there -----------------------------------------------------------------------------

DATABASE = """
SELECT d.oid, d.datname AS name, pg_catalog.pg_get_userbyid(d.datdba) AS owner,
       pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS collate, d.datctype AS ctype, t.spcname AS tablespace,
       d.dattablespace <> (SELECT dattablespace FROM pg_catalog.pg_database
                           WHERE datname = 'template0') AS elsewhere,
       d.datconnlimit AS connection_limit, d.datistemplate AS is_template,
       pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
       to_jsonb(d) ->> 'datlocprovider' AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS rules
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = %s
"""

OWN_OBJECTS = """
SELECT kind, count(*) FROM (
    SELECT 'relation' AS kind, 'pg_class'::regclass AS catalog, c.oid
    FROM pg_catalog.pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    UNION ALL SELECT 'function', 'pg_proc'::regclass, oid FROM pg_catalog.pg_proc
    UNION ALL SELECT 'type', 'pg_type'::regclass, oid FROM pg_catalog.pg_type
        WHERE typtype IN ('d', 'e', 'r')
    UNION ALL SELECT 'schema', 'pg_namespace'::regclass, oid FROM pg_catalog.pg_namespace
        WHERE nspname !~ '^pg_(toast|temp)'
    UNION ALL SELECT 'large object', 'pg_largeobject'::regclass, oid
        FROM pg_catalog.pg_largeobject_metadata
    UNION ALL SELECT 'operator', 'pg_operator'::regclass, oid FROM pg_catalog.pg_operator
    UNION ALL SELECT 'collation', 'pg_collation'::regclass, oid FROM pg_catalog.pg_collation
    UNION ALL SELECT 'publication', 'pg_publication'::regclass, oid FROM pg_catalog.pg_publication
    UNION ALL SELECT 'server', 'pg_foreign_server'::regclass, oid
        FROM pg_catalog.pg_foreign_server
    UNION ALL SELECT 'event trigger', 'pg_event_trigger'::regclass, oid
        FROM pg_catalog.pg_event_trigger
) AS object
WHERE oid >= 16384  -- FirstNormalObjectId: everything below came with initdb
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = catalog AND d.objid = object.oid AND d.deptype = 'e')
GROUP BY kind ORDER BY kind
"""

_LOCALE_OPTION = {"i": "ICU_LOCALE", "b": "BUILTIN_LOCALE"}
_PROVIDER = {"c": "libc", "i": "icu", "b": "builtin"}


@dataclass(frozen=True)
class Live:
    """The database an alias points at: what pg_database says, None as ``oid`` if it is missing.

    ``size`` is in bytes. ``objects`` counts what it holds by kind, without what belongs to
    extensions: nothing in there means that it is empty.
    """

    name: str
    oid: int | None = None
    owner: str = ""
    size: int = 0
    objects: Mapping[str, int] = field(default_factory=dict)
    server_version: int = 0
    properties: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> bool:
        """There is no such database."""
        return self.oid is None

    @property
    def empty(self) -> bool:
        """Nothing would be lost: it is missing, or holds extensions' objects alone."""
        return not self.objects


def look(address: Address, beside: Connection | None) -> Live:
    """Return what stands where the alias points; ``beside`` is a maintenance connection.

    Raises TargetError for a database that this role may not enter.
    """
    connection = beside or address.connect(address.name)
    try:
        version = connection.info.server_version
        cursor = connection.cursor(row_factory=dict_row).execute(DATABASE, [address.name])
        if (found := cursor.fetchone()) is None:
            return Live(address.name, server_version=version)
        size, objects = _contents(address)
        return Live(
            name=address.name,
            oid=found["oid"],
            owner=found["owner"],
            size=size,
            objects=objects,
            server_version=version,
            properties=found,
        )
    finally:
        if connection is not beside:
            connection.close()


def _contents(address: Address) -> tuple[int, dict[str, int]]:
    try:
        with address.connect(address.name) as inside:
            row = inside.execute("SELECT pg_database_size(current_database())").fetchone()
            counted: list[Any] = inside.execute(OWN_OBJECTS).fetchall()
            return (row[0] if row else 0), dict(counted)
    except psycopg.OperationalError as error:
        raise TargetError(f"{address} cannot be entered: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# --- What cannot be carried over ---------------------------------------------------------------


@dataclass(frozen=True)
class Obstacle:
    """Something that stands in the way of a swap.

    ``kind`` is "refused" where nothing helps but to change it, "lost" where it would not come
    over to the new database and ``--accept-lost-settings`` agrees to that.
    """

    kind: Literal["refused", "lost"]
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


RIGHTS = """
SELECT r.rolsuper, r.rolsuper OR r.rolcreatedb,
       r.rolsuper OR coalesce((SELECT pg_catalog.pg_has_role(d.datdba, 'USAGE')
                               FROM pg_catalog.pg_database d WHERE d.datname = %(live)s), true),
       coalesce((SELECT pg_catalog.has_tablespace_privilege(d.dattablespace, 'CREATE')
                 OR d.dattablespace = (SELECT t.dattablespace FROM pg_catalog.pg_database t
                                       WHERE t.datname = 'template0')
                 FROM pg_catalog.pg_database d WHERE d.datname = %(live)s), true)
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""

ENDABLE = """
SELECT a.pid, coalesce(a.usename, ''), me.rolsuper OR (
           NOT coalesce(r.rolsuper, true)
           AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE')
                OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
FROM pg_catalog.pg_stat_activity a
JOIN pg_catalog.pg_roles me ON me.rolname = current_user
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
WHERE a.datname = ANY(%s) AND a.pid <> pg_backend_pid()
  AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
"""

STAYING = """
SELECT 'logical replication slot "' || slot_name || '"', false
FROM pg_catalog.pg_replication_slots WHERE database = %(live)s
UNION ALL
SELECT 'subscription "' || subname || '"', false FROM pg_catalog.pg_subscription s
JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = %(live)s
UNION ALL
SELECT 'prepared transaction "' || gid || '"', true
FROM pg_catalog.pg_prepared_xacts WHERE database = %(live)s
"""


def rights(connection: Connection, live: Live) -> tuple[bool, list[Obstacle]]:
    """Return whether the role is a superuser, and what it lacks to create and rename databases."""
    row = connection.execute(RIGHTS, {"live": live.name}).fetchone()
    assert row  # noqa: S101 - current_user is a role
    superuser, creates, owns, place = row
    lacks = []
    user = _current_user(connection)
    if not creates:
        lacks.append(
            Obstacle(
                "refused",
                f'the role "{user}" may not create databases',
                f'a superuser grants it with ALTER ROLE "{user}" CREATEDB, or restore --in-place',
            )
        )
    if not owns:
        lacks.append(
            Obstacle(
                "refused",
                f'the role "{user}" does not own the database "{live.name}", "{live.owner}" does',
                f'restore as "{live.owner}" or as a member of it, or --in-place',
            )
        )
    if not place:
        lacks.append(
            Obstacle(
                "refused",
                f'the role "{user}" may not create in the tablespace '
                f'"{live.properties["tablespace"]}" of "{live.name}"',
                "a superuser grants it with GRANT CREATE ON TABLESPACE",
            )
        )
    return superuser, lacks


def _current_user(connection: Connection) -> str:
    row = connection.execute("SELECT current_user").fetchone()
    assert row  # noqa: S101 - there always is one
    return str(row[0])


def obstacles(connection: Connection, live: Live) -> list[Obstacle]:
    """Return what would be lost by a swap, and what would prevent it; changes nothing."""
    if live.missing:
        return []
    found = []
    for what, refused in connection.execute(STAYING, {"live": live.name}).fetchall():
        if refused:
            remedy = "COMMIT PREPARED or ROLLBACK PREPARED it first"
            found.append(Obstacle("refused", f'the {what} is open in "{live.name}"', remedy))
        else:
            found.append(
                Obstacle("lost", f"the {what} would stay with the old database", _ACCEPTED)
            )
    foreign: dict[str, int] = {}
    for _, user, endable in connection.execute(ENDABLE, [[live.name]]).fetchall():
        if not endable:
            foreign[user] = foreign.get(user, 0) + 1
    for user, count in foreign.items():
        whose = f'{count} session(s) of "{user}"' if user else f"{count} background worker(s)"
        found.append(
            Obstacle(
                "lost",
                f'{whose} in "{live.name}" cannot be ended by this role',
                f"disconnect them first, or {_ACCEPTED} (the swap waits for them)",
            )
        )
    return found + _rehearsed(connection, live)


_ACCEPTED = "--accept-lost-settings agrees to it"


def _rehearsed(connection: Connection, live: Live) -> list[Obstacle]:
    # The server alone knows what this role may set: ask it, on the live database, and roll back.
    found = []
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL lock_timeout = '5s'")
        for carry in carried(connection, live):
            if refusal := _refusal(connection, carry.to(live.name)):
                what = f"{carry.what} cannot be carried over ({refusal})"
                found.append(Obstacle("lost", what, _ACCEPTED))
    return found


def _refusal(connection: Connection, statement: sql.Composed) -> str | None:
    """Run a statement under a savepoint; return why the server refused it, None if it did not."""
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return _first_line(error)
    return None


# --- What is carried over ----------------------------------------------------------------------


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


# --- Creating and dropping ---------------------------------------------------------------------


def create_side(turn: Turn, live: Live, by: str) -> tuple[str, int]:
    """Create the empty database that will become the live one; return its name and oid."""
    connection = turn.connection
    name = beside(live.name, "restoring", names(connection))
    options = _like(live) if not live.missing else _sensible(connection)
    try:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ").format(sql.Identifier(name)) + options
        )
    except psycopg.Error as error:
        raise TargetError(
            f'The database "{name}" cannot be created: {_first_line(error)}'
        ) from None
    mark(connection, name, Marker("side", live.name, now(), by))
    row = connection.execute(OID, [name]).fetchone()
    if row is None:
        raise TargetError(f'The database "{name}" was dropped by somebody else.')
    return name, row[0]


OID = "SELECT oid FROM pg_catalog.pg_database WHERE datname = %s"


def _like(live: Live) -> sql.Composed:
    found = live.properties
    options = {
        "ENCODING": sql.Literal(found["encoding"]),
        "LC_COLLATE": sql.Literal(found["collate"]),
        "LC_CTYPE": sql.Literal(found["ctype"]),
        "OWNER": sql.Identifier(found["owner"]),
    }
    # Naming even the default tablespace takes a privilege that ordinary roles do not have.
    if found["elsewhere"]:
        options["TABLESPACE"] = sql.Identifier(found["tablespace"])
    if found["provider"]:
        options["LOCALE_PROVIDER"] = sql.SQL(_PROVIDER[found["provider"]])
        if option := _LOCALE_OPTION.get(found["provider"]):
            options[option] = sql.Literal(found["locale"])
        if found["rules"]:
            options["ICU_RULES"] = sql.Literal(found["rules"])
    # The collation version is the system's own: everything in it will have been sorted by that.
    return sql.SQL(" ").join(
        sql.SQL("{} {}").format(sql.SQL(key), value) for key, value in options.items()
    )


def _sensible(connection: Connection) -> sql.Composed:
    # Django speaks UTF-8; a cluster made with the locale C is SQL_ASCII unless told otherwise.
    row = connection.execute(PLAIN_C).fetchone()
    return sql.SQL("{}").format(sql.SQL("ENCODING 'UTF8'" if row and row[0] else ""))


PLAIN_C = """
SELECT datcollate IN ('C', 'POSIX') FROM pg_catalog.pg_database WHERE datname = 'template0'
"""


def mark(connection: Connection, name: str, marker: Marker) -> None:
    """Write into a database's comment what it is for."""
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            sql.Identifier(name), sql.Literal(str(marker))
        )
    )


def drop(connection: Connection, name: str) -> None:
    """Drop a database that is not live, with whatever sessions it has."""
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )


def names(connection: Connection) -> list[str]:
    """Return the names of all databases of the server."""
    return [row[0] for row in connection.execute("SELECT datname FROM pg_catalog.pg_database")]


# --- What earlier runs left --------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A database beside the live one: of a killed run ("side"), or kept for undo ("previous").

    ``size`` is in bytes, None where this role may not ask.
    """

    name: str
    oid: int
    marker: Marker
    size: int | None


MARKED = """
SELECT d.datname, d.oid, pg_catalog.shobj_description(d.oid, 'pg_database'),
       CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
            THEN pg_catalog.pg_database_size(d.oid) END
FROM pg_catalog.pg_database d WHERE NOT d.datistemplate
"""


def kept(connection: Connection, live: str, role: Literal["side", "previous"]) -> list[Kept]:
    """Return the databases beside ``live`` of one kind, the latest first.

    Ask for "side" while holding the turn: then they are leftovers of runs that were killed.
    """
    stem = re.escape(live.encode()[: NAME_LIMIT - 26].decode(errors="ignore"))
    named = re.compile(rf"{stem}.*_restoring_\d{{8}}_\d{{6}}(_\d+)?", re.DOTALL)
    found = []
    for name, oid, comment, size in connection.execute(MARKED).fetchall():
        marker = Marker.read(comment)
        if marker is None and comment is None and named.fullmatch(name):
            # The run was killed between CREATE DATABASE and the marker.
            marker = Marker("side", live, "")
        if marker and marker.live == live and marker.role == role and name != live:
            found.append(Kept(name, oid, marker, size))
    return sorted(found, key=lambda one: (one.marker.at, one.name), reverse=True)


# --- The swap ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Swapped:
    """What a swap did: the name the database that was live has now, and what was lost."""

    previous: str | None
    lost: tuple[str, ...] = ()


def swap(
    turn: Turn,
    live: Live,
    side: tuple[str, int],
    *,
    by: str,
    accept_lost: bool = False,
    seconds: float = SECONDS_TO_SWAP,
    interrupted: Callable[[], bool] = lambda: False,
) -> Swapped:
    """Put the side database in the live one's place, in one transaction.

    Raises TargetError when it could not be done, and the live database is as it was;
    OutcomeUnknownError when the server is gone and nobody can say.
    """
    comment = live.properties.get("comment")
    previous = None if live.missing else beside(live.name, "before", names(turn.connection))
    lost: list[str] = []

    def carry(connection: Connection) -> None:
        lost.clear()
        found = connection.execute(OID, [previous]).fetchone()
        if previous and found != (live.oid,):
            raise TargetError(f'"{live.name}" was replaced by somebody else meanwhile.')
        # The renames are done: the live database goes by its new name here.
        renamed = Live(previous or "", live.oid, live.owner, properties=live.properties)
        for one in carried(connection, renamed) if previous else ():
            if refusal := _refusal(connection, one.to(live.name)):
                if not accept_lost:
                    raise TargetError(f"{one.what} cannot be carried over: {refusal}")
                lost.append(one.what)
        if previous:
            mark(connection, previous, Marker("previous", live.name, now(), by, comment))
        else:
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS NULL").format(sql.Identifier(live.name))
            )

    exchange(turn, live.name, side, previous, carry, seconds=seconds, interrupted=interrupted)
    return Swapped(previous, tuple(lost))


def undo(
    turn: Turn, live: Live, back: Kept, *, by: str, seconds: float = SECONDS_TO_SWAP
) -> Swapped:
    """Put a previous database back in the live one's place; the live one is kept like it was.

    It comes back with the settings it had: they stayed with it.
    """
    previous = None if live.missing else beside(live.name, "before", names(turn.connection))
    comment = live.properties.get("comment")

    def finish(connection: Connection) -> None:
        before = back.marker.comment
        value = sql.Literal(before) if before is not None else sql.SQL("NULL")
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(live.name), value)
        )
        if previous:
            mark(connection, previous, Marker("previous", live.name, now(), by, comment))

    exchange(turn, live.name, (back.name, back.oid), previous, finish, seconds=seconds)
    return Swapped(previous)


def exchange(
    turn: Turn,
    live: str,
    incoming: tuple[str, int],
    outgoing: str | None,
    finish: Callable[[Connection], None],
    *,
    seconds: float = SECONDS_TO_SWAP,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Rename ``live`` to ``outgoing`` and ``incoming`` to ``live``, and ``finish``, as one."""
    deadline = time.monotonic() + seconds
    renames = [(live, outgoing)] if outgoing else []
    renames.append((incoming[0], live))
    with connect_beside(turn.address, turn.maintenance) as doorkeeper:
        while (busy := _exchanged(turn, doorkeeper, renames, incoming[1], finish)) is not None:
            if interrupted():
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise TargetError(
                    f'The sessions in "{live}" could not be put off in {seconds:.0f} seconds '
                    f"({_first_line(busy)} {busy.diag.message_detail or ''})"
                )


def _exchanged(
    turn: Turn,
    doorkeeper: Connection,
    renames: Sequence[tuple[str, str]],
    oid: int,
    finish: Callable[[Connection], None],
) -> psycopg.Error | None:
    connection = turn.connection
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            # What was loaded with synchronous_commit off is on disk once this commit is.
            connection.execute("SET LOCAL synchronous_commit = on")
            with _door_kept(doorkeeper, [old for old, _ in renames]):
                for names in renames:
                    connection.execute(
                        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                            *(sql.Identifier(name) for name in names)
                        )
                    )
            # From here on nobody can connect to either until the commit.
            finish(connection)
    except (errors.ObjectInUse, errors.LockNotAvailable) as error:
        return error
    except psycopg.Error as error:
        # A connection lost at COMMIT says nothing of the commit; the server knows.
        if not (connection.closed and _read_back(turn, renames[-1][1], oid)):
            raise TargetError(f"The swap failed: {_first_line(error)}") from None
    return None


@contextmanager
def _door_kept(doorkeeper: Connection, databases: list[str]) -> Iterator[None]:
    """End the sessions in these databases again and again while the block runs."""
    over = threading.Event()

    def keep() -> None:
        with suppress(psycopg.Error):
            while not over.wait(0.02):
                for pid, _, endable in doorkeeper.execute(ENDABLE, [databases]).fetchall():
                    if endable:
                        doorkeeper.execute("SELECT pg_terminate_backend(%s)", [pid])

    thread = threading.Thread(target=keep, name="restorehooks-door", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _read_back(turn: Turn, live: str, oid: int) -> bool:
    """Tell whether the database with this oid is the live one, once the server answers again."""
    deadline = time.monotonic() + SECONDS_TO_READ_BACK
    while (found := _name_of(turn, oid)) == UNKNOWN:
        if time.monotonic() > deadline:
            raise OutcomeUnknownError(
                "The server does not answer, so whether the swap took place is not known."
            )
        time.sleep(0.5)
    return found == live


UNKNOWN = object()


def _name_of(turn: Turn, oid: int) -> object:
    try:
        with connect_beside(turn.address, turn.maintenance) as connection:
            _wait_for_the_lost_session(connection, turn)
            query = "SELECT datname FROM pg_catalog.pg_database WHERE oid = %s"
            row = connection.execute(query, [oid]).fetchone()
            return row[0] if row else None
    except (psycopg.OperationalError, TargetError):
        return UNKNOWN


def _wait_for_the_lost_session(connection: Connection, turn: Turn) -> None:
    # Its backend may still be committing: it holds the turn until it has ended.
    key = _key(turn.address.name)
    deadline = time.monotonic() + SECONDS_TO_SWAP
    while time.monotonic() < deadline:
        holders = connection.execute(HOLDERS, [key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF])
        if not holders.fetchall():
            return
        time.sleep(0.1)
