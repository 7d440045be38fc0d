"""The folder that holds everything of one server: its cluster, log, locks and mostly its socket."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from restorehooks.embedded.account import Account
from restorehooks.embedded.errors import ServerError
from restorehooks.embedded.programs import Programs, last_error

SUPERUSER = "postgres"

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

    def make(self, account: Account | None) -> None:
        """Create the folder, closed to all but the account, unless it is there.

        Raises :exc:`ServerError` for a folder that holds something else, that belongs to another
        user, or that the account cannot reach.
        """
        missing = [folder for folder in self.path.parents if not folder.exists()]
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(self.path.iterdir()) and not (self.path / "users").exists():
            raise ServerError(f"{self.path} holds something else than a private server's data.")
        if not account:
            return
        for folder in missing:
            folder.chmod(0o711)
        if not account.may_enter(self.path.parent):
            raise ServerError(
                f"PostgreSQL does not run as root, and the user {account.name}, whom it would run "
                f"as, cannot reach {self.path}; choose a folder whose parents are open to all."
            )
        if self.cluster.exists() and self.cluster.stat().st_uid != account.uid:
            raise ServerError(f"The server in {self.path} belongs to another user than root.")
        os.chown(self.path, account.uid, account.gid, follow_symlinks=False)

    def make_cluster(self, programs: Programs, running: int, *, sync: bool) -> None:
        """Run initdb; without ``sync`` it leaves writing to disk to the operating system."""
        # Renamed when it is complete: an initdb that is killed leaves what looks like a cluster.
        unfinished = self.path / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments = ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]
        arguments += [f"--username={SUPERUSER}", "--locale=C", f"--pgdata={unfinished}"]
        if programs.version() >= 170000:
            # Upper and lower case beyond ASCII, without depending on the system's locales.
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not sync:
            arguments.append("--no-sync")
        # An initdb that outlives this process goes on: it holds the lock until it has ended.
        programs.run("initdb", *arguments, stdin=running)
        unfinished.rename(self.cluster)

    def open_lock(self, name: Lock) -> int:
        """Open the file of a lock and return its descriptor."""
        return os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def postmaster(self) -> Postmaster | None:
        """Return where the server answers, None where postmaster.pid does not say so yet."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
            found = Postmaster(int(lines[3]), Path(lines[4]))
        except (FileNotFoundError, IndexError, ValueError):
            return None
        # A copied folder has the file of another server; a server that starts fills it in steps.
        is_ours = Path(lines[1]) == self.cluster
        return found if is_ours and found.sockets.is_absolute() else None

    def postmaster_pid(self) -> int:
        """Return the process of the server; FileNotFoundError where none runs."""
        return int((self.cluster / "postmaster.pid").read_text().split()[0])

    def end_of_log(self) -> str:
        """Return the last error in the log."""
        return last_error(self.log.read_text(errors="replace") if self.log.exists() else "")


def lock(file: int, *, alone: bool, wait: bool = True) -> bool:
    """Lock an open file, alone or together with others, and say whether that worked."""
    import fcntl

    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
