"""Carrying out what ``resetsequences`` was asked for, database by database and node by node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from django.core.management.base import CommandError
from django.db import connections

from restorehooks.management.base import CANNOT_BE_ASKED, cannot_be_asked
from restorehooks.management.nodes import leading_to, nodes_beside
from restorehooks.management.positions import positions_at
from restorehooks.management.sequence_options import Request, wrong_usage
from restorehooks.sequences.citus import OtherNode
from restorehooks.sequences.repair import inspect, reset
from restorehooks.sequences.report import Report
from restorehooks.sequences.scope import schemas_named
from restorehooks.sequences.tenants import is_allowed, within_tenant


class Run(NamedTuple):
    """What came of one database, or of another ``node`` of its cluster: a report, or why not."""

    alias: str
    result: Report | CommandError
    node: str | None = None


def runs(request: Request) -> Iterator[Run]:
    """Do what is asked for and yield what came of it; other nodes come after the database's own."""
    for alias in request.aliases:
        nodes: list[OtherNode] = []
        try:
            if request.every_node:
                nodes = nodes_beside(alias, request.limits.lock_timeout)
        except CommandError as error:
            yield Run(alias, error)
            continue
        except CANNOT_BE_ASKED as error:
            yield Run(alias, cannot_be_asked(f'Database "{alias}"', error))
            continue
        yield Run(alias, _run(alias, request))
        for node in nodes:
            yield Run(alias, _run_there(alias, node, request), node.place)


def _run_there(alias: str, node: OtherNode, request: Request) -> Report | CommandError:
    try:
        with leading_to(alias, node, request.limits.lock_timeout):
            result = _run(alias, request)
    except CommandError as error:
        return error
    except CANNOT_BE_ASKED as error:
        return cannot_be_asked(f'Node {node.place} of database "{alias}"', error)
    return replace(result, node=node.place) if isinstance(result, Report) else result


def _run(alias: str, request: Request) -> Report | CommandError:
    function = reset if request.mode == "reset" else inspect
    try:
        scope = request.scope
        if scope.schemas is not None:
            scope = replace(scope, schemas=schemas_named(connections[alias], scope.schemas))
        scope = within_tenant(connections[alias], scope)
        source = None
        if request.source is not None:
            source = positions_at(request.source, alias, request.limits.lock_timeout)
        report = function(
            alias,
            scope,
            request.limits,
            headroom=request.headroom,
            rewind=request.rewind,
            source=source,
        )
    except CommandError as error:
        return error
    except CANNOT_BE_ASKED as error:
        if type(error) is LookupError:  # there is no such schema, say; none of its kinds
            return wrong_usage(error.args[0])
        return cannot_be_asked(f'Database "{alias}"', error)
    if scope.schemas is None and not is_allowed(alias, scope):
        labels = ", ".join(model._meta.label for model in scope.models or [])
        return wrong_usage(
            f'The router keeps {labels} out of database "{alias}"; name another with --database.'
        )
    if report.without_table and not report.entries:
        return CommandError(
            f'There is no table in database "{alias}" for {", ".join(report.without_table)};'
            " run migrate first."
        )
    return report
