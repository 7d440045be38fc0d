"""Which database is meant, where DATABASE_URL names another one than the project's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import _ArgumentGroup
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import psycopg
from django.db import connections

from restorehooks.database_url import (
    EMBEDDED,
    LIBPQS,
    SCHEMES,
    UrlError,
    database_settings,
    settings_of,
)
from restorehooks.restore.errors import AddressError, RestoreError, UsageError
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.direct import Identity, identity
from restorehooks.restore.server.keywords import (
    secrets_in,
    variables_of_libpq,
    without_variables,
)
from restorehooks.restore.server.pooler import DIRECT_URL
from restorehooks.trust import belongs_to_us, who_else_may_write, why_not_run

Place = Literal["database url", "project"] | None
"""What decides: DATABASE_URL, the project's settings, or nothing where both have to agree."""

_HERE = {"localhost", "127.0.0.1", "::1"}
SECONDS_TO_ASK = 60
"""How long the project in this folder may take to say which database it means."""
_SAID = "restorehooks: "
_ASK = f"""
from restorehooks.management.place import disagreement
print({_SAID!r} + (disagreement() or ""))
"""


def add_place(group: _ArgumentGroup) -> None:
    """Add the options that decide between the two."""
    add = group.add_mutually_exclusive_group().add_argument
    add(
        "--database-url",
        action="store_const",
        dest="place",
        const="database url",
        help="Use the database that the environment variable DATABASE_URL names.",
    )
    add(
        "--project",
        action="store_const",
        dest="place",
        const="project",
        help="Use the database that the project's settings name, whatever DATABASE_URL says.",
    )


def add_direct(group: _ArgumentGroup) -> None:
    """Add the option that names the server's own address."""
    group.add_argument(
        "--direct",
        metavar="URL",
        help="The server's own address, where the database is reached through a pooler; without a"
        f" password. The environment variable {DIRECT_URL} does the same.",
    )


@contextmanager
def direct(url: str | None) -> Iterator[None]:
    """Let a URL be the server's own address while the block runs, None the variable's."""
    before = os.environ.get(DIRECT_URL)
    if url is not None:
        os.environ[DIRECT_URL] = url
    try:
        yield
    finally:
        if before is not None:
            os.environ[DIRECT_URL] = before
        elif url is not None:
            del os.environ[DIRECT_URL]


def require_no_password(url: str | None) -> None:
    """Raise UsageError for a URL with a password, which everybody on the machine can read."""
    if secrets := secrets_in(url or ""):  # whoever uses what is no URL says so
        raise UsageError(
            f"--direct holds a {secrets[0]}, which every user of this machine can read in the list "
            f"of processes: put the URL into {DIRECT_URL} instead."
        )


def settle(alias: str | None, place: Place, *, is_alone: bool) -> None:
    """Let the alias mean what ``place`` says; raises UsageError where it says nothing and has to.

    It has to where ``disagreement`` finds one. In a process that does something else, too
    (``is_alone`` is False), an alias means what its settings say.
    """
    if place == "database url":
        if not is_alone:
            raise UsageError("--database-url is for the command line: name an alias in a program.")
        _use_database_url(alias or "default")
    elif is_alone and not place and (said := disagreement(alias)):
        raise UsageError(said)


def disagreement(alias: str | None = None) -> str | None:
    """Return a sentence where DATABASE_URL names none of the databases that may be meant.

    That is the default alias's database, or where an alias was named any of the project's.
    """
    using = alias or "default"
    try:
        named = _named(os.environ.get("DATABASE_URL", ""))
    except UrlError as error:
        return f"{error} --project means the database that the project's settings name."
    aliases = [*connections] if alias else [using]
    addresses = [
        Address.of(one, direct=False) for one in aliases if connections[one].vendor == "postgresql"
    ]
    if named is None or any(_same(named, address) for address in addresses):
        return None
    own = Address.of(using, direct=False)
    return (
        f"DATABASE_URL names {named}, and the project's settings name {own}: "
        "give --database-url for the first, or --project for the second."
    )


def disagreement_here() -> str | None:
    """Return the same of the project whose manage.py is in this folder, if there is one.

    The project is asked by running its manage.py, and that only where this Python runs the folder's
    code anyway: a dump may come with a manage.py of somebody else's. None too where it does not
    answer: without a project, DATABASE_URL decides.
    """
    if not os.environ.get("DATABASE_URL") or not _is_trusted(Path("manage.py")):
        return None
    if not _runs_its_code(Path.cwd()):
        return (
            "DATABASE_URL names a database, and the project of the manage.py in this folder may "
            "name another: give --database-url for the first, or run python manage.py for the "
            "second."
        )
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(  # noqa: S603 - an argv list
            [sys.executable, "manage.py", "shell", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_ASK,
            check=False,
        )
        for line in done.stdout.splitlines():
            if line.startswith(_SAID) and line != _SAID:
                return line.removeprefix(_SAID)
    return None


def _is_trusted(manage: Path) -> bool:
    with suppress(OSError):  # no such file
        found = manage.stat()
        return belongs_to_us(found) and not who_else_may_write(manage)
    return False


def _runs_its_code(folder: Path) -> bool:
    """Say whether Python imports from a folder, or the environment that it runs in is there.

    That is said of none where somebody else could put a module, or a link manage.py: to a program
    of the system's that runs what its arguments name.
    """
    imports = [Path(entry).absolute() for entry in sys.path]
    if folder not in imports and folder not in Path(sys.prefix).parents:
        return False
    with suppress(OSError):  # the way to it may be closed to us
        return not (why_not_run(folder) or why_not_run(folder / "manage.py"))
    return False


def _named(url: str) -> Address | str | None:
    """Return what a URL names as Django reads it, None where it is empty or no PostgreSQL's.

    Raises UrlError.
    """
    if url.startswith(EMBEDDED):
        return "a private server (embedded:)"
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] not in SCHEMES:  # SQLAlchemy writes postgresql+psycopg
        return None
    found = settings_of(f"postgresql://{rest}", "DATABASE_URL")
    known = variables_of_libpq()  # others are Django's
    asked = {key: value for key, value in found.get("OPTIONS", {}).items() if key in known}
    asked |= {key: found[name] for key, name in LIBPQS.items() if found[name]}
    try:
        return Address.of_parameters("", asked, {})
    except (psycopg.ProgrammingError, AddressError):
        return None


def _same(named: Address | str, address: Address) -> bool:
    if isinstance(named, str):
        return False
    if _spelled(named) == _spelled(address):
        return True
    one, other = _identity(named), _identity(address)
    return bool(one and other and one.is_same(other))


def _spelled(address: Address) -> tuple[str, ...]:
    host = "localhost" if address.host in _HERE else address.host
    return address.name, host, address.port


def _identity(address: Address) -> Identity | None:
    try:
        with address.connect(address.name) as connection:
            return identity(connection)
    except (psycopg.Error, RestoreError):
        return None


@without_variables
def _use_database_url(using: str) -> None:
    url = os.environ.get("DATABASE_URL", "")
    if not url or url.startswith(EMBEDDED):
        raise UsageError(
            "--database-url needs DATABASE_URL to name a PostgreSQL database; for a private server "
            "(embedded:) run restorehooks restoredb."
        )
    try:
        found = database_settings()
    except UrlError as error:
        raise UsageError(str(error)) from None
    connections[using].close()
    nothing: dict[str, Any] = dict.fromkeys(("USER", "PASSWORD", "HOST", "PORT"), "")
    connections[using].settings_dict.update({**nothing, "OPTIONS": {}, **found})
