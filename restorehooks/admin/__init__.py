"""The page "Sequences" of the admin: the change list of a model without a table."""

from .page import SequenceAdmin

__all__ = ["SequenceAdmin"]
