"""``manage.py loaddata``: Django's own, which leaves no sequence behind its rows."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import loaddata
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from restorehooks import conf, driver
from restorehooks.announce import announce
from restorehooks.receivers import not_checked
from restorehooks.sequences.repair import reset
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import Scope
from restorehooks.signals import post_loaddata


class Command(loaddata.Command):
    """Django's command with another ``reset_sequences``, and a signal when it is done.

    Django's rewinds sequences, passes proxy models and unowned sequences over, and lets one
    sequence that has no room left undo the whole load.
    """

    report: Report
    models: set[type[Model]]

    def handle(self, *fixture_labels: Any, **options: Any) -> None:
        """Load, and send ``post_loaddata``."""
        self.report, self.models = Report(options["database"]), set()
        super().handle(*fixture_labels, **options)
        announce(self.report, "loaddata", printed=True)
        post_loaddata.send(
            sender=type(self), using=self.using, models=frozenset(self.models), report=self.report
        )

    def reset_sequences(self, connection: BaseDatabaseWrapper, models: set[type[Model]]) -> None:
        """Move the sequences that the loaded models draw from past the rows, and say what was."""
        try:
            is_ours = _is_postgresql(connection) and conf.loaddata()
            if is_ours:
                self._repair(models)
        except Exception as error:  # a hook never stands in the way of loaddata
            self.stderr.write(not_checked(self.using, error))
            return
        if not is_ours:
            super().reset_sequences(connection, models)

    def _repair(self, models: set[type[Model]]) -> None:
        self.report = reset(self.using, Scope(models), conf.limits(hook=True))
        for line in self.report.lines(self.verbosity):
            (self.stdout if self.report.is_fine else self.stderr).write(line)


def _is_postgresql(connection: BaseDatabaseWrapper) -> bool:
    return connection.vendor == "postgresql" and not driver.why_not_at_all()
