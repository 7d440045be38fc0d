"""A URL, that of the environment variable DATABASE_URL first, as what Django calls a database."""

from __future__ import annotations

import os
import re
import warnings
from typing import Any
from urllib.parse import parse_qs, unquote

import environ
from django.core.exceptions import ImproperlyConfigured

EXAMPLE = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
SCHEMES = ("postgresql", "postgres", "psql", "pgsql", "postgis")
ENCODED = "with any / ? # @ : % in its parts percent-encoded"
EMBEDDED = "embedded:"
"""How a URL begins that asks for a private server."""


class UrlError(Exception):
    """A URL cannot be used; one sentence, which never repeats it."""


def database_settings() -> dict[str, Any]:
    """Return what ``DATABASE_URL`` names as an entry of DATABASES; raises UrlError."""
    return settings_of(os.environ["DATABASE_URL"], "DATABASE_URL")


def settings_of(url: str, called: str) -> dict[str, Any]:
    """Return what a URL names as an entry of DATABASES; a sentence calls it by another name.

    Raises UrlError.
    """
    env = environ.Env()
    scheme, separator, rest = url.partition("://")
    if separator and scheme in env.DB_SCHEMES and scheme not in SCHEMES:
        raise UrlError(
            f"{called} names a database of {scheme}; restorehooks works on PostgreSQL only."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they tell the password
            database = dict(env.db_url_config(url))
        unquote(url, errors="strict")
    except (ImproperlyConfigured, ValueError, KeyError, RecursionError, MemoryError):
        database = {}
    is_cut_short = bool(set("/?") & set(rest.rpartition("@")[0]))  # in the midst of a password
    is_cut_short = is_cut_short or "#" in url or "%00" in url  # libpq reads nothing after a NUL
    # A query that begins with & would be the end of a name, a password in it too, and shown.
    is_cut_short = is_cut_short or bool(_NAME_WITH_QUERY.match(rest.rpartition("@")[2]))
    if scheme not in SCHEMES or not separator or is_cut_short or not database.get("NAME"):
        raise UrlError(f"{called} is not of the form {EXAMPLE} ({ENCODED}).")
    database["ENGINE"] = "django.db.backends.postgresql"  # PostGIS needs GDAL, sequences do not
    _as_libpq_reads_it(url, database)
    return database


_NAME_WITH_QUERY = re.compile(r"[^?&]*&\w+=")
_PLACE = re.compile(r"\[?(?P<host>.*?)\]?(?::(?P<port>\d*))?")
LIBPQS = {
    "user": "USER",
    "password": "PASSWORD",
    "host": "HOST",
    "port": "PORT",
    "dbname": "NAME",
}
"""libpq's keywords of what an entry of DATABASES has keys of its own for.

A URL's query may say it too: the folder of a socket stands there, and psql takes it from HOST.
"""


def _as_libpq_reads_it(url: str, database: dict[str, Any]) -> None:
    """Let a plus sign, hosts, their ports and the query mean what they mean to libpq."""
    # urlsplit takes one host: from Python 3.14 on it refuses several of IPv6.
    place, _, query = url.partition("://")[2].partition("?")
    hosts, _, path = place.partition("/")
    places = hosts.rpartition("@")[2].split(",")
    found = [match for place in places if (match := _PLACE.fullmatch(place))]
    database["NAME"] = unquote(path)
    database["HOST"] = ",".join(unquote(each["host"]) for each in found)
    if len(places) > 1:
        database["PORT"] = ",".join(each["port"] or "" for each in found)
    options = database.get("OPTIONS", {})
    for name, (value, *_) in parse_qs(query).items():
        if isinstance(options.get(name), int) and str(options[name]) != value:
            options[name] = value  # with its leading zeros
    for name in LIBPQS.keys() & options.keys():
        database[LIBPQS[name]] = str(options.pop(name))
