"""Run a private PostgreSQL until this process is told to end: ``serve.py FOLDER DATABASE...``.

Prints the folder of PostgreSQL's programs, then the URL of each database, created empty.
"""

import signal
import sys
from pathlib import Path

from restorehooks.embedded import Server, server_folder

ENDING = {signal.SIGTERM, signal.SIGINT}


def main(folder: str, *names: str) -> None:
    """Run the server until a signal comes; it ends with this process at the latest."""
    bindir = server_folder()
    print(bindir, flush=True)  # noqa: T201  for demo.sh to read
    with Server(Path(folder), bindir) as server:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        for name in names:
            server.create_database(name)
            print(server.url(name), flush=True)  # noqa: T201
        signal.sigwait(ENDING)


if __name__ == "__main__":
    main(*sys.argv[1:])
