"""A real SFTP server: OpenSSH's sshd on loopback, as a user who can do nothing else."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restorehooks.restore.processes import die_with_parent
from tests.support.servers import reachable_folder

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SECONDS_TO_START = 20
CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {keys}/host
AuthorizedKeysFile {keys}/authorized
PidFile none
StrictModes no
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp -u 022
"""


@dataclass
class Sftp:
    """A server that answers, and the folder that its files are in."""

    root: Path
    options: dict[str, Any]
    process: subprocess.Popen[bytes]


@contextmanager
def sftp_server() -> Iterator[Sftp]:
    """Run sshd while the block runs. Root runs it as nobody, anybody else as themselves."""
    assert SSHD
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    with reachable_folder() as folder:
        keys, root = folder / "keys", folder / "files"
        for path in (keys, root):
            path.mkdir()
        for name in ("host", "mine"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
            subprocess.run(make, check=True)
        shutil.copy(keys / "mine.pub", keys / "authorized")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        (keys / "config").write_text(CONFIG.format(port=port, keys=keys))
        host = (keys / "host.pub").read_text().split()[:2]
        (keys / "known").write_text(f"[127.0.0.1]:{port} {' '.join(host)}\n")
        _hand_over(user, keys, root, *keys.iterdir())
        command = [SSHD, "-D", "-e", "-f", str(keys / "config")]
        as_user: dict[str, Any] = {
            "user": user,
            "group": pwd.getpwnam(user).pw_gid,
            "extra_groups": [],
        }
        if os.geteuid() != 0:
            as_user = {}
        with (keys / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stderr=log,
                preexec_fn=die_with_parent(),
                **as_user,
            )
        options = {
            "host": "127.0.0.1",
            "root_path": str(root),
            "known_host_file": str(keys / "known"),
            "params": {
                "port": port,
                "username": user,
                "key_filename": str(keys / "mine"),
                "allow_agent": False,
                "look_for_keys": False,
            },
        }
        try:
            _wait_for(port, process, keys / "log")
            yield Sftp(root, options, process)
        finally:
            process.terminate()
            process.wait()


def _hand_over(user: str, *paths: Path) -> None:
    if os.geteuid() == 0:
        owner = pwd.getpwnam(user)
        for path in paths:
            os.chown(path, owner.pw_uid, owner.pw_gid)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
