"""System checks: one small function for each thing that may be wrong."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Info, Warning  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.core.management import find_commands, get_commands, load_command_class
from django.db import DEFAULT_DB_ALIAS, connections

from . import conf, driver
from .sequences.scope import Scope
from .wording import first_line, first_of, printable

if TYPE_CHECKING:
    from .sequences.report import Entry, Report


def setting_is_right(**kwargs: Any) -> list[CheckMessage]:
    """Report whatever is wrong with the RESTOREHOOKS setting (restorehooks.E001)."""
    hint = f"The options are {', '.join(conf.OPTIONS)}."
    return [Error(problem, hint=hint, id="restorehooks.E001") for problem in conf.problems()]


def requirements_are_met(**kwargs: Any) -> list[CheckMessage]:
    """Warn of a Django or psycopg that is too old (restorehooks.W008).

    Tell projects on psycopg2 that a restore needs psycopg 3 (restorehooks.I001).
    """
    if why := driver.why_not_at_all():
        said = "The app restorehooks does nothing in this project"
        return [Warning(f"{said}: {why}", id="restorehooks.W008")]
    why = driver.why_no_restore()
    if why and any(map(_is_on_postgresql, connections)):
        return [Info(f"restoredb and dumpdb cannot run here: {why}", id="restorehooks.I001")]
    return []


def _is_on_postgresql(alias: str) -> bool:
    try:
        return connections[alias].vendor == "postgresql"
    except (ImproperlyConfigured, ImportError):  # Django itself says so
        return False


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
            " restorehooks, so sequences are not repaired when fixtures are loaded.",
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


SHOWN = 5
"""How many sequences one warning names."""
GROUPED = 10
"""Above this many warnings of one kind, each schema gets one: tenants may have hundreds."""


def sequences_are_ahead(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of sequences behind their rows (restorehooks.W003), and of those not read (W005).

    And of automatic fields that no sequence numbers (W007).

    In all schemas of each database. Django runs it for the databases that ``--database`` names;
    with ``--tag database`` and none named, Django 6.1 runs it for every alias of DATABASES.
    """
    from .sequences.verdict import Status

    found: list[CheckMessage] = []
    for alias, report in _reports(databases):
        if isinstance(report, str):
            found.append(_not_read(alias, report))
            continue
        found += _behind(alias, report.having(Status.BEHIND))
        found += [_not_numbered(alias, field) for field in report.without_sequence]
        found += [
            _not_read(alias, f"{e.sequence}: {e.reason}") for e in report.having(Status.FAILED)
        ]
    return found


