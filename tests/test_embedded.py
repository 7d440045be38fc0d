"""The private server: real processes, started, shared, killed."""

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import environ
import psycopg
import pytest
from psycopg import sql

from restorehooks import embedded, programs
from restorehooks.embedded import Server, ServerError, server_folder
from restorehooks.embedded import account as account_module
from restorehooks.embedded import launch as launch_module
from restorehooks.embedded import process as process_module
from restorehooks.embedded.account import UNUSED, processes_of
from restorehooks.embedded.folder import ServerFolder
from restorehooks.programs import program_folders
from restorehooks.trust import why_not_run
from tests.support import ROOT
from tests.support.servers import reachable_folder

FAST = {"fsync": "off"}
OWNER = f"""
import sys
from pathlib import Path
from restorehooks.embedded import Server
with Server(Path(sys.argv[1]), Path(sys.argv[2]), {FAST}) as server:
    print(server.url("postgres"), flush=True)
    sys.stdin.read()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers change the user")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.fixture
def owner(folder: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """A function that starts a process of its own, which uses the server in ``folder/pg``."""
    with ExitStack() as stack:

        def start() -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [sys.executable, "-c", OWNER, str(folder / "pg"), str(server_folder())],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def url_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        assert row
        return row[0]


def has_ended(data: Path, seconds: float = 60) -> bool:
    """Wait until no process of the server in ``data`` is left; they all hold its lock.

    That is a matter of milliseconds, but for the autovacuum launcher of PostgreSQL 14: it may
    notice the death of its postmaster only after waiting in vain for the statistics collector.
    """
    deadline = time.monotonic() + seconds
    while is_locked(data / "running"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_locked(path: Path) -> bool:
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def postmaster(data: Path) -> int:
    return int((data / "cluster" / "postmaster.pid").read_text().split()[0])


def keeper_of(data: Path) -> int:
    status = Path(f"/proc/{postmaster(data)}/status").read_text()
    return int(status.split("PPid:")[1].split()[0])


def test_starts_answers_and_ends(folder: Path) -> None:
    server = Server(folder / "pg", server_folder(), FAST)
    with server:
        url = server.url("postgres")
        assert one(url, "SELECT current_setting('server_version_num')::int") == server.version
        assert one(url, "SELECT current_user") == "postgres"
        assert one(url, "SHOW server_encoding") == "UTF8"
        assert one(url, "SHOW listen_addresses") == ""
        # Root's server has to reach its cluster; to all others the folder is closed.
        mode = 0o710 if os.geteuid() == 0 else 0o700
        assert (folder / "pg").stat().st_mode & 0o777 == mode
    assert has_ended(folder / "pg", seconds=0.5)
    assert not (folder / "pg" / "cluster" / "postmaster.pid").exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    with pytest.raises(ServerError, match="has not been started"):
        server.url("postgres")


def test_keeps_its_data(folder: Path) -> None:
    server = Server(folder / "pg", server_folder(), FAST)
    with server:
        server.create_database('odd "näme"%')
        server.create_database('odd "näme"%')
    with server:
        assert one(server.url('odd "näme"%'), "SELECT current_database()") == 'odd "näme"%'


def test_django_environ_reads_the_url(folder: Path) -> None:
    with Server(folder / "pg", server_folder(), FAST) as server:
        read = environ.Env.db_url_config(server.url('a%b"ä'))
        assert (read["NAME"], read["USER"]) == ('a%b"ä', "postgres")
        assert read["OPTIONS"] == {"host": str(server.socket_dir), "port": server.port}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ends_with_its_owner(
    folder: Path, owner: Callable[..., "subprocess.Popen[str]"], number: signal.Signals
) -> None:
    process = owner()
    assert one(url_of(process), "SELECT 1") == 1
    process.send_signal(number)
    process.wait()
    assert has_ended(folder / "pg")
    assert [*folder.rglob("postmaster.pid")] == [], "ended, but not cleanly"


def test_ctrl_c_reaches_only_the_owner(folder: Path) -> None:
    """A terminal sends Ctrl-C to every process of the group: the server must not be among them."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder / "pg"), str(server_folder())],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with process:
        url = url_of(process)
        assert os.getpgid(postmaster(folder / "pg")) != process.pid
        assert one(url, "SELECT 1") == 1
        os.killpg(process.pid, signal.SIGINT)
    assert has_ended(folder / "pg")


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.25, 0.4, 0.6])
def test_an_owner_killed_while_it_starts_leaves_nothing_in_the_way(
    folder: Path, owner: Callable[..., "subprocess.Popen[str]"], delay: float
) -> None:
    process = owner()
    time.sleep(delay)
    process.kill()
    process.wait()
    with Server(folder / "pg", server_folder(), FAST) as server:
        assert one(server.url("postgres"), "SELECT 1") == 1
    assert has_ended(folder / "pg")


