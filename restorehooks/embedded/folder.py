"""The folder that holds everything of one server: its cluster, log, locks and mostly its socket."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from restorehooks.embedded.account import (
    UNUSED,
    Account,
    may_own,
    named_accounts,
    processes_of,
)
from restorehooks.embedded.errors import ServerError
from restorehooks.embedded.programs import Programs, environment, last_error
from restorehooks.trust import belongs_to_us, link_of_another, why_not_run

SUPERUSER = "postgres"
PASSWORD = "none"  # noqa: S105 - it is no secret
"""What is said to a server that asks, in the place of a PGPASSWORD or a password file.

Nobody has set one; but a dump may have made the server ask, to learn those.
"""
_ENOUGH = 64 * 1024
"""Bytes of a file of the server's that are read."""

Lock = Literal["users", "running"]
"""``users`` is shared by every process that uses the server, ``running`` held by the server."""


class Postmaster(NamedTuple):
    """Where a running server says that it answers."""

    port: int
    sockets: Path


@dataclass(frozen=True)
class ServerFolder:
    """The folder of one server."""

    path: Path

    @property
    def cluster(self) -> Path:
        """The folder that PostgreSQL calls its data directory."""
        return self.path / "cluster"

    @property
    def log(self) -> Path:
        """The file that the server writes its log to."""
        return self.path / "log"

    def make(self) -> None:
        """Create the folder, closed to others, unless it is there.

        Raises :exc:`ServerError` for a folder that holds something else or belongs to another user.
        """
        is_root = os.geteuid() == 0
        if link := link_of_another(self.path):
            raise ServerError(
                f"{link} is a link of another user's: set XDG_DATA_HOME to a folder of yours."
            )
        _make_folders(self.path, 0o711 if is_root else 0o700)
        if any(self.path.iterdir()) and not (self.path / "users").exists():
            raise ServerError(f"{self.path} holds something else than a private server's data.")
        for place in (self.path, self.cluster):
            uid = place.stat().st_uid if place.exists() else os.geteuid()
            if uid != os.geteuid() and not (is_root and may_own(uid)):
                raise ServerError(f"The server in {self.path} belongs to another user.")
        if not is_root:
            return
        # An earlier version gave the folder itself to the server's user.
        is_roots = self.path.stat().st_uid == 0
        if why := why_not_run(self.path if is_roots else self.path.parent):
            raise ServerError(
                f"The server in {self.path} could be replaced: {why}. "
                "Set XDG_DATA_HOME to a folder that only root may change."
            )

    def give_to(self, account: Account) -> None:
        """Let root's account, and nobody else, reach the cluster and what it needs beside it.

        The folder itself stays root's, so that root finds no traps in it. Raises
        :exc:`ServerError` where the account cannot reach it. No server may be running.
        """
        if not account.may_enter(self.path.parent):
            raise ServerError(
                f"PostgreSQL does not run as root, and the user {account.name}, whom it would run "
                f"as, cannot reach {self.path}; choose a folder whose parents are open to all."
            )
        os.chown(self.path, 0, account.gid, follow_symlinks=False)
        self.path.chmod(0o710)
        if self.cluster.exists() and self.cluster.stat().st_uid != account.uid:
            _give_away(self.cluster, account)

    def owner(self) -> int | None:
        """Return the user id that the cluster belongs to, None where there is none yet."""
        return self.cluster.stat().st_uid if self.cluster.exists() else None

    def make_cluster(self, programs: Programs, running: int, *, sync: bool) -> None:
        """Run initdb; without ``sync`` it leaves writing to disk to the operating system."""
        # Renamed when it is complete: an initdb that is killed leaves what looks like a cluster.
        unfinished = self.path / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        if account := programs.account:
            # initdb asks for the name of its user, which an id of the server's own has not.
            named = named_accounts()[0]
            programs = replace(programs, account=named._replace(gid=account.gid))
            unfinished.mkdir(mode=0o700)
            os.chown(unfinished, named.uid, account.gid)
        arguments = ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]
        arguments += [f"--username={SUPERUSER}", "--locale=C", f"--pgdata={unfinished}"]
        if programs.version() >= 170000:
            # Upper and lower case beyond ASCII, without depending on the system's locales.
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not sync:
            arguments.append("--no-sync")
        # An initdb that outlives this process goes on: it holds the lock until it has ended.
        programs.run("initdb", *arguments, stdin=running)
        if account:
            _give_away(unfinished, account)
        unfinished.rename(self.cluster)

    def open_lock(self, name: Lock) -> int:
        """Open the file of a lock and return its descriptor."""
        return os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def postmaster(self) -> Postmaster | None:
        """Return where the server answers, None where postmaster.pid does not say so yet."""
        try:
            lines = _read(self.cluster / "postmaster.pid").splitlines()
            found = Postmaster(int(lines[3]), Path(lines[4]))
            # A copied folder has the file of another server; one that starts fills it in steps.
            is_ours = Path(lines[1]) == self.cluster
            return found if is_ours and self._is_its_own(found) else None
        except (OSError, IndexError, ValueError):
            return None

    def _is_its_own(self, found: Postmaster) -> bool:
        # The server writes the file, and root must not be sent to another one by it, or by a link.
        owner, folder = os.geteuid() or self.owner(), found.sockets
        socket = folder / f".s.PGSQL.{found.port}"
        # libpq reads a comma as the beginning of another host.
        if not folder.is_absolute() or "," in str(folder) or not _is_socket_of(owner, socket):
            return False  # it is not there yet
        if os.geteuid() != 0:
            return folder.stat().st_uid == owner
        _close_to(owner, folder)
        return why_not_run(folder) is None and _is_socket_of(owner, socket)

    def remove_sockets(self, sockets: Path, port: int) -> None:
        """Remove the socket of a server that has ended, and the folder that was made for it."""
        if sockets != self.path:
            with suppress(OSError):  # the server and its keeper have, where they were allowed to
                for name in (f".s.PGSQL.{port}", f".s.PGSQL.{port}.lock"):
                    (sockets / name).unlink(missing_ok=True)
                sockets.rmdir()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server; FileNotFoundError where none runs.

        It is sent as the user whom the cluster belongs to, so that it reaches nobody else whatever
        that user has written into postmaster.pid.
        """
        pid = int(_read(self.cluster / "postmaster.pid").split()[0])
        status = self.cluster.stat()
        if status.st_uid == os.geteuid():
            os.kill(pid, number)
            return
        _kill(Account("", status.st_uid, status.st_gid), number, pid)

    def end_all(self) -> None:
        """End at once all that root's server has started, where its user id is its own alone."""
        status = self.cluster.stat()
        if os.geteuid() == 0 and status.st_uid in UNUSED:
            account = Account("", status.st_uid, status.st_gid)
            for pid in processes_of(account.uid):
                _kill(account, signal.SIGKILL, pid)

    def end_of_log(self) -> str:
        """Return the last error in the log."""
        return last_error(_read(self.log, from_end=True) if self.log.exists() else "")


