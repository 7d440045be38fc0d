"""Where a Django alias points, in libpq's own words.

Settings, service file and environment are resolved once, by libpq itself, and handed on without
them: a service's own ``dbname`` outranks PGDATABASE, which must never lead a hook to production.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from restorehooks.database_url import ENCODED, LIBPQS
from restorehooks.restore.errors import AddressError
from restorehooks.wording import described, no, quoted

from .keywords import (
    Secrets,
    keywords_in,
    secret_keywords,
    variables_of_libpq,
    without_variables,
)
from .pooler import DIRECT_URL, SECONDS_TO_ANSWER, SECONDS_TO_BEGIN, require_direct
from .session_settings import OWN_PATH, SET_PATH, read_any_text, unlimited

Connection = psycopg.Connection[tuple[Any, ...]]
_Found = Mapping[str, Any]

KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "6"}
"""Lets a connection to a server that is gone end after two minutes."""

_OURS = {"client_encoding": "UTF8", "application_name": "restorehooks", **KEEPALIVES}

SECONDS_TO_CONNECT = "15"
"""How long a server may take to accept a connection, where nobody gave a connect_timeout."""

_PLACE = {"host", "hostaddr", "port", "load_balance_hosts"}
# A service is resolved already; the programs choose their encoding by the dump.
_RESOLVED = {"service", "servicefile", "dbname", "client_encoding", "fallback_application_name"}

# libpq fills in sslcertmode=allow, its default since 16, which programs before 16 do not know.
_SAID_UNASKED = {(b"sslcertmode", b"allow")}


@dataclass(frozen=True, repr=False)
class Address:
    """One alias of DATABASES, as libpq would understand it.

    ``parameters`` are libpq's keywords without the database's name and without ``secrets``, which
    are those that libpq hides, and what a session is to set (``options``): policies are told keys
    so. What is shown of it, as a part of a report too, holds neither. ``is_direct``: an earlier
    connection has found no pooler there.
    """

    using: str
    name: str
    user: str
    host: str
    port: str
    parameters: Mapping[str, str]
    secrets: Secrets
    role: str | None
    is_direct: bool = False

    @classmethod
    @without_variables
    def of(cls, using: str, *, direct: bool = True) -> Address:
        """Return where ``using`` points; raises AddressError when that is no PostgreSQL.

        With ``direct`` the server's own address replaces a pooler's, where it is given.
        """
        if using not in connections.settings:
            raise AddressError(f"There is {no('alias', using)} in DATABASES.")
        connection: Any = connections[using]
        if connection.vendor != "postgresql":
            raise AddressError(f'The alias "{using}" is no PostgreSQL database.')
        asked = _asked_of(connection)
        known = variables_of_libpq()
        found = {key: str(asked[key]) for key in asked if key in known and asked[key] is not None}
        if direct and (url := os.environ.get(DIRECT_URL)):
            found = _direct(url, using, _resolved(found))
        is_own = "password" in asked and found.get("password") == str(asked["password"])
        password = _renewed(connection, found) if is_own else str
        return cls.of_parameters(using, found, connection.settings_dict["OPTIONS"], password)

    @classmethod
    def of_parameters(
        cls, using: str, asked: _Found, options: _Found, password: Callable[[], str] = str
    ) -> Address:
        """Return where libpq's keywords lead; ``options`` are those of the alias.

        ``password`` returns the one that holds now, where that is another one than ``asked`` has.
        """
        secret, found = secret_keywords() | {"options"}, _resolved(asked)
        hidden = {key: found[key] for key in found if key in secret}
        # Without it a server that accepts a connection and says nothing is waited for for ever.
        found.setdefault("connect_timeout", SECONDS_TO_CONNECT)
        return cls(
            using=using,
            name=found.get("dbname") or found["user"],
            user=found["user"],
            host=found.get("host") or found.get("hostaddr") or "localhost",
            port=found.get("port", "5432"),
            parameters={key: found[key] for key in found if key not in _RESOLVED | secret},
            secrets=Secrets(hidden, lambda key: (key == "password" and password()) or hidden[key]),
            role=options.get("assume_role"),
        )

    def __str__(self) -> str:
        return f'"{self.name}" on {self.host}:{self.port}'

    __repr__ = __str__

    def connect(self, database: str, **extra: str) -> Connection:
        """Return a new autocommitting connection with no time limits, as the role to assume.

        Names mean what they mean in pg_catalog there; RESET search_path gives the path that the
        database, the role or the settings ask for.

        Raises PoolerError where a pooler answers, AddressError where the role does not exist or
        the connection leads to another database, psycopg.OperationalError, which names the database
        and the server.
        """
        asked = {**_OURS, **self.parameters, "dbname": database}

        def link(**more: str) -> Connection:
            # No variable holds the secrets: reports of errors show variables.
            return psycopg.connect(
                make_conninfo(**{**asked, **self.secrets, **extra, **more}), autocommit=True
            )

        try:
            connection = link()
        except psycopg.OperationalError as error:
            raise _refusal(self, database, error) from None
        try:
            read_any_text(connection)
            # Before any setting is made, which a pooler would hand on to somebody else.
            second = None if self.is_direct else partial(link, connect_timeout=SECONDS_TO_BEGIN)
            require_direct(connection, f"{self.host}:{self.port}", database, second)
            if self.role:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self.role)))
            connection.execute(SET_PATH, [OWN_PATH])
            unlimited(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def pinned(self, connection: Connection) -> Address:
        """Return the address of the one server that a connection of :meth:`connect` leads to.

        An alias may name several servers, and a name may mean another one tomorrow.
        """
        info = connection.info
        place = {"host": info.host, "port": str(info.port)}
        if info.hostaddr and info.hostaddr != info.host:
            place["hostaddr"] = info.hostaddr
        kept = {key: value for key, value in self.parameters.items() if key not in _PLACE} | place
        return replace(self, host=info.host, port=place["port"], parameters=kept, is_direct=True)

    def answers(self) -> bool:
        """Return whether the server is there and takes connections, whoever may connect."""
        asked = {**self.parameters, **self.secrets, "connect_timeout": SECONDS_TO_ANSWER}
        return pq.PGconn.ping(make_conninfo(dbname=self.name, **asked).encode()) == pq.Ping.OK

    def conninfo(self, database: str) -> str:
        """Return what ``pg_restore --dbname`` understands, for everybody to read."""
        return make_conninfo(**{**self.parameters, "dbname": database})

    def setting(self, *settings: str) -> Address:
        """Return the same address, whose sessions also set what is given as ``name=value``."""
        return replace(self, secrets=self.secrets.setting(settings))

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that go with :meth:`conninfo` to a program.

        They carry the secrets. Raises AddressError for one that libpq reads from no variable:
        everybody on the machine could read it in the arguments of a program.
        """
        names = variables_of_libpq()
        if lost := sorted(key for key in self.secrets if names[key] is None):
            raise AddressError(
                f'The alias "{self.using}" sets {quoted(lost)}, which another program could only '
                "be given where everybody can read it: log in with a password, a passfile, or a "
                "key without a passphrase that you alone can read."
            )
        keywords = {name: key for key in self.secrets if (name := names[key])}
        return Secrets(keywords, lambda name: self.secrets[keywords[name]])

    def variables(self, database: str) -> dict[str, str]:
        """Return libpq's environment variables (PGHOST, PGDATABASE, ...) for a hook."""
        values = {**self.parameters, **self.secrets, "dbname": database}
        names = variables_of_libpq()
        return {name: value for key, value in values.items() if (name := names.get(key))}


