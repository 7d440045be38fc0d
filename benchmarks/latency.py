"""A distance between client and server: forwards TCP to a Unix socket, each way with a delay.

Traffic control would do the same, where one is root and the kernel has netem; this does it
everywhere. Data are held back, never slowed down: what was sent together arrives together.
"""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.competition import ROOT


@contextmanager
def distance(unix_socket: str, round_trip: float) -> Iterator[int]:
    """Yield a port on 127.0.0.1 that leads to the socket, ``round_trip`` seconds away."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.latency", unix_socket, str(round_trip)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 16):
        loop.call_later(delay, writer.write, data)
    loop.call_later(delay, writer.close)


async def _serve(unix_socket: str, round_trip: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_unix_connection(unix_socket)
        await asyncio.gather(
            _forward(reader, to_server[1], round_trip / 2),
            _forward(to_server[0], writer, round_trip / 2),
        )

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(unix_socket: str, round_trip: str) -> None:
    """Serve until terminated."""
    # select() waits to the microsecond, epoll_wait() to the millisecond.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(_serve(unix_socket, float(round_trip)))


if __name__ == "__main__":
    main(*sys.argv[1:])
