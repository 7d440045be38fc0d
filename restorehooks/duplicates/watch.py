"""Gives the exception of a unique violation its note, and a sequence behind its warning.

A wrapper around every statement of a connection; it runs no query, since the transaction may be
broken and the caller may expect the error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connections

from restorehooks import conf
from restorehooks.wording import printable

from . import is_unique_violation

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("restorehooks")


def watch(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Let unique violations on a connection explain themselves; a receiver of its creation."""
    if connection.vendor != "postgresql" or explained in connection.execute_wrappers:
        return
    try:
        wanted = conf.explain_duplicates() or conf.repair_on_duplicate()
    except ImproperlyConfigured:  # a system check says so
        return
    if wanted:
        # At the front: connection.execute_wrapper() takes away whatever is last when it ends.
        connection.execute_wrappers.insert(0, explained)


def watch_open_connections() -> None:
    """Watch the connections that were opened before the apps were ready."""
    for connection in connections.all(initialized_only=True):
        watch(connection)


def explained(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Execute a statement; a unique violation that it raises gets a note, and nothing else."""
    try:
        return execute(sql, params, many, context)
    except IntegrityError as error:
        if is_unique_violation(error):
            connection = context["connection"]
            as_string = getattr(sql, "as_string", None)  # it is composed of parts
            _explain(error, connection, as_string(connection.connection) if as_string else sql)
        raise


def _explain(error: IntegrityError, connection: BaseDatabaseWrapper, statement: Any) -> None:
    # Imported when there is something to explain: every process of a project watches.
    from .heal import heal
    from .note import Cause, Violation

    try:
        violation = Violation.of(error, connection.alias, statement)
        if conf.explain_duplicates() and violation.is_explained:
            add_note(error, violation.sentences)
            if violation.cause is Cause.SEQUENCE:
                logger.warning("%s", printable(violation.sentences), extra=violation.extra)
        if conf.repair_on_duplicate() and violation.cause is not Cause.DATA:
            for entry in heal(connection, violation).changed:
                moved = f"{entry.sequence} has been moved on to {entry.next_after}"
                add_note(error, f"{moved}; the next attempt works.")
    except Exception:  # whatever goes wrong here, the caller gets the violation itself
        logger.warning("A unique violation could not be explained", exc_info=True)


def add_note(error: BaseException, sentences: str) -> None:
    """Add a note; before Python 3.11 only tools that know PEP 678 (pytest, IPython) show it."""
    notes = [*getattr(error, "__notes__", []), f"restorehooks: {printable(sentences)}"]
    error.__notes__ = notes  # what add_note() does, and works where there is none
