"""The users that root's servers run as, since PostgreSQL does not run as root.

A server that is made to look at a stranger's dump runs what is in it. So it gets a user id that
nobody has: no files, no other processes, no cluster that it could reach.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from restorehooks.embedded.errors import ServerError

UNUSED = range(60578, 61184)
"""User ids between those of systemd-homed and of DynamicUser, which systemd's list leaves free."""
NAMED = ("nobody", "postgres")
"""Who else may run a server: where there is no id of its own. Earlier versions ran them so."""


class Account(NamedTuple):
    """A user of the operating system."""

    name: str
    uid: int
    gid: int

    def may_enter(self, folder: Path) -> bool:
        """Say whether the account can pass through ``folder`` and every folder above it."""
        return all(self._may_pass(part.stat()) for part in (folder, *folder.parents))

    def _may_pass(self, stat: os.stat_result) -> bool:
        if stat.st_uid == self.uid:
            return bool(stat.st_mode & 0o100)
        return bool(stat.st_mode & (0o010 if stat.st_gid == self.gid else 0o001))

    @property
    def popen(self) -> dict[str, Any]:
        """What makes :class:`subprocess.Popen` run as this account, with no other groups.

        The account's processes can take over such a program: it is in no terminal's session, and
        has to be given standard streams, an environment and a folder of its own.
        """
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "start_new_session": True}


def may_own(uid: int) -> bool:
    """Say whether a private server of root's can belong to this user id."""
    return uid in UNUSED or uid in [account.uid for account in named_accounts()]


def server_account(owner: int | None, claims: ExitStack) -> Account | None:
    """Return the account that is to run a server of root's, where none runs yet.

    ``owner`` is the user id that its cluster belongs to, None for a new one. Until ``claims`` is
    closed no other server gets the same id: leave it open until the server runs. The result is None
    for any other user than root, who runs servers as themselves. Raises :exc:`ServerError` where
    every account that there is runs a cluster of the machine.
    """
    if os.geteuid() != 0:
        return None
    free = _in_any_order() if sys.platform == "linux" else []
    # A process that a dump has left behind has the id still, and would reach the server.
    for uid in (owner, *free) if owner is not None and owner in UNUSED else free:
        account = Account(f"with the id {uid}", uid, uid)
        if _is_mapped(uid) and not _is_taken(uid) and _claimed(account, claims):
            return account._replace(gid=_own_group(uid))
    for account in named_accounts():
        if not _runs_a_cluster(account.uid):
            return account
    raise ServerError(
        "PostgreSQL does not run as root, and no user is left to run a private server as: there is "
        f"no free user id, and of the users {' and '.join(NAMED)} each is missing or runs a "
        "cluster of this machine, which a private server must not reach."
    )


def _in_any_order() -> list[int]:
    return secrets.SystemRandom().sample(UNUSED, len(UNUSED))


def _own_group(uid: int) -> int:
    """Return a group for one run of a server, which alone leads into the server's folder.

    Another folder's server may have the same user id by chance, when this one does not run, and a
    program that a dump has left (setuid) has it for good.
    """
    return next((gid for gid in _in_any_order() if _is_mapped(gid) and not _is_taken(gid)), uid)


def named_accounts() -> list[Account]:
    """Return the accounts of ``NAMED`` that the system has; initdb needs one with a name."""
    import pwd

    found = []
    for name in NAMED:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            found.append(Account(name, entry.pw_uid, entry.pw_gid))
    return found


def _is_mapped(uid: int) -> bool:
    """Say whether the id exists in this container, whose ids the kernel may have limited."""
    for name in ("uid_map", "gid_map"):
        with suppress(OSError):
            rows = [
                [int(number) for number in line.split()]
                for line in Path("/proc/self", name).read_text().splitlines()
            ]
            if not any(first <= uid < first + count for first, _, count in rows):
                return False
    return True


def _is_taken(uid: int) -> bool:
    import grp
    import pwd

    for look_up in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look_up(uid)
            return True
    return any(owner == uid for _, owner in _processes())


def _claimed(account: Account, claims: ExitStack) -> bool:
    """Say whether this process alone has taken the id, with a process that waits as the account.

    Of two that take it at once at least one sees the other, since each begins its own first.
    """
    waiting = subprocess.Popen(
        ["/bin/sh", "-c", "read -r _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        **account.popen,
    )
    with ExitStack() as claim:
        claim.enter_context(waiting)
        if processes_of(account.uid) == [waiting.pid]:
            claims.push(claim.pop_all())
            return True
    return False


def processes_of(uid: int) -> list[int]:
    """Return the ids of a user's processes."""
    return [int(process.name) for process, owner in _processes() if owner == uid]


def _processes() -> Iterator[tuple[Path, int]]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            # A process may call itself what is no UTF-8.
            owner, state = process.stat().st_uid, (process / "stat").read_bytes()
            if state.rpartition(b")")[2].split()[0] != b"Z":  # it has not, and nobody has asked
                yield process, owner


def _runs_a_cluster(uid: int) -> bool:
    """Say whether this user runs a server of PostgreSQL that is no private one."""
    for process, owner in _processes():
        with suppress(OSError):
            name = (process / "comm").read_bytes().strip()
            if owner == uid and name in (b"postgres", b"postmaster"):
                # PostgreSQL works in its data directory.
                data = (process / "cwd").readlink()
                if data.exists() and not _is_private(data):
                    return True
    return False


def _is_private(data: Path) -> bool:
    # initdb works in the unfinished one, as a user with a name.
    return data.name.startswith("cluster") and (data.parent / "users").exists()
