"""``manage.py dumpdb``."""

from restorehooks.management.unavailable import with_psycopg

Command = with_psycopg("restorehooks.management.dumpdb")