def _make_folders(path: Path, mode: int) -> None:
    """Make a folder, and those above it that are missing with these permissions.

    Each has them from the beginning: another user may put something else in its place.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    before = os.umask(0o777 & ~mode)
    try:
        for folder in reversed(missing):
            folder.mkdir(mode, exist_ok=True)
        path.mkdir(0o700, exist_ok=True)
    finally:
        os.umask(before)


def _is_socket_of(owner: int | None, path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISSOCK(status.st_mode) and status.st_uid == owner


def _close_to(owner: int | None, folder: Path) -> None:
    """Let a socket's folder be root's, so that its server puts no link in the socket's place."""
    if not all(belongs_to_us(above.lstat()) for above in folder.parents):
        return
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(at).st_uid == owner:
            os.fchown(at, 0, -1)
            os.fchmod(at, 0o710)
    finally:
        os.close(at)


def _kill(account: Account, number: signal.Signals, pid: int) -> None:
    """Send a signal as an account, so that it reaches nobody else's process."""
    subprocess.run(  # noqa: S603 - an argument list
        ["/bin/sh", "-c", 'kill -"$1" "$2"', "sh", str(int(number)), str(pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environment(),
        check=False,
        **account.popen,
    )


def _read(path: Path, *, from_end: bool = False) -> str:
    """Return the beginning or the end of a file that the server's user may have replaced.

    That user could have root read a pipe, a device, another file or any amount. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileNotFoundError(errno.ENOENT, "This is no file", str(path))
        if from_end:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _ENOUGH))
        return file.read(_ENOUGH).decode(errors="replace")


def _give_away(folder: Path, account: Account) -> None:
    """Let everything in a folder belong to the account; what is linked elsewhere too stays."""
    for _, folders, files, at in os.fwalk(folder, follow_symlinks=False):
        # First, so that a process of the old owner's puts no other file in the place of a name.
        os.fchown(at, account.uid, account.gid)
        os.fchmod(at, 0o700)
        for name in (*folders, *files):
            status = os.stat(name, dir_fd=at, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode) and status.st_nlink == 1:
                os.chown(name, account.uid, account.gid, dir_fd=at, follow_symlinks=False)


def lock(file: int, *, alone: bool, wait: bool = True) -> bool:
    """Lock an open file, alone or together with others, and say whether that worked."""
    import fcntl

    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
