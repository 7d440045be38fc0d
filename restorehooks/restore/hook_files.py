"""The files of a hooks directory: ``*.sql``, ``*.sh`` and ``*.py``, run on the restored data."""

from __future__ import annotations

import os
import re
import runpy
import socket
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg

from restorehooks.streams import onto_standard_error
from restorehooks.trust import is_read_only, who_else_may_write, why_anybody_may_replace
from restorehooks.wording import described, first_line

from .alias import commit_what_is_open, others_where_they_are, require_database
from .errors import HookError, RestoreError
from .processes import die_with_parent, end
from .progress import SECONDS_A_BEAT, Reporter, heartbeat
from .server.address import Address
from .server.lock import RestoreLock
from .server.session_settings import LOCALLY

KINDS = (".sql", ".sh", ".py")

_KEPT = {
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "LANG", "LANGUAGE", "TMPDIR",
    "TEMP", "TMP", "SYSTEMROOT", "COMSPEC", "PATHEXT", "VIRTUAL_ENV", "PYTHONPATH",
    "DJANGO_SETTINGS_MODULE", "KRB5CCNAME", "KRB5_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR",
}  # fmt: skip
"""What a hook keeps of the environment: neither secrets nor the live database's address.

Kerberos and TLS find there where their files are, without which a hook cannot connect.
"""


