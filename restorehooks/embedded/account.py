"""The user that a server runs as when root starts it, since PostgreSQL does not run as root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from restorehooks.embedded.errors import ServerError


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
        """What makes :class:`subprocess.Popen` run as this account, with no other groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_account() -> Account | None:
    """Return the account that runs root's servers: ``postgres``, else ``nobody``.

    It is None for any other user, who runs servers as themselves. Raises :exc:`ServerError` where
    neither exists.
    """
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerError(
        "PostgreSQL does not run as root, and this system has no user postgres and no user nobody."
    )
