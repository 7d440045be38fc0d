"""No PostgreSQL sequence is ever left behind the rows it numbers.

The public names, at one glance::

    from restorehooks import inspect_sequences, reset_sequences, reset_sequences_after
    from restorehooks import retry_after_repair
    from restorehooks.operations import ResetSequences
    from restorehooks.signals import post_loaddata, sequences_repaired
"""

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
