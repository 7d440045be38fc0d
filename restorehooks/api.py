"""The functions for imports and scripts: the engine, with this project's settings and models."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections, router

from . import conf
from .announce import announce
from .sequences import repair
from .sequences.report import Report
from .sequences.scope import Scope, models_for
from .wording import printable

if TYPE_CHECKING:
    from django.db.models import Model

logger = logging.getLogger("restorehooks")
F = TypeVar("F", bound=Callable[..., Any])


def inspect_sequences(
    *models_or_labels: type[Model] | str,
    using: str | None = None,
    schemas: Collection[str] | None = None,
    headroom: int = 0,
    rewind: bool = False,
) -> Report:
    """Return how sequences stand to their rows, and change nothing.

    Takes models, labels of models ("shop.Order") or of apps ("shop"); none means every sequence of
    the database. ``using`` is the alias; by default the one where the router writes the models.
    ``schemas`` limits the scope to these schemas. ``headroom`` and ``rewind`` make the report the
    plan of a :func:`reset_sequences` with the same. On another engine than PostgreSQL the report
    is empty.

    Raises ``LookupError`` for an unknown label, ``ValueError`` where models live in several
    databases, ``django.db.DatabaseError`` where the database cannot be asked at all.
    """
    alias, scope = _meant(models_or_labels, using, schemas)
    if connections[alias].vendor != "postgresql":
        return Report(alias)
    return repair.inspect(alias, scope, conf.limits(), headroom=headroom, rewind=rewind)


def reset_sequences(
    *models_or_labels: type[Model] | str,
    using: str | None = None,
    schemas: Collection[str] | None = None,
    headroom: int = 0,
    rewind: bool = False,
) -> Report:
    """Move every sequence that is behind past its rows, and return what was found and done.

    Safe while others insert, and inside a transaction. Nothing is ever moved back, unless
    ``rewind`` asks for it. ``headroom`` is the number of increments to stay clear of the rows.
    What was moved is logged, and so is, as a warning, what could not be made safe. See
    :func:`inspect_sequences` for the other arguments and what is raised.
    """
    alias, scope = _meant(models_or_labels, using, schemas)
    if connections[alias].vendor != "postgresql":
        return Report(alias)
    report = repair.reset(alias, scope, conf.limits(), headroom=headroom, rewind=rewind)
    nothing_read = scope.models is not None and not report.entries
    if nothing_read and not (report.without_table or report.without_sequence):
        # The router keeps them out of this database, or a tenant's schema out of this session.
        labels = tuple(model._meta.label for model in scope.models or ())
        report = replace(report, without_table=labels)
    announce(report, "reset_sequences")
    if nothing_read:
        _warn_of_nothing(report)
    return report


def _warn_of_nothing(report: Report) -> None:
    """Log that no sequence was read, and where the tables were looked up."""
    with connections[report.database].cursor() as cursor:
        cursor.execute("SELECT pg_catalog.current_setting('search_path')")
        (path,) = cursor.fetchone()
    logger.warning(
        "No sequence was checked in database %s: there is none for %s (search_path is %s)",
        report.database,
        ", ".join([*report.without_table, *report.without_sequence]) or "these models",
        printable(path),
        extra={"database": report.database},
    )


class reset_sequences_after:  # noqa: N801 - used as a function
    """Reset sequences after a block or function that writes explicit ids.

    ::

        with reset_sequences_after(Order, using="default"):
            Order.objects.bulk_create(orders_with_ids)

        @reset_sequences_after("shop")
        def import_orders(): ...

    Takes what :func:`reset_sequences` takes; works as ``async with`` and on ``async def`` too. It
    also runs when the block raises, since rows may have been committed before that; then an error
    of its own is logged, never raised in place of the block's. ``report`` holds what was done.
    """

    def __init__(self, *models_or_labels: type[Model] | str, using: str | None = None) -> None:
        self.models_or_labels = models_or_labels
        self.using = using
        self.report: Report | None = None

    def __enter__(self) -> reset_sequences_after:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.report = reset_sequences(*self.models_or_labels, using=self.using)
        except Exception:
            if error is None:
                raise
            logger.warning("The sequences were not checked after a failed import", exc_info=True)

    async def __aenter__(self) -> reset_sequences_after:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await sync_to_async(self.__exit__)(*raised)

    def __call__(self, function: F) -> F:
        """Return the function with a reset after each call; not for generators."""
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            name = function.__qualname__
            raise TypeError(f"{name} is a generator: use reset_sequences_after in its body")
        if iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                async with type(self)(*self.models_or_labels, using=self.using):
                    return await cast("Callable[..., Awaitable[Any]]", function)(*args, **kwargs)

            return cast("F", awaited)

        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with type(self)(*self.models_or_labels, using=self.using):
                return function(*args, **kwargs)

        return cast("F", called)


def _meant(
    models_or_labels: tuple[type[Model] | str, ...],
    using: str | None,
    schemas: Collection[str] | None,
) -> tuple[str, Scope]:
    models = models_for(models_or_labels) if models_or_labels else None
    schemas = [schemas] if isinstance(schemas, str) else schemas  # not each of its letters
    return using or _where_written(models or []), Scope(models, schemas)


def _where_written(models: Collection[type[Model]]) -> str:
    aliases = sorted({router.db_for_write(model) for model in models})
    if len(aliases) > 1:
        raise ValueError(f"These models are written to {', '.join(aliases)}: say which with using=")
    return aliases[0] if aliases else DEFAULT_DB_ALIAS
