"""What a pgpool-II before the server makes of a swap: it may take it for the server's end.

A swap ends the sessions in the live database. With failover_on_backend_shutdown pgpool detaches
the server for that, or promotes a standby. The setting is on by default up to 4.3.8, 4.4.5 and
4.5.0, whatever their manuals and sample files say; before 4.3 pgpool does so without a setting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg

from .address import Address
from .direct import asking
from .obstacles import Obstacle
from .pooler import DIRECT_URL, is_pgpool

SETTING = "PGPOOL SHOW failover_on_backend_shutdown"
MODE = "PGPOOL SHOW backend_clustering_mode"
BACKENDS = "PGPOOL SHOW backend"
ALWAYS = {"native_replication", "snapshot_isolation"}
"""The modes in which pgpool fails over whatever the setting is (read_packets_and_process)."""


def failover_by(using: str) -> Iterator[Obstacle]:
    """Yield why the pooler that an alias leads through would fail over at a swap, if it would.

    Changes nothing. Nothing is known of a pooler that does not answer, and of one that the alias
    does not lead through.
    """
    if not os.environ.get(DIRECT_URL):
        return
    pooler = Address.of(using, direct=False)
    with suppress(psycopg.Error, TimeoutError), asking(pooler, pooler.name) as connection:
        if is_pgpool(connection) and _fails_over(connection):
            yield Obstacle(
                "refused",
                f"the pgpool at {pooler.host}:{pooler.port} takes the end of a session for the end "
                "of the server, and would fail over when the sessions in the live database are "
                "ended",
                "set failover_on_backend_shutdown = off there and reload it (before 4.3 and in "
                "native replication: backend_flag DISALLOW_TO_FAILOVER), or restore --in-place",
            )


def _fails_over(connection: psycopg.Connection[Any]) -> bool:
    backends = connection.execute(BACKENDS).fetchall()
    flags = [value for name, value, *_ in backends if name.startswith("backend_flag")]
    if flags and all("DISALLOW_TO_FAILOVER" in flag for flag in flags):
        return False
    try:
        ((mode,),) = connection.execute(MODE).fetchall()
        ((setting,),) = connection.execute(SETTING).fetchall()
    except psycopg.errors.InternalError:  # an older one has no such parameter
        return True
    return mode in ALWAYS or setting != "off"
