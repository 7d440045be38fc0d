"""The signals that this package sends."""

from django.dispatch import Signal

post_loaddata = Signal()
"""Sent once ``loaddata`` is done, its transaction included.

Arguments: ``using`` (the alias), ``models`` (a frozenset of the models loaded) and ``report`` (a
:class:`restorehooks.Report` of their sequences, empty where nothing was repaired).
"""

sequences_repaired = Signal()
"""Sent after a run that moved at least one sequence, whatever ran it.

Arguments: ``using`` (the alias), ``report`` (a :class:`restorehooks.Report`; its ``changed`` are
the entries that were moved) and ``trigger``: ``"pre_migrate"``, ``"post_migrate"`` (``flush``
included), ``"loaddata"``, ``"resetsequences"`` (the command), ``"reset_sequences"`` (the
functions), ``"ResetSequences"`` (the operation), ``"duplicate"`` (after a unique violation),
``"admin"`` or ``"restore"``. What a receiver raises is logged and stops nothing. The caller's
transaction may be open, or broken, when it runs: in an open one what receivers do is undone where
a query of one of them has failed, or a model's ``save()``.
"""

pre_restore = Signal()
"""Sent before a restore loads anything, while the alias still means the live database.

Arguments: ``using`` (the alias), ``dump`` (a :class:`restorehooks.restore.dump.facts.Dump`),
``target`` (the database's name) and ``report`` (what was found and done so far). An exception ends
the restore, and the live database is as it was.
"""

pre_load = Signal()
"""Sent when the side database exists and before the first statement of the dump goes into it.

The alias means that empty database while it is sent: create what the dump expects to be there.
Arguments as for :data:`pre_restore`, ``target`` being the side database's name. It is not sent in
place, where nothing is empty. An exception ends the restore, and the live database is as it was.
"""

post_restore = Signal()
"""Sent when the data are loaded and their sequences repaired, *before* they go live.

Until then the alias means the restored database. Arguments as for :data:`pre_restore`, ``target``
being the restored database's name. An exception means that it never goes live.
"""
