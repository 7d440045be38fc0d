"""Which database an alias means: another one for a while, and never by assumption.

The server is asked where a connection leads, so that a hook that scrubs a copy can never scrub
production.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.signals import connection_created
from psycopg.pq import TransactionStatus

from . import caches
from .errors import HookError
from .server.address import Address
from .server.direct import Identity, identity, identity_at
from .server.keywords import variables_of_libpq, without_variables
from .server.lock import RestoreLock
from .server.session_settings import unlimited


@contextmanager
def pointed_at(using: str, database: str, lock: RestoreLock) -> Iterator[None]:
    """Let the alias, and every other one for the same database, mean ``database`` in the block.

    Which others those are their servers say: one may lead through a pooler, one to a standby. They
    lead to the very server that the lock is held on, and their sessions have no time limits, may
    write, commit each statement, and wait for no standby. Connections and pools are closed before
    and after: a pool keeps the NAME that it was made with. Raises HookError when the server says
    that the alias still leads elsewhere, and in the block where a connection of another alias leads
    to the live database; LockLostError when that is not where the lock is held.
    """
    # Functions: reports of errors show variables, and settings hold passwords.
    before = {alias: _restoring(connections[alias]) for alias in _same_place(using, lock)}

    def lift(connection: Any, **_: Any) -> None:
        is_live = database == lock.address.name  # in place
        if connection.alias in before:
            unlimited(connection.connection)
            if is_live and connection.alias != using:
                connection.connection.execute(OTHERS_WAIT)
        elif not is_live and _is_live(connection, lock):  # it did not answer when it was asked
            connection.close()
            raise HookError(
                f'The alias "{connection.alias}" leads to the live database, and did not say so '
                "when the hooks began: nothing was run there."
            )

    connection_created.connect(lift)
    try:
        for alias in before:
            close_connections(alias)
            _point(connections[alias], database, lock)
        require_database(using, database, lock)
        yield
    finally:
        connection_created.disconnect(lift)
        for alias in before:
            close_connections(alias)
            before[alias]()


OTHERS_WAIT = "SET lock_timeout = '2s'"
"""For other aliases in place: what the one transaction has locked would be waited for for ever."""


def _restoring(connection: Any) -> Callable[[], None]:
    settings, before = connection.settings_dict, dict(connection.settings_dict)
    return lambda: settings.update(before)


@without_variables
def _point(connection: Any, database: str, lock: RestoreLock) -> None:
    settings = connection.settings_dict
    found, libpqs = {**lock.address.parameters, **lock.address.secrets}, variables_of_libpq()
    place = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    # The time to connect is bounded, since signals may be deferred meanwhile. The alias's own
    # sslmode and the like may be meant for a pooler on this machine.
    own = {key: value for key, value in settings["OPTIONS"].items() if key not in libpqs}
    options = {key: value for key, value in found.items() if key not in place.values()}
    settings.update(
        {name: found.get(key, "") for name, key in place.items()},
        NAME=database,
        AUTOCOMMIT=True,
        PASSWORD=found.get("password", settings["PASSWORD"]),
        OPTIONS={**own, **options},
    )


def commit_what_is_open(using: str) -> None:
    """Commit what a project's code has left open: to close its connection would undo that.

    By every alias of the same address, as all for the same database are within ``pointed_at``.
    Raises HookError where it has failed there. In a transaction of ours nothing is done.
    """
    for alias in _spelled_alike(using):
        connection: Any = connections[alias]
        if connection.connection is None or connection.in_atomic_block:
            continue
        status = connection.connection.info.transaction_status
        if status == TransactionStatus.INERROR:
            raise HookError(f'A failed transaction was left open on the alias "{alias}".')
        if status == TransactionStatus.INTRANS:
            connection.commit()


def close_connections(using: str) -> None:
    """Close this thread's connection of the alias, and the pool if it has one.

    What Django keeps of its database in memory is forgotten.
    """
    connection: Any = connections[using]
    connection.close()
    if connection.settings_dict["OPTIONS"].get("pool"):
        connection.close_pool()
    caches.forget(using)


def _same_place(using: str, lock: RestoreLock) -> list[str]:
    """Return the aliases for the database of one: of the same address, or so their servers say."""
    alike = _spelled_alike(using)
    others = [each for each in _postgresql_aliases() if each not in alike]
    live = identity(lock.connection, lock.address.name) if others else None
    return [*alike, *(each for each in others if live and _is_at(each, live))]


def _spelled_alike(using: str) -> list[str]:
    def place(alias: str) -> tuple[Any, ...]:
        found = connections[alias].settings_dict
        # With a service, HOST and PORT may be empty in all of them.
        return found["NAME"], found["HOST"], found["PORT"], found["OPTIONS"].get("service")

    wanted = place(using)
    return [alias for alias in _postgresql_aliases() if place(alias) == wanted]


def _postgresql_aliases() -> Iterator[str]:
    for alias in connections:
        with suppress(ImproperlyConfigured, ImportError):  # its driver is not installed
            if connections[alias].vendor == "postgresql":
                yield alias


def _is_at(alias: str, live: Identity) -> bool:
    with suppress(Exception):  # one that lets nobody in; a backend of the project's raises anything
        found = identity_at(Address.of(alias, direct=False))
        return bool(live.database is not None and found and found.is_same(live))
    return False


def _is_live(connection: Any, lock: RestoreLock) -> bool:
    """Return whether a new connection leads to the live database."""
    with suppress(Exception):  # another engine's
        own, own_mode = connection.connection, connection.connection.autocommit
        own.autocommit = True  # a question that is refused ends no transaction
        try:
            live = identity(lock.connection, lock.address.name)
            return bool(live.database is not None and identity(own).is_same(live))
        finally:
            own.autocommit = own_mode
    return False


def require_database(using: str, database: str, lock: RestoreLock) -> None:
    """Ask the server where the alias leads.

    Raises HookError unless that is ``database``, LockLostError unless the lock is held there.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_catalog.current_database()")
        found = cursor.fetchone()[0]
        if found != database:
            raise HookError(
                f'The alias "{using}" leads to the database "{found}" and not to the restored '
                f'one, "{database}": nothing was run there.'
            )
        lock.require_here(cursor)
