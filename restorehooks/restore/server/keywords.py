"""libpq's keywords: which there are, which are secrets, and those that a text holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import wraps
from traceback import clear_frames
from typing import Any, ParamSpec, TypeVar

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from restorehooks.restore.errors import RestoreError

# libpq hides them for another reason: neither is a secret.
_HIDDEN_AND_NO_SECRET = {"replication", "sslkeylogfile"}


def variables_of_libpq() -> dict[str, str | None]:
    """Return the environment variable of each of libpq's keywords, None where it has none."""
    return {
        option.keyword.decode(): option.envvar.decode() if option.envvar else None
        for option in pq.Conninfo.get_defaults()
    }


def defaults_of_libpq(variables: Iterable[str]) -> dict[str, str]:
    """Return what says the same as saying nothing, whatever these environment variables say."""
    found = {
        option.keyword.decode(): option.compiled
        for option in pq.Conninfo.get_defaults()
        if option.envvar and option.envvar.decode() in variables
    }
    return {
        keyword: (compiled or b"").decode()
        for keyword, compiled in found.items()
        if compiled or keyword in _MAY_BE_EMPTY
    }


_MAY_BE_EMPTY = {
    "application_name", "host", "hostaddr", "options", "passfile", "password", "require_auth",
    "requirepeer", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert",
}  # fmt: skip
"""Of those without a default; of others libpq wants a value."""


def secrets_in(url: str) -> list[str]:
    """Return which of libpq's secrets a URL holds, by their keywords; none where it is no URL."""
    return sorted(secret_keywords() & set(keywords_in(url) or ()))


def keywords_in(url: str) -> dict[str, Any] | None:
    """Return libpq's keywords in a URL, None where it is none, or holds what is no UTF-8.

    The last @ is before the host, as for Django: no part of a password is taken for one and shown,
    nor one for a port, where the host is missing. Spaces and line breaks at the ends do not count.
    """
    url = url.strip()
    scheme, _, rest = url.partition("://")
    if rest and scheme in ("postgres", "postgresql"):
        login, at, place = rest.rpartition("@")
        if set("/?#") & set(login):
            return None
        url = f"{scheme}://{login.replace('@', '%40')}{at}{place}"
    with suppress(psycopg.ProgrammingError, UnicodeError):
        found = conninfo_to_dict(url)
        return found if _PORTS.fullmatch(str(found.get("port", ""))) else None
    return None


_PORTS = re.compile(r"[\d,]*")


def is_address(text: str) -> bool:
    """Return whether a text is a URL, or says otherwise where a database is, in any form.

    It is not the name of a file then, which a message could repeat: it may hold a password.
    """
    return bool(_ADDRESS.search(text) or keywords_in(text))


_ADDRESS = re.compile(r"://|^postgres(ql)?:|^//[^/]*@|pass(word|wd)?\s*=", re.IGNORECASE)


def secret_keywords() -> set[str]:
    """Return the keywords that libpq wants hidden when they are shown (PQconninfoOption.dispchar).

    "*" marks a password. "D" marks what no form shows: SCRAM's keys, which are as good as one.
    """
    hidden = {
        option.keyword.decode()
        for option in pq.Conninfo.get_defaults()
        if option.dispchar in (b"*", b"D")
    }
    return hidden - _HIDDEN_AND_NO_SECRET


P = ParamSpec("P")
T = TypeVar("T")


def without_variables(function: Callable[P, T]) -> Callable[P, T]:
    """Let what a function raises show no variables of its own, or of what it calls: secrets.

    Reports of errors show variables. A RestoreError says what is wrong without those frames.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except RestoreError as error:
            raise error.with_traceback(None) from None
        except BaseException as error:  # Ctrl-C too
            raised: BaseException | None = error
            while raised:
                clear_frames(raised.__traceback__)
                raised = raised.__cause__ or raised.__context__
            raise

    return call


class Secrets(Mapping[str, str]):
    """Secrets by libpq's keywords, for whoever asks for one: none is shown, copied or stored.

    ``ask`` returns the one of a keyword that holds now: a password that a backend makes for a cloud
    soon ends.
    """

    def __init__(self, keywords: Iterable[str] = (), ask: Callable[[str], str] = str) -> None:
        self._keywords, self._ask = tuple(keywords), ask

    @without_variables
    def __getitem__(self, keyword: str) -> str:
        if keyword not in self._keywords:
            raise KeyError(keyword)
        return self._ask(keyword)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keywords)

    def __len__(self) -> int:
        return len(self._keywords)

    def setting(self, settings: Iterable[str]) -> Secrets:
        """Return the same with options that also set what is given as ``name=value``."""
        added = [f"-c {each}" for each in settings]

        def ask(keyword: str) -> str:
            if keyword != "options":
                return self[keyword]
            return " ".join([self.get(keyword, ""), *added]).strip()

        return Secrets({*self, "options"}, ask)

    def __reduce__(self) -> tuple[Any, ...]:
        return Secrets, ()
