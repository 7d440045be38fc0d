"""A backup on standard output: dumped and read back on this machine, then sent on."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from .backup import Written, dumped, written
from .dump.copies import private_folder, require_room
from .dump.facts import Format
from .errors import RestoreError, UsageError
from .interrupts import interruptible
from .progress import Reporter
from .server.address import Address

STANDARD_OUTPUT = Path("standard output")


def back_up_to_stream(
    stream: BinaryIO,
    *,
    using: str,
    form: Format,
    jobs: int | None,
    compress: str | None,
    spool_dir: Path | None,
    reporter: Reporter,
) -> Written:
    """Dump a database, and write the dump to a stream once it has been read back.

    Nothing is written where it fails before. Until then it is in ``spool_dir``, by default where
    temporary files go (TMPDIR), and nobody else may read it. Raises RestoreError.
    """
    if form == "directory" or jobs:
        raise UsageError("Standard output takes one file: leave out --format directory and --jobs.")
    if stream.isatty():
        raise UsageError("Standard output is a terminal: name a file, or send the dump on.")
    began = time.monotonic()
    address = Address.of(using)
    with interruptible(), private_folder(spool_dir) as private:
        file, room = private / "dump", partial(require_room, private, 0)
        found = dumped(
            address, file, STANDARD_OUTPUT, form=form, compress=compress, told=reporter, tick=room
        )
        _send_on(file, stream)
    return written(found, STANDARD_OUTPUT, began)


def _send_on(file: Path, stream: BinaryIO) -> None:
    try:
        with file.open("rb") as source:
            shutil.copyfileobj(source, stream)
        stream.flush()
    except OSError as error:
        with suppress(OSError):  # Python would complain once more when it flushes at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise RestoreError(f"The dump could not be sent on: {error.strerror}") from None