@on_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ends_with_its_keeper(folder: Path, number: signal.Signals) -> None:
    server = Server(folder / "pg", server_folder(), FAST)
    server.start()
    os.kill(keeper_of(folder / "pg"), number)
    assert has_ended(folder / "pg")
    server.stop()
    with server:
        assert one(server.url("postgres"), "SELECT 1") == 1


def test_is_shared_and_ends_with_the_last_one(
    folder: Path, owner: Callable[..., "subprocess.Popen[str]"]
) -> None:
    first, second = owner(), owner()
    url = url_of(first)
    assert url_of(second) == url
    with psycopg.connect(url) as connection:
        first.kill()
        first.wait()
        with Server(folder / "pg", server_folder(), FAST) as third:
            assert third.url("postgres") == url
        time.sleep(0.2)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    second.communicate()
    assert second.returncode == 0
    assert has_ended(folder / "pg", seconds=0.5), "the last one out waits for its end"


def test_many_come_and_go_at_once(
    folder: Path, owner: Callable[..., "subprocess.Popen[str]"]
) -> None:
    for _ in range(3):
        processes = [owner() for _ in range(4)]
        for process in processes:
            process.communicate()
        assert [process.returncode for process in processes] == [0, 0, 0, 0]
        assert has_ended(folder / "pg")


