"""The page "Sequences" of the admin: the change list of a model without a table."""

from restorehooks.driver import why_not_at_all

if not why_not_at_all():
    from .page import SequenceAdmin

    __all__ = ["SequenceAdmin"]
