"""Starting the server's process: its command line, its socket's folder, and its keeper."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from restorehooks.embedded.account import UNUSED, Account
from restorehooks.embedded.folder import ServerFolder
from restorehooks.embedded.programs import Programs, environment
from restorehooks.trust import why_not_run

DEFAULT_PORT = 5432
KEEPER = str(Path(__file__).with_name("keeper.py"))
SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103
"""Bytes in the path of a Unix socket, its closing zero byte not counted (``man 7 unix``)."""


def launch(
    folder: ServerFolder, programs: Programs, options: Mapping[str, str], running: int
) -> int:
    """Start the server through its keeper, and return the keeper's process id.

    ``running`` is the open file of that lock, held by this process alone until now.
    """
    port = int(options.get("port", DEFAULT_PORT))
    sockets = str(_socket_folder(folder, programs.account, port))
    settings = {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        **options,
        "unix_socket_directories": '"{}"'.format(sockets.replace('"', '""')),
        "port": str(port),
    }
    postgres = [str(programs.bindir / "postgres"), "-D", str(folder.cluster)]
    for name, value in settings.items():
        postgres += ["-c", f"{name}={value}"]
    account = programs.account
    identity = ""
    if account:
        identity = f"{account.uid}:{account.gid}:{int(account.uid in UNUSED)}"
    return _spawn_keeper(folder, [str(folder.path), sockets, identity, *postgres], running)


def has_ended(keeper: int) -> bool:
    """Say whether a keeper that this process has started is no more, without waiting for it."""
    try:
        return os.waitpid(keeper, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _spawn_keeper(folder: ServerFolder, arguments: list[str], running: int) -> int:
    folder.log.unlink(missing_ok=True)
    # As standard input the lock is held until the last process of the server has ended.
    lock_as_input = (os.POSIX_SPAWN_DUP2, running, 0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    log_as_output = (os.POSIX_SPAWN_OPEN, 1, str(folder.log), flags, 0o600)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", KEEPER, *arguments],
        environment(),
        file_actions=[lock_as_input, log_as_output, (os.POSIX_SPAWN_DUP2, 1, 2)],
    )


def _socket_folder(folder: ServerFolder, account: Account | None, port: int) -> Path:
    """Return a folder of the server's, or a new one where that path is too long for a socket."""
    own = folder.path / "socket" if account else folder.path
    length = len(os.fsencode(own / f".s.PGSQL.{port}"))
    # libpq reads a comma as the beginning of another host.
    if length <= SOCKET_PATH_LIMIT and "," not in str(own):
        if account:
            shutil.rmtree(own, ignore_errors=True)  # the socket of one that ended without us
            own.mkdir(mode=0o700)
            os.chown(own, account.uid, account.gid)
        return own
    short = Path(tempfile.gettempdir())
    unfit = len(os.fsencode(short)) > SOCKET_PATH_LIMIT - 40 or "," in str(short)
    if unfit or (account and not account.may_enter(short)):
        short = Path("/tmp")  # noqa: S108 - a fresh folder of our own is made in it
    made = Path(tempfile.mkdtemp(prefix="restorehooks-", dir=short))
    if why_not_run(made):  # others could lead us to the socket of another server of ours
        made.rmdir()
        made = Path(tempfile.mkdtemp(prefix="restorehooks-", dir="/tmp"))
    if account:
        os.chown(made, account.uid, account.gid)
    return made
