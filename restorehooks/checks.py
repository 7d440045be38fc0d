"""System checks: one small function for each thing that may be wrong."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.core.management import find_commands, get_commands, load_command_class

from . import conf


def setting_is_right(**kwargs: Any) -> list[CheckMessage]:
    """Report whatever is wrong with the RESTOREHOOKS setting (restorehooks.E001)."""
    hint = f"The options are {', '.join(conf.OPTIONS)}."
    return [Error(problem, hint=hint, id="restorehooks.E001") for problem in conf.problems()]


def loaddata_is_ours(**kwargs: Any) -> list[CheckMessage]:
    """Warn where another app's ``loaddata`` is found before ours (restorehooks.W001)."""
    from .management.commands.loaddata import Command

    owner = get_commands()["loaddata"]
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
