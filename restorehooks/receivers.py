"""The receivers of the signals of migrate and flush: a guard and one call each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from django.apps import AppConfig, apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate

from . import conf
from .sequences.glance import all_fine, still_fine
from .sequences.scope import Limits, Scope, installed_models
from .sequences.tenants import tenant_schemas
from .wording import first_line, printable

if TYPE_CHECKING:
    from .announce import Trigger

TALKATIVE = 2
"""The verbosity from which on the sequences are counted, all fine or not."""


def before_migrate(sender: AppConfig, using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Repair before any migration or other receiver can trip over a sequence."""
    if sender is _senders()[0]:
        come_last()
        _repair("pre_migrate", using, conf.pre_migrate, **kwargs)


def after_migrate(sender: AppConfig, using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Repair once all apps' receivers are done."""
    senders = _senders()
    if sender is senders[0]:
        come_last()
    if sender is senders[-1]:
        _repair("post_migrate", using, conf.post_migrate, **kwargs)


def all_apps_ready(**kwargs: Any) -> None:
    """Let ours be the last receiver where ``flush`` sends a single signal, with none before it."""
    connection_created.disconnect(dispatch_uid="restorehooks.all_apps_ready")
    come_last()


def come_last() -> None:
    """Connect ``after_migrate`` anew, so that it comes after every receiver connected so far."""
    post_migrate.disconnect(dispatch_uid="restorehooks.after_migrate")
    post_migrate.connect(after_migrate, dispatch_uid="restorehooks.after_migrate")


def _senders() -> list[AppConfig]:
    """Return the apps that ``migrate`` sends its signals for, in its order."""
    return [config for config in apps.get_app_configs() if config.models_module is not None]


def _repair(
    trigger: Trigger,
    using: str,
    is_enabled: Callable[[], bool],
    verbosity: int = 1,
    stdout: TextIO | None = None,
    plan: list[Any] | None = None,
    **kwargs: Any,
) -> None:
    if connections[using].vendor != "postgresql":
        return
    try:
        if not is_enabled():
            return
        limits = conf.limits(hook=True)
        tables = [model._meta.db_table for model in installed_models(using)]
        if verbosity < TALKATIVE and not limits.links:
            # With no migration to run it is likely that nothing has changed since pre_migrate.
            if trigger == "post_migrate" and plan == [] and still_fine(connections[using], tables):
                return
            if all_fine(connections[using], tables):
                return
        lines = _reset(trigger, using, limits, verbosity)
    except Exception as error:  # a hook never stands in the way of migrate
        lines = [not_checked(using, error)]
    for line in lines:
        (stdout or sys.stdout).write(f"restorehooks: {line}\n")


def _reset(trigger: Trigger, using: str, limits: Limits, verbosity: int) -> list[str]:
    # Only here the whole engine is imported: hardly any run comes this far.
    from .announce import announce
    from .sequences.repair import reset

    schemas = tenant_schemas(connections[using], by_option=True)
    scope = Scope(schemas=schemas, only_usable=True)
    report = reset(using, scope, limits)
    announce(report, trigger, printed=True)
    return report.lines(verbosity)


def not_checked(using: str, error: Exception) -> str:
    """Return what a hook prints that could not do its work."""
    return f'The sequences of database "{using}" were not checked: {printable(first_line(error))}'
