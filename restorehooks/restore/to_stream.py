"""A backup to standard output: read back first, in a temporary file, and only then sent."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from .backup import Written, back_up
from .dump.facts import Format
from .errors import RestoreError, UsageError
from .progress import Reporter

STANDARD_OUTPUT = Path("standard output")


def back_up_to_stream(
    stream: BinaryIO, *, form: Format, jobs: int | None, reporter: Reporter, **how: Any
) -> Written:
    """Dump a database, and write the dump to a stream once it has been read back.

    Nothing is written where it fails before. The temporary file is where temporary files go
    (TMPDIR). ``how`` is what ``back_up`` takes. Raises RestoreError.
    """
    if form == "directory" or jobs:
        raise UsageError("Standard output takes one file: leave out --format directory and --jobs.")
    if stream.isatty():
        raise UsageError("Standard output is a terminal: name a file, or send the dump on.")
    with tempfile.TemporaryDirectory(prefix="restorehooks-") as folder:
        file = Path(folder) / "dump"
        written = back_up(file, form=form, reporter=reporter, **how)
        try:
            with file.open("rb") as source:
                shutil.copyfileobj(source, stream)
            stream.flush()
        except OSError as error:
            with suppress(OSError):  # Python would complain once more when it flushes at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            raise RestoreError(f"The dump could not be sent on: {error.strerror}") from None
    dump = replace(written.dump, source=STANDARD_OUTPUT, path=STANDARD_OUTPUT)
    return replace(written, path=STANDARD_OUTPUT, dump=dump)
