"""Runs one PostgreSQL server and ends it with the last process that uses it.

Started by :mod:`restorehooks.embedded` as a script of its own, with the standard library only:
``keeper.py DATA [UID:GID] POSTGRES ARGUMENTS...``, an empty second argument keeping the user.

Every process that uses the server holds a shared lock on the file ``users``. The kernel drops it
however that process ends, by SIGKILL too; the keeper waits for the lock to be free of all of them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""``man 2 prctl``: the signal that a process gets when the thread that started it ends."""


def main(data: str, account: str, *command: str) -> int:
    """Run ``command`` until it ends by itself or the server in ``data`` has no user left."""
    os.setsid()  # Ctrl-C in the owner's terminal is for the owner
    users = os.open(f"{data}/users", os.O_RDWR)
    if account:
        _become(*map(int, account.split(":")))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with open(os.open(f"{data}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
        server = subprocess.Popen(  # noqa: S603
            command,
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_end_with_parent,  # safe: no thread is running yet
        )
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
    threading.Thread(target=_end_when_unused, args=(users, server), daemon=True).start()
    code = server.wait()
    _remove_socket_folder(data, command)
    return code


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _end_when_unused(users: int, server: subprocess.Popen[bytes]) -> None:
    # Held to the keeper's end, so that who comes meanwhile waits, and then starts anew.
    fcntl.flock(users, fcntl.LOCK_EX)
    while server.poll() is None:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue


def _remove_socket_folder(data: str, command: tuple[str, ...]) -> None:
    prefix = "unix_socket_directories="
    for argument in command:
        folder = Path(argument.removeprefix(prefix))
        if argument.startswith(prefix) and folder != Path(data):
            folder.rmdir()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