def test_holds_no_pipe_of_its_owner_open(
    folder: Path, owner: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """Who started it may leave, and whoever reads that one's output sees the end of it."""
    process = owner()
    url = url_of(process)
    with Server(folder / "pg", server_folder(), FAST):
        process.communicate(timeout=10)
        assert one(url, "SELECT 1") == 1


def test_starts_again_after_a_crash(folder: Path) -> None:
    server = Server(folder / "pg", server_folder())
    server.start()
    with psycopg.connect(server.url("postgres")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    server.stop("immediate")
    server.start()
    assert "was not properly shut down" in server.log.read_text()
    assert one(server.url("postgres"), "SELECT x FROM kept") == 1
    os.kill(postmaster(folder / "pg"), signal.SIGKILL)
    assert has_ended(folder / "pg")
    server.stop()
    with server:
        assert one(server.url("postgres"), "SELECT x FROM kept") == 1


def test_a_sockets_folder_is_where_nobody_else_may_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link there could lead to the socket of another server of the same user."""
    tmp_path.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = launch_module._socket_folder(ServerFolder(tmp_path / ("long" * 30)), None, 5432)
    made.rmdir()
    assert (made.parent, [*tmp_path.iterdir()]) == (Path("/tmp"), [])


@pytest.mark.parametrize("umask", [0, 0o77])
def test_new_folders_have_the_same_permissions_under_any_umask(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        ServerFolder(folder / "new" / "pg").make()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (folder / "new", folder / "new/pg")]
    assert modes == [0o711 if os.geteuid() == 0 else 0o700, 0o700]


def test_no_permissions_are_changed_by_a_name_that_others_may_exchange(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In somebody else's folder a link to a folder of root's could take the place of a new one."""
    (closed := folder / "closed").mkdir(0o700)
    (theirs := folder / "theirs").mkdir()
    theirs.chmod(0o777)
    make = Path.mkdir

    def mkdir(self: Path, *how: Any, **ways: Any) -> None:
        make(self, *how, **ways)
        if self.parent.parent == theirs:  # the last one
            self.parent.rename(theirs / "moved")
            self.parent.symlink_to(closed)
            (closed / self.name).mkdir()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with suppress(ServerError):
        ServerFolder(theirs / "new" / "pg").make()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["long" * 30, "a, b", "größe's 100%", "-D"])
def test_any_folder_will_do(folder: Path, name: str) -> None:
    server = Server(folder / name, server_folder(), FAST)
    with server:
        sockets = server.socket_dir
        assert one(server.url("postgres"), "SELECT 1") == 1
    assert sockets.exists() == (sockets == server.data)


def test_asks_for_passwords_over_tcp(folder: Path, free_port: int) -> None:
    options = {**FAST, "listen_addresses": "127.0.0.1", "port": str(free_port)}
    with Server(folder / "pg", server_folder(), options) as server:
        with server.connect() as connection:
            connection.execute("CREATE ROLE limited LOGIN PASSWORD 'right'")
        place = f"127.0.0.1:{server.port}/postgres"
        assert one(f"postgresql://limited:right@{place}", "SELECT current_user") == "limited"
        for login in ("limited:wrong", "limited", "postgres"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"postgresql://{login}@{place}")


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_says_why_it_does_not_start(folder: Path) -> None:
    with pytest.raises(ServerError, match=r"did not start: .*no_such_option") as caught:
        Server(folder / "pg", server_folder(), {**FAST, "no_such_option": "1"}).start()
    assert "\n" not in str(caught.value)
    (folder / "pg" / "cluster" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(ServerError, match="incompatible"):
        Server(folder / "pg", server_folder(), FAST).start()
    assert has_ended(folder / "pg", seconds=1)


def test_leaves_a_folder_alone_that_is_not_its_own(folder: Path) -> None:
    (folder / "letters").mkdir(mode=0o755)
    (folder / "letters" / "letter.txt").write_text("dear")
    before = (folder / "letters").stat()
    with pytest.raises(ServerError, match="holds something else"):
        Server(folder / "letters", server_folder()).start()
    after = (folder / "letters").stat()
    assert (before.st_uid, before.st_mode) == (after.st_uid, after.st_mode)
    assert [path.name for path in (folder / "letters").iterdir()] == ["letter.txt"]


@as_root
def test_root_is_told_about_a_folder_out_of_reach(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ServerError, match=r"cannot reach .*choose a folder"):
        Server(tmp_path / "pg", server_folder()).start()


@as_root
def test_root_keeps_no_server_where_another_user_may_replace_it(folder: Path) -> None:
    for name, uid, mode in (("theirs", 12345, 0o755), ("open", 0, 0o777)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
        os.chown(folder / name, uid, uid)
        (folder / "way").unlink(missing_ok=True)
        (folder / "way").symlink_to(folder / name)
        for place in (folder / name, folder / "way"):
            with pytest.raises(ServerError, match=f"{name}.*XDG_DATA_HOME"):
                Server(place / "restorehooks" / "pg", server_folder(), FAST).start()


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777])
def test_root_may_have_a_folder_for_temporary_files_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(mode)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    with Server(folder / ("long" * 30), server_folder(), FAST) as server:
        sockets = server.socket_dir
        assert one(server.url("postgres"), "SELECT 1") == 1
    assert not sockets.exists()


def id_of(data: Path) -> int:
    return Path(f"/proc/{postmaster(data)}").stat().st_uid


def has_a_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


@as_root
@on_linux
def test_root_runs_it_as_a_user_that_has_nothing_else(folder: Path) -> None:
    data = folder / "new" / "pg"
    with Server(data, server_folder(), FAST) as server:
        uid = id_of(data)
        assert uid != 0
        assert not has_a_name(uid)
        assert {path.stat().st_uid for path in (data / "cluster").rglob("*")} == {uid}
        # What root reads or runs there is root's.
        assert {data.stat().st_uid, (data / "users").stat().st_uid} == {0}
        with server.connect() as connection:
            for statement in (
                "COPY (SELECT 1) TO PROGRAM 'cat /var/lib/postgresql/*/*/PG_VERSION'",
                f"COPY (SELECT 1) TO '{data}/mine'",
                f"COPY (SELECT 1) TO '{data}/users'",
            ):
                with pytest.raises(psycopg.Error):
                    connection.execute(statement)
    with Server(folder / "other", server_folder(), FAST):
        assert id_of(folder / "other") != uid


@as_root
@on_linux
def test_no_secret_of_the_environment_reaches_it(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "RESTOREHOOKS_DIRECT_URL", "PGPASSWORD"):
        monkeypatch.setenv(name, "k3yOfRoots")
    with Server(folder / "pg", server_folder(), FAST) as server, server.connect() as connection:
        connection.execute("CREATE TABLE said (line text)")
        connection.execute("COPY said FROM PROGRAM 'env; tr ''\\0'' ''\\n'' < /proc/$PPID/environ'")
        said = [line for (line,) in connection.execute("SELECT line FROM said")]
    assert any(line.startswith("PATH=") for line in said)
    assert not [line for line in said if "k3yOfRoots" in line]


@as_root
@on_linux
@pytest.mark.parametrize("name", ["postgres", "nobody"])
def test_a_cluster_of_an_earlier_version_is_handed_over(folder: Path, name: str) -> None:
    account = next((each for each in account_module.named_accounts() if each.name == name), None)
    if account is None:
        pytest.skip(f"this system has no user {name}")
    server = Server(folder / "pg", server_folder(), FAST)
    with server, server.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    for path in (folder / "pg", *(folder / "pg").rglob("*")):
        os.chown(path, account.uid, account.gid)
    (folder / "pg").chmod(0o700)
    outside = folder / "outside"
    outside.touch()
    (folder / "pg" / "cluster" / "link").symlink_to(outside)
    os.link(outside, folder / "pg" / "cluster" / "hard")
    (folder / "pg" / "cluster" / "base").chmod(0o777)
    with server:
        # A process of the old id reaches nothing there any more.
        assert (folder / "pg" / "cluster" / "base").stat().st_mode & 0o777 == 0o700
        assert one(server.url("postgres"), "SELECT x FROM kept") == 1
        assert not has_a_name(id_of(folder / "pg"))
    assert outside.stat().st_uid == 0


@as_root
def test_root_leaves_the_cluster_of_another_user_alone(folder: Path) -> None:
    (folder / "pg" / "cluster").mkdir(parents=True)
    (folder / "pg" / "users").touch()
    for place in (folder / "pg", folder / "pg" / "cluster"):
        os.chown(place, 12345, 12345)
        with pytest.raises(ServerError, match="belongs to another user\\."):
            Server(folder / "pg", server_folder()).start()
        os.chown(place, 0, 0)


@as_root
@on_linux
def test_the_owner_of_a_running_cluster_is_never_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = account_module.named_accounts()[0]
    if account_module._runs_a_cluster(nobody.uid):
        pytest.skip(f"{nobody.name} runs a cluster of this machine already")
    # A cluster of the machine's own, as far as can be told from outside.
    monkeypatch.setattr(account_module, "_is_mapped", lambda _: False)
    with Server(folder / "pg", server_folder(), FAST) as server:
        assert id_of(folder / "pg") == nobody.uid
        # A private one is no reason.
        assert account_module.server_account(None, ExitStack()) == nobody
        # Nor is one that initdb is making.
        (folder / "pg" / "cluster").rename(folder / "pg" / "cluster.unfinished")
        assert account_module.server_account(None, ExitStack()) == nobody
        (folder / "pg" / "cluster.unfinished").rename(folder / "pg" / "cluster")
        (folder / "pg" / "users").rename(folder / "pg" / "elsewhere")
        monkeypatch.setattr(account_module, "NAMED", ("nobody",))
        with pytest.raises(ServerError, match="runs a cluster of this machine"):
            account_module.server_account(None, ExitStack())
        (folder / "pg" / "elsewhere").rename(folder / "pg" / "users")
        assert server.port


@as_root
@on_linux
def test_root_is_not_led_astray_by_what_the_server_writes(folder: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        server = Server(folder / "pg", server_folder(), FAST)
        server.start()
        file = folder / "pg" / "cluster" / "postmaster.pid"
        genuine = file.read_text()
        lines = genuine.splitlines()
        (folder / "elsewhere").mkdir()
        lines[4] = str(folder / "elsewhere")
        file.write_text("\n".join(lines) + "\n")
        assert ServerFolder(folder / "pg").postmaster() is None
        file.write_text(genuine)
        (socket,) = (folder / "pg").glob("socket/.s.PGSQL.*[0-9]")
        socket.rename(folder / "moved")
        socket.symlink_to(folder / "moved")
        assert ServerFolder(folder / "pg").postmaster() is None
        socket.unlink()
        (folder / "moved").rename(socket)
        file.write_text(genuine.replace(lines[0], str(bystander.pid), 1))
        ServerFolder(folder / "pg").send(signal.SIGTERM)
        assert bystander.poll() is None
        file.write_text(genuine)
        server.stop()
        bystander.kill()


@as_root
@on_linux
def test_the_server_cannot_replace_its_socket(folder: Path) -> None:
    server = Server(folder / "pg", server_folder(), FAST)
    with server:
        socket = server.socket_dir / f".s.PGSQL.{server.port}"
        as_superuser(server, f"mv {socket} {socket}.real; ln -s {socket}.real {socket}")
        assert not socket.is_symlink()
        server.connect().close()
        file = server.data / "cluster" / "postmaster.pid"
        genuine, uid = file.read_text(), id_of(server.data)
        # Another folder of the server's, which it could replace, or whose way it could.
        (server.data / "cluster" / "mine").mkdir()
        os.link(socket, server.data / "cluster" / "mine" / socket.name)
        (folder / "way").symlink_to(server.data / "cluster")
        for place in (server.data / "cluster" / "mine", folder / "way"):
            os.lchown(place, uid, uid)
        for place in (server.data / "cluster" / "mine", folder / "way" / "mine"):
            file.write_text(genuine.replace(str(socket.parent), str(place)))
            assert ServerFolder(server.data).postmaster() is None
            assert place.stat().st_uid == uid
        # libpq takes it for two hosts, the second one of the network.
        two = folder / "a,127.0.0.1"
        two.mkdir()
        os.link(socket, two / socket.name)
        for named in (str(two), "/tmp/\0"):
            file.write_text(genuine.replace(str(socket.parent), named))
            assert ServerFolder(server.data).postmaster() is None
        file.write_text(genuine)
    assert not socket.parent.exists()
    with server:  # it is the server's again, to make its socket there
        server.connect().close()


def as_superuser(server: Server, program: str) -> None:
    """Run a shell command in the server's data directory, as a dump may do there."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (line text)")
        connection.execute(sql.SQL("COPY t FROM PROGRAM {}").format(f"{program}; echo done"))


@as_root
@on_linux
def test_whoever_ends_it_shows_it_no_secret(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k3yOfRoots")
    with Server(folder / "pg", server_folder(), FAST) as server:
        watch = "cat /proc/[0-9]*/environ; readlink /proc/[0-9]*/fd/[012]"
        as_superuser(server, f"(while :; do {watch}; done > seen 2>/dev/null <&- &)")
        for _ in range(30):
            ServerFolder(folder / "pg").send(signal.SIGURG)
        seen = (folder / "pg" / "cluster" / "seen").read_bytes()
    assert b"LC_ALL=C" in seen
    assert b"k3yOfRoots" not in seen
    assert os.readlink("/proc/self/fd/1").encode() + b"\n" not in seen


@as_root
def test_nothing_that_a_dump_has_started_outlives_the_server(folder: Path) -> None:
    server = Server(folder / "pg", server_folder(), FAST)
    server.start()
    as_superuser(server, "(sleep 600 <&0 >/dev/null 2>&1 &)")
    uid = (folder / "pg" / "cluster").stat().st_uid
    assert uid in UNUSED
    server.stop()
    assert processes_of(uid) == []


@as_root
@on_linux
def test_nothing_outlives_it_where_a_dump_has_killed_the_keeper(folder: Path) -> None:
    server = Server(folder / "pg", server_folder(), FAST)
    server.start()
    as_superuser(server, "(setsid sleep 600 <&- >/dev/null 2>&1 &)")
    uid = (folder / "pg" / "cluster").stat().st_uid
    while not any(name_of(process) == b"sleep" for process in processes_of(uid)):
        time.sleep(0.01)  # until then it is one of the server's session, and ends with it
    os.kill(keeper_of(folder / "pg"), signal.SIGKILL)
    assert has_ended(folder / "pg")
    assert processes_of(uid)
    server.stop()
    assert processes_of(uid) == []


def name_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/comm").read_bytes().strip()
    except OSError:  # it has ended
        return b""


@as_root
@on_linux
def test_a_process_whose_name_is_no_text_is_in_nobodys_way(folder: Path) -> None:
    """It is ended with its server, where a dump has killed the keeper, too."""
    server = Server(folder / "pg", server_folder(), FAST)
    with server:
        (folder / os.fsdecode(b"s\xff")).symlink_to(shutil.which("sleep") or "sleep")
        as_superuser(server, f"(setsid $(printf '{folder}/s\\377') 600 <&- >/dev/null 2>&1 &)")
        uid = id_of(server.data)
        while not any(name_of(process) == b"s\xff" for process in processes_of(uid)):
            time.sleep(0.01)  # until then it is one of the server's session, and ends with it
        os.kill(keeper_of(server.data), signal.SIGKILL)
        assert has_ended(folder / "pg")
        assert processes_of(uid)
    deadline = time.monotonic() + 10  # what is killed is there for a moment
    while processes_of(uid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes_of(uid) == []


@as_root
def test_nobody_joins_the_server_of_another_user(folder: Path) -> None:
    (folder / "pg" / "cluster").mkdir(parents=True)
    (folder / "pg" / "users").touch(0o666)
    for name in ("pg/cluster", "pg"):
        os.chown(folder / name, 65001, 65001)
    os.seteuid(65002)
    try:
        with pytest.raises(ServerError, match="belongs to another user"):
            Server(folder / "pg", Path("/usr/bin")).start()
    finally:
        os.seteuid(0)


@as_root
def test_no_link_of_another_user_leads_to_another_server_of_ours(folder: Path) -> None:
    (folder / "ours").mkdir()
    (folder / "theirs").symlink_to("ours")
    os.chown(folder / "ours", 65002, 65002)
    os.lchown(folder / "theirs", 65001, 65001)
    os.seteuid(65002)
    try:
        with pytest.raises(ServerError, match="theirs is a link of another user's: set XDG_DATA"):
            Server(folder / "theirs/pg", Path("/usr/bin")).start()
    finally:
        os.seteuid(0)


def test_it_is_told_no_password_of_its_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pgpass").write_text("*:*:*:*:k3yOfRoots\n")
    (folder / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(folder / "pgpass"))
    with Server(folder / "pg", server_folder(), FAST) as server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER ROLE postgres PASSWORD 'k3yOfRoots'")
            (folder / "pg" / "cluster" / "pg_hba.conf").write_text("local all all password\n")
            connection.execute("SELECT pg_reload_conf()")
            logs_in = partial(psycopg.connect, server.url("postgres"))
            while is_let_in(partial(logs_in, password="anything")):
                time.sleep(0.01)
        assert is_let_in(partial(logs_in, password="k3yOfRoots"))
        assert not is_let_in(logs_in)
        assert not is_let_in(server.connect)
        monkeypatch.setenv("PGPASSWORD", "k3yOfRoots")
        assert not is_let_in(logs_in)
        assert not is_let_in(server.connect)


def is_let_in(connect: Callable[[], "psycopg.Connection[tuple[object, ...]]"]) -> bool:
    try:
        connect().close()
    except psycopg.OperationalError:
        return False
    return True


@as_root
def test_what_outlives_it_does_not_reach_the_next_one(folder: Path) -> None:
    server = Server(folder / "pg", server_folder(), FAST)
    server.start()
    server.stop()
    uid = (folder / "pg" / "cluster").stat().st_uid
    with subprocess.Popen(["sleep", "60"], user=uid, group=uid, extra_groups=[]) as left:
        server.start()
        assert (folder / "pg" / "cluster").stat().st_uid not in (0, uid)
        server.stop()
        left.kill()


@as_root
@on_linux
def test_another_folders_server_with_the_same_id_reaches_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which happens by chance, when the first one does not run."""
    orders = iter([[UNUSED[0]], [UNUSED[1]], [UNUSED[0]], [UNUSED[2]]])
    monkeypatch.setattr(account_module, "_in_any_order", lambda: next(orders))
    with Server(folder / "first", server_folder(), FAST):
        pass
    with Server(folder / "second", server_folder(), FAST) as server, server.connect() as second:
        assert {path.stat().st_uid for path in folder.glob("*/cluster")} == {UNUSED[0]}
        for place, is_reached in (("second", True), ("first", False)):
            asked = f"COPY (SELECT 1) TO PROGRAM 'ls {folder}/{place}/cluster'"
            with nullcontext() if is_reached else pytest.raises(psycopg.Error):
                second.execute(asked)


@as_root
@on_linux
def test_two_that_start_at_once_get_ids_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_module, "_in_any_order", lambda: [*UNUSED])
    first, second = folder / "first", folder / "second"
    servers = [Server(place, server_folder(), FAST) for place in (first, second)]
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(Server.start, servers):
            pass
    assert id_of(first) != id_of(second)
    servers[0].stop()
    assert one(servers[1].url("postgres"), "SELECT 1") == 1
    servers[1].stop()


@as_root
@pytest.mark.parametrize(
    "done",
    [
        "echo rubbish > postmaster.pid",
        "rm postmaster.pid; mkfifo postmaster.pid",
        "flock -u 0",  # by which it says that it runs
    ],
)
def test_what_hides_its_process_ends_all_the_same(
    folder: Path, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "STOP_LIMIT", 1.0)
    server = Server(folder / "pg", server_folder(), FAST)
    server.start()
    as_superuser(server, done)
    server.stop()
    assert processes_of((folder / "pg" / "cluster").stat().st_uid) == []


@as_root
def test_root_may_keep_the_programs_in_a_closed_folder(tmp_path: Path, folder: Path) -> None:
    tmp_path.chmod(0o700)
    bindir = server_folder()
    package = bindir.parent.parent
    if bindir.is_relative_to("/usr"):
        pytest.skip("the distribution's programs look for their files where it has put them")
    closed = tmp_path / package.name / bindir.parent.name
    shutil.copytree(bindir.parent, closed)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, tmp_path / libraries.name)
    for name in ("data", "bin/backup.sh"):  # what lies beside them is nobody's business
        (closed / name).write_text("secret")
    with Server(folder / "pg", closed / "bin", FAST) as server:
        assert one(server.url("postgres"), "SELECT 1") == 1
        assert folder in server.bindir.parents
        assert not {path.name for path in server.bindir.parent.rglob("*")} & {"data", "backup.sh"}
        # Root runs pg_dump and pg_restore from there.
        assert {path.stat().st_uid for path in server.bindir.rglob("*")} == {0}
        assert why_not_run(server.bindir) is None


