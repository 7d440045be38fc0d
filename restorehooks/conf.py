"""The RESTOREHOOKS setting: a dictionary, one documented function per option, read when used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .sequences.scope import Limits


class Option(NamedTuple):
    """One key of the setting: its default, which values it takes, and those in words."""

    default: Any
    takes: Callable[[Any], bool]
    in_words: str


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_percentage(value: object) -> bool:
    return _is_positive(value) and value <= 100  # type: ignore[operator]


def _is_positive(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value < math.inf  # type: ignore[operator]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_timeout(value: object) -> bool:
    return _is_positive(value) and value < 2**31 / 1000  # type: ignore[operator]


def _is_names(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, str) and each for pair in value.items() for each in pair
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_extensions(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(needs, dict) and all(map(_is_need, needs.items()))
        for name, needs in value.items()
    )


def _is_need(pair: tuple[object, object]) -> bool:
    name, value = pair
    if name in ("one_job", "one_database"):
        return isinstance(value, bool)
    is_list = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    return name in ("before", "after") and is_list


OPTIONS = {
    "PRE_MIGRATE": Option(True, _is_bool, "True or False"),
    "POST_MIGRATE": Option(True, _is_bool, "True or False"),
    "LOADDATA": Option(True, _is_bool, "True or False"),
    "LOCK_TIMEOUT": Option(2.0, _is_timeout, "a number of seconds above 0, up to 24 days"),
    "SCAN_LIMIT": Option(100, _is_positive, "a number of MiB above 0"),
    "EXPLAIN_DUPLICATES": Option(True, _is_bool, "True or False"),
    "REPAIR_ON_DUPLICATE": Option(False, _is_bool, "True or False"),
    "CONNECTIONS": Option(2, _is_count, "a whole number of at least 1"),
    "MAX_USED_PERCENT": Option(80, _is_percentage, "a number above 0, up to 100"),
    "IGNORE": Option({}, _is_names, "a dictionary from names or patterns to reasons"),
    "LINKS": Option({}, _is_names, "a dictionary from columns to sequences"),
    "EXTENSIONS": Option(
        {},
        _is_extensions,
        "a dictionary from extensions to dictionaries with before, after, one_job or one_database",
    ),
    "STORAGE": Option("dumps", _is_name, "the alias of a storage in STORAGES"),
}


def pre_migrate() -> bool:
    """Whether sequences are repaired before ``migrate`` starts (``PRE_MIGRATE``, True)."""
    return bool(_read("PRE_MIGRATE"))


def post_migrate() -> bool:
    """Whether they are repaired after ``migrate`` and ``flush`` (``POST_MIGRATE``, True)."""
    return bool(_read("POST_MIGRATE"))


def loaddata() -> bool:
    """Whether ``loaddata`` repairs them, instead of Django's way (``LOADDATA``, True)."""
    return bool(_read("LOADDATA"))


def lock_timeout() -> float:
    """Seconds that a run waits, in all, for locks of others (``LOCK_TIMEOUT``, 2)."""
    return float(_read("LOCK_TIMEOUT"))


def scan_limit() -> int:
    """Bytes up to which a hook reads a column that no index leads (``SCAN_LIMIT``, 100 MiB)."""
    return int(_read("SCAN_LIMIT") * 2**20)


def connections() -> int:
    """Connections that a run may use at once, where there are many tables (``CONNECTIONS``, 2)."""
    return int(_read("CONNECTIONS"))


def limits(*, hook: bool = False) -> Limits:
    """Return how much a run may do: what a person asked for, or a hook, which does less."""
    return Limits(
        lock_timeout(),
        scan_limit() if hook else None,
        follows_lone_rows=not hook,
        names="ignored" if hook else "reported",
        ignore=ignore(),
        links=links(),
        connections=connections(),
    )


def ignore() -> dict[str, str]:
    """Sequences and columns that are left alone (``IGNORE``, none): names to reasons.

    A name is ``schema.sequence`` or ``schema.table.column`` as a report shows it; ``*``, ``?`` and
    ``[...]`` stand for what they stand for in file names.
    """
    return dict(_read("IGNORE"))


def links() -> dict[str, str]:
    """Columns whose numbers the client or a trigger draws (``LINKS``, none): columns to sequences.

    A column is ``app.Model.field`` or ``schema.table.column``, a sequence is named as in SQL.
    """
    return dict(_read("LINKS"))


def storage() -> str:
    """The alias of the storage that dumps live in (``STORAGE``, "dumps")."""
    return str(_read("STORAGE"))


def extensions() -> dict[str, dict[str, Any]]:
    """What extensions need of a restore (``EXTENSIONS``, none): names to dictionaries.

    ``before`` and ``after`` list functions of the extension's own without arguments, to be called
    once the dump has created it and after the load, ``one_job`` allows no more jobs than one, and
    ``one_database`` says that one database of a server alone can have it. An entry replaces what is
    known of itself.
    """
    return dict(_read("EXTENSIONS"))


def explain_duplicates() -> bool:
    """Whether a unique violation's exception explains itself (``EXPLAIN_DUPLICATES``, True)."""
    return bool(_read("EXPLAIN_DUPLICATES"))


def repair_on_duplicate() -> bool:
    """Whether a sequence is repaired after a violation (``REPAIR_ON_DUPLICATE``, False)."""
    return bool(_read("REPAIR_ON_DUPLICATE"))


def max_used_percent() -> float:
    """Share of a sequence's range from which on a check warns (``MAX_USED_PERCENT``, 80)."""
    return float(_read("MAX_USED_PERCENT"))


def problems() -> Iterator[str]:
    """Yield one sentence for each thing that is wrong with the setting."""
    given = getattr(settings, "RESTOREHOOKS", {})
    if not isinstance(given, dict):
        yield f"RESTOREHOOKS must be a dictionary, not {type(given).__name__}."
        return
    for name, value in given.items():
        option = OPTIONS.get(name)
        if option is None:
            yield f"RESTOREHOOKS has no option {name!r}; there are {', '.join(OPTIONS)}."
        elif not option.takes(value):
            yield _wrong(name, value)


def _wrong(name: str, value: object) -> str:
    return f"RESTOREHOOKS[{name!r}] must be {OPTIONS[name].in_words}, not {value!r}."


def _read(name: str) -> Any:
    given = getattr(settings, "RESTOREHOOKS", {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(next(problems()))
    value = given.get(name, OPTIONS[name].default)
    if not OPTIONS[name].takes(value):
        raise ImproperlyConfigured(_wrong(name, value))
    return value
