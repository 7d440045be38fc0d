"""No PostgreSQL sequence is ever left behind the rows it numbers.

The public names, at one glance::

    from restorehooks import inspect_sequences, reset_sequences, reset_sequences_after
    from restorehooks import retry_after_repair
    from restorehooks.operations import ResetSequences
    from restorehooks.signals import post_loaddata, sequences_repaired
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import inspect_sequences, reset_sequences, reset_sequences_after
    from .duplicates.heal import retry_after_repair
    from .sequences.report import Entry, Report
    from .sequences.verdict import Status

__version__ = "0.1.0"
__all__ = [
    "Entry",
    "Report",
    "Status",
    "inspect_sequences",
    "reset_sequences",
    "reset_sequences_after",
    "retry_after_repair",
]
_WHERE = {
    "Entry": ".sequences.report",
    "Report": ".sequences.report",
    "Status": ".sequences.verdict",
    "retry_after_repair": ".duplicates.heal",
}


def __getattr__(name: str) -> Any:
    # Every process of a project imports this package, and few of them repair anything: what does
    # is imported when it is asked for (PEP 562).
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE.get(name, ".api"), __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
