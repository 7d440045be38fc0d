"""``manage.py loaddata``: Django's own, which leaves no sequence behind its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any

from django.core.management.commands import loaddata
from django.core.serializers.base import DeserializedObject
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.signals import pre_save

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
    sequence that has no room left undo the whole load. It comes at the end alone: a row that a
    receiver inserts before (django-auditlog's log) takes a number of the fixture's own rows.
    """

    report: Report
    models: set[type[Model]]
    loaded: set[type[Model]]
    """Those whose rows no repair has seen yet, as concrete models."""

    def handle(self, *fixture_labels: Any, **options: Any) -> None:
        """Load, and send ``post_loaddata``."""
        self.report, self.models, self.loaded = Report(options["database"]), set(), set()
        with _before_inserts(options["database"], self._make_way):
            super().handle(*fixture_labels, **options)
        announce(self.report, "loaddata", printed=True)
        post_loaddata.send(
            sender=type(self), using=self.using, models=frozenset(self.models), report=self.report
        )

    def save_obj(self, obj: DeserializedObject) -> bool:
        """Save an object, as Django does, and remember that there are rows of its model."""
        self.loaded.add(_concrete(type(obj.object)))
        return bool(super().save_obj(obj))

    def _make_way(self, model: type[Model]) -> None:
        """Repair before a row is inserted that takes its number from a loaded model's sequence."""
        if self.loaded.isdisjoint((_concrete(model), *model._meta.get_parent_list())):
            return
        self.loaded.clear()
        with suppress(Exception):  # the repair at the end says what is wrong
            if self._is_ours(connections[self.using]):
                self._move(self.models)

    def reset_sequences(self, connection: BaseDatabaseWrapper, models: set[type[Model]]) -> None:
        """Move the sequences that the loaded models draw from past the rows, and say what was."""
        try:
            is_ours = self._is_ours(connection)
            if is_ours:
                self._move(models)
                for line in self.report.lines(self.verbosity):
                    (self.stdout if self.report.is_fine else self.stderr).write(line)
        except Exception as error:  # a hook never stands in the way of loaddata
            self.stderr.write(not_checked(self.using, error))
            return
        if not is_ours:
            super().reset_sequences(connection, models)

    def _is_ours(self, connection: BaseDatabaseWrapper) -> bool:
        is_postgresql = connection.vendor == "postgresql" and not driver.why_not_at_all()
        return is_postgresql and conf.loaddata()

    def _move(self, models: set[type[Model]]) -> None:
        found = reset(self.using, Scope(models), conf.limits(hook=True))
        self.report = found.following(self.report)


def _concrete(model: type[Model]) -> type[Model]:
    return model._meta.concrete_model or model


@contextmanager
def _before_inserts(database: str, act: Callable[[type[Model]], None]) -> Iterator[None]:
    """Call ``act`` with the model before this thread saves an object that has no key yet.

    That is what receivers do: the objects of a fixture are saved raw.
    """
    thread = get_ident()

    def saves(
        sender: type[Model], instance: Model, raw: bool, using: str | None, **kwargs: Any
    ) -> None:
        if not raw and using == database and instance.pk is None and get_ident() == thread:
            act(sender)

    pre_save.connect(saves, weak=False)
    try:
        yield
    finally:
        pre_save.disconnect(saves)
