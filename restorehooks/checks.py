"""System checks: one small function for each thing that may be wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.core.management import find_commands, get_commands, load_command_class
from django.db import DEFAULT_DB_ALIAS, connections

from . import conf
from .sequences.scope import Scope

if TYPE_CHECKING:
    from .sequences.report import Entry, Report


def setting_is_right(**kwargs: Any) -> list[CheckMessage]:
    """Report whatever is wrong with the RESTOREHOOKS setting (restorehooks.E001)."""
    hint = f"The options are {', '.join(conf.OPTIONS)}."
    return [Error(problem, hint=hint, id="restorehooks.E001") for problem in conf.problems()]


def loaddata_is_ours(**kwargs: Any) -> list[CheckMessage]:
    """Warn where another app's ``loaddata`` is found before ours (restorehooks.W001)."""
    owner = get_commands()["loaddata"]
    if owner == "restorehooks":
        return []
    from .management.commands.loaddata import Command

    found = load_command_class(owner, "loaddata") if isinstance(owner, str) else owner
    if isinstance(found, Command):
        return []
    return [
        Warning(
            f"The loaddata command of {type(found).__module__} is used instead of the one of"
            " restorehooks, so sequences are not looked after when fixtures are loaded.",
            hint="List restorehooks before that app in INSTALLED_APPS, or let its command subclass"
            " restorehooks.management.commands.loaddata.Command.",
            id="restorehooks.W001",
        )
    ]


def loaddata_hides_none(**kwargs: Any) -> list[CheckMessage]:
    """Warn where our ``loaddata`` hides another app's (restorehooks.W002)."""
    if get_commands()["loaddata"] != "restorehooks":
        return []
    hidden = [
        config.name
        for config in apps.get_app_configs()
        if config.name != "restorehooks"
        and "loaddata" in find_commands(f"{config.path}/management")
    ]
    return [
        Warning(
            f"The loaddata command of restorehooks hides that of {name}.",
            hint=f"List {name} before restorehooks in INSTALLED_APPS and let its command subclass"
            " restorehooks.management.commands.loaddata.Command.",
            id="restorehooks.W002",
        )
        for name in hidden
    ]


def sequences_are_ahead(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of sequences behind their rows (restorehooks.W003), and of those not seen (W005)."""
    from .sequences.verdict import Status

    found: list[CheckMessage] = []
    for alias, looked_at in _look(databases):
        if isinstance(looked_at, str):
            found.append(_not_looked_at(alias, looked_at))
            continue
        option = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
        for entry in looked_at.having(Status.BEHIND, Status.FAILED):
            if entry.status is Status.FAILED:
                found.append(_not_looked_at(alias, f"{entry.sequence}: {entry.reason}"))
                continue
            hint = f"Run migrate, or: python manage.py resetsequences{option}"
            found.append(Warning(_behind(alias, entry), hint=hint, id="restorehooks.W003"))
    return found


def sequences_have_room(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of sequences near the end of their range, or their column's type (restorehooks.W004).

    From ``MAX_USED_PERCENT`` on. Says nothing where :func:`sequences_are_ahead` says that it
    could not look.
    """
    return [
        Warning(
            f'In database "{alias}", {entry.used_percent:g}% of the numbers of sequence'
            f" {entry.sequence} are used up; the last one is {entry.limit}.",
            hint=_room(entry),
            id="restorehooks.W004",
        )
        for alias, looked_at in _look(databases)
        if not isinstance(looked_at, str)
        for entry in looked_at
        if entry.used_percent is not None and entry.used_percent >= conf.max_used_percent()
    ]


def _look(databases: Collection[str] | None) -> Iterator[tuple[str, Report | str]]:
    """Yield the PostgreSQL databases among those asked for, each with a report or why not."""
    from .sequences.repair import inspect  # for --deploy alone: these checks are in every process

    for alias in databases or []:
        if connections[alias].vendor != "postgresql":
            continue
        try:
            scope = Scope(only_usable=True)
            yield alias, inspect(alias, scope, conf.limits(hook=True))
        except Exception as error:  # a check reports what it meets
            yield alias, (str(error).strip() or type(error).__name__).splitlines()[0]


def _not_looked_at(alias: str, why: str) -> CheckMessage:
    return Warning(
        f'The sequences of database "{alias}" could not be looked at: {why}',
        hint="Run the check where the database can be reached.",
        id="restorehooks.W005",
    )


def _behind(alias: str, entry: Entry) -> str:
    return (
        f'In database "{alias}", sequence {entry.sequence} would hand out {entry.next_before}'
        f" next, but its rows go up to {entry.extreme}: the next insert may fail."
    )


def _room(entry: Entry) -> str:
    if not entry.makes_room:
        return "No type is larger than bigint."
    automatic = " (or make the fields BigAutoField and migrate)" if entry.models else ""
    return f"{'; '.join(entry.makes_room)}{automatic}"