def _refusal(address: Address, database: str, error: psycopg.OperationalError) -> Exception:
    """Return what says where a connection was refused."""
    place, said = f"{address.host}:{address.port}", str(error).removeprefix("connection failed: ")
    if f'role "{address.user}" does not exist' in said:
        return AddressError(
            f'The role "{address.user}" does not exist on {place}: name one that does, or create'
            " it."
        )
    return type(error)(f'connecting to "{database}" on {place}: {said}')


def _asked_of(connection: Any) -> _Found:
    """Return what an alias asks of libpq; raises AddressError where its backend cannot say."""
    try:
        return cast(_Found, connection.get_connection_params())
    except ImproperlyConfigured as error:
        raise AddressError(str(error)) from None
    except Exception as error:  # what makes passwords for a cloud may raise anything
        said = f'The backend of the alias "{connection.alias}" failed: {described(error)}'
        raise AddressError(said) from None


def _renewed(connection: Any, found: _Found) -> Callable[[], str]:
    """Return what asks an alias, as it is now, for its password for the place in ``found``."""
    own, user = connection.copy(), found.get("user")
    place = {LIBPQS[key]: found[key] for key in ("user", "host", "port") if key in found}
    own.settings_dict.update(place)

    def ask() -> str:
        now = _asked_of(own)
        # Another user's would not fit.
        return str(now.get("password", "")) if now.get("user") == user else ""

    return ask


def _direct(url: str, using: str, pooler: Mapping[str, str]) -> dict[str, Any]:
    """Return libpq's keywords of the server's own address; ``pooler`` has those of the alias."""
    if (found := keywords_in(url)) is None:
        raise AddressError(f"{DIRECT_URL} is no URL of a PostgreSQL database ({ENCODED}).")
    if found.setdefault("dbname", pooler["dbname"]) != pooler["dbname"]:
        raise AddressError(
            f'{DIRECT_URL} names the database "{found["dbname"]}", and the alias "{using}" '
            f'names "{pooler["dbname"]}": give the address of that one.'
        )
    if "service" not in found:  # else that of PGSERVICE would be taken, the pooler's
        found.setdefault("port", os.environ.get("PGPORT") or "5432")
    kept = pooler.keys() - {"hostaddr", "port", "service", "servicefile"}
    kept -= {"host"} if "service" in found else set()  # which names one
    return {key: pooler[key] for key in kept} | found


def _resolved(asked: Mapping[str, Any]) -> dict[str, str]:
    # Starting to connect makes libpq look everything up; nothing is sent yet.
    started = pq.PGconn.connect_start(make_conninfo(**asked).encode())
    said_elsewhere = {
        option.keyword.decode()
        for option in pq.Conninfo.get_defaults()
        if option.val != option.compiled
    }
    try:
        # An older program knows fewer keywords: what is at its default is passed on only where
        # that was asked for, or where the environment, or PGSERVICE, has another value for it.
        said = asked.keys() | said_elsewhere
        found = {
            keyword: option.val.decode()
            for option in started.info
            if option.val
            and ((keyword := option.keyword.decode()) in said or not _is_default(option))
        }
        if not found.get("user"):
            why = started.error_message.decode(errors="replace").strip()
            raise AddressError(f"{why}: let the address name the user")
        return found
    except UnicodeDecodeError:
        raise AddressError(
            "What libpq finds in the environment (PGPASSWORD and the like) or in a service file is "
            "no UTF-8 text: set it anew."
        ) from None
    finally:
        started.finish()


def _is_default(option: pq.ConninfoOption) -> bool:
    return option.val == option.compiled or (option.keyword, option.val) in _SAID_UNASKED
