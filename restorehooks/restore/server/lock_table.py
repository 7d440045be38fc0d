"""The server's lock table: whether one transaction can hold all the locks that a load takes."""

from __future__ import annotations

from restorehooks.restore.errors import TargetError

from .address import Connection, own_names

CAPACITY = """
SELECT pg_catalog.current_setting('max_locks_per_transaction')::bigint
       * (pg_catalog.current_setting('max_connections')::bigint
          + pg_catalog.current_setting('max_prepared_transactions')::bigint),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class WHERE oid >= 16384),
       pg_catalog.current_setting('max_locks_per_transaction')::bigint
"""


def require_locks(connection: Connection, created: int) -> None:
    """Raise TargetError if one transaction could not drop what is there and create ``created``.

    Each table, index and sequence takes a place in the server's lock table (25.3 of the manual:
    max_locks_per_transaction * (max_connections + max_prepared_transactions) places).
    """
    with own_names(connection):
        row = connection.execute(CAPACITY).fetchone()
    assert row  # noqa: S101 - it has no FROM
    capacity, there, setting = row
    if (needed := there + created) > capacity:
        raise TargetError(
            f"One transaction would need {needed} locks and the server has room for {capacity}: "
            f"set max_locks_per_transaction to {-(-needed * setting // capacity)} or more and "
            "restart the server, or restore without --in-place."
        )
