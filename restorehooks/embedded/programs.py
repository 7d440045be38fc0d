"""The programs of a server: where they are, which version they are, and how they are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from restorehooks.embedded.account import Account
from restorehooks.embedded.errors import ServerError
from restorehooks.programs import chosen_folder, left_out, program_folders, why_not
from restorehooks.restore.errors import ProgramError
from restorehooks.wording import printable

REMEDY = (
    'install them with: pip install "django-restorehooks[embedded]", '
    "or set PG_BINDIR to their folder"
)


def server_folder() -> Path:
    """Return the first of ``program_folders`` that holds ``initdb`` and ``postgres``.

    Raises :exc:`ServerError` where there is none, and where ``PG_BINDIR`` names a folder
    without them or one whose programs may be another user's work: what was asked for is not
    replaced by something else.
    """
    try:
        wanted = chosen_folder()
    except ProgramError as error:
        raise ServerError(str(error)) from None
    for folder in [wanted] if wanted else program_folders():
        if not _why_no_server(folder):
            # A link in /usr/local/bin leads to where the client programs of this version are too.
            linked = Path(str(shutil.which("postgres", path=str(folder)))).resolve().parent
            return folder if _why_no_server(linked) else linked
    if wanted:
        raise ServerError(
            f"PG_BINDIR is {wanted}, and no server there is run: {_why_no_server(wanted)}."
        )
    raise ServerError(
        f"No PostgreSQL server programs found on this machine; {REMEDY}."
        f"{left_out('initdb', 'postgres')}"
    )


def _why_no_server(folder: Path) -> str | None:
    found = [shutil.which(name, path=str(folder)) for name in ("initdb", "postgres")]
    if not all(found):
        return "initdb and postgres are not both present"
    # Each may be a link out of the folder.
    return next(filter(None, map(why_not, (folder, *map(Path, filter(None, found))))), None)


@dataclass(frozen=True)
class Programs:
    """The folder of a server's programs, and the account that runs them (None: this user)."""

    bindir: Path
    account: Account | None = None

    def version(self) -> int:
        """Return the version in the form of ``server_version_num``: 150019 is 15.19."""
        printed = self.run("postgres", "--version")
        found = re.search(r"(\d+)(?:\.(\d+))?", printed)
        if not found:
            raise ServerError(f"{self.bindir / 'postgres'} printed no version: {printed}")
        return int(found[1]) * 10000 + int(found[2] or 0)

    def run(self, name: str, *arguments: str, stdin: int = subprocess.DEVNULL) -> str:
        """Run a program to its end and return what it printed.

        Raises :exc:`ServerError` with the last line of its messages where it fails.
        """
        try:
            done = subprocess.run(  # noqa: S603 - an argument list, no shell
                [str(self.bindir / name), *arguments],
                # The account may not be allowed into the current directory.
                cwd="/" if self.account else None,
                env=environment(),
                stdin=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                **(self.account.popen if self.account else {}),
            )
        except OSError as error:
            raise ServerError(f"{self.bindir / name} cannot be run: {error.strerror}.") from None
        if done.returncode:
            raise ServerError(f"{name} failed: {last_error(done.stderr + done.stdout)}")
        return str(done.stdout)

    def within_reach(self, folder: Path) -> Programs:
        """Return programs that the account can run: these, or a copy of them in ``folder``.

        Raises :exc:`ServerError` where a copy would not do.
        """
        if self.account is None or self.account.may_enter(self.bindir):
            return self
        package = self.bindir.parent.parent
        # Elsewhere a folder "share" beside the programs is anything, and they look in another one.
        if not (self.bindir.parent / "share/postgres.bki").exists():
            raise ServerError(
                f"PostgreSQL does not run as root, and the user {self.account.name}, whom it would "
                f"run as, cannot reach {self.bindir}: let PG_BINDIR name programs that are open to "
                "all."
            )
        # Whoever may not enter the folder cannot ask the programs for their version.
        target = folder / f"programs-{Programs(self.bindir).version()}"
        if not target.exists() or target.stat().st_uid != os.geteuid():
            for old in folder.glob("programs*"):
                shutil.rmtree(old)
            unfinished = folder / "programs.unfinished"
            _copy(self.bindir, package, unfinished)
            unfinished.rename(target)
        return replace(self, bindir=target / self.bindir.relative_to(package.parent))


_NAMES = re.compile(r"pg_[a-z]+|initdb|postgres|psql")
"""The programs that are copied: of what else lies beside them the account is to read nothing."""


def _copy(bindir: Path, package: Path, to: Path) -> None:
    prefix, copy = bindir.parent, to / package.name / bindir.parent.name
    (copy / bindir.name).mkdir(parents=True)
    for program in filter(lambda each: _NAMES.fullmatch(each.name), bindir.iterdir()):
        shutil.copy(program, copy / bindir.name)
    for name in filter(lambda each: (prefix / each).is_dir(), ("lib", "lib64", "share")):
        shutil.copytree(prefix / name, copy / name)
    # A wheel keeps the libraries its programs need in a second folder beside the package.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    # They stay root's, who runs them too: the account reads them and changes none.
    for copied in (to, *to.rglob("*")):
        if not copied.is_symlink():
            copied.chmod(0o755 if copied.is_dir() or os.access(copied, os.X_OK) else 0o644)


_KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "LANGUAGE")


def environment() -> dict[str, str]:
    """Return what a server needs of the environment, for messages in English.

    What a dump runs in it can read that: there is no secret in it.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def last_error(log: str) -> str:
    """Return the last fatal error of a log, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["it left no message."]
    fatal = [line for line in lines if re.search(r"(FATAL|PANIC|error):", line)]
    return printable(re.sub(r"^.*?(FATAL|PANIC|error):\s*", "", (fatal or lines)[-1]))
