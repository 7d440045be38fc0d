"""What is asked of a restore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .server.swap import SECONDS_TO_SWAP

Mode = Literal["beside", "in place", "data only"]
"""How a dump is loaded: beside the live database, in it, or as rows added to its tables."""


@dataclass(frozen=True)
class Request:
    """What is to be restored, where, and how.

    source: a file, a directory, "-" for standard input, or "storage:NAME"; the newest dump of
        "storage:FOLDER/", or of "storage:". "alias:NAME", a URL, or "env:NAME" for a URL in the
        environment, is a database that is dumped for this.
    storage: the alias of that storage; None is the one that RESTOREHOOKS["STORAGE"] names.
    from_database: of a file that pg_dumpall made, the database to restore; of several in a
        storage, the one whose newest dump is meant.
    using: the alias whose database is the target.
    in_place: drop what the role owns in the target and load there, in one transaction.
    data_only: add the dump's rows to the tables that are there, in one transaction.
    schemas, tables: of an archive, these alone.
    jobs: how many load at once; None means one more than there are cores, as connections allow.
    owner, privileges: keep them or not; None keeps them where the roles that they name exist.
    migrate: run ``migrate`` on the restored data.
    analyze: gather planner statistics.
    hooks_dir: a directory of ``*.sql``, ``*.sh`` and ``*.py`` to run on the restored data.
    dry_run: prove the dump and return the plan, changing nothing.
    accept_lost_settings: swap although something would not come over.
    skip_superuser_only: leave out what only a superuser may make, and what hangs on that.
    accept_unfinished: take a plain dump without pg_dump's last line, into a side database only.
        What is missing from its end is not noticed.
    drop_previous: do not keep the database that is replaced.
    keep: after a success drop the oldest of the previous databases beyond this number.
    maintenance_db: the database to work from; None tries postgres and template1.
    spool_dir: where temporary copies of the dump go; None is where temporary files go.
    swap_seconds: how long the sessions in the live database may take to end.
    """

    source: str
    using: str = "default"
    storage: str | None = None
    from_database: str | None = None
    in_place: bool = False
    data_only: bool = False
    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    jobs: int | None = None
    owner: bool | None = None
    privileges: bool | None = None
    migrate: bool = False
    analyze: bool = True
    hooks_dir: Path | None = None
    dry_run: bool = False
    accept_lost_settings: bool = False
    skip_superuser_only: bool = False
    accept_unfinished: bool = False
    drop_previous: bool = False
    keep: int | None = None
    maintenance_db: str | None = None
    spool_dir: Path | None = None
    swap_seconds: float = SECONDS_TO_SWAP

    @property
    def partial(self) -> bool:
        """Some schemas or tables alone are asked for."""
        return bool(self.schemas or self.tables)

    @property
    def may_accept_unfinished(self) -> bool:
        """A plain dump without its end could be accepted: it would not go into what is live."""
        return not (self.in_place or self.data_only)

    @property
    def selection(self) -> list[str]:
        """pg_restore's options for the schemas and tables asked for."""
        flags = [f"--schema={name}" for name in self.schemas]
        return flags + [f"--table={name}" for name in self.tables]
