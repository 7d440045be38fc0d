"""The life of a server's process, which several processes of a user share."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restorehooks.embedded.account import server_account
from restorehooks.embedded.errors import ServerError
from restorehooks.embedded.folder import PASSWORD, SUPERUSER, ServerFolder, lock
from restorehooks.embedded.launch import DEFAULT_PORT, has_ended, launch
from restorehooks.embedded.programs import Programs

if TYPE_CHECKING:
    import psycopg

START_LIMIT = 120.0
"""Seconds that a server may take to answer, recovery after a crash included."""
STOP_LIMIT, LAST_LIMIT = 120.0, 5.0
"""Seconds that a server may take to end, and what is left of it once it is killed."""
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT}
if hasattr(signal, "SIGQUIT"):
    STOP_SIGNALS["immediate"] = signal.SIGQUIT


class SharedProcess:
    """This process's share in a server: the first one starts it, the last one ends it."""

    def __init__(
        self, folder: ServerFolder, programs: Programs, options: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.programs = programs
        self.options = options
        self.port = DEFAULT_PORT
        self._sockets: Path | None = None
        self._users: int | None = None
        self._keeper: int | None = None

    @property
    def sockets(self) -> Path:
        """The folder of the Unix socket; ServerError before the server is started."""
        if self._sockets is None:
            raise ServerError(f"The server in {self.folder.path} has not been started.")
        return self._sockets

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommitting connection of the superuser."""
        import psycopg

        return psycopg.connect(
            host=str(self.sockets),
            port=self.port,
            user=SUPERUSER,
            password=PASSWORD,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def start(self) -> None:
        """Start the server, or join the processes that use it, and wait until it answers.

        Raises :exc:`ServerError` with the last error in the server's log when it does not start.
        """
        if self._users is not None:
            return
        if os.name != "posix":
            raise ServerError("The private server needs Unix sockets, which this system lacks.")
        try:
            self._start()
        except BaseException as error:
            self._leave()
            if isinstance(error, OSError):
                where = ": set XDG_DATA_HOME to a folder of yours"
                hint = where if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else ""
                raise ServerError(
                    f"The server in {self.folder.path} cannot be started: {error}{hint}"
                ) from None
            raise

    def stop(self, mode: str = "fast") -> None:
        """Stop using the server, and end it unless other processes still use it.

        ``mode`` is "smart", "fast" or "immediate", as in pg_ctl.
        """
        if self._users is None:
            return
        try:
            if lock(self._users, alone=True, wait=False):
                self._end(STOP_SIGNALS[mode])
            else:
                # Others use it, or its keeper has found it unused and is ending it: wait for that.
                self._wait_for_end(partial(lock, self._users, alone=False, wait=False))
        finally:
            self._leave()

    def _start(self) -> None:
        self.folder.make()
        self._users = self.folder.open_lock("users")
        # This waits while the keeper, which then holds the lock alone, ends an unused server.
        self._wait_for_end(partial(lock, self._users, alone=False, wait=False))
        launched = False
        deadline = time.monotonic() + START_LIMIT
        with ExitStack() as claims:
            while not self._answers():
                with os.fdopen(self.folder.open_lock("running")) as running:
                    if lock(running.fileno(), alone=True, wait=False):
                        if launched:
                            raise self._failure("did not start")
                        self._launch(running.fileno(), claims)
                        launched = True
                if time.monotonic() > deadline:
                    raise self._failure(f"does not answer after {START_LIMIT:.0f} seconds")
                time.sleep(0.01)

    def _failure(self, what: str) -> ServerError:
        return ServerError(f"The server in {self.folder.path} {what}: {self.folder.end_of_log()}")

    def _answers(self) -> bool:
        import psycopg

        if found := self.folder.postmaster():
            self.port, self._sockets = found
            with suppress(psycopg.OperationalError):
                self.connect("postgres").close()
                return True
        return False

    def _launch(self, running: int, claims: ExitStack) -> None:
        account = server_account(self.folder.owner(), claims)
        if account:
            self.folder.give_to(account)
        programs = Programs(self.programs.bindir, account)
        self.programs = programs.within_reach(self.folder.path)
        if not self.folder.cluster.exists():
            sync = self.options.get("fsync") != "off"
            self.folder.make_cluster(self.programs, running, sync=sync)
        self._keeper = launch(self.folder, self.programs, self.options, running)

    def _end(self, number: signal.Signals) -> None:
        with os.fdopen(self.folder.open_lock("running")) as running:
            if not lock(running.fileno(), alone=True, wait=False):
                try:
                    self.folder.send(number)
                except (OSError, IndexError, ValueError):  # it is ending, or does not say who it is
                    self._let_go()  # its keeper ends a server that nobody uses
                self._wait_for_end(partial(lock, running.fileno(), alone=True, wait=False))
        if self._sockets:
            self.folder.remove_sockets(self._sockets, self.port)
        if self._keeper is not None:  # a dump may have given up its server's lock
            self._wait_for_end(partial(has_ended, self._keeper))
            self._keeper = None
        self.folder.end_all()  # a dump may have killed the keeper, which would have done it

    def _wait_for_end(self, is_over: Callable[[], bool]) -> None:
        """Wait until the server has ended, which a dump in it may prevent: then it is killed."""
        for seconds in (STOP_LIMIT, LAST_LIMIT):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if is_over():
                    return
                time.sleep(0.01)
            self.folder.end_all()
        raise ServerError(f"The server in {self.folder.path} does not end: end its processes.")

    def _let_go(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None

    def _leave(self) -> None:
        self._let_go()
        self._sockets = None