def sequences_have_room(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of sequences near the end of their range, or their column's type (restorehooks.W004).

    From ``MAX_USED_PERCENT`` on. Says nothing where :func:`sequences_are_ahead` says that it
    could not read them.
    """
    found: list[CheckMessage] = []
    for alias, report in _reports(databases):
        if not isinstance(report, str):
            most = conf.max_used_percent()
            found += _nearly_full(alias, [e for e in report if (e.used_percent or 0) >= most])
    return found


def entries_name_something(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of entries of IGNORE and LINKS that name nothing in these databases (restorehooks.W006).

    Says nothing of a database that :func:`sequences_are_ahead` could not read.
    """
    from .sequences.entries import naming_nothing

    found = [connections[alias] for alias in databases or []]
    try:
        said = naming_nothing([c for c in found if c.vendor == "postgresql"], conf.limits())
    except Exception:  # a check reports what it meets, and the other one has
        return []
    hint = "Correct the name as resetsequences -v2 shows it, or remove the entry."
    return [Warning(each, hint=hint, id="restorehooks.W006") for each in said]


def _reports(databases: Collection[str] | None) -> Iterator[tuple[str, Report | str]]:
    """Yield the PostgreSQL databases among those asked for, each with a report or why not."""
    from .sequences.repair import inspect  # for --deploy alone: these checks are in every process

    for alias in databases or []:
        if connections[alias].vendor != "postgresql":
            continue
        try:
            limits = replace(conf.limits(hook=True), names="reported")
            yield alias, inspect(alias, Scope(only_usable=True), limits)
        except Exception as error:  # a check reports what it meets
            yield alias, first_line(error)


def _not_read(alias: str, why: str) -> CheckMessage:
    return _warning(
        f'The sequences of database "{alias}" could not be read: {why}',
        hint="Run the check where the database can be reached, or name others with --database.",
        id="restorehooks.W005",
    )


def _not_numbered(alias: str, field: str) -> CheckMessage:
    return Warning(
        f'No sequence numbers {field} in database "{alias}": an insert has to bring its own'
        " number.",
        hint="Give its column an identity or a default. A partition that is detached loses them.",
        id="restorehooks.W007",
    )


def _behind(alias: str, entries: list[Entry]) -> Iterator[CheckMessage]:
    """Yield a warning for each sequence, or for each schema where there are many."""
    from .duplicates.commands import schema_option

    option = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
    command = f"python manage.py resetsequences{option}"
    if len(entries) <= GROUPED:
        for entry in entries:
            yield _warning(
                f'In database "{alias}", sequence {entry.sequence} would hand out'
                f" {entry.next_before} next, but its rows have reached {entry.extreme}: the next"
                " insert may fail.",
                hint=f"{_left_behind(entry) or 'Run migrate, or'}: {command}",
                id="restorehooks.W003",
            )
        return
    for schema, group in groupby(sorted(entries, key=_schema), key=_schema):
        names = [entry.sequence for entry in group]
        yield _warning(
            f'In schema "{schema}" of database "{alias}", the rows have passed'
            f" {len(names)} sequence{'' if len(names) == 1 else 's'}:"
            f" {first_of(names, SHOWN)}: the next inserts may fail.",
            hint=f"Run: {command} {shlex.join(schema_option(schema))}",
            id="restorehooks.W003",
        )


def _left_behind(entry: Entry) -> str | None:
    """Return why the hook of migrate does not mend it, None where it does."""
    is_left = entry.found is not None and entry.found[1].is_partial
    return entry.reason[0].upper() + entry.reason[1:] if is_left and entry.reason else None


def _warning(message: str, hint: str, id: str) -> CheckMessage:  # noqa: A002 - as Django has it
    """Return a warning in which no name commands a terminal or begins a line."""
    return Warning(printable(message), hint=printable(hint), id=id)


def _schema(entry: Entry) -> str:
    return entry.found[0].schema if entry.found else ""


def _nearly_full(alias: str, entries: list[Entry]) -> Iterator[CheckMessage]:
    """Yield a warning for each sequence, or for each schema where there are many."""
    if len(entries) <= GROUPED:
        for entry in entries:
            yield _warning(
                f'In database "{alias}", {entry.used_percent:g}% of the numbers of sequence'
                f" {entry.sequence} are used up; the last one is {entry.limit}.",
                hint=_room(entry),
                id="restorehooks.W004",
            )
        return
    for schema, group in groupby(sorted(entries, key=_schema), key=_schema):
        fullest = sorted(group, key=lambda entry: -(entry.used_percent or 0))
        names = [f"{entry.sequence} ({entry.used_percent:g}%)" for entry in fullest]
        yield _warning(
            f'In schema "{schema}" of database "{alias}", sequences are nearly used up:'
            f" {first_of(names, SHOWN)}.",
            hint=_room(fullest[0]),
            id="restorehooks.W004",
        )


def _room(entry: Entry) -> str:
    changes = "; ".join(entry.makes_room)
    if not changes and entry.found and entry.found[0].own_end == entry.limit:
        return "The numbers past that are other nodes'."
    if not changes:
        return "No type is larger than bigint."
    # A migration widens the column, and with it the sequence; a bound of its own it leaves.
    widens_columns = "ALTER TABLE" in changes and " NO M" not in changes
    automatic = " (or make the fields BigAutoField and migrate)" if entry.models else ""
    return f"{changes}{automatic if widens_columns else ''}"
