"""The user's own server, which all their processes share: ``DATABASE_URL=embedded:``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restorehooks.embedded.errors import ServerError
from restorehooks.embedded.programs import Programs, server_folder
from restorehooks.embedded.server import Server


@contextmanager
def embedded_server() -> Iterator[Server]:
    """Run the user's private server while the block runs, shared with their other processes.

    Its data are kept in the user's folder for data, one folder for each major version, since no
    version of PostgreSQL reads the files of another one. Raises :exc:`ServerError`.
    """
    bindir = server_folder()
    major = Programs(bindir).version() // 10000
    with Server(_data_home() / f"postgresql-{major}", bindir) as server:
        yield server


def _data_home() -> Path:
    wanted = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(wanted):
        return Path(wanted) / "restorehooks"
    if os.name == "posix" and os.geteuid() == 0:
        # Root's home is closed to the user that root's server runs as.
        return Path("/var/lib/restorehooks")
    ours = "Library/Application Support" if sys.platform == "darwin" else ".local/share"
    try:
        return Path.home() / ours / "restorehooks"
    except RuntimeError:  # no HOME, and no such user in the system's list
        raise ServerError(
            "There is no home folder to keep the private server's data in; "
            "set HOME or XDG_DATA_HOME."
        ) from None
