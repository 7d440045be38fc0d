"""A private PostgreSQL for when there is no server at hand.

Only the server's programs are taken from elsewhere: from ``PG_BINDIR``, from the machine, or from
the wheel that the extra ``embedded`` installs. Their life is kept here. A server answers on a Unix
socket in a folder that nobody else may enter, never on TCP unless asked, and ends with the last
process that uses it, however that process ends (see :mod:`restorehooks.keeper`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from restorehooks.programs import program_folders

if TYPE_CHECKING:
    import psycopg

SUPERUSER = "postgres"
DEFAULT_PORT = 5432
REMEDY = (
    'install them with: pip install "django-restorehooks[embedded]", '
    "or let PG_BINDIR name their folder"
)
SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103
"""Bytes in the path of a Unix socket, its closing zero byte not counted (``man 7 unix``)."""
START_LIMIT = 120.0
"""Seconds that a server may take to answer, recovery after a crash included."""
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT}
if hasattr(signal, "SIGQUIT"):
    STOP_SIGNALS["immediate"] = signal.SIGQUIT


class ServerError(Exception):
    """The private server cannot be had; the message is one sentence for the person who asked."""


def server_folder() -> Path:
    """Return the first of ``program_folders`` that holds ``initdb`` and ``postgres``.

    Raises :exc:`ServerError` where there is none, and where ``PG_BINDIR`` names a folder
    without them: what was asked for is not replaced by something else.
    """
    wanted = os.environ.get("PG_BINDIR")
    for folder in [Path(wanted).absolute()] if wanted else program_folders():
        if _has_server(folder):
            # A link in /usr/local/bin leads to where the client programs of this version are too.
            linked = Path(str(shutil.which("postgres", path=str(folder)))).resolve().parent
            return linked if _has_server(linked) else folder
    if wanted:
        raise ServerError(f"PG_BINDIR is {wanted}, where initdb and postgres are not both present.")
    raise ServerError(f"No PostgreSQL server programs found on this machine; {REMEDY}.")


def _has_server(folder: Path) -> bool:
    return all(shutil.which(name, path=str(folder)) for name in ("initdb", "postgres"))


class _Account(NamedTuple):
    """The operating system's user that a server runs as when its owner is root."""

    name: str
    uid: int
    gid: int

    def may_enter(self, folder: Path) -> bool:
        """Say whether the account can pass through ``folder`` and everything above it."""
        return all(self._may_pass(part.stat()) for part in (folder, *folder.parents))

    def _may_pass(self, stat: os.stat_result) -> bool:
        if stat.st_uid == self.uid:
            return bool(stat.st_mode & 0o100)
        return bool(stat.st_mode & (0o010 if stat.st_gid == self.gid else 0o001))

    @property
    def popen(self) -> dict[str, Any]:
        """What makes :class:`subprocess.Popen` run as this account, with no other groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def _account() -> _Account | None:
    """Return whom root's servers run as (PostgreSQL refuses root), None for anybody else."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody."
    )


