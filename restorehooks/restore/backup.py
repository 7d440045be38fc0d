"""A backup: a dump written under a temporary name, read back whole, then renamed."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from restorehooks.programs import find

from .archive import commands
from .dump.contents import read_contents
from .dump.data_files import prove_files
from .dump.facts import Dump, Format
from .dump.identify import identify
from .dump.proof import prove_plain
from .errors import RestoreError, UsageError
from .interrupts import interruptible, uninterrupted
from .progress import Progress, Reporter
from .server.address import Address


@dataclass(frozen=True)
class Written:
    """A dump that was written and read back; ``path`` is where it is, ``seconds`` how long."""

    path: Path
    dump: Dump
    seconds: float


def back_up(
    to: Path,
    *,
    using: str = "default",
    form: Format = "custom",
    jobs: int | None = None,
    compress: str | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Written:
    """Dump the database of an alias into ``to``, readable by its owner alone.

    Nothing is at ``to`` until the dump has been read back to its end. What is there already is
    left alone unless ``force``.

    Raises RestoreError (UsageError for what cannot be asked for) when no dump was written.
    """
    told = reporter or Reporter()
    began = time.monotonic()
    address = Address.of(using)
    _require_free(to, force=force)
    with address.connect(address.name) as connection:
        server = connection.info.server_version // 10000
    program = find("pg_dump", at_least=server, prefer=server)
    flags = [f"--format={form}", *_options(form, jobs, compress, program.major)]
    if address.role:
        flags.append(f"--role={address.role}")
    with interruptible(), _unfinished(to, form) as unfinished:
        told.step(f"dumping {address} with pg_dump {program.version}")
        commands.write(
            program,
            unfinished,
            conninfo=address.conninfo(address.name),
            environment=address.environment(),
            flags=flags,
            on_line=_counting(unfinished, told),
        )
        told.step("reading it back")
        found = _read_back(unfinished)
        with uninterrupted() as signals:
            _put(unfinished, to, force=force)
            signals.over = True
    return Written(to, found, time.monotonic() - began)


def _counting(unfinished: Path, told: Reporter) -> Callable[[str], None]:
    progress = Progress()

    def on_line(line: str) -> None:
        progress.entries += 1
        progress.bytes = _written(unfinished)
        told.progress(progress)

    return on_line


def _require_free(to: Path, *, force: bool) -> None:
    if not to.parent.is_dir():
        raise UsageError(f"There is no directory {to.parent}.")
    if os.path.lexists(to) and not force:
        raise UsageError(f"{to} is there already: choose another name, or replace it with --force.")


def _options(form: Format, jobs: int | None, compress: str | None, major: int) -> Iterator[str]:
    if form != "plain":
        yield "--verbose"  # which would write comments of its own into a plain dump
    if jobs is not None and jobs > 1:
        if form != "directory":
            raise UsageError("--jobs needs --format directory: the others are one file.")
        yield f"--jobs={jobs}"
    if compress is not None:
        known = r"\d|(none|gzip|lz4|zstd)(:[\w=,]+)?" if major >= 16 else r"\d"
        if not re.fullmatch(known, compress):
            takes = "0 to 9, or none, gzip, lz4, zstd with :LEVEL" if major >= 16 else "0 to 9"
            raise UsageError(f"pg_dump {major} takes --compress {takes}, not {compress}.")
        yield f"--compress={compress}"


@contextmanager
def _unfinished(to: Path, form: Format) -> Iterator[Path]:
    path = to.with_name(f".{to.name}.{os.getpid()}.unfinished")
    try:
        if form != "directory":
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield path
    except OSError as error:
        raise RestoreError(f"{to} cannot be written: {error.strerror}") from None
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _written(path: Path) -> int:
    with suppress(OSError):
        files = path.iterdir() if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    return 0


def _read_back(path: Path) -> Dump:
    found = identify(path)
    if found.format == "plain":
        prove_plain(found)
        return found
    if found.format == "directory":
        prove_files(found, read_contents(found))
    commands.prove(commands.pg_restore_for(found), path)
    return found


def _put(unfinished: Path, to: Path, *, force: bool) -> None:
    if unfinished.is_dir():
        _put_directory(unfinished, to, force=force)
    elif force:
        unfinished.replace(to)
    else:
        # A link is made only where there is nothing, whoever came first.
        try:
            os.link(unfinished, to)
        except FileExistsError:
            raise UsageError(
                f"{to} was created by somebody else in the meantime, and was left alone."
            ) from None
        except OSError:
            unfinished.rename(to)
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _put_directory(unfinished: Path, to: Path, *, force: bool) -> None:
    old = to.with_name(f".{to.name}.{os.getpid()}.replaced")
    if force and os.path.lexists(to):
        to.rename(old)
    try:
        unfinished.rename(to)
    except OSError:
        if os.path.lexists(old):
            old.rename(to)
        raise
    _remove(old)
