"""A backup: a dump written under a temporary name, read back whole, then renamed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from restorehooks.programs import Program, find
from restorehooks.trust import link_of_another

from . import rename
from .archive import commands
from .dump.contents import read_contents
from .dump.copies import PACKED_FILE, named_as
from .dump.directory_proof import PROVED, prove_files
from .dump.facts import Dump, Format
from .dump.identify import identify
from .dump.proof import prove_plain
from .errors import RestoreError, UsageError
from .interrupts import interruptible, uninterrupted
from .new_folder import new_folder
from .progress import Progress, Reporter
from .rename import FolderEntry
from .server.address import Address
from .server.direct import require_same_database


@dataclass(frozen=True)
class Written:
    """A dump that was written and read back.

    path: where it is. seconds: how long it took. deleted: older dumps that made way for it, by
    their names in the storage.
    """

    path: Path
    dump: Dump
    seconds: float
    deleted: Sequence[str] = ()


def back_up(
    to: Path,
    *,
    using: str = "default",
    form: Format = "custom",
    jobs: int | None = None,
    compress: str | None = None,
    force: bool = False,
    mode: int = 0o600,
    reporter: Reporter | None = None,
) -> Written:
    """Dump the database of an alias into ``to``, with the permissions ``mode``.

    Nothing is there until the dump has been read back; without ``force`` nothing is replaced.

    Raises RestoreError (UsageError for what cannot be asked for) when no dump was written.
    """
    told = reporter or Reporter()
    began = time.monotonic()
    address = Address.of(using)
    _require_free(to, force=force)
    with interruptible(), _unfinished(to) as unfinished:
        found = dumped(
            address, unfinished.path, to, form=form, jobs=jobs, compress=compress, told=told
        )
        with uninterrupted() as signals:
            unfinished.put(force=force, mode=mode)
            signals.over = True
    return written(found, to, began)


def written(dump: Dump, to: Path, began: float) -> Written:
    """Return what is known of a dump that has been put where it was wanted."""
    return Written(to, replace(dump, source=to, path=to), time.monotonic() - began)


def dumped(
    address: Address,
    path: Path,
    to: Path,
    *,
    form: Format,
    jobs: int | None = None,
    compress: str | None = None,
    told: Reporter,
    tick: Callable[[], None] = lambda: None,
) -> Dump:
    """Dump a database into a new file or directory, and read it back to its end.

    ``to`` is what errors call it. ``tick`` is called a few times a second, and may raise to end
    it. Raises RestoreError.
    """
    program, address = _pg_dump_for(address)
    flags = [*_options(to, form, jobs, compress, program.major), *_role(address)]
    told.step(f"dumping {address} with pg_dump {program.version}")
    with named_as(path, to):
        commands.write(
            program,
            path,
            conninfo=address.conninfo(address.name),
            environment=address.environment(),
            flags=flags,
            tick=_counting(path, told, tick),
        )
        told.step("reading it back")
        return _read_back(path, told)


def _permit(path: Path, mode: int) -> None:
    if path.is_dir():
        for file in path.iterdir():
            file.chmod(mode)
        mode |= (mode & 0o444) >> 2
    path.chmod(mode)


def _role(address: Address) -> list[str]:
    return [f"--role={address.role}"] if address.role else []


def _pg_dump_for(address: Address) -> tuple[Program, Address]:
    """Return a pg_dump that is not older than the server, and the address of that one server."""
    with address.connect(address.name) as connection:
        require_same_database(address, connection)
        server, pinned = connection.info.server_version // 10000, address.pinned(connection)
    return find("pg_dump", at_least=server, prefer=server), pinned


def _counting(unfinished: Path, told: Reporter, tick: Callable[[], None]) -> Callable[[], None]:
    progress = Progress()

    def on_tick() -> None:
        tick()
        progress.bytes = _written(unfinished)
        told.progress(progress)

    return on_tick


def _require_free(to: Path, *, force: bool) -> None:
    if not to.parent.is_dir():
        raise UsageError(f"There is no directory {to.parent}.")
    if not os.path.lexists(to):
        return
    if why_not := _why_not_replaced(to):
        raise UsageError(f"{to} {why_not}: choose another name.")
    if not force:
        raise UsageError(f"{to} is there already: choose another name, or replace it with --force.")


def _why_not_replaced(to: Path) -> str | None:
    """Return why what is there cannot be an earlier dump, which alone is ever deleted."""
    if to.is_file() or (to.is_symlink() and not to.exists()):
        return None
    if not to.is_dir():
        return "is a pipe or a device"
    others = sorted(
        one.name for one in to.iterdir() if not PACKED_FILE.fullmatch(one.name) or one.is_dir()
    )
    return f'is a directory that holds "{others[0]}", and no dump' if others else None


def _options(
    to: Path, form: Format, jobs: int | None, compress: str | None, major: int
) -> Iterator[str]:
    yield f"--format={form}"
    if form != "plain":
        yield "--verbose"  # which would write comments of its own into a plain dump
    if jobs is not None and jobs > 1:
        if form != "directory":
            raise UsageError("--jobs needs --format directory: the others are one file.")
        yield f"--jobs={jobs}"
    if form == "plain" and compress is None and to.suffix in (".gz", ".zst", ".lz4"):
        raise UsageError(f"{to.name} is named like a compressed file: give --compress too.")
    if compress is not None:
        known = r"\d|(none|gzip|lz4|zstd)(:[\w=,]+)?" if major >= 16 else r"\d"
        if not re.fullmatch(known, compress):
            takes = "0 to 9, or none, gzip, lz4, zstd with :LEVEL" if major >= 16 else "0 to 9"
            raise UsageError(f"pg_dump {major} takes --compress {takes}, not {compress}.")
        yield f"--compress={compress}"


@dataclass(frozen=True)
class _Unfinished:
    """A dump on its way: ``folder`` is open, new, and nobody else's to enter.

    ``path`` is where programs write it: by way of the open folder where the system can, so that
    whoever may rename the folder cannot lead them elsewhere.
    """

    to: Path
    folder: int
    parent: int
    path: Path

    def put(self, *, force: bool, mode: int) -> None:
        """Give it permissions and name. Raises UsageError where that is taken, unless ``force``."""
        if force:
            _require_free(self.to, force=True)  # again: it may be another one by now
        with suppress(PermissionError):  # a file system that has none
            _permit(self.path, mode)
        new, to = FolderEntry(self.folder, self.path.name), FolderEntry(self.parent, self.to.name)
        try:
            if force:
                rename.replace(new, to, FolderEntry(self.folder, "replaced"))
                self._require_earlier_dump(to)
            else:
                rename.into_free_name(new, to)
        except FileExistsError:
            raise UsageError(
                f"{self.to} was created by somebody else in the meantime, and was left alone."
            ) from None
        rename.sync(self.parent)

    def _require_earlier_dump(self, to: FolderEntry) -> None:
        """Put back what was replaced, and raise UsageError, where somebody had put it there."""
        for name in (self.path.name, "replaced"):
            replaced = self.path.with_name(name)
            if os.path.lexists(replaced) and (why_not := _why_not_replaced(replaced)):
                rename.replace(FolderEntry(self.folder, name), to, FolderEntry(self.folder, "new"))
                raise UsageError(f"{self.to} {why_not}: choose another name.")


@contextmanager
def _unfinished(to: Path) -> Iterator[_Unfinished]:
    with ExitStack() as stack:
        try:
            if link := link_of_another(to.parent):
                raise UsageError(f"{link} is a link of another user's: name the folder itself.")
            prefix = f".{to.name[:40]}."
            made = stack.enter_context(new_folder(to.parent, prefix, ".unfinished"))
            if why := made.why_led_astray():
                raise RestoreError(f"{to} cannot be written: {why}")
            yield _Unfinished(to, made.folder, made.parent, made.way / "dump")
        except OSError as error:
            raise RestoreError(f"{to} cannot be written: {error.strerror}") from None


def _written(path: Path) -> int:
    with suppress(OSError):
        files = path.iterdir() if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    return 0


def _read_back(path: Path, told: Reporter | None = None) -> Dump:
    told = told or Reporter()
    found = identify(path)
    progress = Progress(bytes_total=found.size)

    def watch(count: int) -> None:
        progress.bytes = count
        told.progress(progress)

    if found.format == "plain":
        prove_plain(found, watch)
        return found
    if found.format in PROVED:
        prove_files(found, read_contents(found), watch)
    commands.prove(commands.pg_restore_for(found), path, told.progress)
    return found