def find(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the hooks of a directory in name order, and the files that are none.

    Raises HookError when there is no such directory, or where any user may have written a hook.
    """
    try:
        # Absolute: a program without a folder in its name would be looked for in PATH.
        files = sorted(folder.absolute().iterdir())
    except OSError as error:
        raise HookError(f"The hooks directory {folder} cannot be read: {error.strerror}") from None
    shown = [path for path in files if not path.name.startswith(".")]
    hooks = [path for path in shown if path.suffix in KINDS]
    for path in hooks:
        _require_ours(path)
    return hooks, [path for path in shown if path.suffix not in KINDS and path.is_file()]


def _require_ours(path: Path) -> None:
    """Raise HookError for a hook that any user of the machine may have written."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise HookError(f"The hook {path} is no file: rename it, or put a file there.")
        if who_else_may_write(path) == "every user" and not is_read_only(path):
            raise HookError(f"Every user may write to the hook {path}: chmod o-w {path}")
        why = why_anybody_may_replace(path)
    except OSError as error:
        raise HookError(f"The hook {path} cannot be read: {error.strerror}") from None
    if why:
        raise HookError(f"The hook {path} is not run: {why}. Keep hooks in a folder of your own.")


def run(path: Path, lock: RestoreLock, database: str, reporter: Reporter) -> None:
    """Run one hook on ``database``, which the alias has to point at; raise HookError if it fails.

    What it prints goes to stderr. ``reporter`` is told that time goes by.
    """
    address = lock.address
    require_database(address.using, database, lock)
    _require_ours(path)  # again: it was planned before the dump was loaded
    try:
        # A program is waited for in this thread alone: it is to end with this process.
        with nullcontext() if path.suffix == ".sh" else heartbeat(reporter):
            _RUNNERS[path.suffix](path, address, database, reporter)
    except RestoreError:
        raise
    except Exception as error:
        said = first_line(error) if isinstance(error, OSError) else described(error)
        raise HookError(f"The hook {path.name}{_place(path, error)} failed: {said}") from error


def _place(path: Path, error: BaseException) -> str:
    """Return the line of a hook in Python that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f", line {lines[-1]}," if lines else ""


def _run_sql(path: Path, address: Address, database: str, reporter: Reporter) -> None:
    text = path.read_bytes().decode("utf-8-sig")
    if "\0" in text:
        raise HookError(
            f"The hook {path.name} holds a zero byte, and nothing after it would be run."
        )
    with address.connect(database) as connection:
        try:
            connection.execute("RESET search_path")
            connection.execute(text.encode())
        except psycopg.Error as error:
            line = _line(text, error)
            reason = error.diag.message_primary or first_line(error)
            said = f"{type(error).__name__}: {reason}{FOR_PSQL if _OF_PSQL.search(text) else ''}"
            raise HookError(f"The hook {path.name}{line} failed: {said}") from None


FOR_PSQL = "; what is for psql alone, rows after a COPY or a backslash, belongs in a .sh hook"
_OF_PSQL = re.compile(r"^\s*\\|\bCOPY\b[^;]*\b(?:FROM\s+STDIN|TO\s+STDOUT)\b", re.I | re.M)


def _line(text: str, error: psycopg.Error) -> str:
    position = error.diag.statement_position
    return f", line {text[: int(position)].count(chr(10)) + 1}," if position else ""


def _run_sh(path: Path, address: Address, database: str, reporter: Reporter) -> None:
    argv = [str(path)] if _has_interpreter(path) else ["/bin/sh", str(path)]
    try:
        process = subprocess.Popen(  # noqa: S603 - an argv list
            argv,
            env=environment(address, database),
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__ or subprocess.DEVNULL,  # None would be standard output
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
    except OSError as error:  # its frames have the environment, and reports of errors show that
        raise HookError(
            f"The hook {path.name} cannot be started, by the program that its first line names: "
            f"{error.strerror}"
        ) from None
    try:
        while (code := process.poll()) is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_A_BEAT)
            reporter.tick()
    finally:
        end(process)
    if code:
        raise HookError(f"The hook {path.name} exited {code}")


def _has_interpreter(path: Path) -> bool:
    """Return whether the system can run a script by itself; a shell runs what it cannot."""
    return os.access(path, os.X_OK) and path.read_bytes().startswith(b"#!")


def _run_py(path: Path, address: Address, database: str, reporter: Reporter) -> None:
    # In this process, where the alias is known to lead to the restored database.
    variables = environment(address, database)
    with (
        onto_standard_error(),
        others_where_they_are(address.using, variables),
        _environ(variables),
    ):
        try:
            runpy.run_path(str(path), {"using": address.using}, "__main__")
        except SystemExit as error:
            if error.code not in (None, 0):
                raise HookError(f"The hook {path.name} exited {error.code}") from None
        commit_what_is_open(address.using)


_RUNNERS: Mapping[str, Callable[[Path, Address, str, Reporter], None]] = {
    ".sql": _run_sql,
    ".sh": _run_sh,
    ".py": _run_py,
}


def environment(address: Address, database: str) -> dict[str, str]:
    """Return a hook's environment: PGHOST and the like lead to ``database``.

    DATABASE_URL leads there too, where there is one: settings that read it then do the same.
    PGOPTIONS lets a commit wait for no standby.
    """
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")
    }
    if "DATABASE_URL" in os.environ:
        kept["DATABASE_URL"] = _url(address, database)
    libpqs = address.variables(database)
    found = _addresses(address.host) if "PGHOSTADDR" in libpqs else set()
    if found and (database != address.name or _is_one_machine(found)):
        # libpq would take it for every other host that a hook names. It stays for a name that only
        # a certificate has.
        del libpqs["PGHOSTADDR"]
    options = f"{libpqs.get('PGOPTIONS', '')} -c {LOCALLY}".strip()
    return kept | libpqs | {"PGOPTIONS": options}


def _addresses(host: str) -> set[IPv4Address | IPv6Address]:
    """Return the addresses that a name means on this machine; none where it means nothing."""
    with suppress(OSError, ValueError):
        return {ip_address(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    return set()


def _is_one_machine(found: Collection[IPv4Address | IPv6Address]) -> bool:
    """Tell whether that is one; in place others may have a database of the name."""
    return len(found) == 1 or all(each.is_loopback for each in found)


def _url(address: Address, database: str) -> str:
    values = {**address.parameters, **address.secrets}
    values.pop("user", None)
    password = values.pop("password", None)
    login = quote(address.user, safe="") + (f":{quote(password, safe='')}" if password else "")
    query = urlencode(values, quote_via=quote)
    return f"postgresql://{login}@/{quote(database, safe='')}?{query}"


@contextmanager
def _environ(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
