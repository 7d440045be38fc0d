"""Runs one PostgreSQL server and ends it with the last process that uses it.

Started by :mod:`restorehooks.embedded` as a script of its own, with the standard library only:
``keeper.py DATA SOCKETS [UID:GID:ALONE] POSTGRES ARGUMENTS...``; an empty third argument keeps the
user, and ALONE is 1 where nothing else has this id.
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
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""``man 2 prctl``: the signal that a process gets when the thread that started it ends."""


def main(data: str, sockets: str, account: str, *command: str) -> int:
    """Run ``command`` until it ends by itself or the server in ``data`` has no user left."""
    os.setsid()  # Ctrl-C in the owner's terminal is for the owner
    os.chdir(data)
    users = os.open("users", os.O_RDWR)
    uid, gid, alone = map(int, account.split(":")) if account else (0, 0, 0)
    if account:
        _become(uid, gid)
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
    if alone and uid and os.getuid() == uid:
        while left := _others_of(uid):  # what a dump has started and left
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
    return code


def _others_of(uid: int) -> list[int]:
    """Return the processes of a user id that have not ended, but for this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            pid, state = int(process.name), (process / "stat").read_bytes()
            has_ended = state.rpartition(b")")[2].split()[0] == b"Z"  # and nobody has asked
            if process.stat().st_uid == uid and pid != os.getpid() and not has_ended:
                found.append(pid)
    return found


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
