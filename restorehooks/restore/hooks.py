"""What runs on the restored data before anyone sees it, in its order.

Sequences, migrate, the project's receivers, the files of a hooks directory, the sequences again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from django.core.management import call_command

from restorehooks import conf
from restorehooks.announce import announce
from restorehooks.sequences.repair import reset
from restorehooks.signals import post_restore, pre_load, sequences_repaired
from restorehooks.streams import onto_standard_error
from restorehooks.wording import described, place_of

from . import extension_registry, hook_files
from .alias import commit_what_is_open, pointed_at, require_database
from .errors import HookError
from .extension_registry import needing
from .progress import heartbeat
from .run import Run
from .server.analyze import analyze


def before_load(run: Run, database: str) -> None:
    """Let the receivers of ``pre_load`` make an empty side database ready.

    Raises HookError where the alias does not lead there, and whatever a receiver raises.
    """
    if pre_load.has_listeners():
        with pointed_at(run.request.using, database, run.lock):
            require_database(run.request.using, database, run.lock)
            with _project(run):
                answers = pre_load.send(sender=type(run.report), **run.signal_arguments(database))
        run.report.hooks += [f"pre_load: {_name_of(receiver)}" for receiver, _ in answers]


@contextmanager
def _project(run: Run) -> Iterator[None]:
    """Run the project's code in the block: what it prints is no report, what it did is kept."""
    with heartbeat(run.reporter), onto_standard_error():
        yield
        commit_what_is_open(run.request.using)


def after_load(run: Run, database: str) -> None:
    """Do what extensions need once everything is loaded. Raises TargetError."""
    if needing(run.plan.extensions):
        with run.plan.address.connect(database) as connection:
            extension_registry.finish(connection, run.plan.extensions)


def run_inside(run: Run, database: str) -> None:
    """Run what works through the alias: the repair, migrate, the receivers of ``post_restore``.

    The alias has to lead to ``database``. Raises HookError where it does not, and whatever a
    migration or a receiver raises.
    """
    using = run.request.using
    run.step("sequences")
    repair_sequences(run)
    if run.request.migrate:
        run.step("migrate")
        require_database(using, database, run.lock)
        with _project(run):
            _migrate(using)
        run.report.hooks.append("migrate")
    if post_restore.has_listeners():
        run.step("post_restore")
        require_database(using, database, run.lock)
        with _project(run):
            answers = post_restore.send(sender=type(run.report), **run.signal_arguments(database))
        run.report.hooks += [f"post_restore: {_name_of(receiver)}" for receiver, _ in answers]


def runs_project_code(run: Run) -> bool:
    """Return whether ``run_inside`` runs code of the project's, which may do anything."""
    listened_to = post_restore.has_listeners() or sequences_repaired.has_listeners()
    return run.request.migrate or listened_to


def _migrate(using: str) -> None:
    """Run ``migrate``; raise HookError, which names the migration, when it fails."""
    said = StringIO()
    try:
        call_command(
            "migrate", database=using, interactive=False, verbosity=1, no_color=True, stdout=said
        )
    except Exception as error:
        begun = re.findall(r"^ *Applying (\S+?)\.\.\.", said.getvalue(), re.MULTILINE)
        at = f" at {begun[-1]}" if begun else ""
        raise HookError(f"migrate failed{at}: {described(error)}{place_of(error)}") from error


def run_files(run: Run, database: str) -> None:
    """Run the files of the hooks directory, and repair the sequences again after any hook."""
    for path in run.plan.hooks:
        run.step("hooks", f"running the hook {path.name}")
        hook_files.run(path, run.lock, database, run.reporter)
        run.report.hooks.append(path.name)
    if run.report.hooks:
        # Hooks insert rows.
        run.step("sequences", "repairing the sequences once more")
        repair_sequences(run)


def gather_statistics(run: Run, database: str) -> None:
    """Run ANALYZE, unless it was not wanted."""
    if run.request.analyze:
        run.step("analyze")
        # Hooks change rows, and the dump's statistics do not fit any more.
        missing_only = run.has_statistics and not run.report.hooks
        analyze(
            run.plan.address,
            database,
            run.plan.jobs,
            missing_only=missing_only,
            watch=run.reporter.progress,
        )


def repair_sequences(run: Run) -> None:
    """Repair the sequences through the alias, and add what was done to the report."""
    with heartbeat(run.reporter), onto_standard_error():
        found = reset(run.request.using, limits=conf.limits())
        announce(found, "restore", printed=True)
    before = run.report.sequences
    run.report.sequences = found if before is None else found.following(before)


def _name_of(receiver: Any) -> str:
    return f"{receiver.__module__}.{getattr(receiver, '__qualname__', receiver)}"
