"""The nodes of a Citus cluster, one after the other, as what an alias leads to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError
from django.db import connections

from restorehooks.exit_codes import WRONG_USAGE
from restorehooks.sequences.citus import OtherNode, node_group, other_nodes

ELSEWHERE = ("host", "hostaddr", "port", "service", "pool")
"""Options of a connection that would lead it to where the alias leads."""


def nodes_beside(using: str, lock_timeout: float) -> list[OtherNode]:
    """Return the other nodes of the cluster that an alias leads into; ``lock_timeout``: seconds.

    Raises ``CommandError`` where it leads to no node, ``django.db.DatabaseError`` where it cannot
    be asked.
    """
    found = other_nodes(connections[using], lock_timeout)
    if found is None:
        raise CommandError(
            f'Database "{using}" is no node of a Citus cluster.', returncode=WRONG_USAGE
        )
    return found


@contextmanager
def leading_to(using: str, node: OtherNode, lock_timeout: float) -> Iterator[None]:
    """Let an alias lead to another node while the block runs, with the same credentials.

    Raises ``CommandError`` where what answers there is not that node.
    """
    own = connections[using]
    there = own.copy()
    there.settings_dict.update(HOST=node.host, PORT=str(node.port))
    for name in ELSEWHERE:
        there.settings_dict["OPTIONS"].pop(name, None)
    connections[using] = there
    try:
        group = node_group(there, lock_timeout)
        if group != node.group:
            raise CommandError(
                f"What answers at {node.place} is not the node of group {node.group}"
                f' of the cluster of database "{using}": its sequences were not looked at.'
            )
        yield
    finally:
        there.close()
        connections[using] = own