@as_root
def test_no_folder_is_copied_that_is_not_postgresqls(tmp_path: Path, folder: Path) -> None:
    """As /root is where programs in /root/bin start those of the distribution."""
    bindir, home = server_folder(), tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    home.chmod(0o700)
    for name in ("initdb", "postgres"):
        (home / "bin" / name).write_text(f'#!/bin/sh\nexec {bindir}/{name} "$@"\n')
        (home / "bin" / name).chmod(0o755)
    with pytest.raises(ServerError, match="let PG_BINDIR name programs that are open to all"):
        Server(folder / "pg", home / "bin", FAST).start()


def test_folders_come_in_order_and_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("chosen", "first", "second", "closed/inner"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "closed").chmod(0)
    monkeypatch.setenv("PG_BINDIR", str(tmp_path / "chosen"))
    names = ("first", "missing", "second", "chosen", "closed/inner", "first")
    path = [tmp_path / name for name in names]
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, path)))
    found = [*program_folders()]
    assert found[:3] == [tmp_path / "chosen", tmp_path / "first", tmp_path / "second"]
    assert len(found) == len(set(found))
    (tmp_path / "closed").chmod(0o700)


def test_the_newest_version_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version in ("9.6", "10", "9.5"):
        (tmp_path / version / "bin").mkdir(parents=True)
    monkeypatch.setattr(programs, "_PER_VERSION", ((str(tmp_path), "*/bin"),))
    found = [folder.parent.name for folder in program_folders() if tmp_path in folder.parents]
    assert found == ["10", "9.6", "9.5"]


