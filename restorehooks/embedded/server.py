"""A private server as its users see it: where it answers, and its databases."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from restorehooks.embedded.folder import PASSWORD, SUPERUSER, ServerFolder
from restorehooks.embedded.process import SharedProcess
from restorehooks.embedded.programs import Programs

if TYPE_CHECKING:
    import psycopg

DATABASE = "SELECT FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) %s"


class Server:
    """One private PostgreSQL server, which ends with the last process that uses it.

    ``data`` is the folder that holds everything of it: the cluster, the log, the socket (where
    that path is too long for a socket, it is in a short one among the temporary files). Folder
    and cluster are created when they are missing. ``bindir`` holds ``initdb`` and ``postgres``.
    ``options`` are settings of the server (``{"fsync": "off"}``), which hold while it runs. To
    reach it over TCP set ``listen_addresses`` and ``port``; it then asks for passwords
    (scram-sha-256), while the socket trusts whoever may enter its folder.

    The superuser is ``postgres``. Started by root, the server runs with a user id that nobody else
    has, or as ``nobody`` or ``postgres`` where the system has no such id to give, and never as the
    owner of another cluster that is running. It has to be able to reach ``data``.

    Several processes may start the same server: the first one starts it, the others share it. It
    ends when the last of them has stopped it or has ended, even by SIGKILL.
    """

    def __init__(
        self, data: Path, bindir: Path, options: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.data = data.absolute()
        self.options = dict(options)
        self._process = SharedProcess(
            ServerFolder(self.data), Programs(bindir.absolute()), self.options
        )

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def bindir(self) -> Path:
        """The folder of the programs: the one given, or a copy that root's server can run."""
        return self._process.programs.bindir

    @property
    def socket_dir(self) -> Path:
        """The folder of the Unix socket; ServerError before the server is started."""
        return self._process.sockets

    @property
    def port(self) -> int:
        """The port, with which the socket's name ends too."""
        return self._process.port

    @cached_property
    def version(self) -> int:
        """The server's version in the form of ``server_version_num``: 150019 is 15.19."""
        return self._process.programs.version()

    @property
    def log(self) -> Path:
        """The file that the server writes its log to."""
        return self._process.folder.log

    def url(self, database: str) -> str:
        """Return the URL of ``database``, as libpq and django-environ read it."""
        place = urlencode({"host": str(self.socket_dir), "port": self.port}, quote_via=quote)
        return f"postgresql://{SUPERUSER}:{PASSWORD}@/{quote(database, safe='')}?{place}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommitting connection of the superuser."""
        return self._process.connect(database)

    def create_database(self, name: str) -> None:
        """Create the database ``name`` unless it exists."""
        from psycopg import sql

        with self.connect() as connection:
            if not connection.execute(DATABASE, [name]).rowcount:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def start(self) -> None:
        """Start the server, or join the processes that use it, and wait until it answers.

        Raises :exc:`ServerError` with the last error in the server's log when it does not start.
        """
        self._process.start()

    def stop(self, mode: str = "fast") -> None:
        """Stop using the server, and end it unless other processes still use it.

        ``mode`` is "smart", "fast" or "immediate", as in pg_ctl.
        """
        self._process.stop(mode)