class Server:
    """One private PostgreSQL in a folder of its own, started and stopped with its users.

    ``data`` is the folder that holds everything of it: the cluster, the log, the socket (or, where
    that path would be too long for a socket, a short one in the folder for temporary files). It
    is created when it is missing; the cluster too. ``bindir`` holds ``initdb`` and ``postgres``.
    ``options`` are settings of the server (``{"fsync": "off"}``), which hold while it runs. To
    reach it over TCP set ``listen_addresses`` and ``port``: passwords are then asked for
    (scram-sha-256), while the socket trusts whoever may enter its folder.

    The superuser is ``postgres``. Started by root, the server runs as the user ``postgres`` or
    ``nobody``, who owns ``data`` and has to be able to reach it.

    Several processes may start the same server: the first one does, the others share it, and it
    ends when the last of them has stopped it or has ended, be it by SIGKILL.
    """

    def __init__(
        self, data: Path, bindir: Path, options: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.data = data.absolute()
        self.bindir = bindir.absolute()
        self.options = dict(options)
        self._sockets: Path | None = None
        self._port = DEFAULT_PORT
        self._users: int | None = None
        self._keeper: int | None = None

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
    def socket_dir(self) -> Path:
        """The folder of the Unix socket, known once the server has been started."""
        if self._sockets is None:
            raise ServerError(f"The server in {self.data} has not been started.")
        return self._sockets

    @property
    def port(self) -> int:
        """The port, which also is the ending of the socket's name."""
        return self._port

    @cached_property
    def version(self) -> int:
        """The server's version in the form of ``server_version_num``: 150019 is 15.19."""
        shown = self._run("postgres", "--version")
        found = re.search(r"(\d+)(?:\.(\d+))?", shown)
        if not found:
            raise ServerError(f"{self.bindir / 'postgres'} does not tell its version: {shown}")
        return int(found[1]) * 10000 + int(found[2] or 0)

    @property
    def log(self) -> Path:
        """The file that the server writes its log to."""
        return self.data / "log"

    def url(self, database: str) -> str:
        """Return the URL of ``database``, as libpq and django-environ read it."""
        place = urlencode({"host": str(self.socket_dir), "port": self.port}, quote_via=quote)
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?{place}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommitting connection of the superuser."""
        import psycopg

        return psycopg.connect(
            host=str(self.socket_dir),
            port=self.port,
            user=SUPERUSER,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def start(self) -> None:
        """Start the server, or join those who use it already, and wait until it answers.

        Raises :exc:`ServerError` with the last line of the server's log when it does not come up.
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
                raise ServerError(f"The server in {self.data} cannot be started: {error}") from None
            raise

    def stop(self, mode: str = "fast") -> None:
        """Stop using the server, and end it unless other processes use it still.

        ``mode`` is "smart", "fast" or "immediate", as pg_ctl has it. Whoever leaves last ends it.
        """
        if self._users is None:
            return
        try:
            if _lock(self._users, alone=True, wait=False):
                self._end(STOP_SIGNALS[mode])
            else:
                # Others use it, or its keeper has found it unused and is ending it: wait for that.
                _lock(self._users, alone=False)
        finally:
            self._leave()

    def create_database(self, name: str) -> None:
        """Create the database ``name`` unless it is there."""
        from psycopg import sql

        with self.connect() as connection:
            if not connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", [name]
            ).rowcount:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _start(self) -> None:
        account = _account()
        self._make_data(account)
        self._users = self._open("users")
        # This waits while the keeper, which then holds the lock alone, ends an unused server.
        _lock(self._users, alone=False)
        launched = False
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            with os.fdopen(self._open("running")) as running:
                if _lock(running.fileno(), alone=True, wait=False):
                    if launched:
                        raise ServerError(
                            f"The server in {self.data} did not start: {self._end_of_log()}"
                        )
                    self._launch(account, running.fileno())
                    launched = True
            if time.monotonic() > deadline:
                raise ServerError(
                    f"The server in {self.data} does not answer after {START_LIMIT:.0f} seconds: "
                    f"{self._end_of_log()}"
                )
            time.sleep(0.01)

    def _open(self, lock: str) -> int:
        return os.open(self.data / lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def _make_data(self, account: _Account | None) -> None:
        missing = [folder for folder in self.data.parents if not folder.exists()]
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(self.data.iterdir()) and not (self.data / "users").exists():
            raise ServerError(f"{self.data} holds something else than a private server's data.")
        if not account:
            return
        for folder in missing:
            folder.chmod(0o711)
        if not account.may_enter(self.data.parent):
            raise ServerError(
                f"PostgreSQL does not run as root, and the user {account.name}, whom it would run "
                f"as, cannot reach {self.data}; choose a folder whose parents are open to all."
            )
        cluster = self.data / "cluster"
        if cluster.exists() and cluster.stat().st_uid != account.uid:
            raise ServerError(f"The server in {self.data} belongs to another user than root.")
        os.chown(self.data, account.uid, account.gid, follow_symlinks=False)

    def _answers(self) -> bool:
        """Connect to where the running server says it is (the lines of its postmaster.pid)."""
        import psycopg

        cluster = self.data / "cluster"
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            self._port, self._sockets = int(lines[3]), Path(lines[4])
            if Path(lines[1]) != cluster:  # a copy of another server's folder
                return False
            self.connect().close()
        except (FileNotFoundError, IndexError, ValueError, psycopg.OperationalError):
            return False
        return True

    def _initdb(self, account: _Account | None, running: int) -> None:
        # Renamed when it is whole: an initdb that was killed half-way leaves a cluster that looks
        # like one.
        unfinished = self.data / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments = ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]
        arguments += [f"--username={SUPERUSER}", "--locale=C", f"--pgdata={unfinished}"]
        if self.version >= 170000:
            # Case is then known beyond ASCII, without depending on the system's locales.
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self.options.get("fsync") == "off":
            arguments.append("--no-sync")
        # An initdb that outlives us goes on in that folder: it holds the lock until it has ended.
        self._run("initdb", *arguments, account=account, stdin=running)
        unfinished.rename(self.data / "cluster")

    def _copied_programs(self, account: _Account) -> Path:
        """Copy the programs from a folder closed to ``account`` to one where it can run them."""
        package = self.bindir.parent.parent
        target = self.data / f"programs-{self.version}"
        if not target.exists():
            for old in self.data.glob("programs*"):
                shutil.rmtree(old)
            unfinished = self.data / "programs.unfinished"
            shutil.copytree(self.bindir.parent, unfinished / package.name / self.bindir.parent.name)
            # A wheel keeps the libraries its programs need in a second folder beside the package.
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name)
            for copied in (unfinished, *unfinished.rglob("*")):
                os.chown(copied, account.uid, account.gid, follow_symlinks=False)
            unfinished.rename(target)
        return target / self.bindir.relative_to(package.parent)

    def _run(
        self,
        program: str,
        *arguments: str,
        account: _Account | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> str:
        try:
            done = subprocess.run(  # noqa: S603  an argument list, no shell
                [str(self.bindir / program), *arguments],
                cwd=self.data if account else None,
                env=_environment(),
                stdin=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                **(account.popen if account else {}),
            )
        except OSError as error:
            raise ServerError(f"{self.bindir / program} cannot be run: {error.strerror}.") from None
        if done.returncode:
            raise ServerError(f"{program} failed: {_summary(done.stderr + done.stdout)}")
        return str(done.stdout)

    def _launch(self, account: _Account | None, running: int) -> None:
        if account and not account.may_enter(self.bindir):
            self.bindir = self._copied_programs(account)
        if not (self.data / "cluster").exists():
            self._initdb(account, running)
        port = int(self.options.get("port", DEFAULT_PORT))
        sockets = str(self._socket_folder(account, port))
        settings = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            **self.options,
            "unix_socket_directories": '"{}"'.format(sockets.replace('"', '""')),
            "port": str(port),
        }
        postgres = [str(self.bindir / "postgres"), "-D", str(self.data / "cluster")]
        for name, value in settings.items():
            postgres += ["-c", f"{name}={value}"]
        identity = f"{account.uid}:{account.gid}" if account else ""
        self._spawn_keeper([str(self.data), sockets, identity, *postgres], running)

    def _spawn_keeper(self, arguments: list[str], running: int) -> None:
        script = Path(__file__).with_name("keeper.py")
        self.log.unlink(missing_ok=True)
        # As standard input the lock is held until the last process of the server has ended.
        lock_as_input = (os.POSIX_SPAWN_DUP2, running, 0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        log_as_output = (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o600)
        self._keeper = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(script), *arguments],
            _environment(),
            file_actions=[lock_as_input, log_as_output, (os.POSIX_SPAWN_DUP2, 1, 2)],
        )

    def _socket_folder(self, account: _Account | None, port: int) -> Path:
        # libpq reads a comma as the beginning of another host.
        length = len(os.fsencode(self.data / f".s.PGSQL.{port}"))
        if length <= SOCKET_PATH_LIMIT and "," not in str(self.data):
            return self.data
        short = Path(tempfile.gettempdir())
        too_long = len(os.fsencode(short)) > SOCKET_PATH_LIMIT - 40
        if too_long or (account and not account.may_enter(short)):
            short = Path("/tmp")  # noqa: S108  a fresh folder of our own is made in it
        folder = Path(tempfile.mkdtemp(prefix="restorehooks-", dir=short))
        if account:
            os.chown(folder, account.uid, account.gid)
        return folder

    def _end_of_log(self) -> str:
        return _summary(self.log.read_text(errors="replace") if self.log.exists() else "")

    def _end(self, number: signal.Signals) -> None:
        with os.fdopen(self._open("running")) as running:
            if not _lock(running.fileno(), alone=True, wait=False):
                with suppress(FileNotFoundError, ProcessLookupError):  # ending by itself already
                    pid = (self.data / "cluster" / "postmaster.pid").read_text().split()[0]
                    os.kill(int(pid), number)
                _lock(running.fileno(), alone=True)
        if self._sockets and self._sockets != self.data:
            with suppress(OSError):  # mostly the keeper has removed it, if it was allowed to
                self._sockets.rmdir()
        if self._keeper is not None:
            with suppress(ChildProcessError):
                os.waitpid(self._keeper, 0)
            self._keeper = None

    def _leave(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None
        self._sockets = None


def _lock(file: int, *, alone: bool, wait: bool = True) -> bool:
    """Lock an open file, alone or together with others, and say whether that worked."""
    import fcntl

    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _environment() -> dict[str, str]:
    """Return the environment without libpq's variables, the server's messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def _summary(log: str) -> str:
    """Return what a log ends on: its last fatal error, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["it left no message."]
    fatal = [line for line in lines if re.search(r"(FATAL|PANIC|error):", line)]
    return re.sub(r"^.*?(FATAL|PANIC|error):\s*", "", (fatal or lines)[-1])


def _data_home() -> Path:
    wanted = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(wanted):
        return Path(wanted) / "restorehooks"
    if os.name == "posix" and os.geteuid() == 0:
        # Root's home is closed to the user that root's server runs as.
        return Path("/var/lib/restorehooks")
    ours = "Library/Application Support" if sys.platform == "darwin" else ".local/share"
    return Path.home() / ours / "restorehooks"


@contextmanager
def embedded_server() -> Iterator[Server]:
    """Run the user's private server while the block runs, shared with whoever else uses it.

    It is what ``DATABASE_URL=embedded:`` stands for. Its data are kept in the user's folder for
    data, per major version, since no version of PostgreSQL reads another one's.
    """
    bindir = server_folder()
    major = Server(Path(), bindir).version // 10000
    with Server(_data_home() / f"postgresql-{major}", bindir) as server:
        yield server