def test_links_are_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bindir = server_folder()
    for name in ("initdb", "postgres"):
        (tmp_path / name).symlink_to(bindir / name)
    monkeypatch.delenv("PG_BINDIR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_folder() == bindir


def test_a_link_out_of_a_folder_leads_to_no_program_of_somebody_elses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    for name in ("initdb", "postgres"):
        (tmp_path / "theirs" / name).write_text("#!/bin/sh\n")
        (tmp_path / "theirs" / name).chmod(0o755)
        (tmp_path / "ours" / name).symlink_to(tmp_path / "theirs" / name)
    monkeypatch.delenv("PG_BINDIR", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}/ours{os.pathsep}{os.environ['PATH']}")
    assert server_folder() == tmp_path / "theirs"
    (tmp_path / "theirs").chmod(0o777)
    assert tmp_path not in server_folder().parents
    monkeypatch.setenv("PG_BINDIR", f"{tmp_path}/ours")
    with pytest.raises(ServerError, match=r"no server there is run: every user may write to"):
        server_folder()


def test_missing_programs_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PG_BINDIR", str(tmp_path))
    with pytest.raises(ServerError, match=r"PG_BINDIR is .* not both present"):
        server_folder()
    monkeypatch.delenv("PG_BINDIR")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_PER_VERSION", ())
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ServerError, match=r"pip install .django-restorehooks\[embedded\]"):
        server_folder()


