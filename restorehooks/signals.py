"""The signals that this package sends."""

from django.dispatch import Signal

post_loaddata = Signal()
"""Sent once ``loaddata`` is done, its transaction included.

Arguments: ``using`` (the alias), ``models`` (a frozenset of the models loaded) and ``report`` (a
:class:`restorehooks.Report` of their sequences, empty where nothing was repaired).
"""
