"""Runs one PostgreSQL server and ends it with the last process that uses it.

Started by :mod:`restorehooks.embedded` as a script of its own, with the standard library only:
``keeper.py DATA SOCKETS [UID:GID] POSTGRES ARGUMENTS...``; an empty third argument keeps the user.
Standard input is the lock that says that the server runs, standard output is the server's log.

Every process that uses the server holds a shared lock on the file ``users``. The kernel drops it
however that process ends, by SIGKILL too; the keeper waits for the lock to be free of all of them.
"""

from __future__ import annotations

import contextlib
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


def main(data: str, sockets: str, account: str, *command: str) -> int:
    """Run ``command`` until it ends by itself or the server in ``data`` has no user left."""
    os.setsid()  # Ctrl-C in the owner's terminal is for the owner
    os.chdir(data)
    users = os.open("users", os.O_RDWR)
    if account:
        _become(*map(int, account.split(":")))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    keeper = os.getpid()
    server = subprocess.Popen(  # noqa: S603 - an argument list, no shell
        command,
        preexec_fn=lambda: _end_with(keeper),  # safe: no thread is running yet
    )
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
    threading.Thread(target=_end_when_unused, args=(users, server), daemon=True).start()
    code = server.wait()
    if sockets != data:
        with contextlib.suppress(OSError):  # its parent may be closed to this user
            Path(sockets).rmdir()
    return code


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _end_with(keeper: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != keeper:
            os._exit(1)


def _end_when_unused(users: int, server: subprocess.Popen[bytes]) -> None:
    # Held until the keeper ends: a process that comes now waits, and then starts a new server.
    fcntl.flock(users, fcntl.LOCK_EX)
    server.send_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
