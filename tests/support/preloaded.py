"""Starts Python processes of tests with Django imported already: half of what each would cost.

Run as a script it is the process that has imported Django and forks. What the fork runs is the
program's own work in a process of its own, with its own folder, environment, standard streams and
exit code; the package itself is imported by each. ``run`` gives work to it, and starts an ordinary
process where something about the interpreter itself is asked for.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_OF_THE_INTERPRETER = ("PYTHON", "PSYCOPG", "LD_", "MALLOC_")


def run(
    command: list[str],
    folder: Path,
    env: Mapping[str, str],
    stdin: str = "",
    *,
    together: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run ``python SCRIPT``, ``python -c CODE`` or ``python -m MODULE``, and wait for its end.

    ``together``: what it writes to standard error is in its output, as on a terminal.
    """
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        given.write(stdin)
        given.seek(0)
        errors = out if together else err
        streams = [given.fileno(), out.fileno(), errors.fileno()]
        if is_plain(command, env):
            code = _forked(command, folder, env, streams)
        else:
            code = subprocess.run(
                command, cwd=folder, env=env, stdin=given, stdout=out, stderr=errors, check=False
            ).returncode
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def is_plain(command: list[str], env: Mapping[str, str]) -> bool:
    """Return whether the command is this Python, with nothing asked of the interpreter."""

    def settings(of: Mapping[str, str]) -> dict[str, str]:
        return {name: of[name] for name in of if name.startswith(_OF_THE_INTERPRETER)}

    usual = {**settings(os.environ), "PYTHONPATH": str(ROOT)}
    first = command[1] if len(command) > 1 else "-"
    return (
        hasattr(os, "fork")
        and command[0] == sys.executable
        and (first in ("-c", "-m") or not first.startswith("-"))
        and settings(env) == usual
    )


def _forked(command: list[str], folder: Path, env: Mapping[str, str], streams: list[int]) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(_starter())
        work = json.dumps([command[1:], str(folder), dict(env)]).encode()
        socket.send_fds(connection, [len(work).to_bytes(4, "big")], streams)
        connection.sendall(work)
        answer = b"".join(iter(lambda: connection.recv(64), b""))
    return int(answer)


@cache
def _starter() -> str:
    """Start the process that forks, once for each test process; return its socket's path."""
    folder = tempfile.TemporaryDirectory(prefix="restorehooks-starter-", ignore_cleanup_errors=True)
    path = str(Path(folder.name) / "socket")
    process = subprocess.Popen([sys.executable, __file__, path], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.read(1) == b"."

    def end() -> None:
        process.kill()
        process.wait()
        process.stdout.close() if process.stdout else None
        folder.cleanup()

    atexit.register(end)
    return path


def serve(path: str) -> list[str]:
    """Fork for each piece of work; return in the process that is to do it, with its arguments."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b".")
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            break
        connection.close()
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, 4, 3)
    content = b""
    while len(content) < int.from_bytes(length, "big"):
        content += connection.recv(1 << 20)
    worker = os.fork()
    if worker:
        _, status = os.waitpid(worker, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    arguments, folder, env = json.loads(content)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    return arguments  # type: ignore[no-any-return]


def do(arguments: list[str]) -> None:
    """Do what ``python ARGUMENTS`` does."""
    first, *rest = arguments
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [os.getcwd() if first in ("-c", "-m") else str(Path(first).resolve().parent)]
    sys.path[1:1] = paths
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        main: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        exec(compile(rest[0], "<string>", "exec"), main)
    else:
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")


IMPORTED = """
django.contrib.contenttypes.apps
django.contrib.postgres.apps django.core.cache django.core.checks django.core.mail
django.core.management django.core.serializers.json django.db.backends.postgresql.base
django.db.migrations.executor django.db.models django.forms django.http django.template.defaulttags
django.test.utils django.urls django.views.defaults psycopg.rows psycopg.types.json
"""


if __name__ == "__main__":
    for module in IMPORTED.split():
        importlib.import_module(module)
    gc.freeze()
    do(serve(sys.argv[1]))
