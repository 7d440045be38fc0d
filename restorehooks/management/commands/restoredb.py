"""``manage.py restoredb``."""

from restorehooks.management.unavailable import with_psycopg

Command = with_psycopg("restorehooks.management.restoredb")
