"""Entries of IGNORE and LINKS that name nothing: one that is misspelt would change nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from restorehooks.wording import quoted

from .catalog import read_catalog
from .listed import looked_up
from .message import LockBudget
from .scope import Limits
from .tenants import tenant_schemas

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def naming_nothing(databases: Collection[BaseDatabaseWrapper], limits: Limits) -> list[str]:
    """Return a sentence for each entry that names nothing in any of these databases.

    Where a package for tenants has set the ``search_path`` nothing is said: the names may be those
    of another tenant. Raises ``django.db.DatabaseError`` where a database cannot be asked.
    """
    if not (limits.ignore or limits.links) or not databases:
        return []
    found = [dict.fromkeys(_unmatched(database, limits)) for database in databases]
    where = f"database{'s' if len(databases) > 1 else ''} {quoted(d.alias for d in databases)}"
    return [f"{each} in {where}." for each in found[0] if all(each in other for other in found)]


def _unmatched(connection: BaseDatabaseWrapper, limits: Limits) -> Iterator[str]:
    if tenant_schemas(connection) is not None:
        return
    budget = LockBudget(limits.lock_timeout)
    for column, link in looked_up(connection, limits.links, budget).items():
        if link.table is None:
            yield f'RESTOREHOOKS["LINKS"] names "{column}", and there is no such column'
        if link.sequence is None:
            sequence = limits.links[column]
            yield f'RESTOREHOOKS["LINKS"] names "{sequence}", and there is no such sequence'
    if not limits.ignore:
        return
    sequences, _ = read_catalog(connection, budget, replace(limits, ignore={}, names="reported"))
    names = {s.quoted for s in sequences}
    names |= {column.quoted for s in sequences for column in (*s.columns, *s.uncounted)}
    for entry in limits.ignore:
        if not any(fnmatchcase(name, entry) for name in names):
            yield (
                f'RESTOREHOOKS["IGNORE"] names "{entry}", and there is no such sequence, nor a'
                " column that one numbers,"
            )