def test_the_users_own_server(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    with embedded.embedded_server() as server:
        assert server.data == folder / "restorehooks" / f"postgresql-{server.version // 10000}"
        assert one(server.url("postgres"), "SELECT 1") == 1
    assert has_ended(server.data, seconds=0.5)


def test_without_a_home_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # nobody in the system's list of users
    with pytest.raises(ServerError, match="set HOME or XDG_DATA_HOME"), embedded.embedded_server():
        pass


def restorehooks(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "restorehooks", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_DATA_HOME": str(folder),
            "DATABASE_URL": "embedded:",
        },
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_standalone_command_keeps_what_it_is_given(folder: Path) -> None:
    insert = "CREATE TABLE t (id serial); INSERT INTO t VALUES (1), (2);"
    printed, errors = restorehooks(folder, "dbshell").communicate(insert)
    assert (printed.split("\n")[-2], errors) == ("INSERT 0 2", "")
    printed, errors = restorehooks(folder, "resetsequences").communicate()
    assert ("public.t_id_seq" in printed, errors) == (True, "")
    printed, errors = restorehooks(folder, "dbshell").communicate(
        "INSERT INTO t DEFAULT VALUES RETURNING id;"
    )
    assert (printed.split()[2], errors) == ("3", "")
    [data] = (folder / "restorehooks").iterdir()
    assert has_ended(data, seconds=0.5)


def test_the_standalone_command_is_led_to_no_other_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "services").write_text("[shop]\nhostaddr=127.0.0.9\n")
    monkeypatch.setenv("PGSERVICEFILE", str(folder / "services"))
    monkeypatch.setenv("PGSERVICE", "shop")
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.9")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGOPTIONS", "-c app.key=hush")  # policies are told keys so
    (folder / "restorehooks.sql").write_text(
        "--\n-- PostgreSQL database dump\n--\n"
        "CREATE TABLE told AS SELECT coalesce(current_setting('app.key', true), 'none') AS key;\n"
        "--\n-- PostgreSQL database dump complete\n--\n"
    )
    restored = restorehooks(folder, "restoredb", "restorehooks.sql", "--no-input")
    assert "Restored" in restored.communicate(timeout=30)[0]
    asked = restorehooks(folder, "dbshell", "--", "-XAtc", "SELECT key FROM told")
    assert asked.communicate(timeout=30) == ("none\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_standalone_command_leaves_no_server_behind(
    folder: Path, number: signal.Signals
) -> None:
    process = restorehooks(folder, "dbshell")
    with process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\\echo up\n")
        process.stdin.flush()
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        process.wait()
        [data] = (folder / "restorehooks").iterdir()
        assert has_ended(data)
        assert not (data / "cluster" / "postmaster.pid").exists()
